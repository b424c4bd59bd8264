package tasks

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mosaicquant/mosaicquant/internal/builtin"
	"github.com/mosaicquant/mosaicquant/internal/hf"
	"github.com/mosaicquant/mosaicquant/internal/llm"
	"github.com/mosaicquant/mosaicquant/internal/testdata"
)

// golden is what lm-evaluation-harness says about builtin:tiny-llama3; it
// comes from scripts/golden/tasks.py, which describes it.
type golden struct {
	Made     string
	ModelSHA string `json:"model_sha256"`
	Tasks    []goldenTask
}

type goldenTask struct {
	Task           string // "hellaswag_text": the text form taken as it stands
	File           string
	SHA256         string
	BOS            bool
	MaxLength      int `json:"max_length"`
	Items          []int
	Truncated      int
	LogLikelihoods [][]float64 `json:"log_likelihoods"` // to four decimals
	Greedy         [][]int
	Choice         []int
	Right          map[string][]int // by metric
	Metrics, SE    map[string]float64
}

// tolerance bounds the difference of log-likelihoods, in nat: 5e-5 of
// rounding, and sums of up to a hundred float32 terms of relative error 1e-7.
const tolerance = 2e-4

func openTiny(t *testing.T) (*llm.Model, *hf.Tokenizer) {
	t.Helper()
	files, err := builtin.Model("tiny-llama3")
	if err != nil {
		t.Fatal(err)
	}
	m, err := llm.Open(files)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	tokenizer, err := hf.ReadTokenizer(files)
	if err != nil {
		t.Fatal(err)
	}
	return m, tokenizer
}

// TestGolden compares with the harness on data sets of others, where they are.
func TestGolden(t *testing.T) {
	testGolden(t, "golden.json", func(t *testing.T, file string) string { return testdata.Dir(t, file) })
}

// TestGoldenOwn compares on a few items of each kind that were written for this
// project.
func TestGoldenOwn(t *testing.T) {
	testGolden(t, "golden-own.json", func(_ *testing.T, file string) string { return filepath.Join("testdata", "own", file) })
}

// testGolden compares with a golden; find returns the path of a file of a task, or
// skips the test where there is none.
func testGolden(t *testing.T, name string, find func(t *testing.T, file string) string) {
	m, tokenizer := openTiny(t)
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	var g golden
	if err := json.Unmarshal(data, &g); err != nil {
		t.Fatal(err)
	}
	if sha := m.Checkpoint().SHA256(); sha != g.ModelSHA {
		t.Fatal("the golden is of another model: run scripts/golden/tasks.py")
	}
	for _, want := range g.Tasks {
		t.Run(fmt.Sprintf("%s bos=%v max=%d", want.Task, want.BOS, want.MaxLength), func(t *testing.T) {
			task := want.open(t, find)
			o := Options{BOS: -1, MaxLength: want.MaxLength}
			if want.BOS {
				o.BOS = bos
			}
			got, err := task.Score(context.Background(), m, tokenizer, o)
			if err != nil {
				t.Fatal(err)
			}
			want.check(t, got)
		})
	}
}

// open reads the task and keeps the items of the golden.
func (g *goldenTask) open(t *testing.T, find func(t *testing.T, file string) string) *Task {
	t.Helper()
	var ref string
	if strings.HasPrefix(g.File, "eval/") {
		data, err := os.ReadFile(find(t, g.File))
		if err != nil {
			t.Fatal(err)
		}
		if sum := sha256.Sum256(data); hex.EncodeToString(sum[:]) != g.SHA256 {
			t.Skipf("needs %s of SHA-256 %s", g.File, g.SHA256)
		}
	}
	switch {
	case !strings.HasPrefix(g.File, "eval/"):
		ref = builtin.Prefix + g.Task
	case g.Task == "hellaswag_text":
		ref = "hellaswag=" + find(t, g.File)
	case g.Task == "hellaswag":
		ref = "hellaswag=" + publishedHellaSwag(t, find(t, g.File))
	default:
		ref = g.Task + "=" + find(t, g.File)
	}
	task, err := Open(ref)
	if err != nil {
		t.Fatal(err)
	}
	all := task.Items
	task.Items = nil
	for _, i := range g.Items {
		task.Items = append(task.Items, all[i])
	}
	return task
}

// publishedHellaSwag writes the text form as JSON lines, cut as hellaswag of
// scripts/golden/tasks.py does.
func publishedHellaSwag(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimRight(string(data), "\n"), "\n")
	var b strings.Builder
	e := json.NewEncoder(&b)
	for i := 0; i+5 < len(lines); i += 6 {
		activity, rest, ok := strings.Cut(lines[i], ": ")
		if !ok {
			activity, rest = "", lines[i]
		}
		before, after := "", rest
		if j := strings.LastIndex(rest, ". "); j >= 0 {
			before, after = rest[:j], rest[j+2:]
		}
		if err := e.Encode(map[string]any{"activity_label": activity, "ctx_a": before + ".", "ctx_b": after,
			"endings": lines[i+2 : i+6], "label": lines[i+1]}); err != nil {
			t.Fatal(err)
		}
	}
	name := filepath.Join(t.TempDir(), "hellaswag.jsonl")
	if err := os.WriteFile(name, []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	return name
}

func (g *goldenTask) check(t *testing.T, got *Result) {
	t.Helper()
	if len(got.Answers) != len(g.Items) {
		t.Fatalf("%d answers, want %d", len(got.Answers), len(g.Items))
	}
	if got.Truncated != g.Truncated {
		t.Errorf("%d requests truncated, want %d", got.Truncated, g.Truncated)
	}
	worst := 0.0
	for i, a := range got.Answers {
		at := got.Task.Items[i].At
		if len(a.LogLikelihoods) != len(g.LogLikelihoods[i]) {
			t.Fatalf("%s: %d requests, want %d", at, len(a.LogLikelihoods), len(g.LogLikelihoods[i]))
		}
		for j, ll := range a.LogLikelihoods {
			d := math.Abs(ll - g.LogLikelihoods[i][j])
			if !(d < tolerance) {
				t.Errorf("%s: log-likelihood %d is %v, want %v", at, j, ll, g.LogLikelihoods[i][j])
			}
			worst = max(worst, d)
			if a.Greedy[j] != (g.Greedy[i][j] == 1) {
				t.Errorf("%s: greedy %d is %v", at, j, a.Greedy[j])
			}
		}
		if g.Choice != nil && a.Choice != g.Choice[i] {
			t.Errorf("%s: choice %d, want %d", at, a.Choice, g.Choice[i])
		}
	}
	for name, want := range g.Metrics {
		m, ok := got.Metric(name)
		if !ok {
			t.Fatalf("no metric %s", name)
		}
		// Perplexity moves by the relative amount of a log-likelihood.
		if !(math.Abs(m.Value-want) <= 1e-12+1e-4*want*boolean(name == Perplexity)) {
			t.Errorf("%s is %v, want %v", name, m.Value, want)
		}
		for i, right := range g.Right[name] {
			if m.Items[i] != float64(right) {
				t.Errorf("%s: %s is %v, want %d", got.Task.Items[i].At, name, m.Items[i], right)
			}
		}
		if se, ok := g.SE[name]; ok && !(math.Abs(*m.SE-se) < 1e-12) {
			t.Errorf("standard error of %s is %v, want %v", name, *m.SE, se)
		}
	}
	t.Logf("%d items, largest difference of log-likelihoods %.1e", len(g.Items), worst)
}

func boolean(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
