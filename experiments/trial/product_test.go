package trial

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/mosaicquant/mosaicquant/experiments/kinds"
	"github.com/mosaicquant/mosaicquant/experiments/method"
	"github.com/mosaicquant/mosaicquant/experiments/plan"
	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/quant"
	"github.com/mosaicquant/mosaicquant/quant/solve"
)

// typical are values of keys between the edges of their ranges.
var typical = map[string][]any{
	"group": {8, 16, 32, 36}, "damp": {.01}, "density": {.125, .3}, "outliers": {.02}, "columns": {.125},
	"block": {kinds.Block{Rows: 16, Cols: 16}, kinds.Block{Rows: 1, Cols: 8}, kinds.Block{Rows: 12, Cols: 5}},
	"rank":  {4}, "refine": {2}, "restarts": {1}, "spqr.threshold": {.2}, "llmint8.threshold": {6.}, "trellis_length": {6}, "svd_rounds": {1},
	"vector": {2, 4}, "vector_bits": {3}, "second_codebook": {4, 8}, "codebook_columns": {1, 24},
}

// slow are values that are run alone and not in pairs; keys of slowDefault are drawn in
// place of their default.
var (
	slow        = map[string]any{"refine": 100, "restarts": 100, "svd_rounds": 100, "trellis_length": quant.MaxTrellis, "group": 1}
	slowDefault = map[string]bool{"svd_rounds": true, "svd_smoothing": true, "trellis_length": true}
)

// TestProduct runs the settings that plan accepts on a small matrix: each value of each
// key, and each pair of values of two keys of a method, among them the edges of all
// ranges. All that plan accepts must build, quantize to finite weights of the form that
// the dry run has said, and count its bytes. What plan refuses, it must refuse by the
// name of a key. MOSAICQUANT_SEED draws other values for the keys beside a pair.
func TestProduct(t *testing.T) {
	seed, err := strconv.ParseUint(os.Getenv("MOSAICQUANT_SEED"), 10, 64)
	if err != nil {
		seed = 1
	}
	layer := productLayer(t)
	for _, m := range method.All {
		if m.Build == nil {
			continue
		}
		t.Run(m.Name, func(t *testing.T) {
			t.Parallel()
			p := product{t: t, m: m, rng: rand.New(rand.NewPCG(seed, 1)), layer: layer, covered: map[[2]string]bool{}}
			p.run()
		})
	}
}

// product is the test of one method.
type product struct {
	t       *testing.T
	m       *method.Method
	rng     *rand.Rand
	layer   quant.Problem
	covered map[[2]string]bool // pairs of "key: value" that were quantized
	ran     int
}

// vector has a value for each key of a method, in its order; nil: the default, or that the
// key does not apply.
type vector []any

func (p *product) values(k *method.Key) []any {
	list, ok := typical[p.m.Name+"."+k.Name]
	if !ok {
		list = typical[k.Name]
	}
	return slices.Concat(k.Kind.Edges, list)
}

func (p *product) run() {
	keys := p.m.Keys
	var refused int
	try := func(fixed map[int]any) {
		v, s := p.complete(fixed)
		if v == nil {
			refused++
			p.refuses(fixed)
			return
		}
		p.accepts(v, s)
	}
	try(nil)
	for i, k := range keys {
		for _, a := range p.values(k) {
			if !p.covered[pair(k, a, k, a)] {
				try(map[int]any{i: a})
			}
		}
	}
	if testing.Short() {
		return
	}
	for j, b := range keys {
		for i, a := range keys[:j] {
			for _, x := range p.values(a) {
				for _, y := range p.values(b) {
					if x == slow[a.Name] || y == slow[b.Name] || p.covered[pair(a, x, b, y)] {
						continue
					}
					try(map[int]any{i: x, j: y})
				}
			}
		}
	}
	p.t.Logf("%d settings quantized, with %d pairs; no setting has one of %d pairs", p.ran, len(p.covered), refused)
}

