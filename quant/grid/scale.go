package grid

import (
	"fmt"

	"github.com/mosaicquant/mosaicquant/quant"
)

// Scale is the rule that finds the scale of a group.
type Scale struct {
	Rule ScaleRule
	// Norm is the power p of the search's error Σ|w - ŵ|^p: 2, or 2.4 as in
	// GPTQ's and QuaRot's weight clipping. It belongs to SearchMSE only.
	Norm float64
	// Restarts are further starts of the k-means of Any4 and AnyFew, of which the one of
	// least error counts.
	Restarts int
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
	// SearchClip is AWQ's weight clipping (Lin et al. 2023, arXiv:2306.00978):
	// p = 1 - i/20, i = 0..9, by the error of the output of the group alone,
	// δ·H_gg·δᵀ with H_gg the block of H on the diagonal. Departures: in an affine
	// format both ends of the range shrink, where the authors cut |w| at p·max|w|
	// and take the range of what is left; and every layer is clipped, where the
	// authors leave q_proj and k_proj as they are.
	SearchClip ScaleRule = "clip"
	// Ceil is a rule of MXFP4 alone, the smallest power of two that clips no
	// weight: 2^ceil(log2(max|w|/6)).
	Ceil ScaleRule = "ceil"
	// FourOverSix is a rule of NVFP4 alone (Cook et al. 2025, arXiv:2512.02010): the
	// largest weight of the group becomes 6 scales or, if Σ(w-ŵ)² is then less, 4
	// of them, which avoids the wide gap between 4 and 6. The tensor scale is
	// max|W|/(6·256) as in the authors' code, so that the larger scale of 4 fits E4M3.
	FourOverSix ScaleRule = "foursix"
)

// For Any4 AbsMax, SearchMSE and SearchHessian do not search a range, but say
// how k-means weighs a weight of scale α: by |mean x_j|·α as in the authors'
// code, by α² or by h_j·α², which is the objective Σ h_j (w_j-ŵ_j)² itself.
// SearchClip does not exist for it. AnyFew is the same. For Power4 they say how the error is
// weighted by which the exponent of the matrix is chosen: all alike, or by h_j.

// Validate reports an unknown rule or a norm that is not positive.
func (s Scale) Validate() error {
	if s.Restarts < 0 {
		return fmt.Errorf("quant: %d restarts of k-means", s.Restarts)
	}
	switch s.Rule {
	case AbsMax, SearchHessian, SearchClip, Ceil, FourOverSix:
		if s.Norm != 0 {
			return fmt.Errorf("quant: scale rule %q takes no norm, got %g", s.Rule, s.Norm)
		}
	case SearchMSE:
		if !(s.Norm > 0 && s.Norm <= 16) {
			return fmt.Errorf("quant: scale rule %q needs a norm in (0,16], got %g", s.Rule, s.Norm)
		}
	default:
		return fmt.Errorf("quant: unknown scale rule %q (%s, %s, %s, %s, %s, %s)", s.Rule, AbsMax, SearchMSE, SearchHessian,
			SearchClip, Ceil, FourOverSix)
	}
	return nil
}

// of reports a rule that does not exist for the format.
func (s Scale) of(f quant.Format) error {
	fit := fitOf(f.Kind)
	if fit.fixed && s.Rule != AbsMax {
		return fmt.Errorf("quant: scale rule %q does not exist for %s, which has a rule of its own", s.Rule, f)
	}
	if (s.Rule == Ceil || s.Rule == FourOverSix) && s.Rule != fit.own || s.Rule == SearchClip && fit.rowLevels {
		return fmt.Errorf("quant: scale rule %q does not exist for %s", s.Rule, f)
	}
	if fit.rowLevels && s.Rule == SearchMSE && s.Norm != 2 {
		return fmt.Errorf("quant: %s takes the norm 2, got %g", f, s.Norm)
	}
	return nil
}
