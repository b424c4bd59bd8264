package trial

import (
	"fmt"

	"github.com/mosaicquant/mosaicquant/experiments/plan"
	"github.com/mosaicquant/mosaicquant/quant"
)

// quantizer returns the method that m describes, or nil for none. plan has
// checked the settings; what it accepts and this does not know is a fault.
func quantizer(m plan.Method) (quant.Quantizer, error) {
	if m.Name == "none" {
		return nil, nil
	}
	format, err := quant.ParseFormat(m.Format, m.Group)
	if err != nil {
		return nil, err
	}
	scale := quant.Scale{Rule: quant.ScaleRule(m.Scale)}
	if scale.Rule == quant.SearchMSE {
		scale.Norm = 2
	}
	q, err := unscaled(m, format, scale)
	if err == nil && m.AWQ {
		q = quant.AWQ{Method: q, Format: format}
	}
	return q, err
}

// unscaled returns the method without AWQ's scales.
func unscaled(m plan.Method, format quant.Format, scale quant.Scale) (quant.Quantizer, error) {
	rtn := quant.RTN{Format: format, Scale: scale}
	gptq := quant.GPTQ{Format: format, Scale: scale, Damping: m.Damp, ActOrder: m.Order == "act", DynamicGroups: m.Groups == "dynamic"}
	bases := map[string]quant.Quantizer{"rtn": rtn, "gptq": gptq}
	if m.Base != "" && bases[m.Base] == nil {
		return nil, fmt.Errorf("%s: unknown base %q", m.Name, m.Base)
	}
	switch m.Name {
	case "rtn":
		return rtn, nil
	case "gptq":
		gptq.Refine = m.Refine
		return gptq, nil
	case "spqr":
		return quant.SpQR{GPTQ: gptq, Share: m.Outliers, Threshold: m.Threshold}, nil
	case "mosaic":
		return quant.Mosaic{
			Base: bases[m.Base], BlockRows: m.Block.Rows, BlockCols: m.Block.Cols, Density: m.Density,
			Criterion: quant.Criterion(m.Criterion), Bits: m.ResidualBits, RowScales: m.ResidualScale == "row", BaseScales: m.ResidualScale == "base",
			Scale: quant.Scale{Rule: quant.AbsMax}, Joint: m.Joint, AllPairs: m.Pairs == "all", Refine: m.Refine,
		}, nil
	case "quik":
		return quant.Mixed{Base: gptq, Score: quant.ByAbsMax, Share: m.Columns, Bits: 16, Int8Down: m.Int8Down}, nil
	case "atom":
		return quant.Mixed{Base: gptq, Score: quant.ByEnergy, Share: m.Columns, Bits: 8, Reorder: true}, nil
	case "llmint8":
		return quant.Mixed{Base: rtn, Score: quant.ByAbsMax, Threshold: m.Threshold, Bits: 16}, nil
	case "svdquant":
		return quant.SVDQuant{Base: bases[m.Base], Rank: m.Rank, Smooth: m.SVDSmoothing, Rounds: m.SVDRounds}, nil
	}
	return nil, fmt.Errorf("unknown method %q", m.Name)
}

// Form returns the form of the layers that m quantizes, nil for none: what
// Executable asks the kernels about before anything is quantized. Numbers that
// depend on the layer are 0. Parts that depend on the data are there: a layer for
// which AWQ's search finds no better scales than ones, or LLM.int8() no outlier,
// has none of them.
func Form(m plan.Method) (*quant.Form, error) {
	if m.Name == "none" {
		return nil, nil
	}
	base, err := quant.ParseFormat(m.Format, m.Group)
	if err != nil {
		return nil, err
	}
	f := &quant.Form{Base: base, ChannelScales: m.AWQ}
	switch m.Name {
	case "rtn", "gptq":
	case "spqr":
		f.Outliers = m.Outliers > 0 || m.Threshold > 0
	case "mosaic":
		if m.Density > 0 {
			f.Residual = &quant.ResidualForm{BlockRows: m.Block.Rows, BlockCols: m.Block.Cols, Bits: m.ResidualBits,
				RowScales: m.ResidualScale == "row", BaseScales: m.ResidualScale == "base"}
		}
	case "quik":
		f.Columns = 16
	case "atom":
		f.Columns = 8
	case "llmint8":
		f.Columns = 16
	case "svdquant":
		f.LowRank, f.ChannelScales = m.Rank, m.SVDSmoothing
	default:
		return nil, fmt.Errorf("unknown method %q", m.Name)
	}
	return f, nil
}
