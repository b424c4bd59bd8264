package method

import (
	"github.com/mosaicquant/mosaicquant/experiments/kinds"
	"github.com/mosaicquant/mosaicquant/quant"
	"github.com/mosaicquant/mosaicquant/quant/baseline"
	"github.com/mosaicquant/mosaicquant/quant/grid"
)

var adadim = &Method{
	Name:    "adadim",
	Summary: "Affine integers in groups along inputs or along outputs, whichever loses less at the output of a layer",
	Source:  "arXiv:2309.15531",
	Look:    Look{Color: "#b07aa1", Marker: "square"},
	Keys: []*Key{smoothing, smoothingSites, base,
		{Name: "adadim_bits", Kind: kinds.Integer(2, 4), Default: always(4), Means: "Bits of a weight",
			Label: kinds.Suffix("-bit"), Quiet: true},
		group(128), scale, order, damp, lmHead},
	Rules: []Rule{ownScale(grid.Ceil), ownScale(grid.FourOverSix),
		{"scale", func(s Settings) bool { return s.Word("scale") == string(grid.SearchClip) },
			"does not exist for adadim, whose groups may lie in a column"}},
	Build: func(s Settings) (quant.Quantizer, error) {
		return baseline.AdaDim{Bits: s.Int("adadim_bits"), Group: s.Int("group"), Scale: s.scale(),
			Loop: s.Word("base") == "gptq", Damping: s.Float("damp"), ActOrder: s.Word("order") == "act"}, nil
	},
	Format: func(s Settings) (quant.Format, error) {
		return quant.Format{Bits: s.Int("adadim_bits"), Affine: true, Group: s.Int("group"), Kind: quant.AdaDim}, nil
	},
	Cost: func(s Settings) Cost {
		return Cost{Loop: s.Word("base") == "gptq", Searches: 2, Tries: s.scaleTries()} // both kinds of groups
	},
}
