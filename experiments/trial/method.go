package trial

import (
	"fmt"

	"github.com/mosaicquant/mosaicquant/experiments/plan"
	"github.com/mosaicquant/mosaicquant/quant"
)

// quantizer returns the method that m describes, or nil for none. plan has
// checked the settings; what it accepts and this does not know is a fault.
func quantizer(m plan.Method) (quant.Quantizer, error) {
	bits, affine := m.Grid()
	format := quant.Format{Bits: bits, Affine: affine, Group: m.Group}
	scale := quant.Scale{Rule: quant.ScaleRule(m.Scale)}
	if scale.Rule == quant.SearchMSE {
		scale.Norm = 2
	}
	rtn := quant.RTN{Format: format, Scale: scale}
	gptq := quant.GPTQ{Format: format, Scale: scale, Damping: m.Damp, ActOrder: m.Order == "act", DynamicGroups: m.Groups == "dynamic"}
	switch m.Name {
	case "none":
		return nil, nil
	case "rtn":
		return rtn, nil
	case "gptq":
		gptq.Refine = m.Refine
		return gptq, nil
	case "spqr":
		return quant.SpQR{GPTQ: gptq, Share: m.Outliers}, nil
	case "mosaic":
		mosaic := quant.Mosaic{
			BlockRows: m.Block.Rows, BlockCols: m.Block.Cols, Density: m.Density,
			Criterion: quant.Criterion(m.Criterion), Bits: m.ResidualBits, RowScales: m.ResidualScale == "row",
			Scale: quant.Scale{Rule: quant.AbsMax}, Joint: m.Joint, Refine: m.Refine,
		}
		switch m.Base {
		case "rtn":
			mosaic.Base = rtn
			return mosaic, nil
		case "gptq":
			mosaic.Base = gptq
			return mosaic, nil
		}
		return nil, fmt.Errorf("mosaic: unknown base %q", m.Base)
	}
	return nil, fmt.Errorf("unknown method %q", m.Name)
}
