package trial

import (
	"fmt"

	"github.com/mosaicquant/mosaicquant/experiments/plan"
)

// turn gives the model the basis that t asks for.
func (s *Subject) turn(t plan.Trial) error {
	switch t.Basis {
	case "":
		return nil
	case "folded":
		s.model, s.basis = s.model.Fold(), "folded"
	case "rotated":
		s.model, s.basis = s.model.Rotate(t.BasisSeed), fmt.Sprintf("rotated %d", t.BasisSeed)
	default:
		return fmt.Errorf("unknown basis %q", t.Basis)
	}
	s.linears = s.model.Linears()
	s.warnings = append(s.warnings, fmt.Sprintf("the model is %s: its weights are computed in float32, and those of the 16-bit row are counted as 16 bits", t.Basis))
	return nil
}
