package reports

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"

	"github.com/mosaicquant/mosaicquant/internal/row"
)

// synthetic makes up rows that look like a sweep's: nothing in them was
// measured. Windows share a difficulty, as real ones do, so that pairing
// matters. The same call gives the same rows.
type synthetic struct {
	windows int
	layers  int
}

func (s synthetic) row(label, activations string, axes map[string]string, bits, kl float64) row.Row {
	h := fnv.New64a()
	h.Write([]byte(label + activations))
	text := rand.New(rand.NewPCG(1, 1)) // the windows are the same for all rows
	own := rand.New(rand.NewPCG(2, h.Sum64()))
	all := map[string]string{"model": "builtin:tiny-llama3", "activations": activations,
		"protocol.text": "builtin:heldout", "protocol.context": "256", "protocol.stride": "256", "protocol.bos": "true"}
	for k, v := range axes {
		all[k] = v
	}
	var tokens, nll, kls, top []float64
	var sn, sk, st, sc float64
	for range s.windows {
		n := float64(255 - 10*text.IntN(2))
		hard := 3.8 + 0.35*text.NormFloat64()
		spread := math.Exp(0.25 * text.NormFloat64())
		k := kl * spread * math.Exp(0.12*own.NormFloat64())
		tokens = append(tokens, n)
		nll = append(nll, n*(hard+0.8*k+0.15*math.Sqrt(kl)*own.NormFloat64()/8))
		kls = append(kls, n*k)
		top = append(top, math.Round(n*(1-0.9*math.Sqrt(k))))
		st += n
		sn += nll[len(nll)-1]
		sk += kls[len(kls)-1]
		sc += top[len(top)-1]
	}
	config, _ := json.Marshal(map[string]any{"axes": all})
	r := row.Row{
		Schema: row.Schema, Trial: fmt.Sprintf("%016x", h.Sum64()), Label: label, Baseline: "rtn g128", Axes: all, Config: config,
		Env: "e", Status: row.OK, Start: "2026-01-02T03:04:05Z",
		Series: []row.Series{{Name: row.WindowTokens, Values: tokens}, {Name: row.WindowNLL, Unit: "nat", Values: nll},
			{Name: row.WindowKL, Unit: "nat", Values: kls}, {Name: row.WindowTop1, Values: top}},
		Values: []row.Value{
			{Name: row.BitsPerWeight, Value: bits}, {Name: row.NLL, Value: sn / st}, {Name: row.PPLToken, Value: math.Exp(sn / st)},
			{Name: row.PPLWord, Value: math.Exp(sn / st * 1.4)}, {Name: row.KLMean, Value: sk / st}, {Name: row.KLMedian, Value: sk / st * 0.6},
			{Name: row.KLP999, Value: sk / st * 22}, {Name: row.Top1, Value: sc / st}, {Name: row.OutputError, Value: kl * 0.21},
			{Name: row.QuantizeTime, Value: 0.4 + own.Float64()*3, Unit: "s"}},
	}
	const weights = 256 * 256
	for l := range s.layers {
		for j, n := range []string{"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"} {
			e := kl * 0.2 * math.Exp(0.5*math.Sin(float64(3*l+2*j))+0.1*own.NormFloat64())
			var base *float64
			if d, ok := number(all["density"]); ok {
				b := e / (1 - math.Sqrt(d)*(0.8+0.1*math.Sin(float64(5*l+j))))
				base = &b
			}
			r.Layers = append(r.Layers, row.Layer{BaseOutputError: base, Name: fmt.Sprintf("model.layers.%d.%s", l, n), N: 256, K: 256, BitsPerWeight: bits, WeightError: e, OutputError: e})
		}
	}
	total := float64(weights * 7 * max(s.layers, 1))
	r.Ledger = []row.Item{{Name: "codes", Bytes: int64(total / 2)}}
	scales := bits - 4
	if d, ok := number(all["density"]); ok {
		residual := 4.3 * d
		scales -= residual
		r.Ledger = append(r.Ledger, row.Item{Name: "residual codes", Bytes: int64(4 * d * total / 8)}, row.Item{Name: "residual scales", Bytes: int64(0.25 * d * total / 8)},
			row.Item{Name: "block index", Bytes: int64(0.05 * d * total / 8)})
	}
	r.Ledger = append(r.Ledger, row.Item{Name: "scales", Bytes: int64(scales * total / 8)})
	return r
}

