package reports

import (
	"bytes"
	"encoding/csv"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/mosaicquant/mosaicquant/internal/row"
	"github.com/mosaicquant/mosaicquant/reports/rowtest"
	"github.com/mosaicquant/mosaicquant/reports/stats"
)

// llama is a row of the model and scheme that the paper reports.
func llama(s rowtest.Synthetic, label string, axes map[string]string) row.Row {
	all := map[string]string{"model": "hub:meta-llama/Meta-Llama-3-8B-Instruct", "protocol.text": "data/wiki.test.raw"}
	for k, v := range axes {
		all[k] = v
	}
	return s.Row(label, all["activations"], all, 4.5, 0.05)
}

func paperFolders() []Input {
	s := rowtest.Synthetic{Windows: 30}
	mosaic := map[string]string{"method": "mosaic", "base": "rtn", "format": "int4", "density": "0.1",
		"criterion": "delta", "residual_bits": "4", "activations": "a4"}
	with := func(k, v string) map[string]string {
		m := map[string]string{k: v}
		for k, v := range mosaic {
			if m[k] == "" {
				m[k] = v
			}
		}
		return m
	}
	rows := []row.Row{
		llama(s, "full", map[string]string{"method": "none", "activations": "a16"}),
		llama(s, "mosaic", mosaic), llama(s, "mosaic 16x16", with("block", "16x16")),
		llama(s, "mosaic a8", with("activations", "a8")),
		llama(s, "gptq a8", map[string]string{"method": "gptq", "format": "int4", "activations": "a8"}),
		// what must not be entered
		llama(s, "5 percent", with("density", "0.05")), llama(s, "random", with("criterion", "random")),
		llama(s, "joint", with("joint", "true")), llama(s, "a16", with("activations", "a16")),
		llama(s, "3 bits", with("format", "int3")), llama(s, "other model", with("model", "hub:meta-llama/Llama-3.1-8B")),
		llama(s, "other text", with("protocol.text", "builtin:heldout")),
	}
	return []Input{
		{Title: "ours", Rows: rows, Commands: map[string]string{rows[1].Trial: "go run ./experiments sweep --trial x"}},
		{Title: "second", Rows: []row.Row{llama(s, "again", mosaic)}},
	}
}

