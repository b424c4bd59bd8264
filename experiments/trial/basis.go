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
	return nil
}
