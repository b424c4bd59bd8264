package stats

import (
	"slices"
	"testing"

	"github.com/mosaicquant/mosaicquant/internal/row"
	"github.com/mosaicquant/mosaicquant/reports/rowtest"
)

// TestNames leaves the group's own words out of names, and only those.
func TestNames(t *testing.T) {
	s := rowtest.Synthetic{Windows: 4}
	rows := func(model, activations string, labels ...string) (out []row.Row) {
		for i, l := range labels {
			r := s.Row(l, activations, map[string]string{"model": model, "method": "rtn", "n": string(rune('a' + i))},
				4+float64(i), .1)
			r.Baseline = labels[0]
			out = append(out, r)
		}
		return out
	}
	for _, c := range []struct {
		rows            []row.Row
		names, baseline []string
	}{
		{rows("builtin:tiny-llama3", "a8", "tiny-llama3 a8 rtn g128", "tiny-llama3 a8 mosaic a8-only"),
			[]string{"rtn g128", "mosaic a8-only"}, []string{"rtn g128"}},
		{rows(`C:\models\tiny`, "a16", "tiny rtn", "tiny tiny"), []string{"rtn", "tiny"}, []string{"rtn"}},
		// two rows would be one
		{rows("hub:a/tiny", "a16", "tiny rtn", "rtn tiny"), []string{"tiny rtn", "rtn tiny"}, []string{"tiny rtn"}},
		{rows("hub:a/very-tiny", "a16", "tiny rtn", "tiny gptq"), []string{"tiny rtn", "tiny gptq"}, []string{"tiny rtn"}},
		// nothing would remain
		{rows("builtin:tiny", "a8", "tiny a8", "tiny a8 rtn"), []string{"tiny a8", "tiny a8 rtn"}, []string{"tiny a8"}},
		// a grid of the name of the inputs stays
		{rows("builtin:tiny", "nvfp4", "tiny gptq nvfp4 g16 nvfp4", "tiny rtn nvfp4 g16 nvfp4"),
			[]string{"gptq nvfp4 g16", "rtn nvfp4 g16"}, []string{"gptq nvfp4 g16"}},
		{rows("builtin:tiny", "a8", "rtn", "gptq a8"), []string{"rtn", "gptq a8"}, []string{"rtn"}},
	} {
		g := Build(c.rows).Groups[0]
		var got []string
		for _, e := range g.Entries {
			got = append(got, e.Name)
		}
		if !slices.Equal(got, c.names) || !slices.Equal(g.Baselines(), c.baseline) {
			t.Errorf("%q and baseline %q, want %q and %q", got, g.Baselines(), c.names, c.baseline)
		}
	}
}
