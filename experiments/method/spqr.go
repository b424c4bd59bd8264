package method

import (
	"slices"

	"github.com/mosaicquant/mosaicquant/experiments/kinds"
	"github.com/mosaicquant/mosaicquant/quant"
	"github.com/mosaicquant/mosaicquant/quant/baseline"
	"github.com/mosaicquant/mosaicquant/quant/grid"
)

var spqr = &Method{
	Name:    "spqr",
	Summary: "GPTQ, with the most sensitive weights in 16 bits",
	Source:  "arXiv:2306.03078",
	Look:    Look{Color: "#009e73", Marker: "triangle"},
	Keys: []*Key{smoothing, smoothingSites, format("int4"), group(128), scale, order, groups, damp, awq, threshold(0),
		{Name: "outliers", Kind: kinds.Percent(0, 0.5), Means: "Share of weights kept in 16 bits",
			Applies: func(s Settings) bool { return s.Float("threshold") == 0 }, Needs: "threshold left out",
			Label: kinds.AsPercent, Instead: "threshold"}, lmHead},
	Rules: slices.Concat([]Rule{
		{"groups", func(s Settings) bool { return s.Word("groups") == "dynamic" },
			"groups are not possible with spqr, which chooses outliers before the column loop"},
		{"threshold", func(s Settings) bool { return s.Float("threshold") > 0 && grid.RowLevels(s.kind()) },
			"is not possible with " + formatsWith(grid.RowLevels) +
				", whose levels belong to a row or to the matrix: give outliers"},
	}, baseRules),
	Build: func(s Settings) (quant.Quantizer, error) {
		base, err := s.gptq()
		return baseline.SpQR{GPTQ: base, Share: s.Float("outliers"), Threshold: s.Float("threshold")}, err
	},
	Parts: func(_ Settings, f *quant.Form) { f.Outliers = true }, // if only an index of none
	Cost:  func(Settings) Cost { return Cost{Loop: true} },
}
