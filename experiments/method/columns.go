package method

import (
	"slices"

	"github.com/mosaicquant/mosaicquant/experiments/kinds"
	"github.com/mosaicquant/mosaicquant/quant"
	"github.com/mosaicquant/mosaicquant/quant/baseline"
)

// Methods that keep whole channels apart from the base.

var columnsBy = &Key{Name: "columns_by", Kind: kinds.DefaultWord(false, "inputs", "error"), Default: always(""),
	Means: "What channels are kept: those of the largest inputs, by the method's own measure, or those whose rounding " +
		"loses most at the output (`error`, OWQ's)",
	Label: kinds.Prefix("by-", nil), Quiet: true}

// channelScore returns the measure that s asks for, own if none.
func channelScore(s Settings, own baseline.ChannelScore) baseline.ChannelScore {
	if s.Word("columns_by") == "error" {
		return baseline.ByError
	}
	return own
}

var quik = &Method{
	Name:    "quik",
	Summary: "GPTQ, with the channels of the largest inputs in 16 bits",
	Source:  "arXiv:2310.09259",
	Look:    Look{Color: "#8c6d1f", Marker: "plus"},
	Keys: []*Key{smoothing, smoothingSites, format("int4"), group(0), scale, order, groups, damp, columns, columnsBy,
		{Name: "int8_down", Kind: kinds.Boolean, Default: always(true), Means: "Whether down_proj is in 8 bits, as in QUIK",
			Label: kinds.Either("int8-down", "int4-down"), Quiet: true}, lmHead},
	Rules: baseRules,
	Build: func(s Settings) (quant.Quantizer, error) {
		base, err := s.gptq()
		return baseline.Mixed{Base: base, Score: channelScore(s, baseline.ByAbsMax), Share: s.Float("columns"), Bits: 16,
			Int8Down: s.Bool("int8_down")}, err
	},
	Parts: func(_ Settings, f *quant.Form) { f.Columns = 16 },
	Cost:  splitCost,
}

var atom = &Method{
	Name:    "atom",
	Summary: "GPTQ, with the channels of the largest inputs in 8 bits, sorted to the end",
	Source:  "arXiv:2310.19102",
	Look:    Look{Color: "#cc79a7", Marker: "down"},
	Keys: []*Key{smoothing, smoothingSites, format("int4"), group(128), scale, order, groups, damp, columns, columnsBy,
		lmHead},
	Rules: slices.Concat(baseRules, []Rule{{"columns", func(s Settings) bool { return s.Float("columns") == 0 },
		"leaves no channel in 8 bits: that is gptq"}}),
	Build: func(s Settings) (quant.Quantizer, error) {
		base, err := s.gptq()
		return baseline.Mixed{Base: base, Score: channelScore(s, baseline.ByEnergy), Share: s.Float("columns"), Bits: 8,
			Reorder: true}, err
	},
	Parts: func(_ Settings, f *quant.Form) { f.Columns = 8 },
	Cost:  splitCost,
}

var llmint8 = &Method{
	Name:    "llmint8",
	Summary: "Round to nearest, with channels of large inputs in 16 bits",
	Source:  "arXiv:2208.07339",
	Look:    Look{Color: "#808080", Marker: "square"},
	Keys:    []*Key{smoothing, smoothingSites, format("int8"), group(0), scale, threshold(6), lmHead},
	Rules:   baseRules,
	Build: func(s Settings) (quant.Quantizer, error) {
		base, err := s.rtn()
		return baseline.Mixed{Base: base, Score: baseline.ByAbsMax, Threshold: s.Float("threshold"), Bits: 16}, err
	},
	Parts: func(_ Settings, f *quant.Form) { f.Columns = 16 },
}

// splitCost holds H of the channels that are not kept, and what it loses to the
// others.
func splitCost(Settings) Cost { return Cost{Loop: true, Squares: 16} }
