package trial

import (
	"fmt"
	"maps"

	"github.com/mosaicquant/mosaicquant/experiments/plan"
)

// newHeldOut returns a subject that calibrates on the evaluated text in place of
// the calibration text, for the criterion oracle and for what is measured
// against it: on as many tokens as s, in windows spread evenly over the text, or
// on all windows if these are fewer.
func (s *Subject) newHeldOut() *Subject {
	h := &Subject{lab: s.lab, model: s.model, linears: s.linears, protocol: s.protocol, content: maps.Clone(s.content),
		change: s.change, basis: s.basis, stressed: s.stressed}
	p, length := s.protocol, len(s.windows[0].input)
	count := min(len(s.windows), max(1, s.calibration.Tokens/length))
	for i := range count {
		h.calibrators = append(h.calibrators, s.windows[i*len(s.windows)/count].input)
	}
	h.calibration = plan.Calibration{Tokens: count * length, Context: length}
	h.content["calibration"] = fmt.Sprint("windows of ", s.content["text"], p.Context, p.Stride, p.Tokens)
	return h
}
