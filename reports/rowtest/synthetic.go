package rowtest

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"

	"github.com/mosaicquant/mosaicquant/internal/row"
	"github.com/mosaicquant/mosaicquant/internal/variants"
	"github.com/mosaicquant/mosaicquant/reports/format"
)

// Study makes up what two layers' criteria chose.
func Study(label string) []row.Criteria {
	var out []row.Criteria
	for l := range 2 {
		v := .02 * float64(l)
		out = append(out, row.Criteria{Schema: 1, Study: label, Label: label, Layer: fmt.Sprint("layer ", l),
			N: 64, K: 64, Blocks: 16, Densities: []float64{.05, .1},
			Criteria: []row.CriterionResult{
				{Name: "random", Recovered: []float64{.05, .1}, HeldOut: []float64{.05, .1 + v},
					Spearman: map[string]float64{"delta": .02, "oracle": .01},
					Overlap:  map[string][]float64{"delta": {.05, .1}, "oracle": {.04, .12}}},
				{Name: "delta", Recovered: []float64{.15, .25}, HeldOut: []float64{.14, .22 + v},
					Spearman: map[string]float64{"oracle": .6},
					Overlap:  map[string][]float64{"oracle": {.5, .7}}},
				{Name: "oracle", Recovered: []float64{.16, .26}, HeldOut: []float64{.18, .26 + v},
					Overlap: map[string][]float64{}},
			}})
	}
	return out
}

// Evil is a name that does harm on a page, in a table or in a notebook that copies it.
const Evil = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\"'`&<!--\u202egnp.exe\x00]]></style>" +
	"|\\end{tabular}$%_#^~*[x]{--\n!ls %%bash é 漢"

// Many makes up n rows of four methods.
func Many(n int) []row.Row {
	s := Synthetic{Windows: 60, Layers: 2}
	var rows []row.Row
	for i := range n {
		m := []string{"rtn", "gptq", "spqr", "mosaic"}[i%4]
		u := float64(i) / float64(n)
		axes := map[string]string{"method": m, "n": fmt.Sprint(i)}
		kl := 0.08 * math.Exp(-2*u+0.3*math.Sin(float64(i)))
		rows = append(rows, s.Row(fmt.Sprintf("row %d", i), "a16", axes, 4.1+u, kl))
	}
	rows[0].Label = "rtn g128"
	return rows
}

// WithSpeed adds times over 16-bit weights of two layers to r.
func WithSpeed(r row.Row, ratios ...float64) row.Row {
	for i, v := range ratios {
		low, high := v*.97, v*1.03
		speed := fmt.Sprintf("speed/llama3-8b layer%d 4096x4096 M=1/", i)
		r.Values = append(r.Values, row.Value{Name: speed + "time_over/w16a16", Value: v, Low: &low, High: &high},
			row.Value{Name: speed + "time", Value: v * 1e-3, Unit: "s"})
	}
	return r
}

// WithTimes is WithSpeed at one token and at 512, with bytes and shares of bandwidth.
func WithTimes(r row.Row, decode, prefill float64) row.Row {
	for tokens, v := range map[int]float64{1: decode, 512: prefill} {
		low, high := v*.98, v*1.02
		product := fmt.Sprintf("llama3.2-1b down 2048x8192 M=%d", tokens)
		over := row.Speed(product, row.TimeOver(variants.W16A16))
		r.Values = append(r.Values, row.Value{Name: over, Value: v, Low: &low, High: &high},
			row.Value{Name: row.Speed(product, row.Time), Value: v * 1e-3 * math.Sqrt(float64(tokens)), Unit: "s"},
			row.Value{Name: row.Speed(product, row.WeightBytes), Value: v * 3.3e7, Unit: "B"},
			row.Value{Name: row.Speed(product, row.BandwidthShare), Value: .8})
	}
	return r
}

// Synthetic makes up rows that look like a sweep's: nothing in them was
// measured. Windows share a difficulty, as real ones do, so that pairing
// matters. The same call gives the same rows.
type Synthetic struct {
	Windows int
	Layers  int
}

