package trial

import (
	"io"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/mosaicquant/mosaicquant/experiments/method"
	"github.com/mosaicquant/mosaicquant/experiments/plan"
	"github.com/mosaicquant/mosaicquant/internal/row"
	"github.com/mosaicquant/mosaicquant/internal/store"
)

func testLab(t *testing.T) *Lab {
	t.Helper()
	st, err := store.Open(t.TempDir(), func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	return &Lab{Store: st, Progress: io.Discard}
}

// TestEvaluate compares with the 16-bit trial of a sweep, which must say the
// same of text and tasks, and looks at what activations and limits do.
func TestEvaluate(t *testing.T) {
	if testing.Short() {
		t.Skip("checks numbers of the builtin model")
	}
	l := testLab(t)
	protocol := plan.Protocol{Text: "builtin:heldout", Context: 128, Stride: 128, BOS: true, Tokens: 1024}
	sweep := plan.Trial{Model: "builtin:tiny-llama3", Protocol: protocol, Activations: "a8", Method: method.New("none"), Tasks: "builtin:cloze",
		Calibration: plan.Calibration{Text: "builtin:calibration", Tokens: 128, Context: 128}}
	s, err := l.Open(t.Context(), sweep)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	want, err := s.Run(t.Context(), sweep)
	if err != nil || want.Status != row.OK {
		t.Fatal(err, want)
	}
	e := Evaluation{Model: sweep.Model, Activations: "a8", Protocol: protocol, Tasks: sweep.TaskList()}
	got, err := l.Evaluate(t.Context(), e)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Text.Values) != 4 {
		t.Errorf("%d values: %v", len(got.Text.Values), got.Text.Values)
	}
	for _, v := range got.Text.Values {
		if w, ok := want.Value(v.Name); !ok || v.Value != w.Value {
			t.Errorf("%s is %v, in a sweep %v", v.Name, v.Value, w.Value)
		}
	}
	if len(got.Tasks) != 1 || len(got.Tasks[0].Answers) != 206 || got.Evaluation.MaxLength != 256 || len(got.Warnings) != 0 {
		t.Errorf("%+v", got)
	}

	for _, r := range got.Tasks {
		for _, m := range r.Metrics {
			name := row.TaskMetric(r.Task.Name, m.Name)
			if v, ok := want.Value(name); !ok || v.Value != m.Value || *v.SE != *m.SE {
				t.Errorf("%s is %v, in a sweep %v", name, m.Value, v.Value)
			}
			if series := want.Windows(name); m.Name != "perplexity" && !slices.Equal(series, m.Items) {
				t.Errorf("%s: a series of %d for %d items, or another", name, len(series), len(m.Items))
			}
		}
	}
	e.Limit = 10
	if few, err := l.Evaluate(t.Context(), e); err != nil || len(few.Tasks[0].Answers) != 10 {
		t.Errorf("limit 10: %v", err)
	}

	e = Evaluation{Model: e.Model, Activations: "a16", Protocol: plan.Protocol{BOS: true}, Tasks: []string{"builtin:choice", "builtin:cloze"}, MaxLength: 300}
	full, err := l.Evaluate(t.Context(), e)
	if err != nil {
		t.Fatal(err)
	}
	if full.Text != nil {
		t.Error("a text was scored, though none was named")
	}
	if len(full.Warnings) != 1 || !strings.Contains(full.Warnings[0], "300") {
		t.Errorf("warnings %q do not say that 300 is too long", full.Warnings)
	}
	if a, b := full.Tasks[1].Answers[0].LogLikelihoods[0], got.Tasks[0].Answers[0].LogLikelihoods[0]; !(math.Abs(a-b) > 1e-3) {
		t.Errorf("a8 gives %v, a16 %v", b, a)
	}
	// The model is clearly above chance: 0.25, and the reciprocal vocabulary.
	if acc, _ := full.Tasks[0].Metric("acc"); !(acc.Value-4**acc.SE > 0.25) {
		t.Errorf("choice: acc %v ± %v", acc.Value, *acc.SE)
	}
	if word, _ := full.Tasks[1].Metric("logprob"); !(word.Value-4**word.SE > -math.Log(4096)) {
		t.Errorf("cloze: log-probability %v ± %v", word.Value, *word.SE)
	}
}

func TestEvaluateErrors(t *testing.T) {
	l := testLab(t)
	good := Evaluation{Model: "builtin:tiny-llama3", Activations: "a16", Protocol: plan.Protocol{BOS: true}, Tasks: []string{"builtin:choice"}}
	for _, c := range []struct {
		change func(*Evaluation)
		want   string
	}{
		{func(e *Evaluation) { e.Activations = "a3" }, "a3"},
		{func(e *Evaluation) { e.Model = "builtin:none" }, `no model "none"`},
		{func(e *Evaluation) { e.Tasks = []string{"choice"} }, `"choice"`},
		{func(e *Evaluation) { e.Protocol.Text = "builtin:none" }, `no text "none"`},
		{func(e *Evaluation) { e.Protocol.Text, e.Protocol.Stride = "builtin:heldout", 300 }, "stride 300"},
		{func(e *Evaluation) { e.MaxLength = 2 }, "the model reads 2"},
	} {
		e := good
		c.change(&e)
		if _, err := l.Evaluate(t.Context(), e); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want %q", err, c.want)
		}
	}
}
