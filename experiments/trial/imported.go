package trial

import (
	"context"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mosaicquant/mosaicquant/experiments/plan"
	"github.com/mosaicquant/mosaicquant/internal/foreign"
	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/hf"
	"github.com/mosaicquant/mosaicquant/internal/llm"
	"github.com/mosaicquant/mosaicquant/internal/row"
	"github.com/mosaicquant/mosaicquant/quant"
)

// openCheckpoint opens what the method checkpoint names.
func (l *Lab) openCheckpoint(ctx context.Context, path string) (*foreign.Checkpoint, error) {
	files, err := l.OpenModel(ctx, path)
	if err != nil {
		return nil, err
	}
	c, err := foreign.Open(files)
	if err != nil {
		return nil, err
	}
	p, err := readPacked(files, c.Model)
	if err != nil {
		c.Close()
		return nil, err
	}
	if p != nil {
		_, err = fmt.Sscanf(p.Trial.Activations, "a%d", &c.InputBits)
	}
	return c, err
}

// CheckpointForm returns the form that all layers of the checkpoint at path have. Layers
// of several forms, of one that has no kernel, or with parts that depend on the data are
// an error.
func (l *Lab) CheckpointForm(ctx context.Context, path string) (*quant.Form, error) {
	c, err := l.openCheckpoint(ctx, path)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	var form *quant.Form
	for _, linear := range c.Model.WithOutputListed(false).Linears() {
		w := c.Layer(linear.Name)
		if w.Quantized == nil {
			return nil, fmt.Errorf("%s: there is no kernel for %s", linear.Name, w.Form)
		}
		f := w.Quantized.Form()
		if f.Residual != nil || f.Outliers || f.Columns > 0 || f.LowRank > 0 || f.ChannelScales {
			return nil, fmt.Errorf("%s: has parts beside its base, whose number depends on the weights", linear.Name)
		}
		if f.N, f.K = 0, 0; f.Base.Group == linear.K {
			f.Base.Group = 0
		}
		if form == nil {
			form = &f
		} else if f != *form {
			return nil, fmt.Errorf("%s is %s, layers before it are %s: there is no one form to time",
				linear.Name, f.Base, form.Base)
		}
	}
	return form, nil
}

// checkpoints are the hashes of those that trials of a subject name, by path.
type checkpoints struct {
	mu     sync.Mutex
	hashes map[string]string
}

// hash identifies the content of a checkpoint: its weights and config. One that cannot
// be read has its error as identity, and its trial fails with it.
func (c *checkpoints) hash(l *Lab, path string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if sum, ok := c.hashes[path]; ok {
		return sum
	}
	sum, err := l.hashCheckpoint(path)
	if err != nil {
		sum = "unreadable: " + err.Error()
	}
	if c.hashes == nil {
		c.hashes = map[string]string{}
	}
	c.hashes[path] = sum
	return sum
}

func (l *Lab) hashCheckpoint(path string) (string, error) {
	files, err := l.OpenModel(context.Background(), path)
	if err != nil {
		return "", err
	}
	config, err := files.Open("config.json")
	if err != nil {
		return "", err
	}
	defer config.Close()
	weights, err := hf.OpenCheckpoint(files)
	if err != nil {
		return "", err
	}
	defer weights.Close()
	return sum256([]byte(l.weightsHash(weights) + "\n" + string(config.Data))), nil
}

// runImported evaluates the checkpoint that t names: its layers, and everything else of
// it too, since norms may hold scales that its weights lack.
func (s *Subject) runImported(ctx context.Context, t plan.Trial, r *row.Row) error {
	path := t.Method.Checkpoint()
	if t.Basis != "" || t.Transform != "" || t.Stress.Channels > 0 {
		return fmt.Errorf("method checkpoint: %s has the weights of the model as stored; no basis, transform or stress "+
			"goes with it", path)
	}
	if t.Prefix != "" {
		return fmt.Errorf("method checkpoint: %s: prefix: %s is for weights that are quantized here", path, t.Prefix)
	}
	if t.ActivationsScale != "" {
		return fmt.Errorf("method checkpoint: %s: activations_scale: %s is for weights that are quantized here", path,
			t.ActivationsScale)
	}
	c, err := s.source.lab.openCheckpoint(ctx, path)
	if err != nil {
		return fmt.Errorf("method checkpoint: path: %w", err)
	}
	defer c.Close()
	if err := s.take(ctx, t, r, c); err != nil {
		return fmt.Errorf("method checkpoint: %s: %w", path, err)
	}
	return nil
}