// sweep resembles the default configuration.
func (s synthetic) sweep(activations string) []row.Row {
	add := 0.0
	if activations == "a8" {
		add = 0.006
	}
	rows := []row.Row{}
	put := func(label string, axes map[string]string, bits, kl float64) {
		rows = append(rows, s.row(label, activations, axes, bits, kl+add))
	}
	for g, kl := range map[string]float64{"128": 0.082, "64": 0.068, "32": 0.054} {
		n, _ := number(g)
		put("rtn g"+g, map[string]string{"method": "rtn", "group": g}, 4+16/n, kl)
	}
	put("gptq g128", map[string]string{"method": "gptq", "group": "128", "order": "act"}, 4.125, 0.049)
	put("gptq g32", map[string]string{"method": "gptq", "group": "32", "order": "act"}, 4.5, 0.034)
	put("spqr 0.5%", map[string]string{"method": "spqr", "group": "128", "outliers": "0.005"}, 4.285, 0.058)
	put("spqr 1%", map[string]string{"method": "spqr", "group": "128", "outliers": "0.01"}, 4.445, 0.0495)
	density := []string{"0.01", "0.025", "0.05", "0.1", "0.2"}
	for base, start := range map[string]float64{"rtn": 0.082, "gptq": 0.049} {
		for _, d := range density {
			v, _ := number(d)
			axes := map[string]string{"method": "mosaic", "base": base, "group": "128", "density": d, "block": "16x64", "criterion": "delta"}
			if base == "gptq" {
				axes["order"] = "act"
			}
			put("mosaic "+base+" ρ"+d, axes, 4.125+4.3*v, start*math.Exp(-4.4*math.Sqrt(v)))
		}
	}
	for c, worse := range map[string]float64{"error": 1.01, "weight": 1.1, "random": 1.3} {
		put("mosaic rtn "+c, map[string]string{"method": "mosaic", "base": "rtn", "group": "128", "density": "0.1", "block": "16x64", "criterion": c}, 4.555, 0.082*math.Exp(-4.4*math.Sqrt(0.1))*worse)
	}
	for b, f := range map[string]float64{"16x16": 0.93, "1x128": 0.97, "1x32": 0.85} {
		put("mosaic rtn "+b, map[string]string{"method": "mosaic", "base": "rtn", "group": "128", "density": "0.1", "block": b, "criterion": "delta"}, 4.57, 0.082*math.Exp(-4.4*math.Sqrt(0.1))*f)
	}
	return rows
}

func syntheticInput() Input {
	s := synthetic{windows: 60, layers: 8}
	rows := append(s.sweep("a16"), s.sweep("a8")...)
	none := s.row("none", "a16", map[string]string{"method": "none"}, 16, 0.01)
	none.Values = []row.Value{{Name: row.BitsPerWeight, Value: 16}, {Name: row.KLMean, Value: 0}, {Name: row.PPLToken, Value: 44.1}}
	for i := range none.Series {
		if none.Series[i].Name == row.WindowKL {
			clear(none.Series[i].Values)
		}
	}
	failed := s.row("gptq g100", "a16", map[string]string{"method": "gptq", "group": "100"}, 4, 1)
	failed.Status, failed.Values, failed.Series = row.Failed, nil, nil
	failed.Error = "quant: model.layers.0.mlp.down_proj: K=688 not divisible by group 100"
	rows[4].Warnings = []string{"model.layers.3.mlp.up_proj: 12 dead columns"}
	dirty := true
	in := Input{Styles: styles,
		Title: "synthetic", Question: "Made-up rows, for tests: which 4-bit method loses least, and at what size?",
		Rows: append(rows, none, failed), Config: "name: synthetic\nmodel: builtin:tiny-llama3\n",
		Env:     map[string]row.Environment{"e": {Go: "go1.25", OS: "linux", Arch: "amd64", CPU: "made up", Cores: 2, Features: []string{"avx2", "fma"}, Kernel: "avx2", Commit: "0123abc", Dirty: &dirty}},
		Command: "go run ./experiments sweep -c configs/default.yaml", Commands: map[string]string{},
	}
	for _, r := range in.Rows {
		in.Commands[r.Trial] = "go run ./experiments sweep -c configs/default.yaml --only '" + r.Label + "'"
	}
	return in
}

// styles are those of the families of synthetic rows.
var styles = Styles{
	{"none", "#595959", "cross"}, {"rtn", "#56b4e9", "circle"}, {"gptq", "#0072b2", "square"}, {"spqr", "#009e73", "triangle"},
	{"mosaic on rtn", "#e69f00", "diamond"}, {"mosaic on gptq", "#d55e00", "star"},
}
