package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/mosaicquant/mosaicquant/experiments/plan"
	"github.com/mosaicquant/mosaicquant/experiments/trial"
)

// execute runs the command line args and returns what it prints.
func execute(t *testing.T, args ...string) (out string, err error) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := root()
	cmd.SetArgs(args)
	cmd.SetOut(&stdout)
	cmd.SetErr(&stderr)
	err = cmd.ExecuteContext(t.Context())
	t.Logf("experiments %s\n%s%s", strings.Join(args, " "), &stdout, &stderr)
	return stdout.String(), err
}

// TestSweepCommand does what a user does first: sweep, look, redraw.
func TestSweepCommand(t *testing.T) {
	dir := t.TempDir()
	cache, out := filepath.Join(dir, "cache"), filepath.Join(dir, "out")
	config := "../configs/smoke.yaml"

	text, err := execute(t, "sweep", "-c", config, "--cache", cache, "--dry-run")
	if err != nil || !strings.Contains(text, "5 trials, about") {
		t.Fatalf("dry run: %v\n%s", err, text)
	}
	id := regexp.MustCompile(`[0-9a-f]{16}`).FindAllString(text, -1)
	if len(id) != 5 {
		t.Fatalf("dry run lists %d trials", len(id))
	}
	if text, err = execute(t, "sweep", "-c", config, "--cache", cache, "-o", out, "--trial", id[1]); err != nil || !strings.Contains(text, "1 trials in") {
		t.Fatalf("one trial: %v\n%s", err, text)
	}
	if text, err = execute(t, "sweep", "-c", config, "--cache", cache, "-o", out); err != nil || !strings.Contains(text, "4 trials in") || !strings.Contains(text, "1 were finished") {
		t.Fatalf("the rest: %v\n%s", err, text)
	}
	page, err := os.ReadFile(filepath.Join(out, "report.html"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"mosaic", "builtin:tiny-llama3", "<svg", "go run ./experiments sweep"} {
		if !bytes.Contains(page, []byte(want)) {
			t.Errorf("report.html has no %q", want)
		}
	}
	for _, name := range []string{"config.yaml", "env.json", "rows.jsonl", "tables/results.csv", "tables/results.md", "tables/results.tex", "report.md", "report.ipynb"} {
		if info, err := os.Stat(filepath.Join(out, name)); err != nil || info.Size() == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
	if plots, _ := filepath.Glob(filepath.Join(out, "plots", "*.png")); len(plots) == 0 {
		t.Error("no plots")
	}
	if _, err := execute(t, "report", out); err != nil {
		t.Fatal(err)
	}
	if again, _ := os.ReadFile(filepath.Join(out, "report.html")); !bytes.Equal(page, again) {
		t.Error("the same rows gave another page")
	}
}

// TestBenchCommand measures a product, resumes, and draws the report.
func TestBenchCommand(t *testing.T) {
	dir := t.TempDir()
	config := filepath.Join(dir, "tiny.yaml")
	const yaml = "name: tiny\nengine: cpu\nrepeats: 3\nproducts:\n  - {shapes: 64x256, scheme: [w4a8, w4a16], block: 16x16, variants: [w16a16, dense4, separate, outlier16, zipper]}\n" +
		"generate:\n  - {model: builtin:tiny-llama3, prompt: 4, tokens: 3, block: 16x16, variants: [w16a16, dense4, zipper]}\n"
	if err := os.WriteFile(config, []byte(yaml), 0o644); err != nil {
		t.Fatal(err)
	}
	args := []string{"bench", "-c", config, "-o", filepath.Join(dir, "out"), "--cache", dir}
	text, err := execute(t, args...)
	if err != nil || !strings.Contains(text, "13 rows in") || !strings.Contains(text, "(0 were there before)") || strings.Count(text, "  zipper") != 3 {
		t.Fatal(err)
	}
	if text, err = execute(t, args...); err != nil || !strings.Contains(text, "(13 were there before)") {
		t.Fatal(err)
	}
	if _, err := execute(t, "report", filepath.Join(dir, "out")); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(dir, "out", "report.html"))
	if err != nil || !bytes.Contains(page, []byte("go run ./experiments bench -c results/tiny/config.yaml")) {
		t.Error("the page does not tell how to measure again:", err)
	}
}

func TestCommandErrors(t *testing.T) {
	dir := t.TempDir()
	noKernel := filepath.Join(dir, "packed.yaml")
	if err := os.WriteFile(noKernel, []byte(`
name: packed
model: builtin:tiny-llama3
protocol: {text: builtin:heldout, context: 256, stride: 256, bos: true}
calibration: {text: builtin:calibration, tokens: 16384}
execution: packed
methods:
  - {method: rtn, group: 64}
  - {method: gptq, format: fireq4}
`), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"swep"}, "unknown command"},
		{[]string{"sweep", "extra"}, "extra"},
		{[]string{"sweep", "-c", filepath.Join(dir, "missing.yaml")}, "missing.yaml"},
		{[]string{"sweep", "-c", "../configs/smoke.yaml", "--cache", dir, "-o", dir, "--trial", "0123"}, "0123"},
		{[]string{"report"}, "accepts 1 arg"},
		{[]string{"bench", "-c", "../configs/smoke.yaml", "-o", dir}, "smoke.yaml:4: unknown key \"model\""},
		{[]string{"bench", "-c", filepath.Join(dir, "missing.yaml")}, "missing.yaml"},
		{[]string{"report", filepath.Join(dir, "nothing")}, "rows.jsonl"},
		{[]string{"eval", "--text", "builtin:heldout", "--engine", "gpu"}, "--engine gpu: want cpu or cuda"},
		{[]string{"generate", "--prompt", "x", "--engine", "gpu"}, "--engine gpu: want cpu or cuda"},
		{[]string{"sweep", "-c", noKernel, "--dry-run", "--cache", dir}, "trial \"gptq fireq4"},
	} {
		if _, err := execute(t, c.args...); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: error %v, want it to say %q", c.args, err, c.want)
		}
	}
}