func tables(t *testing.T, folders []Input, format string) string {
	t.Helper()
	var b bytes.Buffer
	if err := Tables(&b, folders, format); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestTables checks which rows stand beside which reported figures.
func TestTables(t *testing.T) {
	recs, err := csv.NewReader(strings.NewReader(tables(t, paperFolders(), "csv"))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string][]string{}
	reported := 0
	for _, r := range recs[1:] {
		switch {
		case r[4] == "measured" && strings.HasPrefix(r[0], "w4"):
			got[r[0]+" "+r[1]+" "+r[2]] = append(got[r[0]+" "+r[1]+" "+r[2]], r[9])
			if r[6] == "" || r[7] == "" || r[8] == "" || r[3] != "ppl_token" {
				t.Errorf("a measured figure without its error or row: %q", r)
			}
		case strings.HasPrefix(r[4], "reported, reading notes, not checked"):
			reported++
			if r[7] != "" || r[9] != "" {
				t.Errorf("a reported figure with a row: %q", r)
			}
		}
	}
	if reported != 16+54+7 {
		t.Errorf("%d reported figures, want 16, 54 and 7 of costs", reported)
	}
	want := map[string]string{
		"w4a4 LLaMA-3-8B W16A16": "full", "w4a8 LLaMA-3-8B W16A16": "full",
		"w4a4 LLaMA-3-8B MosaicQuant W4A4": "mosaic,mosaic 16x16,again",
		"w4a8 LLaMA-3-8B MosaicQuant W4A8": "mosaic a8", "w4a8 LLaMA-3-8B GPTQ W4A8": "gptq a8",
	}
	for k, labels := range got {
		if strings.Join(labels, ",") != want[k] {
			t.Errorf("%s: rows %q, want %q", k, labels, want[k])
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d figures have rows beside them, want %d: %v", len(got), len(want), got)
	}

	md := tables(t, paperFolders(), "md")
	m := regexp.MustCompile(`(?m)^\| LLaMA-3-8B ` +
		`\| MosaicQuant W4A4 \| 71.2 \| no run: configs/paper-w4a4.yaml \| 10.8 \| ` +
		`([0-9.]+ ± [0-9.]+ \(ours/r\d+\)(?:; |)){2}[0-9.]+ ± [0-9.]+ \(second/r1\) \|$`)
	if !m.MatchString(md) {
		t.Errorf("no line of measured figures with their rows in\n%s", md[:3000])
	}
	for _, want := range []string{"not checked against the PDF",
		"| Qwen3-4B | MosaicQuant W4A4 | 66.3 | no run: configs/paper-w4a4.yaml | 11.0 | no run: configs/paper-w4a4.yaml |",
		"go run ./experiments sweep --trial x",
		"on other texts", "other text; hub:meta-llama", "# Results of second"} {
		if !strings.Contains(md, want) {
			t.Errorf("the Markdown does not say %q", want)
		}
	}
	if err := Tables(&bytes.Buffer{}, nil, "pdf"); err == nil || !strings.Contains(err.Error(), "pdf") {
		t.Errorf("format: %v", err)
	}
}

func TestModelNames(t *testing.T) {
	for model, want := range map[string]bool{
		"hub:meta-llama/Meta-Llama-3-8B": true, "/models/Llama-3-8B-Instruct": true, `C:\models\LLaMA-3-8B`: true,
		"Llama-3-8B":                  true,
		"hub:meta-llama/Llama-3.1-8B": false, "Llama-3-8B-mosaic": false, "": false, "hub:x/Llama-3-80B": false,
	} {
		if isModel(model, "LLaMA-3-8B") != want {
			t.Errorf("%q is LLaMA-3-8B: %v", model, !want)
		}
	}
	for text, want := range map[string]bool{"wiki.test.raw": true, "/data/wikitext-2-raw-v1/test.txt": true,
		"builtin:heldout": false, "hawaiiwiki.test": false} {
		if isWikiText(text) != want {
			t.Errorf("%q is WikiText-2: %v", text, !want)
		}
	}
}

func TestPlusMinus(t *testing.T) {
	for _, c := range []struct {
		v, se, scale float64
		n            int
		want         string
	}{{10.8234, 0.0512, 1, 9, "10.823 ± 0.051"}, {0.93456, 0.0123, 100, 9, "93.5 ± 1.2"}, {96.5, 13.2, 1, 9, "96 ± 13"},
		{5, 0, 1, 9, "5.000 ± 0"}, {5.25, 0, 1, 1, "5.250"}} {
		got := plusMinus(&stats.Estimate{Value: c.v, SE: c.se, N: c.n}, c.scale, func(s string) string { return s })
		if got != c.want {
			t.Errorf("%v ± %v: %q, want %q", c.v, c.se, got, c.want)
		}
	}
}

// hostileFolders carry markup in every text that the tables show.
func hostileFolders() []Input {
	folders := paperFolders()
	for i := range folders {
		folders[i].Title += rowtest.Evil
		for j := range folders[i].Rows {
			r := &folders[i].Rows[j]
			r.Label, r.Axes["protocol.bos"] = r.Label+rowtest.Evil, rowtest.Evil
		}
	}
	failed := row.Row{Schema: row.Schema, Trial: "f" + rowtest.Evil, Label: rowtest.Evil, Status: row.Failed,
		Error: rowtest.Evil}
	folders[0].Rows = append(folders[0].Rows, failed)
	return folders
}

// TestLatex compiles the tables where TeX is installed.
func TestLatex(t *testing.T) {
	folders := append(hostileFolders(), syntheticInput())
	text := tables(t, folders, "latex")
	if i := strings.IndexFunc(text, func(r rune) bool { return r > '~' || r < ' ' && r != '\n' }); i >= 0 {
		t.Errorf("LaTeX with a character that pdfTeX may not know: %q", text[i:i+20])
	}
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "%") {
			continue
		}
		plain := regexp.MustCompile(`\\[\\{}$&#%_]`).ReplaceAllString(line, "")
		if strings.Count(plain, "{") != strings.Count(plain, "}") || strings.Count(plain, "$")%2 != 0 {
			t.Errorf("braces or dollars do not match: %s", line)
		}
	}
	if n := strings.Count(text, `\end{tabular}`); n != strings.Count(text, `\begin{tabular}`) || n < 5 {
		t.Errorf("%d tables end", n)
	}

	tex, err := exec.LookPath("pdflatex")
	args := []string{"-halt-on-error", "-interaction=nonstopmode", "doc.tex"}
	if err != nil {
		if tex, err = exec.LookPath("tectonic"); err != nil {
			t.Skip("needs pdflatex or tectonic to compile the tables")
		}
		args = []string{"doc.tex"}
	}
	dir := t.TempDir()
	doc := "\\documentclass{article}\\usepackage{booktabs}\\begin{document}\n" +
		"\\input{tables}\\clearpage\\input{results}\n\\end{document}\n"
	for name, data := range map[string]string{"doc.tex": doc, "tables.tex": text,
		"results.tex": string(resultsLatex(stats.Build(folders[0].Rows)))} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(tex, args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%s: %v\n%s", tex, err, out[max(0, len(out)-3000):])
	}
}

