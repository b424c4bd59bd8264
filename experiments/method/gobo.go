package method

import (
	"github.com/mosaicquant/mosaicquant/experiments/kinds"
	"github.com/mosaicquant/mosaicquant/quant"
	"github.com/mosaicquant/mosaicquant/quant/codebook"
)

var gobo = &Method{
	Name:    "gobo",
	Summary: "Rounds to the centroids of the whole matrix, with improbable weights in 16 bits",
	Source:  "arXiv:2005.03842",
	Look:    Look{Color: "#7a9cc6", Marker: "plus"},
	Keys: []*Key{smoothing, smoothingSites,
		{Name: "centroid_bits", Kind: kinds.Integer(2, 4), Default: always(3), Means: "Bits of a weight",
			Label: kinds.Suffix("-bit")},
		{Name: "log_density", Kind: kinds.Integer(-20, 0), Default: always(-4),
			Means: "Logarithm of the density under the normal distribution of the matrix below which a weight is kept in 16 " +
				"bits",
			Label: kinds.Prefix("log-density", nil), Quiet: true},
		lmHead},
	Build: func(s Settings) (quant.Quantizer, error) {
		return codebook.GOBO{Bits: s.Int("centroid_bits"), LogDensity: float64(s.Int("log_density"))}, nil
	},
	Format: func(s Settings) (quant.Format, error) {
		return quant.Format{Bits: s.Int("centroid_bits"), Kind: quant.Codebook}, nil
	},
	Parts: func(_ Settings, f *quant.Form) { f.Outliers = true }, // if only an index of none
	Cost: func(Settings) Cost {
		return Cost{Encode: 2e-7} // sorting them, and some tens of rounds
	},
}
