package trial

import (
	"strings"
	"testing"

	"github.com/mosaicquant/mosaicquant/experiments/method"
	"github.com/mosaicquant/mosaicquant/experiments/plan"
)

// TestRefusedByShape: before anything is quantized, rows that vectors or tiles do not divide
// are refused, and so is packed execution of forms without a kernel, by their names.
func TestRefusedByShape(t *testing.T) {
	for _, c := range []struct {
		s         method.Settings
		n, k      int
		execution string
		want      string
	}{
		{method.New("vptq", "vector", 5, "vector_bits", 2), 32, 64, "", "N=32 not divisible by the 5 rows of a vector"},
		{method.New("trellis", "trellis_bits", 2, "trellis_length", 6, "trellis_code", "mul1"), 24, 64, "",
			"N=24 not divisible by the 16 rows of a tile"},
		{method.New("olive"), 32, 63, "", "K=63 not divisible by the 2 columns of a tile"},
		{method.New("vptq", "vector", 2, "vector_bits", 4), 32, 64, "packed",
			"codebook of 4 bits: its scales or levels have no kernel"},
		{method.New("gobo", "centroid_bits", 3), 32, 64, "packed", "codebook of 3 bits: its scales or levels have no kernel"},
		{method.New("olive", "group", 32), 32, 64, "packed", "pairs of 4 bits g32: its scales or levels have no kernel"},
		{method.New("adadim", "adadim_bits", 4, "group", 32, "scale", "absmax"), 32, 64, "packed",
			"adadim of 4 bits g32: its scales or levels have no kernel"},
	} {
		tr := plan.Trial{Method: c.s, Activations: "a16"}
		if err := checkShape(tr, c.n, c.k); (err == nil) != (c.execution == "packed") {
			t.Errorf("%s [%d,%d]: error %v", c.s, c.n, c.k, err)
		}
		tr.Execution = c.execution
		if err := checkShape(tr, c.n, c.k); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s [%d,%d]: error %v, want %q", c.s, c.n, c.k, err, c.want)
		}
	}
}
