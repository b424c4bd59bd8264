package method

import (
	"slices"

	"github.com/mosaicquant/mosaicquant/quant"
)

var gptq = &Method{
	Name:    "gptq",
	Summary: "Rounds column by column and spreads each error over later columns",
	Source:  "arXiv:2210.17323",
	Look:    Look{Color: "#0072b2", Marker: "square"},
	Keys: []*Key{smoothing, smoothingSearch, smoothingSites, format("int4"), group(128), scale, restarts, order, groups, damp,
		awq, budget, refine, lmHead},
	Rules: slices.Concat(baseRules, []Rule{
		{"budget", func(s Settings) bool {
			return s.Word("budget") != "" && (s.Int("group") < 8 || s.kind().Kind.FixedGroup() > 0)
		}, "of gptq is shared by groups of several sizes: it needs a format that has them, and groups of 8 or more"},
	}, awqBudget),
	Build: func(s Settings) (quant.Quantizer, error) {
		q, err := s.gptq()
		q.Refine = s.Int("refine")
		return q, err
	},
	Cost: func(s Settings) Cost {
		c := Cost{Loop: true, Refine: float64(s.Int("refine"))}
		if s.Word("budget") != "" {
			c.Again = 5 // groups of five sizes
		}
		return c
	},
}

// awqBudget: a shared budget compares layers before their channels are scaled.
var awqBudget = []Rule{
	{"budget", func(s Settings) bool { return s.Word("budget") != "" && s.Bool("awq") },
		"needs awq: false: scores are those of an unscaled residual"},
	{"awq", func(s Settings) bool { return s.Word("budget") != "" && s.Bool("awq") },
		"does not go with a shared budget, which compares layers before their channels are scaled"},
}
