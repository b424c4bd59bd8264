package reports

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/mosaicquant/mosaicquant/internal/row"
	"github.com/mosaicquant/mosaicquant/reports/rowtest"
	"github.com/mosaicquant/mosaicquant/reports/stats"
)

// Scores are paired with the 16-bit row item by item: an item that both get
// wrong says nothing, so that two scores of wide errors can differ clearly.
func TestTasks(t *testing.T) {
	s := rowtest.Synthetic{Windows: 8}
	var right, wrong, same, fewer []float64
	for i := range 400 {
		hit := float64(i % 2)
		right, same = append(right, hit), append(same, hit)
		if i%20 == 1 { // 20 items of the 200 are lost, none is gained
			hit = 0
		}
		wrong = append(wrong, hit)
		if i < 300 {
			fewer = append(fewer, hit)
		}
	}
	reference := rowtest.WithTask(s.Row("16-bit", "a16", map[string]string{"method": "none"}, 16, 1e-9), "arc_easy/acc",
		"", right...)
	reference = rowtest.WithTask(reference, "cloze/logprob", "nat", -3, -4, -5, -6.5)
	worse := rowtest.WithTask(s.Row("<b>rtn", "a16", map[string]string{"method": "rtn"}, 4.1, .02), "arc_easy/acc", "",
		wrong...)
	worse = rowtest.WithTask(worse, "cloze/logprob", "nat", -3.1, -4.1, -5.1, -6.6)
	equal := rowtest.WithTask(s.Row("gptq", "a16", map[string]string{"method": "gptq"}, 4.2, .01), "arc_easy/acc", "",
		same...)
	other := rowtest.WithTask(s.Row("spqr", "a16", map[string]string{"method": "spqr"}, 4.3, .01), "arc_easy/acc", "",
		fewer...)
	in := Input{Title: "tasks", Rows: []row.Row{reference, worse, equal, other}}
	g := stats.Build(in.Rows).Groups[0]
	if fmt.Sprint(g.TaskNames) != "[arc_easy/acc cloze/logprob]" || g.TaskReference == nil ||
		g.TaskReference.Label != "16-bit" {
		t.Fatalf("tasks %v, reference %v", g.TaskNames, g.TaskReference)
	}
	find := func(label string) *stats.Entry {
		for _, e := range g.Entries {
			if e.Label == label {
				return e
			}
		}
		t.Fatal(label)
		return nil
	}
	acc := find("<b>rtn").Task("arc_easy/acc")
	// sample standard deviation over the square root of n, as the harness has it
	if want := math.Sqrt(.45 * .55 / 399); math.Abs(acc.Mean.Value-.45) > 1e-12 || math.Abs(acc.Mean.SE-want) > 1e-12 {
		t.Errorf("acc %v ± %v, want .45 ± %v", acc.Mean.Value, acc.Mean.SE, want)
	}
	if v := acc.Versus; v == nil || math.Abs(v.Value+.05) > 1e-12 || math.Abs(v.SE-math.Sqrt(.05*.95/399)) > 1e-12 ||
		!(acc.Holm < .001) {
		t.Errorf("paired difference %+v, p %v", acc.Versus, acc.Holm)
	}
	if !acc.Flips || acc.Lost != 20 || acc.Gained != 0 {
		t.Errorf("%d items lost, %d gained, known %v; want 20 and 0", acc.Lost, acc.Gained, acc.Flips)
	}
	if v := find("<b>rtn").Task("cloze/logprob"); v.Flips {
		t.Error("a score in nats has flips")
	}
	if v := find("gptq").Task("arc_easy/acc"); v.Versus == nil || v.Versus.Value != 0 || v.Holm != 1 {
		t.Errorf("equal answers: %+v", v)
	}
	if v := find("spqr").Task("arc_easy/acc"); v.Versus != nil {
		t.Errorf("300 items were paired with 400: %+v", v.Versus)
	}
	var claims []string
	for _, f := range groupFindings(g) {
		claims = append(claims, f.Text)
	}
	const want = "lower in 2, higher in 0, not distinguishable in 1 of 3 comparisons"
	if text := strings.Join(claims, "\n"); !strings.Contains(text, want) {
		t.Errorf("findings:\n%s", text)
	}
	page := mustPage(t, in)
	for _, want := range []string{"Zero-shot task arc_easy", "acc, %", "45.00 ± 2.49",
		"<bdi>−5.00</bdi><b>*</b> <small>[−7.15, −2.85]</small>", "Zero-shot task cloze", "logprob, nat",
		"<bdi>−0.1000</bdi><b>*</b> <small>["} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if strings.Contains(page, "<b>rtn") {
		t.Error("a label is taken for markup")
	}
	csv := string(taskCSV(stats.Build(in.Rows)))
	if lines := strings.Count(csv, "\n"); lines != 7 || !strings.Contains(csv, "arc_easy/acc,,300,") {
		t.Errorf("tasks.csv:\n%s", csv)
	}
}

// Without the 16-bit row there are scores, and no differences.
func TestTasksWithoutReference(t *testing.T) {
	s := rowtest.Synthetic{Windows: 8}
	in := Input{Rows: []row.Row{rowtest.WithTask(s.Row("rtn", "a16", map[string]string{"method": "rtn"}, 4.1, .02),
		"piqa/acc", "", 1, 0, 1)}}
	page := mustPage(t, in)
	if !strings.Contains(page, "66.67 ± 33.33") || strings.Contains(page, "vs 16-bit weights") {
		t.Error("want the score alone")
	}
}
