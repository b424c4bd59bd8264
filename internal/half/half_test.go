package half

import (
	"math"
	"testing"
)

func TestE4M3(t *testing.T) {
	for b := range 0x7f {
		v := FromE4M3(uint8(b))
		if got := ToE4M3(v); got != uint8(b) {
			t.Fatalf("%#x is %g, encoded %#x", b, v, got)
		}
		if b == 0x7e {
			break
		}
		mid := (v + FromE4M3(uint8(b+1))) / 2
		if got := ToE4M3(mid); got != uint8(b+b&1) {
			t.Fatalf("midpoint after %#x encoded %#x", b, got)
		}
		if got := ToE4M3(math.Nextafter(mid, 1e9)); got != uint8(b+1) {
			t.Fatalf("above the midpoint after %#x encoded %#x", b, got)
		}
	}
	if ToE4M3(1e9) != 0x7e || ToE4M3(math.Inf(1)) != 0x7e || ToE4M3(0) != 0 {
		t.Error("no saturation at 448")
	}
}

func TestF16RoundTripAndTies(t *testing.T) {
	for h := range 1 << 16 {
		v := FromF16(uint16(h))
		if v != v {
			continue
		}
		if back := ToF16(v); back != uint16(h) {
			t.Fatalf("%#x is %g, encoded %#x", h, v, back)
		}
		if h < 0x7bff { // between neighbours, ties go to the even one
			next := FromF16(uint16(h + 1))
			mid := (v + next) / 2
			if got := ToF16(mid); got != uint16(h+h&1) {
				t.Fatalf("midpoint after %#x encoded %#x", h, got)
			}
			if got := ToF16(math.Nextafter32(mid, next)); got != uint16(h+1) {
				t.Fatalf("above the midpoint after %#x encoded %#x", h, got)
			}
		}
	}
}
