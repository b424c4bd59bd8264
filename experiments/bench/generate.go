package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mosaicquant/mosaicquant/experiments/plan"
	"github.com/mosaicquant/mosaicquant/experiments/trial"
	"github.com/mosaicquant/mosaicquant/internal/cudallm"
	"github.com/mosaicquant/mosaicquant/internal/hf"
	"github.com/mosaicquant/mosaicquant/internal/llm"
	"github.com/mosaicquant/mosaicquant/internal/row"
	"github.com/mosaicquant/mosaicquant/internal/variants"
	"github.com/mosaicquant/mosaicquant/quant"
)

// generator is a variant of a model on its way through the repeats.
type generator struct {
	variant         string
	model           *llm.Model
	bytes           int64 // that the linear layers of one token read
	kernel          string
	err             error // why it does not run
	prefill, decode []float64
	gpu             *cudallm.Model // nil on the CPU
}

// generation measures g.
func (r *runner) generation(ctx context.Context, lab *trial.Lab, g *plan.Generation) (err error) {
	g, err = ofCheckpoint(ctx, lab, g)
	if err != nil {
		return err
	}
	rows := r.describeGeneration(g)
	if found := r.finished(rows); found != nil {
		r.res.Finished += len(found)
		r.res.Rows = append(r.res.Rows, found...)
		r.o.Progress(found, true, 0)
		return nil
	}
	start, onGPU := time.Now(), r.engine.Name() == "cuda"
	model, repeat, err := openModel(ctx, lab, g, onGPU)
	if err != nil {
		return err
	}
	defer model.Close()
	if _, packed := model.Output().(*quant.Quantized); !packed && !onGPU {
		output, err := trial.Pack16(model.Output())
		if err != nil {
			return err
		}
		model = model.WithOutput(output)
	}
	var gs []*generator
	defer func() {
		for _, v := range gs {
			if v.gpu != nil {
				err = errors.Join(err, v.gpu.Close())
			}
		}
	}()
	// Garbage of packing may not take as much memory again as a large model.
	defer debug.SetGCPercent(debug.SetGCPercent(20))
	for _, v := range g.Variants {
		if err := ctx.Err(); err != nil {
			return err
		}
		if onGPU {
			gs = append(gs, newGPUGenerator(model, g, v, repeat))
		} else {
			gs = append(gs, newGenerator(model, g, v))
		}
		debug.FreeOSMemory()
	}
	if err := generate(ctx, g, gs); err != nil {
		return err
	}
	for i, v := range gs {
		if v.err != nil {
			rows[i].Status, rows[i].Error = row.Failed, v.err.Error()
			r.res.Failed++
			continue
		}
		v.report(g, gs, rows[i])
	}
	if err := r.save(rows); err != nil {
		return err
	}
	r.o.Progress(rows, false, time.Since(start))
	return nil
}

// ofCheckpoint returns g with the form of the packed checkpoint that it names, and as it is
// for other models.
func ofCheckpoint(ctx context.Context, lab *trial.Lab, g *plan.Generation) (*plan.Generation, error) {
	if strings.HasPrefix(g.Model, plan.RandomPrefix) {
		return g, nil
	}
	p, err := lab.ReadPacked(ctx, g.Model)
	if err != nil || p == nil {
		return g, err
	}
	m := p.Trial.Method
	f, err := m.Form()
	if err != nil {
		return nil, fmt.Errorf("packed checkpoint %s: %w", g.Model, err)
	}
	own := *g
	own.Checkpoint, own.Scheme, own.Group = m.String(), trial.Scheme(p.Trial.Activations), f.Base.Group
	own.Density, own.Block, own.RowScale, own.Outliers = 0, plan.Block{}, false, m.Float("outliers")
	own.HalfSteps, own.Index = false, ""
	if r := f.Residual; r != nil {
		own.Density, own.Block = m.Float("density"), plan.Block{Rows: r.BlockRows, Cols: r.BlockCols}
		own.RowScale = r.RowScales
	}
	if !slices.Contains(plan.Schemes, own.Scheme) {
		return nil, fmt.Errorf("packed checkpoint %s: activations %s have no kernel", g.Model, p.Trial.Activations)
	}
	return &own, nil
}