// take evaluates c and fills r.
func (s *Subject) take(ctx context.Context, t plan.Trial, r *row.Row, c *foreign.Checkpoint) error {
	if err := sameArchitecture(s.source.model.Config(), c.Model.Config()); err != nil {
		return err
	}
	if want := fmt.Sprintf("a%d", c.InputBits); want != t.Activations {
		r.Warnings = append(r.Warnings,
			fmt.Sprintf("the checkpoint is made for activations %s; this row has %s", want, t.Activations))
	}
	executed, err := newExecutor(t)
	if err != nil {
		return err
	}
	r.Execution = executed.row()
	loop, err := s.quantization(ctx, t)
	if err != nil {
		return err
	}
	q := &quantizedModel{quantization: loop, replacements: map[string]llm.Replacement{}}
	if q.others, err = allBytes(c.Model.Checkpoint()); err != nil {
		return err
	}
	forms := map[string]bool{}
	linears := s.source.linears
	if c.Layer(llm.OutputName) != nil {
		r.Warnings = append(r.Warnings, "the output layer of the checkpoint is quantized, and counted"+
			" among the quantized layers; its error is not in the output error")
		linears = c.Model.Linears()
	}
	for _, l := range linears {
		w := c.Layer(l.Name)
		if q.replacements[l.Name], err = executed.replacement(ctx, &layer{Quantized: w.Quantized, linear: l}); err != nil {
			return err
		}
		if executed.packed && w.Quantized == nil {
			return fmt.Errorf("execution packed: %s: there is no kernel for %s", l.Name, w.Form)
		}
		for _, item := range w.Ledger {
			r.Ledger = addBytes(r.Ledger, item.Name, item.Bytes)
		}
		q.weights += int64(l.N) * int64(l.K)
		q.bytes += w.Ledger.Total()
		q.others -= w.Tensors
		forms[w.Form] = true
	}
	r.Warnings = append(r.Warnings,
		"the layers of the checkpoint are "+strings.Join(slices.Sorted(maps.Keys(forms)), ", "))
	if err := s.compareLayers(ctx, c, q, r); err != nil {
		return err
	}
	start := time.Now()
	e, err := s.evaluate(ctx, t, c.Model.With(q.replacements), r)
	if err != nil {
		return err
	}
	evaluated := time.Now()
	s.evaluator.drop(s.ID(t))
	q.report(r)
	s.evaluator.report(e, r)
	r.Values = append(r.Values, row.Value{Name: row.EvalTime, Value: evaluated.Sub(start).Seconds() + e.spared, Unit: "s"})
	return nil
}

// compareLayers writes the errors of the layers of c into r, where they read what the
// model's read.
func (s *Subject) compareLayers(ctx context.Context, c *foreign.Checkpoint, q *quantizedModel, r *row.Row) error {
	other, err := s.otherwise(c.Model)
	if err != nil {
		return err
	}
	if other != "" {
		r.Warnings = append(r.Warnings,
			fmt.Sprintf("%s of the checkpoint differs from the model's: its layers have other inputs,"+
				" and no errors of layers are given", other))
		return nil
	}
	for p, err := range q.problems(ctx, false) {
		if err != nil {
			return err
		}
		l, w, weights := p.linear, c.Layer(p.linear.Name), p.whole().Weights
		lost := quant.OutputError(weights, w, p.Moments)
		weightLost, weightEnergy := quant.WeightError(weights, w)
		q.lost += lost
		q.total += p.energy
		x, err := q.inputs.at(ctx, l.Site)
		if err != nil {
			return err
		}
		evaluatedLost, evaluatedEnergy := sampledError(weights, w, x, nil)
		q.evaluatedLost += evaluatedLost
		q.evaluatedEnergy += evaluatedEnergy
		r.Layers = append(r.Layers, row.Layer{
			Name: l.Name, N: l.N, K: l.K, BitsPerWeight: 8 * float64(w.Ledger.Total()) / (float64(l.N) * float64(l.K)),
			WeightError: relative(weightLost, weightEnergy), OutputError: relative(lost, p.energy),
		})
	}
	return nil
}

