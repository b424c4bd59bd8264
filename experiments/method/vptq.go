package method

import (
	"fmt"
	"math"

	"github.com/mosaicquant/mosaicquant/experiments/kinds"
	"github.com/mosaicquant/mosaicquant/quant"
	"github.com/mosaicquant/mosaicquant/quant/codebook"
)

var vptq = &Method{
	Name: "vptq",
	Summary: "Vectors of weights of one column by codebooks from k-means under h, inside GPTQ's loop; a codebook for " +
		"each column is CLAQ's",
	Source: "arXiv:2409.17066",
	Look:   Look{Color: "#5b8c5a", Marker: "cross"},
	Keys: []*Key{smoothing, smoothingSites,
		{Name: "vector", Kind: kinds.Integer(1, quant.MaxVector), Default: always(2),
			Means: "Weights of a vector, which are outputs that share an input; they divide the outputs of every layer",
			Label: kinds.Prefix("v", nil)},
		{Name: "vector_bits", Kind: kinds.Integer(2, 4), Default: always(4),
			Means: "Bits of a weight: a vector takes as many times that", Label: kinds.Suffix("-bit"), Quiet: true},
		{Name: "second_codebook", Kind: kinds.Integer(0, quant.MaxCodebookBits), Default: always(0),
			Means: "How many of the bits of a vector choose from a second codebook, of what the first leaves",
			Label: kinds.Prefix("second", nil), Quiet: true},
		{Name: "codebook_columns", Kind: kinds.Integer(0, 1<<20), Default: always(0),
			Means: "Columns that share a codebook; 0 is all. In small layers codebooks take much: 256 vectors of 2 weights " +
				"are .025 bits for each weight of 576x576, and .22 for each 64 columns of it",
			Label: kinds.Prefix("columns", nil), Quiet: true},
		{Name: "row_scales", Kind: kinds.Boolean, Default: always(true),
			Means: "Whether each row has a scale beside the codebook", Label: kinds.Either("scaled", "unscaled"), Quiet: true},
		order, damp, lmHead},
	Rules: []Rule{
		{"vector", func(s Settings) bool { return firstCodebook(s) > quant.MaxCodebookBits },
			fmt.Sprintf("times vector_bits less second_codebook are more than %d bits, and codebooks have up to 2^%d vectors",
				quant.MaxCodebookBits, quant.MaxCodebookBits)},
		{"second_codebook", func(s Settings) bool { return firstCodebook(s) < 1 },
			"leaves no bit of a vector, which has vector times vector_bits, to the first codebook"},
	},
	Build: func(s Settings) (quant.Quantizer, error) {
		return codebook.VPTQ{Bits: s.Int("vector_bits"), Vector: s.Int("vector"), Second: s.Int("second_codebook"),
			Columns: s.Int("codebook_columns"), RowScales: s.Bool("row_scales"), Damping: s.Float("damp"),
			ActOrder: s.Word("order") == "act"}, nil
	},
	Format: func(s Settings) (quant.Format, error) {
		return quant.Format{Bits: s.Int("vector_bits"), Group: s.Int("codebook_columns"), Kind: quant.Codebook}, nil
	},
	Cost: func(s Settings) Cost {
		// A hundred rounds of k-means look for each vector at the entries whose first number is near.
		c := Cost{Loop: true}
		for _, bits := range []int{firstCodebook(s), s.Int("second_codebook")} {
			if v := float64(s.Int("vector")); bits > 0 {
				c.Encode += 100 * (25e-9/v + .35e-9*math.Exp2(float64(bits)*(1-1/v)))
			}
		}
		return c
	},
}

// firstCodebook is how many bits choose from the first codebook.
func firstCodebook(s Settings) int {
	return s.Int("vector")*s.Int("vector_bits") - s.Int("second_codebook")
}