func (s Synthetic) Row(label, activations string, axes map[string]string, bits, kl float64) row.Row {
	h := fnv.New64a()
	h.Write([]byte(label + activations))
	text := rand.New(rand.NewPCG(1, 1)) // the windows are the same for all rows
	own := rand.New(rand.NewPCG(2, h.Sum64()))
	all := map[string]string{"model": "builtin:tiny-llama3", "activations": activations,
		"protocol.text": "builtin:heldout", "protocol.context": "256", "protocol.stride": "256", "protocol.bos": "true"}
	for k, v := range axes {
		all[k] = v
	}
	var tokens, nll, kls, top, lost, gained []float64
	var sn, sk, st, sc float64
	for range s.Windows {
		n := float64(255 - 10*text.IntN(2))
		hard := 3.8 + 0.35*text.NormFloat64()
		spread := math.Exp(0.25 * text.NormFloat64())
		k := kl * spread * math.Exp(0.12*own.NormFloat64())
		tokens = append(tokens, n)
		nll = append(nll, n*(hard+0.8*k+0.15*math.Sqrt(kl)*own.NormFloat64()/8))
		kls = append(kls, n*k)
		top = append(top, math.Round(n*(1-0.9*math.Sqrt(k))))
		lost, gained = append(lost, math.Round((n-top[len(top)-1])*.4)), append(gained, math.Round((n-top[len(top)-1])*.3))
		st += n
		sn += nll[len(nll)-1]
		sk += kls[len(kls)-1]
		sc += top[len(top)-1]
	}
	config, _ := json.Marshal(map[string]any{"axes": all})
	r := row.Row{
		Schema: row.Schema, Trial: fmt.Sprintf("%016x", h.Sum64()), Label: label, Baseline: "rtn g128",
		Axes: all, Config: config, Env: "e", Status: row.OK, Start: "2026-01-02T03:04:05Z",
		Series: []row.Series{{Name: row.WindowTokens, Values: tokens}, {Name: row.WindowNLL, Unit: "nat", Values: nll},
			{Name: row.WindowKL, Unit: "nat", Values: kls}, {Name: row.WindowTop1, Values: top},
			{Name: row.WindowLost, Values: lost}, {Name: row.WindowGained, Values: gained}},
		Values: []row.Value{
			{Name: row.BitsPerWeight, Value: bits}, {Name: row.NLL, Value: sn / st},
			{Name: row.PPLToken, Value: math.Exp(sn / st)}, {Name: row.PPLWord, Value: math.Exp(sn / st * 1.4)},
			{Name: row.KLMean, Value: sk / st}, {Name: row.KLMedian, Value: sk / st * 0.6},
			{Name: row.KLP999, Value: sk / st * 22}, {Name: row.Top1, Value: sc / st},
			{Name: row.OutputError, Value: kl * 0.21}, {Name: row.OutputErrorEvaluated, Value: kl * 0.23},
			{Name: row.QuantizeTime, Value: 0.4 + own.Float64()*3, Unit: "s"}},
	}
	const weights = 256 * 256
	for l := range s.Layers {
		for j, n := range []string{"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
			"mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"} {
			e := kl * 0.2 * math.Exp(0.5*math.Sin(float64(3*l+2*j))+0.1*own.NormFloat64())
			var base *float64
			if d, ok := format.Number(all["density"]); ok {
				b := e / (1 - math.Sqrt(d)*(0.8+0.1*math.Sin(float64(5*l+j))))
				base = &b
			}
			r.Layers = append(r.Layers, row.Layer{BaseOutputError: base, Name: fmt.Sprintf("model.layers.%d.%s", l, n),
				N: 256, K: 256, BitsPerWeight: bits, WeightError: e, OutputError: e})
		}
	}
	total := float64(weights * 7 * max(s.Layers, 1))
	r.Ledger = []row.Item{{Name: "codes", Bytes: int64(total / 2)}}
	scales := bits - 4
	if d, ok := format.Number(all["density"]); ok {
		residual := 4.3 * d
		scales -= residual
		r.Ledger = append(r.Ledger, row.Item{Name: "residual codes", Bytes: int64(4 * d * total / 8)},
			row.Item{Name: "residual scales", Bytes: int64(0.25 * d * total / 8)},
			row.Item{Name: "block index", Bytes: int64(0.05 * d * total / 8)})
	}
	r.Ledger = append(r.Ledger, row.Item{Name: "scales", Bytes: int64(scales * total / 8)})
	return r
}

