package method

import (
	"github.com/mosaicquant/mosaicquant/experiments/kinds"
	"github.com/mosaicquant/mosaicquant/quant"
	"github.com/mosaicquant/mosaicquant/quant/baseline"
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
	Rules: baseRules,
	Build: func(s Settings) (quant.Quantizer, error) {
		base, err := s.gptq()
		return baseline.SpQR{GPTQ: base, Share: s.Float("outliers"), Threshold: s.Float("threshold")}, err
	},
	Parts: func(s Settings, f *quant.Form) { f.Outliers = s.Float("outliers") > 0 || s.Float("threshold") > 0 },
	Cost:  func(Settings) Cost { return Cost{Loop: true} },
}
