package cuda

import (
	"math"
	"strings"
	"testing"
)

// TestExpected: each tile has a residual or not, whatever the others have.
func TestExpected(t *testing.T) {
	turn := Turn{Weights: 4 * tileWeights, Issued: 100, IssuedOne: 160, IssuedFull: 280}
	issued := []float64{100, 160, 200, 240, 280} // by tiles that have one
	for _, share := range []float64{0, .1, .5, 1} {
		var want float64
		for set := range 1 << 4 {
			p, tiles := 1.0, 0
			for i := range 4 {
				if set>>i&1 == 1 {
					p, tiles = p*share, tiles+1
				} else {
					p *= 1 - share
				}
			}
			want += p * issued[tiles]
		}
		if got := turn.Expected(share); math.Abs(got-want) > 1e-9 {
			t.Errorf("share %g: %g, want %g", share, got, want)
		}
	}
	if got := (Turn{Weights: tileWeights, Issued: 10, IssuedOne: 30, IssuedFull: 30}).Expected(.5); got != 20 {
		t.Errorf("one tile, every second time: %g, want 20", got)
	}
}

// TestFusedIsCheap: where one tile of ten has a residual, a fused kernel issues at most three tenths more
// than the dense one on sm_80, a quarter on sm_90, and little more where none has.
func TestFusedIsCheap(t *testing.T) {
	n := 0
	for arch, turns := range Turns() {
		for name, fused := range turns {
			if !strings.Contains(name, "_zip") {
				continue
			}
			n++
			dense := float64(turns[strings.Replace(name, "_zip", "_dense", 1)].Issued)
			if r := float64(fused.Issued) / dense; !(r < 1.11) {
				t.Errorf("%s on sm_%d: %.3f times the instructions of the dense kernel, without a residual", name, arch, r)
			}
			if r := fused.Expected(.1) / dense; !(r < map[int]float64{80: 1.3, 90: 1.25}[arch]) {
				t.Errorf("%s on sm_%d: %.3f times the instructions of the dense kernel, with 10 %%", name, arch, r)
			}
			if fused.Weights > tileWeights && !(fused.IssuedOne > fused.Issued && fused.IssuedFull > fused.IssuedOne) {
				t.Errorf("%s on sm_%d: %+v", name, arch, fused)
			}
		}
	}
	if n == 0 {
		t.Error("no fused kernel was counted")
	}
}