func pair(a *method.Key, x any, b *method.Key, y any) [2]string {
	return [2]string{fmt.Sprint(a.Name, ": ", x), fmt.Sprint(b.Name, ": ", y)}
}

// settings returns the values of v, which may end early, with the keys that apply; ok says
// that all fixed ones do.
func (p *product) settings(v vector, fixed map[int]any) (s method.Settings, ok bool) {
	s, ok = method.New(p.m.Name), true
	for i, k := range p.m.Keys[:len(v)] {
		if k.Applies != nil && !k.Applies(s) {
			ok = ok && fixed[i] == nil
			continue
		}
		value := v[i]
		if value == nil {
			value = k.Default(s)
		}
		s = s.With(k.Name, value)
	}
	return s, ok
}

// complete finds a setting with the fixed values that no rule refuses, nil without one.
func (p *product) complete(fixed map[int]any) (vector, method.Settings) {
	for try := range 60 {
		v := make(vector, len(p.m.Keys))
		for i, k := range p.m.Keys {
			v[i] = fixed[i]
			must := k.Default == nil || len(fixed) > 0 && slowDefault[k.Name]
			if v[i] == nil && (must || try > 0 && p.rng.IntN(2) == 0) {
				v[i] = p.draw(k)
			}
		}
		s, ok := p.settings(v, fixed)
		if ok && !slices.ContainsFunc(p.m.Rules, func(r method.Rule) bool { return r.Fails(s) }) {
			return v, s
		}
	}
	return nil, method.Settings{}
}

// draw returns a value of k that is not slow.
func (p *product) draw(k *method.Key) any {
	list := p.values(k)
	for {
		if v := list[p.rng.IntN(len(list))]; v != slow[k.Name] {
			return v
		}
	}
}

// parse returns what plan makes of the values of v.
func (p *product) parse(v vector) (plan.Trial, error) {
	entry := "method: " + p.m.Name
	for i, k := range p.m.Keys {
		if v[i] == nil {
			continue
		}
		write := k.Kind.Write
		if k.Kind.File != nil {
			write = k.Kind.File
		}
		entry += fmt.Sprintf(", %s: %s", k.Name, write(v[i]))
	}
	sw, err := plan.Parse("product.yaml", []byte(`{name: product, model: "builtin:m", methods: [{`+entry+`}],
 protocol: {text: "builtin:t", context: 64, stride: 64, bos: true}, calibration: {text: "builtin:t", tokens: 512}}`))
	if err != nil {
		return plan.Trial{}, fmt.Errorf("{%s}: %w", entry, err)
	}
	return sw.Trials[0], nil
}

// refuses demands that plan refuses the fixed values, and names one of their keys.
func (p *product) refuses(fixed map[int]any) {
	v := make(vector, len(p.m.Keys))
	for i, k := range p.m.Keys {
		v[i] = fixed[i]
		if s, _ := p.settings(v[:i], nil); v[i] == nil && k.Default == nil && (k.Applies == nil || k.Applies(s)) {
			v[i] = p.values(k)[len(p.values(k))-1]
		}
	}
	switch _, err := p.parse(v); {
	case err == nil:
		p.t.Errorf("%s %v: the rules refuse it, and plan does not", p.m.Name, v)
	default:
		for i := range fixed {
			if strings.Contains(err.Error(), "methods[0]."+p.m.Keys[i].Name+": ") ||
				strings.Contains(err.Error(), "methods[0].method: "+p.m.Name+" "+p.m.Keys[i].Name+" ") {
				return
			}
		}
		p.t.Errorf("refused without the name of a key: %v", err)
	}
}

