package method

import (
	"github.com/mosaicquant/mosaicquant/experiments/kinds"
	"github.com/mosaicquant/mosaicquant/quant"
	"github.com/mosaicquant/mosaicquant/quant/trellis"
)

var trellisCoded = &Method{
	Name: "trellis",
	Summary: "Trellis-coded quantization in tiles of 16x16 weights inside GPTQ's loop, QTIP's and EXL3's; " +
		"a transform makes its weights normal",
	Source: "arXiv:2406.11235",
	Look:   Look{Color: "#44546a", Marker: "star"},
	Keys: []*Key{smoothing, smoothingSites,
		{Name: "trellis_bits", Kind: kinds.Integer(2, 4), Default: always(4), Means: "Bits of a weight",
			Label: kinds.Suffix("-bit"), Quiet: true},
		{Name: "trellis_length", Kind: kinds.Integer(5, quant.MaxTrellis), Default: always(12),
			Means: "Bits of a state of the trellis, 16 in the papers; each more takes twice the time",
			Label: kinds.Prefix("L", nil), Quiet: true},
		{Name: "trellis_code", Kind: kinds.Word("mul1", "1mad", "3inst"), Default: always("mul1"),
			Means: "How the value of a state is computed: EXL3's default, or QTIP's two",
			Label: kinds.Prefix("", nil), Quiet: true},
		damp, lmHead},
	Build: func(s Settings) (quant.Quantizer, error) {
		code, err := quant.ParseTrellisCode(s.Word("trellis_code"))
		return trellis.Quantizer{
			Bits: s.Int("trellis_bits"), Length: s.Int("trellis_length"), Code: code, Damping: s.Float("damp"),
		}, err
	},
	Format: func(s Settings) (quant.Format, error) {
		return quant.Format{Bits: s.Int("trellis_bits"), Kind: quant.Trellis}, nil
	},
	Cost: func(s Settings) Cost {
		// Two passes over all states for each weight.
		return Cost{Loop: true, Encode: 2 * 1.5e-9 * float64(int(1)<<s.Int("trellis_length"))}
	},
}