// openModel opens the model of g, or makes a random one of its architecture. Where once says so, a random
// one has one layer, and repeat is how many it stands for.
func openModel(ctx context.Context, lab *trial.Lab, g *plan.Generation, once bool) (m *llm.Model, repeat int, err error) {
	name, random := strings.CutPrefix(g.Model, plan.RandomPrefix)
	if !random {
		files, err := lab.OpenModel(ctx, g.Model)
		if err != nil {
			return nil, 0, err
		}
		m, err = llm.Open(files)
		return m, 0, err
	}
	a, ok := plan.ArchitectureOf(name)
	if !ok {
		panic("bench: unknown architecture " + name) // plan has checked it
	}
	layers := a.Layers
	if once {
		layers, repeat = 1, a.Layers
	}
	m, err = llm.Open(llm.Random(hf.Config{
		ModelType: a.Type, VocabSize: a.Vocab, HiddenSize: a.Hidden, MLPSize: a.MLP, Layers: layers,
		Heads: a.Heads, KVHeads: a.KVHeads, HeadDim: a.HeadDim, MaxPositions: a.Positions,
		RMSNormEps: a.RMSNormEps, RopeTheta: a.RopeTheta, TieEmbeddings: a.Tied, QKNorm: a.QKNorm,
	}, g.Seed))
	return m, repeat, err
}

// newGenerator makes a view of model whose linear layers execute as variant. 4-bit
// codes are those of a packed checkpoint, or random, also in a trained model: time does not
// depend on them.
func newGenerator(model *llm.Model, g *plan.Generation, variant string) *generator {
	v := &generator{variant: variant, model: model}
	replacements := map[string]llm.Replacement{}
	for i, l := range model.Linears() {
		if g.Checkpoint == "" && g.Group > 0 && l.K%g.Group != 0 {
			v.err = fmt.Errorf("%s: group %d does not divide its %d columns", l.Name, g.Group, l.K)
			return v
		}
		p, err := packLinear(l, g, variant, g.Seed+uint64(i))
		if err != nil {
			v.err = fmt.Errorf("%s: %w", l.Name, err)
			return v
		}
		v.bytes += p.Bytes()
		replacements[l.Name] = llm.Replacement{Product: p}
	}
	_, v.kernel = trial.Kernel()
	v.model = model.With(replacements)
	return v
}

// packLinear packs l itself as w16a16. Otherwise it packs the codes that l stores, in a
// checkpoint, of which layers in 16 bits stay so, and random codes in the place of others.
func packLinear(l llm.Linear, g *plan.Generation, variant string, seed uint64) (trial.Product, error) {
	stored, packed := l.Weights.(*quant.Quantized)
	if variant == variants.W16A16 || g.Checkpoint != "" && !packed {
		return trial.Pack16(l.Weights)
	}
	if packed {
		if variant == variants.Separate && stored.Residual == nil {
			return nil, errors.New("there is no residual")
		}
		return trial.Pack(stored, g.Scheme, variant)
	}
	q := Random(l.N, l.K, &g.Layout, seed).Of(variant)
	if q == nil {
		return nil, errors.New("there are no outliers")
	}
	return trial.Pack(q, g.Scheme, variant)
}

// generate runs the repeats of all that can run, in turns.
func generate(ctx context.Context, g *plan.Generation, all []*generator) error {
	var run []*generator
	for _, v := range all {
		if v.err == nil {
			run = append(run, v)
		}
	}
	if len(run) == 0 {
		return nil
	}
	rng := rand.New(rand.NewPCG(g.Seed, 3))
	prompt := make([]int32, g.Prompt)
	for i := range prompt {
		prompt[i] = int32(rng.IntN(run[0].model.Config().VocabSize))
	}
	for repeat := range g.Repeats + 1 {
		runtime.GC()
		for j := range run {
			v := run[(repeat+j)%len(run)]
			if v.err != nil {
				continue
			}
			prefill, decode, err := v.generate(ctx, prompt, g.Tokens, g.Copies())
			if err != nil && v.gpu != nil && ctx.Err() == nil {
				v.err = err // the others may need less memory
				continue
			}
			if err != nil {
				return err
			}
			if repeat > 0 { // the first is a warm-up
				v.prefill, v.decode = append(v.prefill, prefill.Seconds()), append(v.decode, decode.Seconds())
			}
		}
	}
	return nil
}

// generate reads copies of prompt and generates tokens, each the most likely one.
func (v *generator) generate(ctx context.Context, prompt []int32, tokens, copies int) (prefill, decode time.Duration,
	err error) {
	var first, rest float64
	if v.gpu != nil {
		var made *cudallm.Generated
		if made, err = v.gpu.Generate(ctx, slices.Repeat([][]int32{prompt}, copies), tokens); err == nil {
			first, rest = made.Prefill, made.Decode
		}
	} else {
		_, first, rest, err = trial.Greedy(ctx, v.model, prompt, tokens, copies)
	}
	return time.Duration(first * float64(time.Second)), time.Duration(rest * float64(time.Second)), err
}

