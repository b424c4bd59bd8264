package half

import (
	"math"
	"testing"
)

// Every bfloat16 number is its own rounding; midpoints go to the even one, and what
// lies beside a midpoint to the nearer one. NaNs stay NaNs.
func TestBF16(t *testing.T) {
	for b := range 1 << 16 {
		v := FromBF16(uint16(b))
		if v != v {
			if got := FromBF16(ToBF16(v)); got == got {
				t.Fatalf("NaN %#x becomes %g", b, got)
			}
			continue
		}
		if got := ToBF16(v); got != uint16(b) {
			t.Fatalf("%#x is %g, encoded %#x", b, v, got)
		}
		if b&0x7fff >= 0x7f80 {
			continue // infinite
		}
		for low, want := range map[uint32]int{0x7fff: b, 0x8000: b + b&1, 0x8001: b + 1} {
			x := math.Float32frombits(uint32(b)<<16 | low)
			if got := ToBF16(x); got != uint16(want) {
				t.Fatalf("%#x%04x becomes %#x, want %#x", b, low, got, want)
			}
		}
	}
	if got := ToBF16(math.Float32frombits(0x7f800001)); FromBF16(got) == FromBF16(got) {
		t.Errorf("a NaN with low bits alone becomes %#x", got)
	}
}
