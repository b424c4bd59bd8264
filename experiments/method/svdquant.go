package method

import (
	"github.com/mosaicquant/mosaicquant/experiments/kinds"
	"github.com/mosaicquant/mosaicquant/quant"
	"github.com/mosaicquant/mosaicquant/quant/baseline"
)

var svdquant = &Method{
	Name:    "svdquant",
	Summary: "A low-rank branch in 16 bits takes what the 4-bit weights lose",
	Source:  "arXiv:2411.05007",
	Look:    Look{Color: "#993366", Marker: "circle"},
	Keys: []*Key{smoothing, smoothingSearch, smoothingSites, base, format("int4"), group(64), scale, order, groups, damp,
		{Name: "rank", Kind: kinds.Integer(1, 4096), Means: "Rank of the low-rank branch", Label: kinds.Prefix("rank", nil)},
		{Name: "svd_smoothing", Kind: kinds.Boolean, Default: always(true),
			Means: "Whether SVDQuant searches channel scales first",
			Label: kinds.Either("smoothed", "unsmoothed"), Quiet: true},
		{Name: "svd_rounds", Kind: kinds.Integer(0, 100), Default: always(10),
			Means: "Rounds of branch and remainder at most", Label: kinds.Prefix("rounds", nil), Quiet: true}, lmHead},
	Rules: baseRules,
	Build: func(s Settings) (quant.Quantizer, error) {
		base, err := s.base()
		return baseline.SVDQuant{Base: base, Rank: s.Int("rank"),
			Smooth: s.Bool("svd_smoothing"), Rounds: s.Int("svd_rounds")}, err
	},
	Parts: func(s Settings, f *quant.Form) { f.LowRank, f.ChannelScales = s.Int("rank"), s.Bool("svd_smoothing") },
	Cost: func(s Settings) Cost {
		// Most of a round is the branch.
		c := Cost{Loop: s.Word("base") == "gptq", Searches: 8 * float64(s.Int("svd_rounds")), Copies: 8}
		if s.Bool("svd_smoothing") {
			c.Searches += 41
		}
		return c
	},
}
