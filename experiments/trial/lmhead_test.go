package trial

import (
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/mosaicquant/mosaicquant/experiments/plan"
	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/llm"
	"github.com/mosaicquant/mosaicquant/internal/row"
	"github.com/mosaicquant/mosaicquant/internal/testmodel"
)

// opened opens the subject of a trial until the test ends.
func opened(t *testing.T, lab *Lab, tr plan.Trial) *Subject {
	t.Helper()
	s, err := lab.Open(t.Context(), tr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// TestOutputLayer: with lm_head the output layer is quantized with settings of its own, is
// counted, runs on floats and on kernels, and sees what the model gives it.
func TestOutputLayer(t *testing.T) {
	lab, model := testLab(t), testmodel.Dir(t)
	trials := importedTrials(t, model, "- {method: gptq, group: 32}\n- {method: gptq, group: 32, lm_head: true}\n"+
		"- {method: gptq, group: 32, lm_head: true, layers: [{match: lm_head, format: int8}]}\n")
	if n := len(plan.Groups(trials)); n != 2 {
		t.Errorf("%d groups of trials, want one for each answer to lm_head", n)
	}
	without, with := opened(t, lab, trials[0]), opened(t, lab, trials[1])
	rows := []*row.Row{runOne(t, without, trials[0]), runOne(t, with, trials[1]), runOne(t, with, trials[2])}
	value := func(r *row.Row, name string) float64 {
		v, ok := r.Value(name)
		if !ok {
			t.Fatalf("%s: no %s", r.Label, name)
		}
		return v.Value
	}
	// The two layers after which both models are the same.
	n := len(rows[0].Layers)
	if len(rows[1].Layers) != n+1 || !slices.EqualFunc(rows[0].Layers, rows[1].Layers[:n], sameLayer) {
		t.Errorf("layers %v, without lm_head %v", rows[1].Layers, rows[0].Layers)
	}
	for i, r := range rows {
		const says = "the output layer is quantized, and counted in bits per weight"
		if got := slices.Contains(r.Warnings, says); got != (i > 0) {
			t.Errorf("%s: warnings %q", r.Label, r.Warnings)
		}
	}
	head := rows[1].Layers[n]
	if head.Name != "lm_head" || head.N != 4096 || head.K != 128 || head.BitsPerWeight != 4.5 || !(head.OutputError > 0) {
		t.Errorf("%+v", head)
	}
	if fine := rows[2].Layers[n]; fine.BitsPerWeight != 8.5 || !(fine.OutputError < head.OutputError/50) {
		t.Errorf("%+v in 8 bits, %+v in 4", fine, head)
	}
	for i, more := range []float64{0, 4096 * 128 * 4.5 / 8, 4096 * 128 * 8.5 / 8} { // the embedding stays
		if got := value(rows[i], row.ModelBytes) - value(rows[0], row.ModelBytes); got != more {
			t.Errorf("%s: %v bytes more than without lm_head, want %v", rows[i].Label, got, more)
		}
		var ledger int64
		for _, item := range rows[i].Ledger {
			ledger += item.Bytes
		}
		weights := 0.0
		for _, l := range rows[i].Layers {
			weights += float64(l.N) * float64(l.K)
		}
		if got := value(rows[i], row.BitsPerWeight); got != 8*float64(ledger)/weights {
			t.Errorf("%s: %v bits, the ledger has %d bytes of %v weights", rows[i].Label, got, ledger, weights)
		}
	}
	// The logits of this model are small, and a worse output layer is no divergence.
	if a, b := value(rows[1], row.KLMean), value(rows[0], row.KLMean); a == b {
		t.Errorf("KL %v with and without a quantized output layer", a)
	}
	trials[1].Execution = "packed"
	if a, b := value(runOne(t, with, trials[1]), row.KLMean), value(rows[1], row.KLMean); !(math.Abs(a-b) < 0.05*b) {
		t.Errorf("KL %v on kernels, %v on floats", a, b)
	}
	if r, err := without.Run(t.Context(), trials[1]); err != nil || r.Status != row.Failed {
		t.Errorf("a trial of another subject: %v, status %s", err, r.Status)
	}
	if e := with.Estimate(trials[2], Rate{1e11, 1}); !(e.Seconds > without.Estimate(trials[0], Rate{1e11, 1}).Seconds) {
		t.Errorf("the output layer takes no time: %+v", e)
	}
	if err := with.CheckShapes(trials[2]); err != nil {
		t.Error(err)
	}
	err := without.source.checkPatterns(trials[2].Method)
	if err == nil || !strings.Contains(err.Error(), `"lm_head" matches no linear layer`) {
		t.Errorf("a pattern without lm_head: true: %v", err)
	}
}

func sameLayer(a, b row.Layer) bool {
	return a.Name == b.Name && a.OutputError == b.OutputError && a.WeightError == b.WeightError
}

// TestOutputStatistics: the second moments of the output layer are those of the normed
// hidden states, also in a basis and with smoothing.
func TestOutputStatistics(t *testing.T) {
	lab, model := testLab(t), testmodel.Dir(t)
	for _, settings := range []string{"", ", smoothing: 0.5"} {
		for _, basis := range []string{"", "folded", "rotated"} {
			if testing.Short() && basis == "folded" { // half of rotated
				continue
			}
			tr := importedTrials(t, model, "- {method: rtn, group: 32, lm_head: true"+settings+"}\n")[0]
			tr.Basis, tr.BasisSeed = basis, 1
			s := opened(t, lab, tr)
			if r := runOne(t, s, tr); r.Layers[len(r.Layers)-1].Name != llm.OutputName {
				t.Errorf("%s%s: %+v", basis, settings, r.Layers)
			}
			st, err := s.calibrated.begin().statistics(t.Context(), llm.OutputName)
			if err != nil {
				t.Fatal(err)
			}
			x, err := s.source.model.Hidden(t.Context(), s.calibrated.sequences, nil)
			if err != nil {
				t.Fatal(err)
			}
			var want float64
			for i := range x.Rows {
				want += float64(x.Row(i)[3]) * float64(x.Row(i)[5])
			}
			want *= 2 / float64(x.Rows) // as GPTQ defines H
			if got := st.moments.H[3*st.moments.K+5]; !(math.Abs(got-want) <= 1e-4*math.Abs(want)) {
				t.Errorf("%s%s: moment %v, want %v", basis, settings, got, want)
			}
		}
	}
}

// TestOutputWritten: a quantized output layer is written and read back as one, in our own
// form and in those of others.
func TestOutputWritten(t *testing.T) {
	lab, model := testLab(t), testmodel.Dir(t)
	made := importedTrials(t, model, "- {method: rtn, group: 32, lm_head: true}\n")[0]
	made.Activations = "a16"
	s := opened(t, lab, made)
	want := runOne(t, s, made)
	plain := importedTrials(t, model, "- {method: rtn, group: 32}\n")[0]
	plain.Activations = "a16"
	for _, format := range []string{"packed", "compressed-tensors", "gptq", "gguf", "16-bit"} {
		if testing.Short() && format == "gptq" {
			continue
		}
		dir := filepath.Join(t.TempDir(), "out")
		path := dir
		if format == "packed" {
			p, err := lab.Quantize(t.Context(), made, dir)
			if err != nil {
				t.Fatal(err)
			}
			e, err := lab.Evaluate(t.Context(), Evaluation{Model: dir, Protocol: made.Protocol})
			if err != nil {
				t.Fatal(err)
			}
			a, _ := want.Value(row.NLL)
			if b, ok := e.Text.Value(row.NLL); !ok || a.Value != b.Value {
				t.Errorf("eval of the packed checkpoint (%s): %v, of the trial %v", p, b.Value, a.Value)
			}
		} else {
			e, err := lab.Export(t.Context(), made, dir, format)
			if err != nil {
				t.Fatal(err)
			}
			if format == "gguf" {
				path = filepath.Join(dir, e.Weights)
			}
		}
		read := importedTrials(t, model, "- {method: checkpoint, path: "+path+"}\n")[0]
		read.Activations = "a16"
		got := runOne(t, opened(t, lab, read), read)
		for _, name := range []string{row.KLMean, row.NLL, row.BitsPerWeight} {
			a, _ := want.Value(name)
			b, ok := got.Value(name)
			tolerance := 0.0
			switch {
			case format == "16-bit" && name != row.BitsPerWeight:
				tolerance = 1e-2 * a.Value
			case name == row.BitsPerWeight: // layouts, zeros and indices count
				tolerance = map[string]float64{"gptq": 1, "compressed-tensors": 0.1, "16-bit": 20, "gguf": 0.01}[format]
			}
			if !ok || !(math.Abs(a.Value-b.Value) <= tolerance) {
				t.Errorf("%s: %s is %v, of the trial itself %v", format, name, b.Value, a.Value)
			}
		}
	}
	refused(t, lab, made, "awq", "AutoAWQ leaves the output layer in 16 bits")
}

// TestOtherOutput: a checkpoint with another output layer is compared with the model's
// own, not with itself.
func TestOtherOutput(t *testing.T) {
	lab, model := testLab(t), testmodel.Dir(t)
	tr := importedTrials(t, model, "- {method: none}\n")[0]
	tr.Activations = "a16"
	s := opened(t, lab, tr)
	other := s.source.model.WithOutputListed(true)
	n, k := other.Output().Dims()
	w := gemm.NewMatrix(n, k)
	other.Output().Load(w, 0, 0)
	for i := range w.Data {
		w.Data[i] *= 1e5
	}
	other = other.With(map[string]llm.Replacement{llm.OutputName: {Weights: w}})
	e, err := s.evaluator.evaluate(t.Context(), other, "other")
	if err != nil {
		t.Fatal(err)
	}
	if kl := sum(e.scores.kl) / sum(e.scores.tokens); !(kl > 1e-4) {
		t.Errorf("logits 100,000 times as large have KL %v", kl)
	}
	if agree := sum(e.scores.top1); agree != sum(e.scores.tokens) {
		t.Errorf("the largest logit is the same of %v of %v tokens", agree, sum(e.scores.tokens))
	}
}
