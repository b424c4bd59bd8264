package trial

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/mosaicquant/mosaicquant/experiments/plan"
	"github.com/mosaicquant/mosaicquant/internal/row"
)

// transformed returns the trials of a sweep of the builtin model whose lines are
// given beside model, texts and calibration.
func transformed(t *testing.T, model, lines string) []plan.Trial {
	t.Helper()
	sw, err := plan.Parse("transform.yaml", []byte(fmt.Sprintf(`
name: transform
model: builtin:%s
protocol: {text: builtin:heldout, context: 64, stride: 64, bos: true, tokens: 128}
calibration: {text: builtin:calibration, tokens: 512, seed: 1}
%s
`, model, lines)))
	if err != nil {
		t.Fatal(err)
	}
	return sw.Trials
}

// everyTransform is a list of all transforms for a sweep file.
func everyTransform() string {
	var names []string
	for _, tr := range plan.Transforms {
		names = append(names, tr.Name)
	}
	return "[" + strings.Join(names, ", ") + "]"
}

// TestTransformsKeepTheFunction: every transform leaves the 16-bit logits as they
// are, to 1e-5 of the largest, with synthetic outliers and without, on models with
// tied embeddings, in LLaMA's style and in Qwen3's, whose queries and keys have
// norms; and it changes what the layers read.
func TestTransformsKeepTheFunction(t *testing.T) {
	lab := testLab(t)
	for _, name := range []string{"tiny-llama3", "tiny-qwen3"} {
		trials := transformed(t, name, "stress: {channels: [0%, 2%], gain: 30}\ntransform: "+everyTransform()+
			"\ntransform_steps: 10\nactivations: a4\nmethods: [{method: rtn}]")
		for _, tr := range trials {
			s, err := lab.Open(t.Context(), tr)
			if err != nil {
				t.Fatal(err)
			}
			var ids []int32
			for i := range 48 {
				ids = append(ids, int32(i*i*7%s.source.model.Config().VocabSize))
			}
			want := logits(t, s.source.model, ids, nil)
			before := load(s.source.linears[0])
			if err := s.ready(t.Context()); err != nil {
				t.Fatalf("%s %s: %v", name, tr.Label, err)
			}
			got := logits(t, s.source.model, ids, nil)
			var worst, largest float64
			for i, v := range got.Data {
				worst = max(worst, math.Abs(float64(v)-float64(want.Data[i])))
				largest = max(largest, math.Abs(float64(want.Data[i])))
			}
			if !(worst <= 1e-5*largest) {
				t.Errorf("%s %s: logits differ by %.2g of the largest", name, tr.Label, worst/largest)
			}
			same := true
			for i, v := range load(s.source.linears[0]).Data {
				same = same && v == before.Data[i]
			}
			if same {
				t.Errorf("%s %s: q_proj stays as it is", name, tr.Label)
			}
			s.Close()
		}
	}
}

// TestTransformRows: rows count what runs online, the output layer that folding
// unties, and nothing else; shapes that a transform does not fit are told before.
func TestTransformRows(t *testing.T) {
	lab := testLab(t)
	rows := map[string]*row.Row{}
	for _, tr := range transformed(t, "tiny-llama3", "transform: [none, folded, quarot, block-hadamard]\n"+
		"activations: [a4, a16]\nmethods: [{method: [none, rtn]}]") {
		s, err := lab.Open(t.Context(), tr)
		if err != nil {
			t.Fatal(err)
		}
		r, err := s.Run(t.Context(), tr)
		if err != nil || r.Status != row.OK {
			t.Fatalf("%s: %v %s", tr.Label, err, r.Error)
		}
		s.Close()
		rows[tr.Transform+" "+tr.Method.Name()+" "+tr.Activations] = r
	}
	value := func(of, name string) float64 {
		v, _ := rows[of].Value(name)
		return v.Value
	}
	const d, heads, inter, layers, vocab = 256, 4, 768, 6, 4096
	for name, want := range map[string]float64{
		"":               0,
		"folded":         0,
		"quarot":         layers * (d*2 + inter*(6+11)), // log2 of 4 heads; 768 = 12·64
		"block-hadamard": layers * 7 * (d + d + d + inter),
	} {
		for _, method := range []string{"none", "rtn"} {
			if got := value(name+" "+method+" a16", row.OnlineOperations); got != want {
				t.Errorf("%s %s: %g operations per token, want %g", name, method, got, want)
			}
		}
		if got, want := value(name+" rtn a16", row.BitsPerWeight), value(" rtn a16", row.BitsPerWeight); got != want {
			t.Errorf("%s: %g bits per weight, want %g", name, got, want)
		}
		if kl := value(name+" none a16", row.KLMean); kl != 0 {
			t.Errorf("%s: the 16-bit model diverges by %g", name, kl)
		}
	}
	if got := value("folded rtn a16", row.ModelBytes) - value(" rtn a16", row.ModelBytes); got < 2*vocab*d {
		t.Errorf("the output layer beside the embedding is counted as %g bytes", got)
	}
	// The builtin models have no outliers to take away, yet no transform may cost more
	// than a few per cent.
	for _, name := range []string{"quarot", "block-hadamard"} {
		if kl, plain := value(name+" none a4", row.KLMean), value(" none a4", row.KLMean); !(kl < 1.05*plain) {
			t.Errorf("%s: 4-bit activations cost %g, %g without", name, kl, plain)
		}
	}
	duquant := transformed(t, "tiny-llama3", "transform: duquant\ntransform_block: 64\ntransform_steps: 2\n"+
		"methods: [{method: rtn}]")[0]
	ds, err := lab.Open(t.Context(), duquant)
	if err != nil {
		t.Fatal(err)
	}
	defer ds.Close()
	r, err := ds.Run(t.Context(), duquant)
	if err != nil || r.Status != row.OK {
		t.Fatalf("%s: %v %s", duquant.Label, err, r.Error)
	}
	// Two matrices of half precision and ten or eight bits for each channel.
	const stored = layers * (4*2*2*64*64 + 3*d + inter*10/8)
	last := r.Ledger[len(r.Ledger)-1]
	got, _ := r.Value(row.OnlineOperations)
	if last.Name != "transforms" || last.Bytes != stored || got.Value != layers*2*127*(3*d+inter) {
		t.Errorf("DuQuant stores %d bytes as %s, want %d, and takes %g operations", last.Bytes, last.Name, stored, got.Value)
	}
	weights := float64(layers * (d*d*2 + 2*d*d/2 + 3*d*inter))
	bits, _ := r.Value(row.BitsPerWeight)
	if math.Abs(bits.Value-value(" rtn a16", row.BitsPerWeight)-8*stored/weights) > 1e-9 {
		t.Errorf("DuQuant takes %g bits per weight", bits.Value)
	}
	odd := transformed(t, "tiny-llama3", "transform: block-hadamard\ntransform_block: 512\nmethods: [{method: rtn}]")[0]
	s, err := lab.Open(t.Context(), odd)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.CheckShapes(odd); err == nil || !strings.Contains(err.Error(), "q_proj: transform_block: blocks of 512") {
		t.Errorf("blocks of 512 channels in 256: %v", err)
	}
}
