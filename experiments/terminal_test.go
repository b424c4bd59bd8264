package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/mosaicquant/mosaicquant/experiments/plan"
	"github.com/mosaicquant/mosaicquant/internal/row"
	"github.com/mosaicquant/mosaicquant/internal/store"
	"github.com/mosaicquant/mosaicquant/reports/stats"
)

// TestExitCodes tells bad input from failed trials and other errors.
func TestExitCodes(t *testing.T) {
	dir := t.TempDir()
	write := func(name, methods string) string {
		path := filepath.Join(dir, name)
		text := "name: x\nmodel: builtin:tiny-llama3\nprotocol: {text: builtin:heldout, context: 64, stride: 64, bos: true, tokens: 64}\n" +
			"calibration: {text: builtin:calibration, tokens: 128, seed: 1}\nmethods: [" + methods + "]\n"
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	bad, failing := write("bad.yaml", "{method: rtm}"), write("failing.yaml", "{method: svdquant, rank: 4000}")
	for _, c := range []struct {
		args []string
		want int
	}{
		{[]string{"sweep", "-c", bad}, exitInput},
		{[]string{"sweep", "-c", filepath.Join(dir, "missing.yaml")}, exitInput},
		{[]string{"sweep", "--no-such-flag"}, exitInput},
		{[]string{"swep"}, exitInput},
		{[]string{"report"}, exitInput},
		{[]string{"quantize"}, exitInput},
		{[]string{"sweep", "-c", failing, "--trial", "99", "--cache", dir}, exitInput},
		{[]string{"sweep", "-c", failing, "-o", filepath.Join(dir, "out"), "--cache", dir}, exitFailed},
		{[]string{"report", filepath.Join(dir, "nothing")}, exitInput},
		{[]string{"tables", filepath.Join(dir, "nothing")}, exitInput},
		{[]string{"compare", filepath.Join(dir, "nothing"), filepath.Join(dir, "nothing")}, exitInput},
		{[]string{"--version"}, 0},
	} {
		if _, err := execute(t, c.args...); exitCode(err) != c.want {
			t.Errorf("%q: code %d, want %d: %v", c.args, exitCode(err), c.want, err)
		}
	}
	if code := exitCode(fmt.Errorf("x: %w", context.Canceled)); code != exitInterrupted {
		t.Errorf("interrupted: %d", code)
	}
	for _, code := range []string{"1 an error", "2 bad input", "3 done", "130 interrupted"} {
		if !strings.Contains(root().Long, code) {
			t.Errorf("the help does not say %q", code)
		}
	}
}

// TestExamples: each command has an example that this program accepts, with sweep files
// that exist or are the reader's own.
func TestExamples(t *testing.T) {
	for _, c := range root().Commands() {
		if c.Name() == "help" || c.Name() == "completion" {
			continue
		}
		found := 0
		for line := range strings.Lines(c.Example) {
			_, args, ok := strings.Cut(strings.TrimSpace(line), "go run ./experiments ")
			if !ok {
				continue
			}
			found++
			args, _, _ = strings.Cut(args, ">")
			cmd, rest, err := root().Find(words(args))
			if err == nil {
				err = cmd.ParseFlags(rest)
			}
			if err == nil {
				err = cmd.ValidateArgs(cmd.Flags().Args())
			}
			if f := cmd.Flags().Lookup("config"); err == nil && f != nil && strings.HasPrefix(f.Value.String(), "configs/") {
				_, err = os.Stat(filepath.Join("..", f.Value.String()))
			}
			if err != nil {
				t.Errorf("%s: %v", strings.TrimSpace(line), err)
			}
		}
		if found == 0 {
			t.Errorf("%s has no example", c.Name())
		}
	}
}

// words splits a command line; double quotes hold words together.
func words(line string) []string {
	var out []string
	for i, part := range strings.Split(line, `"`) {
		if i%2 == 1 {
			out = append(out, part)
		} else {
			out = append(out, strings.Fields(part)...)
		}
	}
	return out
}

// TestTrialNames names one trial by label, number, row and id.
func TestTrialNames(t *testing.T) {
	dir := t.TempDir()
	sw, err := plan.Parse("x.yaml", []byte("name: x\nmodel: m\nprotocol: {text: t, context: 64, stride: 64, bos: true}\n"+
		"calibration: {text: c, tokens: 64}\nmethods: [{method: rtn, group: [128, 32]}]\n"))
	if err != nil {
		t.Fatal(err)
	}
	w, _, err := row.OpenWriter(dir)
	if err != nil {
		t.Fatal(err)
	}
	for i, tr := range sw.Trials {
		r := &row.Row{Schema: row.Schema, Trial: fmt.Sprintf("00000000000000a%d", i), Label: tr.Label, Status: row.OK, Axes: tr.Axes(),
			Values: []row.Value{{Name: row.BitsPerWeight, Value: 4.5 - float64(i)}}}
		if err := w.Append(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	got, err := trialNames(sw, []string{"rtn g32", "2", "r1", "00000000000000a0"}, filepath.Join(dir, "none"), dir)
	if want := []string{"rtn g32", "rtn g32", "00000000000000a1", "00000000000000a0"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, want %q: %v", got, want, err)
	}
	for name, want := range map[string]string{"3": "the trials 1 to 2", "r3": "has 2 rows"} {
		if _, err := trialNames(sw, []string{name}, dir); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestSummary: a long table is cut, and what no other row beats is kept.
func TestSummary(t *testing.T) {
	var rows []row.Row
	for i := range 60 {
		rows = append(rows, row.Row{Schema: row.Schema, Trial: fmt.Sprintf("%016x", i), Label: fmt.Sprintf("rtn %d", i), Status: row.OK,
			Axes:   map[string]string{"method": "rtn", "model": "m"},
			Values: []row.Value{{Name: row.BitsPerWeight, Value: 4 + float64(i)/100}, {Name: row.KLMean, Value: 1 + float64(i)}}})
	}
	var b strings.Builder
	if err := summary(&b, stats.Build(rows), "DIR"); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(b.String(), "\n"); n > summaryLines || !strings.Contains(b.String(), filepath.Join("DIR", "report.md")) {
		t.Errorf("%d lines:\n%s", n, &b)
	}
	if !strings.Contains(b.String(), "\nCan 4 bits be accurate and fast?\nless divergence for more bits, in steps: rtn 0 (4.000 bits, KL 1.000); no two methods") {
		t.Errorf("the last lines are no answer:\n%s", &b)
	}
	b.Reset()
	if err := summary(&b, stats.Build(rows[:10]), "DIR"); err != nil || strings.Count(b.String(), "\n  r") != 1+10 { // a heading, and all rows
		t.Errorf("%v\n%s", err, &b)
	}
}

// TestDoctorClean empties a cache, and prints JSON.
func TestDoctorClean(t *testing.T) {
	dir := t.TempDir()
	st, err := store.Open(filepath.Join(dir, "store"), func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	key := store.NewKey("layer", 1, "x")
	if err := st.Put(key, func(w io.Writer) error { _, err := w.Write(make([]byte, 3<<20)); return err }); err != nil {
		t.Fatal(err)
	}
	facts := func(args ...string) map[string]string {
		out, err := execute(t, append([]string{"doctor", "--json", "--cache", dir}, args...)...)
		if err != nil {
			t.Fatal(err)
		}
		var m map[string]string
		if err := json.Unmarshal([]byte(out), &m); err != nil {
			t.Fatal(err)
		}
		return m
	}
	if m := facts(); !strings.Contains(m["cache size"], "layer 4 MiB") {
		t.Errorf("%v", m)
	}
	if m := facts("--clean"); m["freed"] != "4 MiB" || m["cache size"] != "0 MiB" || st.Has(key) {
		t.Errorf("%v", m)
	}
}

// TestCarriedConfigs: a sweep runs where there is no checkout.
func TestCarriedConfigs(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, path := range []string{"configs/default.yaml", "smoke.yaml"} {
		if _, err := readSweep(path); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
	if _, err := readSweep("other/default.yaml"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("another folder: %v", err)
	}
}

// TestCompletion asks for values as shells do.
func TestCompletion(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"sweep", "-c", "configs/def"}, "configs/default.yaml"},
		{[]string{"quantize", "-c", "../configs/smoke.yaml", "--trial", "rtn"}, "rtn"},
		{[]string{"eval", "--model", "builtin:tiny-l"}, "builtin:tiny-llama3"},
		{[]string{"compare", "--format", "c"}, "csv"},
	} {
		out, err := execute(t, append([]string{cobra.ShellCompNoDescRequestCmd}, c.args...)...)
		if err != nil || !strings.Contains(out, c.want) {
			t.Errorf("%q: %q, %v", c.args, out, err)
		}
	}
}

// TestWriteRecords: numbers stay numbers, and empty cells are left out.
func TestWriteRecords(t *testing.T) {
	var b strings.Builder
	if err := writeRecords(&b, []byte("label,bits,id\nrtn,4.125,007\nnone,,1e5\n")); err != nil {
		t.Fatal(err)
	}
	var got []map[string]any
	if err := json.Unmarshal([]byte(b.String()), &got); err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(got) != "[map[bits:4.125 id:007 label:rtn] map[id:100000 label:none]]" {
		t.Errorf("%v", got)
	}
}