// Zero-shot figures stand beside the reported ones where a row has all six
// tasks, on whatever text.
func TestTablesZeroShot(t *testing.T) {
	s := rowtest.Synthetic{Windows: 8}
	axes := map[string]string{"method": "mosaic", "base": "rtn", "format": "int4", "density": "0.1", "criterion": "delta",
		"residual_bits": "4", "activations": "a4", "protocol.text": "builtin:heldout"}
	whole, part := llama(s, "whole", axes), llama(s, "part", axes)
	for i, name := range zeroShotScores {
		whole = rowtest.WithTask(whole, name, "", 1, 1, 0, float64(i%2))
		if i > 0 {
			part = rowtest.WithTask(part, name, "", 1, 0)
		}
	}
	in := []Input{{Title: "ours", Rows: []row.Row{whole, part}}}
	// means .5 and .75 in turns; standard errors .2887 and .25
	md := tables(t, in, "md")
	if !strings.Contains(md, "| LLaMA-3-8B | MosaicQuant W4A4 | 71.2 | 62 ± 11 (ours/r2) | 10.8 | no run: "+
		"configs/paper-w4a4.yaml |") {
		t.Errorf("tables:\n%s", md[:4000])
	}
	const line = "w4a4,LLaMA-3-8B,MosaicQuant W4A4,zero_shot_percent,measured,62.5,"
	if csv := tables(t, in, "csv"); !strings.Contains(csv, line) {
		t.Errorf("csv:\n%s", csv)
	}
}

func TestSchemes(t *testing.T) {
	row := func(axes ...string) *stats.Entry {
		a := map[string]string{"activations": "a8", "format": "int4"}
		for i := 0; i < len(axes); i += 2 {
			a[axes[i]] = axes[i+1]
		}
		return &stats.Entry{Row: row.Row{Axes: a}}
	}
	mosaic := []string{"method", "mosaic", "base", "rtn", "density", "0.1", "criterion", "delta", "residual_bits", "4",
		"block"}
	for _, c := range []struct {
		e    *stats.Entry
		want string
	}{
		{row("method", "rtn"), "RTN no residual"},
		{row("method", "rtn", "awq", "false"), "RTN no residual"},
		{row("method", "rtn", "awq", "true"), "AWQ"},
		{row("method", "gptq"), "GPTQ"},
		{row("method", "gptq", "awq", "true"), ""},
		{row(append(mosaic, "16x16")...), "MosaicQuant"},
		{row(append(mosaic, "Nx1")...), "channel residual"},
		{row(append(mosaic, "16x16", "awq", "true")...), ""},
	} {
		var got []string
		for _, scheme := range []string{"RTN", "GPTQ", "AWQ", "no residual", "channel residual", "MosaicQuant"} {
			if isScheme(c.e, scheme+" W4A8") {
				got = append(got, scheme)
			}
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%v is %q, want %q", c.e.Axes, got, c.want)
		}
	}
}
