package method

import (
	"github.com/mosaicquant/mosaicquant/quant"
	"github.com/mosaicquant/mosaicquant/quant/baseline"
)

var olive = &Method{
	Name:    "olive",
	Summary: "Rounds in pairs, in which an outlier has levels of its own and the weight beside it is dropped",
	Source:  "arXiv:2304.07493",
	Look:    Look{Color: "#808000", Marker: "down"},
	Keys:    []*Key{smoothing, smoothingSites, group(0), lmHead},
	Rules: []Rule{{"group", func(s Settings) bool { return s.Int("group")%2 == 1 },
		"is odd, and would cut a pair"}},
	Build: func(s Settings) (quant.Quantizer, error) { return baseline.OliVe{Group: s.Int("group")}, nil },
	Format: func(s Settings) (quant.Format, error) {
		return quant.Format{Bits: 4, Group: s.Int("group"), Kind: quant.Pairs}, nil
	},
	Cost: func(Settings) Cost { return Cost{Tries: 2 * 88 * 1.9} },
}
