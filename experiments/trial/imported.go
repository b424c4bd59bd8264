package trial

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strings"

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
	if _, err := readPacked(files, c.Model); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// checkpointHash identifies the content of a checkpoint: its weights and config. One
// that cannot be read has its error as identity, and its trial fails with it.
func (s *Subject) checkpointHash(path string) string {
	s.hashing.Lock()
	defer s.hashing.Unlock()
	if sum, ok := s.hashes[path]; ok {
		return sum
	}
	sum, err := s.lab.hashCheckpoint(path)
	if err != nil {
		sum = "unreadable: " + err.Error()
	}
	if s.hashes == nil {
		s.hashes = map[string]string{}
	}
	s.hashes[path] = sum
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

// imported takes the layers of the checkpoint that t names, and everything else of it
// too: norms may hold scales that its weights lack.
func (s *Subject) imported(ctx context.Context, t plan.Trial, r *row.Row) (*quantizedModel, error) {
	path := t.Method.Checkpoint()
	if t.Basis != "" || t.Transform != "" || t.Stress.Channels > 0 {
		return nil, fmt.Errorf("method checkpoint: %s has the weights of the model as stored; no basis, transform or stress goes with it", path)
	}
	act, err := quant.ParseActivations(t.Activations)
	if err != nil {
		return nil, err
	}
	c, err := s.lab.openCheckpoint(ctx, path)
	if err != nil {
		return nil, fmt.Errorf("method checkpoint: path: %w", err)
	}
	q := &quantizedModel{model: c.Model, replacements: map[string]llm.Replacement{}, close: c.Close}
	if err := s.take(ctx, t, r, c, q, act); err != nil {
		return nil, errors.Join(fmt.Errorf("method checkpoint: %s: %w", path, err), c.Close())
	}
	return q, nil
}

// take fills q and r with what c holds.
func (s *Subject) take(ctx context.Context, t plan.Trial, r *row.Row, c *foreign.Checkpoint, q *quantizedModel, act quant.Activations) error {
	if err := sameArchitecture(s.model.Config(), c.Model.Config()); err != nil {
		return err
	}
	if want := fmt.Sprintf("a%d", c.InputBits); want != t.Activations {
		r.Warnings = append(r.Warnings, fmt.Sprintf("the checkpoint is made for activations %s; this row has %s", want, t.Activations))
	}
	all, err := storedBytes(c.Model.Checkpoint())
	if err != nil {
		return err
	}
	q.others = all
	book := ledger{row: r}
	forms := map[string]bool{}
	for _, l := range s.linears {
		w := c.Layer(l.Name)
		book.add(w.Ledger)
		q.weights += int64(l.N) * int64(l.K)
		q.bytes += w.Ledger.Total()
		q.others -= w.Tensors
		forms[w.Form] = true
		replacement := llm.Replacement{Act: act}
		if t.Execution == "packed" {
			if w.Quantized == nil {
				return fmt.Errorf("execution packed: %s: the form %s has no kernel", l.Name, w.Form)
			}
			p, err := packAll(w.Quantized, t.Activations)
			if err != nil {
				return fmt.Errorf("execution packed: %s: %w", l.Name, err)
			}
			replacement = llm.Replacement{Product: p}
		}
		q.replacements[l.Name] = replacement
	}
	r.Warnings = append(r.Warnings, "the layers of the checkpoint are "+strings.Join(slices.Sorted(maps.Keys(forms)), ", "))
	if t.Execution == "packed" {
		r.Execution = execution()
	}
	other, err := s.otherwise(c.Model)
	if err != nil {
		return err
	}
	if other != "" {
		r.Warnings = append(r.Warnings, fmt.Sprintf("%s of the checkpoint differs from the model's: its layers have other inputs, and no errors of layers are given", other))
		return nil
	}
	return s.each(ctx, s.model, nil, false, func(_ int, l llm.Linear, in *inputs) error {
		w := c.Layer(l.Name)
		weights := load(l)
		out := row.Layer{Name: l.Name, N: l.N, K: l.K, BitsPerWeight: 8 * float64(w.Ledger.Total()) / (float64(l.N) * float64(l.K))}
		lost := quant.OutputError(weights, w, in.moments)
		weightLost, energy := quant.WeightError(weights, w)
		out.OutputError, out.WeightError = relative(lost, in.energy), relative(weightLost, energy)
		q.lost += lost
		q.total += in.energy
		r.Layers = append(r.Layers, out)
		return nil
	})
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
	have, other := s.model.Vectors(), c.Vectors()
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
	a, err := s.model.Checkpoint().Tensor(embedding)
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
