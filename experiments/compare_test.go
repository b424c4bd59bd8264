package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mosaicquant/mosaicquant/internal/row"
)

// sample is a row of 12 windows whose divergences grow with kl.
func sample(trial string, axes map[string]string, kl float64) *row.Row {
	all := map[string]string{"model": "builtin:tiny-llama3", "activations": "a16", "protocol.text": "builtin:heldout", "protocol.context": "64"}
	for k, v := range axes {
		all[k] = v
	}
	var tokens, nll, kls, top []float64
	for i := range 12 {
		wave := 1 + 0.1*float64(i%5)
		tokens, nll = append(tokens, 64), append(nll, 64*(3+wave+kl))
		kls, top = append(kls, 64*kl*wave), append(top, 60)
	}
	return &row.Row{
		Schema: row.Schema, Trial: trial, Label: strings.Join([]string{axes["method"], axes["density"]}, " "), Axes: all,
		Config: []byte("{}"), Env: "e", Status: row.OK, Start: "2026-01-02T03:04:05Z",
		Values: []row.Value{{Name: row.BitsPerWeight, Value: 4.125}, {Name: row.PPLToken, Value: 50}, {Name: row.KLMean, Value: kl}},
		Series: []row.Series{{Name: row.WindowTokens, Values: tokens}, {Name: row.WindowNLL, Unit: "nat", Values: nll},
			{Name: row.WindowKL, Unit: "nat", Values: kls}, {Name: row.WindowTop1, Values: top}},
	}
}

// folder writes rows as a results folder named name.
func folder(t *testing.T, name string, rows ...*row.Row) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), name)
	w, _, err := row.OpenWriter(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rows {
		if err := w.Append(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestCompareCommand(t *testing.T) {
	rtn := map[string]string{"method": "rtn"}
	a := folder(t, "a", sample("1", rtn, 0.02), sample("2", map[string]string{"method": "mosaic", "density": "0.1"}, 0.01))
	b := folder(t, "b", sample("1", rtn, 0.021), sample("3", map[string]string{"method": "mosaic", "density": "0.05"}, 0.015))
	text, err := execute(t, "compare", a, b, "--threshold", "10")
	if err != nil || !strings.Contains(text, "1 pair matched (1 by trial ID)") || !strings.Contains(text, "differs in density") {
		t.Errorf("within the threshold: %v", err)
	}
	if _, err = execute(t, "compare", a, b, "--threshold", "1"); err == nil || !strings.Contains(err.Error(), "1 of 1 matched rows got worse by more than 1 %: rtn") {
		t.Errorf("past the threshold: %v", err)
	}
	if text, err = execute(t, "compare", a, b, "--across", "density", "--threshold", "90", "--format", "md"); err != nil || !strings.Contains(text, "1 across density") {
		t.Errorf("across density: %v", err)
	}
	if text, err = execute(t, "compare", b, a, "--across", "density", "--format", "csv"); err != nil || !strings.Contains(text, "kl_ratio_low") {
		t.Errorf("better both times: %v", err)
	}

	f, err := os.OpenFile(filepath.Join(b, row.File), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	f.WriteString(`{"schema":1,"tri`)
	f.Close()
	if text, err = execute(t, "compare", a, b, "--threshold", "10"); err != nil || !strings.Contains(text, "unfinished") {
		t.Errorf("a torn row: %v", err)
	}

	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{a}, "accepts 2 arg"},
		{[]string{a, filepath.Join(a, "none")}, "rows.jsonl"},
		{[]string{a, b, "--threshold", "-1"}, "--threshold -1"},
		{[]string{a, b, "--threshold", "NaN"}, "--threshold NaN"},
		{[]string{a, b, "--format", "xls"}, `--format "xls"`},
		{[]string{a, b, "--across", "sparsity"}, `axis "sparsity"`},
	} {
		if _, err := execute(t, append([]string{"compare"}, c.args...)...); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: error %v, want it to say %q", c.args, err, c.want)
		}
	}
	if data, err := os.ReadFile(filepath.Join(a, row.File)); err != nil || bytes.Count(data, []byte("\n")) != 2 {
		t.Errorf("compare changed the rows of A: %v", err)
	}
}

func TestTablesCommand(t *testing.T) {
	a := folder(t, "a", sample("1", map[string]string{"method": "rtn"}, 0.02))
	again := folder(t, "a", sample("1", map[string]string{"method": "rtn"}, 0.02))
	for format, want := range map[string]string{"md": "| LLaMA-3-8B | MosaicQuant W4A4 | 71.2 | no run: configs/paper-w4a4.yaml | 10.8 | no run: configs/paper-w4a4.yaml |", "csv": "results of a", "latex": "\\toprule"} {
		if text, err := execute(t, "tables", a, "--format", format); err != nil || !strings.Contains(text, want) {
			t.Errorf("%s: %v", format, err)
		}
	}
	if text, err := execute(t, "tables", a, again); err != nil || !strings.Contains(strings.ReplaceAll(text, "\\", ""), filepath.ToSlash(again)) {
		t.Errorf("two folders of one name are not told apart: %v", err)
	}
	for _, c := range [][2]string{{filepath.Join(a, "none"), "rows.jsonl"}, {"--format=html", `--format "html"`}} {
		if _, err := execute(t, "tables", a, c[0]); err == nil || !strings.Contains(err.Error(), c[1]) {
			t.Errorf("%s: %v", c[0], err)
		}
	}
	if _, err := execute(t, "tables"); err == nil {
		t.Error("tables of no folder")
	}
}