// Sweep resembles the default configuration.
func (s Synthetic) Sweep(activations string) []row.Row {
	add := 0.0
	if activations == "a8" {
		add = 0.006
	}
	rows := []row.Row{}
	put := func(label string, axes map[string]string, bits, kl float64) {
		rows = append(rows, s.Row(label, activations, axes, bits, kl+add))
	}
	for g, kl := range map[string]float64{"128": 0.082, "64": 0.068, "32": 0.054} {
		n, _ := format.Number(g)
		put("rtn g"+g, map[string]string{"method": "rtn", "group": g}, 4+16/n, kl)
	}
	put("gptq g128", map[string]string{"method": "gptq", "group": "128", "order": "act"}, 4.125, 0.049)
	put("gptq g32", map[string]string{"method": "gptq", "group": "32", "order": "act"}, 4.5, 0.034)
	put("spqr 0.5%", map[string]string{"method": "spqr", "group": "128", "outliers": "0.005"}, 4.285, 0.058)
	put("spqr 1%", map[string]string{"method": "spqr", "group": "128", "outliers": "0.01"}, 4.445, 0.0495)
	mosaic := func(base, density, block, criterion string) map[string]string {
		return map[string]string{"method": "mosaic", "base": base, "group": "128", "density": density, "block": block,
			"criterion": criterion}
	}
	density := []string{"0.01", "0.025", "0.05", "0.1", "0.2"}
	for base, start := range map[string]float64{"rtn": 0.082, "gptq": 0.049} {
		for _, d := range density {
			v, _ := format.Number(d)
			axes := mosaic(base, d, "16x64", "delta")
			if base == "gptq" {
				axes["order"] = "act"
			}
			put("mosaic "+base+" ρ"+d, axes, 4.125+4.3*v, start*math.Exp(-4.4*math.Sqrt(v)))
		}
	}
	for c, worse := range map[string]float64{"error": 1.01, "weight": 1.1, "random": 1.3} {
		put("mosaic rtn "+c, mosaic("rtn", "0.1", "16x64", c), 4.555, 0.082*math.Exp(-4.4*math.Sqrt(0.1))*worse)
	}
	for b, f := range map[string]float64{"16x16": 0.93, "1x128": 0.97, "1x32": 0.85} {
		put("mosaic rtn "+b, mosaic("rtn", "0.1", b, "delta"), 4.57, 0.082*math.Exp(-4.4*math.Sqrt(0.1))*f)
	}
	return rows
}

// WithTask adds a score over the items to r.
func WithTask(r row.Row, name, unit string, items ...float64) row.Row {
	mean := 0.0
	for _, v := range items {
		mean += v / float64(len(items))
	}
	r.Values = append(r.Values, row.Value{Name: name, Value: mean, Unit: unit})
	r.Series = append(r.Series, row.Series{Name: name, Unit: unit, Values: items})
	return r
}

// timedRow makes up a row of experiments bench.
func timedRow(variant, density string, tokens int, time, over float64, more map[string]string) row.Row {
	axes := map[string]string{"bench": "product", "engine": "cpu", "shape": "4096x1024", "scheme": "w4a8", "group": "128",
		"density": density, "block": "16x64", "tokens": fmt.Sprint(tokens), "cache": "flush", "variant": variant}
	for k, v := range more {
		axes[k] = v
	}
	weight := 2.1e6
	if d, _ := format.Number(density); variant != variants.Dense4 {
		weight *= 1 + d
	}
	value := func(name, unit string, v, spread float64) row.Value {
		low, high := v*(1-spread), v*(1+spread)
		return row.Value{Name: name, Value: v, Unit: unit, Low: &low, High: &high}
	}
	r := row.Row{Schema: row.Schema, Trial: fmt.Sprint(variant, density, tokens, more), Label: variant + " " + density,
		Axes: axes, Status: row.OK,
		Execution: &row.Execution{Engine: "cpu", Device: "made-up <b>CPU", Requested: "auto", Kernel: "avx512",
			Yardsticks: map[string]string{row.ReadBandwidth: "a sum"}},
		Values: []row.Value{
			value(row.Time, "s", time, .02), value(row.Rate, "FLOP/s", 2*4096*1024*float64(tokens)/time, .02),
			value(row.BandwidthShare, "", .8, .02), value(row.ReadBandwidth, "B/s", 3e10, .01),
			value(row.PeakRate, "FLOP/s", 4e11, .01), {Name: row.WeightBytes, Value: weight, Unit: "B"}}}
	if variant != variants.Dense4 {
		r.Values = append(r.Values, value(row.TimeOver(variants.Dense4), "", over, .02))
	}
	return r
}

// TimedRows makes up rows of experiments bench: four variants at 1 and 16 tokens.
func TimedRows(more map[string]string) []row.Row {
	var rows []row.Row
	for _, m := range []int{1, 16} {
		for _, d := range []string{"0.05", "0.1", "0.2"} {
			v, _ := format.Number(d)
			t := 1e-4 * float64(m)
			rows = append(rows, timedRow(variants.W16A16, d, m, 3.9*t, 3.9, more),
				timedRow(variants.Separate, d, m, t*(1.1+v), 1.1+v, more),
				timedRow(variants.Dense4, d, m, t, 0, more), timedRow(variants.Zipper, d, m, t*(1+v), 1+v, more))
			for i := range rows {
				if rows[i].Axes["variant"] == variants.Separate && len(rows[i].Values) == 7 {
					low, high := 1.05, 1.12
					over := row.TimeOver(variants.Zipper)
					rows[i].Values = append(rows[i].Values, row.Value{Name: over, Value: 1.08, Low: &low, High: &high})
				}
			}
		}
	}
	return rows
}