// TestReadme checks every command and sweep file that the README and the other pages
// show, and that the README's test command is the one of .ci/run.
func TestReadme(t *testing.T) {
	pages, err := filepath.Glob("../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	commands := 0
	for _, page := range append(pages, "../README.md", "../results/README.md", "../CONTRIBUTING.md") {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		commands += checkCommands(t, page, string(text))
		checkSweepFiles(t, page, text)
	}
	if commands < 20 {
		t.Errorf("found %d commands", commands)
	}
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	ci, err := os.ReadFile("../.ci/run")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(readme, []byte("\ngo test ./...\n")) || !bytes.Contains(ci, []byte("\ngo test ./...\n")) {
		t.Error("README and .ci/run do not share the test command")
	}
}

// checkCommands parses the commands that a page shows, one a line, and returns their number.
func checkCommands(t *testing.T, page, text string) (commands int) {
	for line := range strings.Lines(text) {
		args, ok := strings.CutPrefix(line, "go run ./experiments ")
		if !ok {
			continue
		}
		commands++
		args, _, _ = strings.Cut(args, "#")
		cmd, rest, err := root().Find(words(args))
		if err == nil {
			err = cmd.ParseFlags(rest)
		}
		if err == nil {
			err = cmd.ValidateArgs(cmd.Flags().Args())
		}
		if err != nil {
			t.Errorf("%s: %s: %v", page, strings.TrimSpace(line), err)
		}
	}
	return commands
}

// checkSweepFiles parses the sweep and bench files that a page shows. A fragment, which
// does not begin with a name, is not a file.
func checkSweepFiles(t *testing.T, page string, text []byte) {
	for i, m := range regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllSubmatch(text, -1) {
		if !bytes.HasPrefix(m[1], []byte("name:")) {
			continue
		}
		_, err := plan.Parse(page, m[1])
		if bytes.Contains(m[1], []byte("variants:")) {
			_, err = plan.ParseBench(page, m[1])
		}
		if err != nil {
			t.Errorf("%s: yaml %d: %v", page, i+1, err)
		}
	}
}

func TestConfigs(t *testing.T) {
	files, err := filepath.Glob("../configs/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		var name string
		if strings.HasPrefix(filepath.Base(f), "kernels") {
			b, err := readBench(f)
			if err != nil {
				t.Error(err)
				continue
			}
			name = b.Name
		} else {
			sw, err := readSweep(f)
			if err != nil {
				t.Error(err)
				continue
			}
			name = sw.Name
		}
		want := strings.TrimSuffix(filepath.Base(f), ".yaml")
		if want == "kernels-gpu-first" { // a part of kernels-gpu, which goes on in its folder
			want = "kernels-gpu"
		}
		if name != want {
			t.Errorf("%s: name %q would write to another folder than expected", f, name)
		}
	}
}

// TestCommentedSettings takes the settings that comments of sweep files offer.
func TestCommentedSettings(t *testing.T) {
	data, err := os.ReadFile("../configs/default.yaml")
	if err != nil {
		t.Fatal(err)
	}
	offered := regexp.MustCompile(`(?m)^# ((?:tasks|execution): )`)
	if n := len(offered.FindAll(data, -1)); n != 2 {
		t.Fatalf("%d settings are offered", n)
	}
	sw, err := plan.Parse("default.yaml", offered.ReplaceAll(data, []byte("$1")))
	if err != nil {
		t.Fatal(err)
	}
	if err := trial.Refused(sw.Trials); err != nil {
		t.Error(err)
	}
	for _, tr := range sw.Trials {
		if tr.Baseline == "" || tr.Speed == nil || tr.Tasks == "" || tr.Execution == "" && tr.Method.Name() != "none" {
			t.Errorf("%s: %+v", tr.Label, tr)
		}
	}
}

// TestEvalCommand reads the JSON form and compares it with the table.
func TestEvalCommand(t *testing.T) {
	args := []string{"eval", "--cache", t.TempDir(), "--text", "builtin:heldout", "--tokens", "1024", "--context", "128", "--tasks", "builtin:choice,builtin:cloze", "--limit", "8"}
	table, err := execute(t, args...)
	if err != nil {
		t.Fatal(err)
	}
	text, err := execute(t, append(args, "--json")...)
	if err != nil {
		t.Fatal(err)
	}
	var rep evalReport
	if err := json.Unmarshal([]byte(text), &rep); err != nil {
		t.Fatal(err)
	}
	if rep.Text == nil || rep.Text.Tokens != 1024 || rep.Text.Stride != 128 || len(rep.Tasks) != 2 || len(rep.Tasks[0].Items) != 8 {
		t.Fatalf("%+v", rep)
	}
	right := 0
	for _, item := range rep.Tasks[0].Items {
		if *item.Choice == *item.Answer {
			right++
		}
	}
	if acc := rep.Tasks[0].Metrics[0]; acc.Name != "acc" || acc.Value != float64(right)/8 || acc.SE == nil {
		t.Errorf("acc is %+v, and %d of 8 items are right", acc, right)
	}
	values := append(rep.Text.Values, append(rep.Tasks[0].Metrics, rep.Tasks[1].Metrics...)...)
	for _, v := range values {
		if !strings.Contains(table, v.Name) || !strings.Contains(table, fmt.Sprintf("%.4f", v.Value)) {
			t.Errorf("the table has no %s of %.4f", v.Name, v.Value)
		}
	}
	if _, err := execute(t, "eval"); err == nil || !strings.Contains(err.Error(), "give --text, --tasks or both") {
		t.Errorf("error %v", err)
	}
}
