package trial

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/mosaicquant/mosaicquant/experiments/plan"
	"github.com/mosaicquant/mosaicquant/internal/llm"
	"github.com/mosaicquant/mosaicquant/internal/rotation"
	"github.com/mosaicquant/mosaicquant/internal/row"
	"github.com/mosaicquant/mosaicquant/quant"
)

// change is the change of basis of a subject: that of the key transform, or of
// the older key basis. It is made when the first trial needs the model.
type change struct {
	name         string // of plan.Transforms, or "" for none
	seed         uint64
	block, steps int
	inputs       quant.Activations // that it is learned under; zero where it does not look at them

	mu   sync.Mutex
	done bool
}

// changeOf returns the change of basis that t asks for. Inputs that it is learned under
// have scales found at run time, whatever those of t.
func changeOf(t plan.Trial) *change {
	c := &change{name: cmp.Or(t.Transform, t.Basis), seed: t.TransformSeed,
		block: t.TransformBlock, steps: t.TransformSteps}
	if t.Basis != "" {
		c.seed = t.BasisSeed
	}
	if k := plan.TransformOf(t.Transform); k != nil && k.Inputs {
		inputs, err := activations(t)
		if err != nil {
			panic("trial: " + err.Error()) // plan reads no other
		}
		c.inputs = inputs
	}
	return c
}

// String names the change and its settings, for the keys of the cache.
func (c *change) String() string {
	s := c.name
	for _, v := range []uint64{c.seed, uint64(c.block), uint64(c.steps)} {
		if v > 0 {
			s += fmt.Sprint(" ", v)
		}
	}
	if c.inputs != quant.A16 {
		s += " " + c.inputs.String()
	}
	return s
}

// folds reports whether the gains of norms go into the weights, and the last one's
// into the output layer, which is then no longer the embedding.
func (c *change) folds() bool {
	return c != nil && c.name != "" && c.name != "block-hadamard" && c.name != "duquant"
}

// turn notes the change of basis that t asks for.
func (s *source) turn(t plan.Trial) {
	s.basis = changeOf(t)
	if s.basis.name == "" {
		return
	}
	s.changes, s.computed = append(s.changes, s.basis.String()), true
	s.warn("the model is %s: its weights are computed in float32, and those of the 16-bit row are counted as 16 bits",
		s.basis.name)
}

// ready finds the prefix of the model and changes its basis, unless that has been done.
func (s *Subject) ready(ctx context.Context) error {
	c := s.source.basis
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.done || c.name == "" && !s.source.prefixed {
		return nil
	}
	listed := s.source.model.OutputListed()
	s.source.listOutput(false) // what is learned is of decoder layers
	if s.source.prefixed {
		if err := s.prefix(ctx); err != nil {
			s.source.listOutput(listed)
			return fmt.Errorf("prefix: %w", err)
		}
	}
	model, err := s.source.model, error(nil)
	if c.name != "" {
		model, err = s.changed(ctx)
	}
	if err == nil {
		s.source.model = model
	}
	s.source.listOutput(listed)
	if err != nil {
		return fmt.Errorf("transform %s: %w", c, err)
	}
	c.done = true
	return nil
}

// changed returns the model in the basis that its source notes.
func (s *Subject) changed(ctx context.Context) (*llm.Model, error) {
	c, m := s.source.basis, s.source.model
	switch c.name {
	case "folded":
		return m.Fold(), nil
	case "rotated":
		return m.Rotate(c.seed), nil
	case "quarot":
		return m.Transform(quarot(m, c.seed)), nil
	case "block-hadamard":
		online, err := s.source.blockHadamard()
		return m.Transform(llm.Transforms{Online: online}), err
	case "duquant":
		return s.calibrated.duquant(ctx)
	case "kurtail", "spinquant", "resq":
		learn := map[string]func(context.Context) (llm.Transforms, error){"kurtail": s.calibrated.kurtail,
			"spinquant": s.calibrated.spinquant, "resq": s.calibrated.resq}[c.name]
		t, err := learn(ctx)
		if err != nil {
			return nil, err
		}
		return m.Transform(t), nil
	}
	return nil, fmt.Errorf("unknown")
}

// quarot returns the transforms of QuaRot (Ashkboos et al. 2024, arXiv:2404.00456):
// Hadamard transforms of the residual stream with random signs, of each head of
// the values, and online across the heads before o_proj and of the inputs of
// down_proj. Where no Hadamard matrix has the order, as for 9 heads, a random
// orthogonal factor takes its place. The authors subtract the mean of each row of
// the embedding, which changes the function, and turn keys for a quantized cache;
// neither is done here.
func quarot(m *llm.Model, seed uint64) llm.Transforms {
	c := m.Config()
	values := rotation.NewHadamard(c.HeadDim, seed)
	heads := rotation.NewHadamard(c.Heads, seed).Across(c.HeadDim)
	down := rotation.NewHadamard(c.MLPSize, seed)
	return llm.Transforms{
		Residual: rotation.NewHadamard(c.HiddenSize, seed).Signed(seed),
		Values:   func(int) rotation.Transform { return values },
		Online: func(site string) rotation.Transform {
			switch {
			case strings.HasSuffix(site, ".attn_out"):
				return heads
			case strings.HasSuffix(site, ".mlp_mid"):
				return down
			}
			return nil
		},
	}
}

// blockHadamard returns the transforms of MR-GPTQ (Egiazarian et al. 2025,
// arXiv:2509.23202): Sylvester's Hadamard matrix on each block of channels of all
// inputs.
func (s *source) blockHadamard() (func(string) rotation.Transform, error) {
	if err := s.checkTransform(); err != nil {
		return nil, err
	}
	block := rotation.NewHadamard(s.basis.block, 0)
	return func(site string) rotation.Transform { return block.Repeat(s.width(site) / s.basis.block) }, nil
}

// checkTransform returns an error that names a layer whose inputs are not whole
// blocks of the transform.
func (s *source) checkTransform() error {
	for _, l := range s.linears {
		if b := s.basis.block; b > 0 && l.K%b != 0 {
			return fmt.Errorf("%s: transform_block: blocks of %d channels do not divide its %d inputs", l.Name, b, l.K)
		}
	}
	return nil
}

// width is the number of inputs at a site.
func (s *source) width(site string) int {
	for _, l := range s.linears {
		if l.Site == site {
			return l.K
		}
	}
	panic("trial: no site " + site)
}

// reportOnline writes what the transforms that run online take and store into r,
// and returns the bytes.
func reportOnline(m *llm.Model, r *row.Row) (bytes int64) {
	var operations int64
	for _, t := range m.Online() {
		operations += t.Operations()
		bytes += t.Bytes()
	}
	if operations > 0 {
		r.Values = append(r.Values, row.Value{Name: row.OnlineOperations, Value: float64(operations), Unit: "op/token"})
	}
	if bytes > 0 {
		r.Ledger = append(r.Ledger, row.Item{Name: "transforms", Bytes: bytes})
	}
	return bytes
}
