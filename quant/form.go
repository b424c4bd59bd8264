package quant

// Form says which parts a quantized matrix has and how each is stored: all that
// a backend must know to say whether it can execute the matrix. A backend lists
// what it takes, and refuses the rest; see zipper.Takes and cuda.Takes.
type Form struct {
	N, K          int // of the whole matrix; 0 where they are not known yet
	Base          Format
	Residual      *ResidualForm // nil without
	Outliers      bool
	Columns       int // bits of the channels kept apart from the base; 0 without
	LowRank       int // rank of the low-rank branch; 0 without
	ChannelScales bool
	InputBits     int // least width of the rounded inputs; 0: any
}

// ResidualForm says how a block-sparse residual is stored, as Residual does.
type ResidualForm struct {
	BlockRows, BlockCols  int // BlockRows 0: all rows of the matrix
	Bits                  int
	RowScales, BaseScales bool
	HalfSteps             bool
	Index                 Index
	PerSegment            int
}

// Form returns the form of q.
func (q *Quantized) Form() Form {
	f := Form{Base: q.Base.Format, Outliers: q.Outliers != nil, ChannelScales: q.ChannelScales != nil,
		InputBits: q.InputBits}
	f.N, f.K = q.Dims()
	if r := q.Residual; r != nil {
		f.Residual = &ResidualForm{r.BlockRows, r.BlockCols, r.Bits, r.RowScales, r.BaseScales,
			r.HalfSteps, r.Index, r.PerSegment}
	}
	if c := q.Columns; c != nil {
		if f.Columns = 16; c.Packed != nil {
			f.Columns = c.Packed.Format.Bits
		}
	}
	if q.LowRank != nil {
		f.LowRank = q.LowRank.Rank
	}
	return f
}

// Spans reports whether a block of r may lie in several groups of base, of which
// a row has k weights (0: not known). A residual with BaseScales then has no
// equal with scales of its own; see Residual.RowScaled.
func (r *ResidualForm) Spans(base Format, k int) bool {
	return base.Group > 0 && (k == 0 || k > base.Group) && base.Group%r.BlockCols != 0
}
