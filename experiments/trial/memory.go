package trial

import (
	"github.com/mosaicquant/mosaicquant/experiments/plan"
	"github.com/mosaicquant/mosaicquant/internal/llm/grad"
)

// garbage is what the heap holds for each byte in use before it is collected,
// see debug.SetGCPercent in the command.
const garbage = 1.4

// Memory is about how many bytes the trial t holds at most while it runs alone,
// the calibration that may come first included. Not counted are weights: they are
// mapped from files, and the system drops their pages where it needs them.
//
// The most is held while a layer is quantized (its second moments [K,K] and what
// the method makes of them, and copies of its weights [N,K]), or while the model
// runs over a batch of tokens; the packed layers before it are there as well.
func (s *Subject) Memory(t plan.Trial) int64 {
	m, c := t.Method, s.source.model.Config()
	tokens := int64(min(batchTokens, s.evaluator.protocol.Context*len(s.evaluator.windows)))
	forward := func(tokens int64) int64 {
		wide := max(4*c.Heads*c.HeadDim, 2*c.MLPSize)
		if t.Activations != "a16" {
			wide += max(c.Heads*c.HeadDim, c.MLPSize, c.HiddenSize)
		}
		return 4 * tokens * int64(2*c.HiddenSize+wide)
	}
	most := forward(tokens) + 4*tokens*int64(c.HiddenSize) +
		2*4*int64(min(logitFloats, s.evaluator.protocol.Context*c.VocabSize))
	var packed, moments, quantizing int64
	if m.Method().Quantizes() {
		for i, l := range s.source.linears {
			n, k := int64(l.N), int64(l.K)
			if i == 0 || s.source.linears[i-1].Site != l.Site {
				if i > 0 && s.source.linears[i-1].Layer != l.Layer {
					moments = 0
				}
				moments += 8 * k * k
			}
			read := int64(s.calibrated.settings.Tokens)
			most = max(most, moments+4*read*int64(c.HiddenSize)+forward(min(read, batchTokens))+2*4*n*k)
			squares, copies := arrays(m.At(l.Name, c.Layers))
			quantizing = max(quantizing, squares*k*k+copies*n*k)
			packed += n * k * 5 / 8 // codes, scales, a residual
		}
		if t.Execution == "packed" {
			packed *= 2
		}
		most = max(most, packed+quantizing, packed+forward(tokens))
	}
	if name := changeOf(t).name; name != "" && name != "folded" { // float32 copies of all weights
		most += 4 * 2 * int64(c.VocabSize) * int64(c.HiddenSize)
		for _, l := range s.source.linears {
			most += 4 * int64(l.N) * int64(l.K)
		}
	}
	if t.Transform == "spinquant" { // the copies of the net may still be there when those above are made
		most += grad.Bytes(s.source.model, min(spinTokens, s.calibrated.settings.Context))
	}
	return int64(garbage * float64(most))
}

// arrays returns how many bytes the method m holds for each element of H [K,K]
// and for each weight [N,K] of the layer that it quantizes.
func arrays(m plan.Method) (squares, copies int64) {
	c := m.Cost()
	return 8 + c.Squares, 16 + c.Copies
}