// newGPUGenerator is newGenerator on a GPU, where repeat layers stand for the one of a random model.
func newGPUGenerator(model *llm.Model, g *plan.Generation, variant string, repeat int) *generator {
	v := &generator{variant: variant, model: model}
	act, err := quant.ParseActivations(strings.TrimPrefix(g.Scheme, "w4"))
	if err != nil {
		v.err = err
		return v
	}
	replacements := map[string]llm.Replacement{}
	for i, l := range model.Linears() {
		q, packed := l.Weights.(*quant.Quantized)
		if variant == variants.W16A16 || g.Checkpoint != "" && !packed {
			continue
		}
		if !packed {
			if g.Group > 0 && l.K%g.Group != 0 {
				v.err = fmt.Errorf("%s: group %d does not divide its %d columns", l.Name, g.Group, l.K)
				return v
			}
			q = Random(l.N, l.K, &g.Layout, g.Seed+uint64(i)).Of(variant)
		} else if variant == variants.Dense4 {
			q = &quant.Quantized{Base: q.Base}
		}
		if q == nil || variant == variants.Separate && q.Residual == nil {
			v.err = fmt.Errorf("%s: there is nothing beside the base", l.Name)
			return v
		}
		replacements[l.Name] = llm.Replacement{Weights: q, Act: act}
	}
	o := cudallm.Options{Packed: variant != variants.W16A16, Fast: true, Repeat: repeat}
	if variant == variants.Separate {
		o.Variant = variant
	}
	if v.gpu, v.err = cudallm.Open(model.With(replacements), o); v.err == nil {
		v.bytes, v.kernel = v.gpu.WeightBytes(), v.gpu.Kernels()
	}
	return v
}

func (v *generator) report(g *plan.Generation, all []*generator, r *row.Row) {
	if r.Execution.Kernel = v.kernel; v.gpu != nil {
		r.Execution.Kernel = v.gpu.Kernels() // and whether steps were graphs
	}
	add := func(name, unit string, x []float64) {
		e := Bootstrap(x)
		r.Values = append(r.Values, row.Value{Name: name, Value: e.Value, Unit: unit, Low: &e.Low, High: &e.High})
	}
	both := func(v *generator) []float64 {
		sum := slices.Clone(v.prefill)
		for i, d := range v.decode {
			sum[i] += d
		}
		return sum
	}
	for _, m := range []struct {
		time, rate string
		tokens     int
		of         func(*generator) []float64
	}{
		{row.GenerateTime, "", g.Tokens - 1, both},
		{row.PrefillTime, row.PrefillRate, g.Prompt, func(v *generator) []float64 { return v.prefill }},
		{row.DecodeTime, row.DecodeRate, g.Tokens - 1, func(v *generator) []float64 { return v.decode }},
	} {
		if m.tokens == 0 {
			continue
		}
		add(m.time, "s", m.of(v))
		if m.rate != "" {
			add(m.rate, "token/s", per(float64(m.tokens*g.Copies()), m.of(v)))
		}
		for _, o := range all {
			if o != v && o.err == nil {
				add(row.Over(m.time, o.variant), "", Quotients(m.of(v), m.of(o)))
			}
		}
		r.Series = append(r.Series, row.Series{Name: m.time, Unit: "s", Values: m.of(v)})
	}
	r.Values = append(r.Values, row.Value{Name: row.WeightBytes, Value: float64(v.bytes), Unit: "B"})
}

// describeGeneration returns the rows of g without results.
func (r *runner) describeGeneration(g *plan.Generation) []*row.Row {
	var rows []*row.Row
	for _, v := range g.Variants {
		axes := layoutAxes(&g.Layout)
		axes["bench"], axes["engine"], axes["variant"], axes["model"] = "generate", "cpu", v, g.Model
		axes["prompt"], axes["tokens"] = strconv.Itoa(g.Prompt), strconv.Itoa(g.Tokens)
		label := fmt.Sprintf("%s, %s, %d+%d tokens", g.Model, describeLayout(&g.Layout), g.Prompt, g.Tokens)
		if g.Batch > 0 {
			axes["batch"] = strconv.Itoa(g.Batch)
			label = fmt.Sprintf("%s, batch %d", label, g.Batch)
		}
		label += " " + v
		if g.Checkpoint != "" {
			axes["method"] = g.Checkpoint
		}
		o := r.newRow(g, v, label, axes)
		if r.engine.Name() == "cuda" {
			axes["engine"] = "cuda"
		} else {
			o.Execution.Engine, o.Execution.Device = "cpu", r.cpu
		}
		rows = append(rows, o)
	}
	return rows
}