// allBytes is the size of all tensors of a checkpoint.
func allBytes(c *hf.Checkpoint) (int64, error) {
	var n int64
	for _, name := range c.Names() {
		t, err := c.Raw(name)
		if err != nil {
			return 0, err
		}
		n += int64(len(t.Data))
	}
	return n, nil
}

// sameArchitecture returns an error that names the first number in which two models
// differ.
func sameArchitecture(m, c *hf.Config) error {
	for _, f := range []struct {
		name        string
		have, other any
	}{
		{"vocab_size", m.VocabSize, c.VocabSize},
		{"hidden_size", m.HiddenSize, c.HiddenSize},
		{"intermediate_size", m.MLPSize, c.MLPSize},
		{"num_hidden_layers", m.Layers, c.Layers},
		{"num_attention_heads", m.Heads, c.Heads},
		{"num_key_value_heads", m.KVHeads, c.KVHeads},
		{"head_dim", m.HeadDim, c.HeadDim},
		{"rms_norm_eps", float32(m.RMSNormEps), float32(c.RMSNormEps)},
		{"rope_theta", m.RopeTheta, c.RopeTheta},
		{"rope scaling", []any{m.Llama3, m.Yarn, m.LinearFactor}, []any{c.Llama3, c.Yarn, c.LinearFactor}},
	} {
		if !reflect.DeepEqual(f.have, f.other) {
			return fmt.Errorf("%s is %v, the model's %v: it is of another model", f.name, f.other, f.have)
		}
	}
	return nil
}

// otherwise names the first norm, bias or embedding of c that differs from the
// model's by more than rounding to 16 bits; empty for none.
func (s *Subject) otherwise(c *llm.Model) (string, error) {
	have, other := s.source.model.Vectors(), c.Vectors()
	for _, name := range slices.Sorted(maps.Keys(have)) {
		if differ(have[name], other[name]) {
			return name, nil
		}
	}
	for _, name := range slices.Sorted(maps.Keys(other)) {
		if have[name] == nil {
			return name, nil
		}
	}
	const embedding = "model.embed_tokens.weight"
	a, err := s.source.model.Checkpoint().Tensor(embedding)
	if err != nil {
		return "", err
	}
	b, err := c.Checkpoint().Tensor(embedding)
	if err != nil {
		return "", err
	}
	n, k := a.Dims()
	x, y := gemm.NewMatrix(1, k), gemm.NewMatrix(1, k)
	var lost, energy float64
	for i := range n {
		a.Load(x, i, 0)
		b.Load(y, i, 0)
		for j, v := range x.Data {
			lost += float64(v-y.Data[j]) * float64(v-y.Data[j])
			energy += float64(v) * float64(v)
		}
	}
	a.Release()
	b.Release()
	if lost > 1e-2*energy { // embeddings may be quantized, too: it is a turned basis that must not pass
		return embedding, nil
	}
	return "", nil
}

// differ tells whether two vectors differ by more than rounding to bfloat16.
func differ(a, b []float32) bool {
	if len(a) != len(b) {
		return true
	}
	for i, x := range a {
		y := b[i]
		if math.Abs(float64(x)-float64(y)) > max(math.Abs(float64(x)), math.Abs(float64(y)))/128 {
			return true
		}
	}
	return false
}
