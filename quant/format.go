package quant

import "fmt"

// Format is the grid of a quantized matrix and the extent of its scales.
//
// A code is stored as an unsigned number u of Bits bits, and stands for the
// weight (u - zero)·scale. In a symmetric format the zero is the constant
// 2^(Bits-1), and u = 0 is never used, so that for 4 bits u-8 runs over
// -7..7: one code is given up so that the grid is symmetric, as in MosaicQuant's
// and TwinQuant's max|w|/7 rule, and so that a residual has no bias. In an
// affine format every code is used, and an integer zero of Bits bits is stored
// with each scale.
//
// Scales are half precision. A scale is rounded first, and weights are then
// quantized with the rounded scale.
type Format struct {
	Bits   int  // per code: 2..8
	Affine bool // a stored zero per group
	Group  int  // weights along K that share a scale; 0: the whole row
}

// Int4 is the symmetric 4-bit format with groups of g weights (0: per row).
func Int4(g int) Format { return Format{Bits: 4, Group: g} }

// String returns for example "int4 g128", "int4 affine g32" or "int5 per-channel".
func (f Format) String() string {
	s := fmt.Sprintf("int%d", f.Bits)
	if f.Affine {
		s += " affine"
	}
	if f.Group == 0 {
		return s + " per-channel"
	}
	return fmt.Sprintf("%s g%d", s, f.Group)
}

// Validate reports a format that cannot exist.
func (f Format) Validate() error {
	if f.Bits < 2 || f.Bits > 8 {
		return fmt.Errorf("quant: format bits=%d outside 2..8", f.Bits)
	}
	if f.Group < 0 {
		return fmt.Errorf("quant: format group=%d is negative", f.Group)
	}
	return nil
}

// groups returns the group size and the number of groups of a row of K weights.
func (f Format) groups(k int) (size, count int) {
	if f.Group == 0 {
		return k, 1
	}
	return f.Group, k / f.Group
}

// fits reports a row length that the groups do not divide.
func (f Format) fits(k int) error {
	if f.Group > 0 && k%f.Group != 0 {
		return fmt.Errorf("K=%d not divisible by group %d", k, f.Group)
	}
	return nil
}

// offset is the zero of a symmetric format.
func (f Format) offset() int { return 1 << (f.Bits - 1) }

// lowest and highest are the smallest and largest stored code.
func (f Format) lowest() int {
	if f.Affine {
		return 0
	}
	return 1
}

func (f Format) highest() int { return 1<<f.Bits - 1 }

// Scale is the rule that finds the scale of a group.
type Scale struct {
	Rule ScaleRule
	// Norm is the power p of the search's error Σ|w - ŵ|^p: 2, or 2.4 as in
	// GPTQ's and QuaRot's weight clipping. It belongs to SearchMSE only.
	Norm float64
}

// ScaleRule names how a scale is found.
type ScaleRule string

const (
	// AbsMax maps the largest weight of the group to the last code:
	// s = max|w|/(2^(Bits-1)-1), or (max-min)/(2^Bits-1) in an affine format.
	AbsMax ScaleRule = "absmax"
	// SearchMSE shrinks the absmax range by p = 1 - i/100, i = 0..79, and keeps
	// the p of least Σ|w-ŵ|^Norm.
	SearchMSE ScaleRule = "mse"
	// SearchHessian is the same search over Σ h_j (w_j-ŵ_j)², h = diag H.
	SearchHessian ScaleRule = "hessian"
)

// Validate reports an unknown rule or a norm that is not positive.
func (s Scale) Validate() error {
	switch s.Rule {
	case AbsMax, SearchHessian:
		if s.Norm != 0 {
			return fmt.Errorf("quant: scale rule %q takes no norm, got %g", s.Rule, s.Norm)
		}
	case SearchMSE:
		if !(s.Norm > 0 && s.Norm <= 16) {
			return fmt.Errorf("quant: scale rule %q needs a norm in (0,16], got %g", s.Rule, s.Norm)
		}
	default:
		return fmt.Errorf("quant: unknown scale rule %q (%s, %s, %s)", s.Rule, AbsMax, SearchMSE, SearchHessian)
	}
	return nil
}
