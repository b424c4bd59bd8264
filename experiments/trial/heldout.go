package trial

import (
	"fmt"

	"github.com/mosaicquant/mosaicquant/experiments/plan"
)

// heldOut returns a calibrator on the evaluated text, for the criterion oracle and
// for what is measured against it. It has about as many tokens as c, in windows
// spread evenly over the text, or all windows if these are fewer.
func (e *evaluator) heldOut(c plan.Calibration) *calibrator {
	h := &calibrator{source: e.source}
	length := len(e.windows[0].input)
	count := min(len(e.windows), max(1, c.Tokens/length))
	for i := range count {
		h.sequences = append(h.sequences, e.windows[i*len(e.windows)/count].input)
	}
	h.settings = plan.Calibration{Tokens: count * length, Context: length}
	h.text = fmt.Sprint("windows of ", e.text, e.protocol.Context, e.protocol.Stride, e.protocol.Tokens)
	return h
}