// accepts runs the settings s, which are those of v.
func (p *product) accepts(v vector, s method.Settings) {
	given := slices.Clone(v)
	for i, k := range p.m.Keys {
		if k.Applies != nil && !k.Applies(s) {
			given[i] = nil
		}
	}
	for j, b := range p.m.Keys {
		for i, a := range p.m.Keys[:j+1] {
			if given[i] != nil && given[j] != nil {
				p.covered[pair(a, given[i], b, given[j])] = true
			}
		}
	}
	tr, err := p.parse(given)
	switch {
	case err != nil:
		p.t.Errorf("no rule refuses it, but plan does: %v", err)
	case tr.Method != s:
		p.t.Errorf("plan reads %s, want %s", tr.Method, s)
	case checkShape(tr, p.layer.Weights.Rows, p.layer.Weights.Cols) == nil:
		p.ran++
		if err := p.quantize(s); err != nil {
			p.t.Errorf("%s: %v", s, err)
		}
	}
}

// quantize runs s on the layer, and on it twice where layers share a budget.
func (p *product) quantize(s method.Settings) error {
	q, err := s.Quantizer()
	if err != nil {
		return err
	}
	each := func(f func(quant.Problem, float64) error) error { return errors.Join(f(p.layer, 1), f(p.layer, 2)) }
	if s.Word("budget") != "" {
		var chosen []quant.Quantizer
		switch m := q.(type) {
		case blockMethod:
			chosen, err = sharedBlocks(m, each)
		case solve.GPTQ:
			chosen, err = sharedGroups(m, each)
		default:
			return fmt.Errorf("nothing to share in a %T", q)
		}
		if err != nil {
			return err
		}
		q = chosen[0]
	}
	stored, err := q.Quantize(p.layer)
	if err != nil {
		return err
	}
	for _, w := range stored.Dequantize().Data {
		if math.IsNaN(float64(w)) || math.IsInf(float64(w), 0) {
			return fmt.Errorf("a weight is %g", w)
		}
	}
	if bits := stored.BitsPerWeight(); !(bits > 1) {
		return fmt.Errorf("%g bits for a weight", bits)
	}
	if s.Word("budget") == "" {
		form, err := s.Form()
		if err != nil {
			return err
		}
		checkForm(p.t, s, dataDependent(s, form, stored))
	}
	return nil
}

// dataDependent returns q with the parts that Form promises, and that methods leave out
// where the data asks for none: scales of channels that are all 1, outlying channels, and
// the residual of a density that rounds to no block.
func dataDependent(s method.Settings, form *quant.Form, q *quant.Quantized) *quant.Quantized {
	full := *q
	if r := form.Residual; r != nil && full.Residual == nil {
		rows, cols := cmp.Or(r.BlockRows, q.Base.N), r.BlockCols
		if blocks := quant.CeilDiv(q.Base.N, rows) * quant.CeilDiv(q.Base.K, cols); s.Float("density")*float64(blocks) < .5 {
			full.Residual = &quant.Residual{BlockRows: rows, BlockCols: cols, Bits: r.Bits, RowScales: r.RowScales,
				BaseScales: r.BaseScales, HalfSteps: r.HalfSteps, Index: r.Index, PerSegment: r.PerSegment}
		}
	}
	if full.ChannelScales == nil && (s.Bool("awq") || s.Bool("svd_smoothing")) {
		full.ChannelScales = []uint16{}
	}
	if full.Columns == nil && (s.Name() == "llmint8" || s.Name() == "quik") {
		full.Columns = &quant.Columns{}
	}
	return &full
}

// productLayer is a small layer with the moments of its inputs, some of whose channels
// are outliers.
func productLayer(t *testing.T) quant.Problem {
	const n, k = 32, 64
	rng := rand.New(rand.NewPCG(3, 5))
	draw := func(rows int, outliers float32) gemm.Matrix {
		m := gemm.NewMatrix(rows, k)
		for i := range m.Data {
			m.Data[i] = float32(rng.NormFloat64())
			if i%k%8 == 0 {
				m.Data[i] *= outliers
			}
		}
		return m
	}
	moments := func() *quant.Moments {
		sums := quant.NewAccumulator(k)
		if err := sums.Add(draw(4*k, 20)); err != nil {
			t.Fatal(err)
		}
		m, err := sums.Finish()
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	return quant.Problem{Name: "layers.0.q_proj", Weights: draw(n, 1), Moments: moments(), HeldOut: moments(), Seed: 1}
}
