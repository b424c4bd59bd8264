package trial

import (
	"fmt"

	"github.com/mosaicquant/mosaicquant/experiments/plan"
	"github.com/mosaicquant/mosaicquant/internal/llm"
)

// change is a change of the 16-bit model before it is calibrated. The changed model
// computes the same function; its weights and activations differ.
type change struct {
	model    *llm.Model
	name     string // with its settings: two changes of one name give the same model
	warning  string // what rows say of it
	computed bool   // weights are computed anew, in float32
}

// changes are the changes that a trial can ask for, in the order in which they are
// made. Each returns nil where the trial does not ask for it.
var changes = []func(*llm.Model, plan.Trial) (*change, error){changeBasis, addOutliers}

// change makes the changes that t asks for.
func (s *source) change(t plan.Trial) error {
	for _, make := range changes {
		c, err := make(s.model, t)
		if err != nil {
			return err
		}
		if c == nil {
			continue
		}
		s.model, s.linears = c.model, c.model.Linears()
		s.changes, s.computed = append(s.changes, c.name), s.computed || c.computed
		s.warn("%s", c.warning)
	}
	return nil
}

// changeBasis gives the model the basis that t asks for.
func changeBasis(m *llm.Model, t plan.Trial) (*change, error) {
	c := &change{computed: true, warning: fmt.Sprintf("the model is %s: its weights are computed in float32,"+
		" and those of the 16-bit row are counted as 16 bits", t.Basis)}
	switch t.Basis {
	case "":
		return nil, nil
	case "folded":
		c.model, c.name = m.Fold(), "folded"
	case "rotated":
		c.model, c.name = m.Rotate(t.BasisSeed), fmt.Sprintf("rotated %d", t.BasisSeed)
	default:
		return nil, fmt.Errorf("unknown basis %q", t.Basis)
	}
	return c, nil
}
