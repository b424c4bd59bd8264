package reports

import (
	"github.com/mosaicquant/mosaicquant/internal/row"
	"github.com/mosaicquant/mosaicquant/reports/figures"
	"github.com/mosaicquant/mosaicquant/reports/rowtest"
)

func syntheticInput() Input {
	s := rowtest.Synthetic{Windows: 60, Layers: 8}
	rows := append(s.Sweep("a16"), s.Sweep("a8")...)
	none := s.Row("none", "a16", map[string]string{"method": "none"}, 16, 0.01)
	none.Values = []row.Value{{Name: row.BitsPerWeight, Value: 16}, {Name: row.KLMean, Value: 0},
		{Name: row.PPLToken, Value: 44.1}}
	for i := range none.Series {
		if none.Series[i].Name == row.WindowKL {
			clear(none.Series[i].Values)
		}
	}
	failed := s.Row("gptq g100", "a16", map[string]string{"method": "gptq", "group": "100"}, 4, 1)
	failed.Status, failed.Values, failed.Series = row.Failed, nil, nil
	failed.Error = "quant: model.layers.0.mlp.down_proj: K=688 not divisible by group 100"
	rows[4].Warnings = []string{"model.layers.3.mlp.up_proj: 12 dead columns"}
	dirty := true
	in := Input{Styles: styles,
		Title: "synthetic", Question: "Made-up rows, for tests: which 4-bit method loses least, and at what size?",
		Rows: append(rows, none, failed), Config: "name: synthetic\nmodel: builtin:tiny-llama3\n",
		Env: map[string]row.Environment{"e": {Go: "go1.25", OS: "linux", Arch: "amd64", CPU: "made up", Cores: 2,
			Features: []string{"avx2", "fma"}, Kernel: "avx2", Commit: "0123abc", Dirty: &dirty}},
		Command: "go run ./experiments sweep -c configs/default.yaml", Commands: map[string]string{},
	}
	for _, r := range in.Rows {
		in.Commands[r.Trial] = "go run ./experiments sweep -c configs/default.yaml --only '" + r.Label + "'"
	}
	return in
}

// styles are those of the families of synthetic rows.
var styles = figures.Styles{
	{Family: "none", Color: "#595959", Marker: "cross"}, {Family: "rtn", Color: "#56b4e9", Marker: "circle"},
	{Family: "gptq", Color: "#0072b2", Marker: "square"}, {Family: "spqr", Color: "#009e73", Marker: "triangle"},
	{Family: "mosaic on rtn", Color: "#e69f00", Marker: "diamond"},
	{Family: "mosaic on gptq", Color: "#d55e00", Marker: "star"},
}
