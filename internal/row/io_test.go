package row

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func sample(trial string) *Row {
	se := 0.5
	return &Row{Schema: Schema, Trial: trial, Label: "mosaic 10% <16x64>", Baseline: "rtn", Axes: map[string]string{"method": "mosaic"},
		Config: json.RawMessage(`{"a":1}`), Env: "e", Status: OK, Start: "2026-01-01T00:00:00Z",
		Values: []Value{{Name: NLL, Value: 1.0 / 3, Unit: "nat/token", SE: &se}, {Name: KLMean, Value: 5e-324}},
		Series: []Series{{Name: WindowKL, Unit: "nat", Values: []float64{0, -0.1, math.MaxFloat64}}},
		Layers: []Layer{{Name: "l", N: 2, K: 3, BaseOutputError: &se}}, Ledger: []Item{{"codes", 1 << 60}}, Warnings: []string{"zeile\n\u2028"}}
}

// write appends rows to the folder dir through a Writer of its own.
func write(t *testing.T, dir string, rows ...*Row) (warning string) {
	t.Helper()
	w, warning, err := OpenWriter(dir)
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
	return warning
}

func TestRoundTrip(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "results", "new")
	write(t, dir, sample("a"), sample("b"))
	write(t, dir, sample("c"))
	rows, warning, err := ReadFile(filepath.Join(dir, File))
	if err != nil || warning != "" || len(rows) != 3 {
		t.Fatalf("%d rows, %q, %v", len(rows), warning, err)
	}
	for i, name := range []string{"a", "b", "c"} {
		if !reflect.DeepEqual(rows[i], *sample(name)) {
			t.Errorf("row %d came back as %+v", i, rows[i])
		}
	}
}

// TestTorn cuts the last line at every byte, as a kill can: all rows before it
// are read, and a new writer continues after them.
func TestTorn(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, File)
	b := &Row{Schema: Schema, Trial: "b", Status: OK} // short: each byte costs two syncs
	write(t, dir, sample("a"), b)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	first := bytes.IndexByte(whole, '\n') + 1
	for cut := first; cut <= len(whole); cut++ {
		finished := 1
		if cut >= len(whole)-1 { // only the newline is missing
			finished = 2
		}
		torn := cut > first && finished == 1
		if err := os.WriteFile(path, whole[:cut], 0o644); err != nil {
			t.Fatal(err)
		}
		rows, warning, err := ReadFile(path)
		if err != nil || len(rows) != finished || (warning != "") != torn {
			t.Fatalf("cut at %d: %d rows, warning %q, %v", cut, len(rows), warning, err)
		}
		warning = write(t, dir, sample("c"))
		if (warning != "") != torn || torn && !strings.Contains(warning, path) {
			t.Fatalf("cut at %d: the writer warns %q", cut, warning)
		}
		rows, warning, err = ReadFile(path)
		if err != nil || warning != "" || len(rows) != finished+1 || rows[0].Trial != "a" || rows[finished].Trial != "c" {
			t.Fatalf("cut at %d, continued: %d rows, warning %q, %v", cut, len(rows), warning, err)
		}
	}
}

// TestLongTear tears a line longer than the buffers that look for its start,
// filled with what a crashed file system leaves.
func TestLongTear(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, sample("a"))
	f, err := os.OpenFile(filepath.Join(dir, File), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(make([]byte, 300_000)); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if w := write(t, dir, sample("b")); !strings.Contains(w, "300000 bytes") {
		t.Errorf("warning %q", w)
	}
	if rows, w, err := ReadFile(filepath.Join(dir, File)); len(rows) != 2 || w != "" || err != nil {
		t.Errorf("%d rows, %q, %v", len(rows), w, err)
	}
}

func TestReadErrors(t *testing.T) {
	good, err := json.Marshal(sample("a"))
	if err != nil {
		t.Fatal(err)
	}
	with := func(old, new string) string {
		s := strings.Replace(string(good), old, new, 1)
		if s == string(good) {
			t.Fatalf("no %q in the row", old)
		}
		return s
	}
	for _, test := range []struct{ line, want string }{
		{"{", "rows:2: not a row: unexpected end"},
		{"", "rows:2: not a row"},
		{"[]", "rows:2: not a row"},
		{"null", `rows:2: row "": schema is 0`},
		{"\x00\x00", "rows:2: not a row: invalid character"},
		{string(good) + string(good), "rows:2: not a row: invalid character"},
		{with(`"schema":1`, `"schema":2`), "rows:2: schema 2 is newer than this program's 1"},
		{`{"schema":2,"trial":[1]}`, "rows:2: schema 2 is newer than this program's 1"},
		{with(`"schema":1`, `"schema":0`), `rows:2: row "a": schema is 0`},
		{with(`"trial":"a"`, `"trial":""`), "rows:2: row: trial is empty"},
		{with(`"status":"ok"`, `"status":"fine"`), `rows:2: row "a": status is "fine"`},
		{with(`"trial":"a"`, `"trial":7`), "rows:2: not a row: json: cannot unmarshal number"},
	} {
		rows, _, err := Read(strings.NewReader(string(good)+"\n"+test.line+"\n"+string(good)+"\n"), "rows")
		if err == nil || !strings.Contains(err.Error(), test.want) || rows != nil {
			t.Errorf("%s\n got: %v\nwant: %s", test.line, err, test.want)
		}
	}
	// A newer row is no torn line, even if it is the last and unfinished.
	if _, _, err := Read(strings.NewReader(`{"schema":2}`), "rows"); err == nil {
		t.Error("a newer last row was taken for an unfinished one")
	}
	if rows, warning, err := Read(strings.NewReader(""), "rows"); len(rows) != 0 || warning != "" || err != nil {
		t.Errorf("an empty file: %v, %q, %v", rows, warning, err)
	}
	if _, _, err := ReadFile(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
}

func TestAppendRefuses(t *testing.T) {
	dir := t.TempDir()
	w, _, err := OpenWriter(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	nan, inf := math.NaN(), math.Inf(-1)
	for _, test := range []struct {
		want string
		spin func(*Row)
	}{
		{"row a: value kl_mean is NaN", func(r *Row) { r.Values[1].Value = nan }},
		{"row a: standard error of nll is -Inf", func(r *Row) { r.Values[0].SE = &inf }},
		{"row a: series window_kl, entry 2 is NaN", func(r *Row) { r.Series[0].Values[2] = nan }},
		{"row a: layer l: output_error is -Inf", func(r *Row) { r.Layers[0].OutputError = inf }},
		{"row a: layer l: base_output_error is NaN", func(r *Row) { r.Layers[0].BaseOutputError = &nan }},
		{"row a: json: ", func(r *Row) { r.Config = json.RawMessage("{") }},
		{`row "a": schema is 0`, func(r *Row) { r.Schema = 0 }},
		{`row "a": status is ""`, func(r *Row) { r.Status = "" }},
		{"row: trial is empty", func(r *Row) { r.Trial = "" }},
	} {
		r := sample("a")
		test.spin(r)
		if err := w.Append(r); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("got %v, want %s", err, test.want)
		}
	}
	if err := w.Append(sample("b")); err != nil {
		t.Fatal(err)
	}
	if rows, _, err := ReadFile(filepath.Join(dir, File)); err != nil || len(rows) != 1 || rows[0].Trial != "b" {
		t.Errorf("after refusals: %d rows, %v", len(rows), err)
	}
}

func TestLock(t *testing.T) {
	dir := t.TempDir()
	w, _, err := OpenWriter(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := OpenWriter(dir); !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), filepath.Join(dir, File)) {
		t.Errorf("a second writer: %v", err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	write(t, dir, sample("a"))
}

// TestKill kills a process that appends as fast as it can, several times over.
// Every row that it was told is on disk must be there.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	total := 0
	for round := range 5 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestKilledWriter$", "-test.v")
		cmd.Env = append(os.Environ(), "ROW_TEST_DIR="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for told := 0; told < 15+5*round && lines.Scan(); {
			if lines.Text() == "written" {
				told++
				total++
			}
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		for lines.Scan() {
			if lines.Text() == "written" {
				total++
			}
		}
		if err := cmd.Wait(); err == nil {
			t.Fatal("the writer ended by itself")
		}
		w, _, err := OpenWriter(dir) // the dead process's lock is gone
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		rows, warning, err := ReadFile(filepath.Join(dir, File))
		if err != nil || warning != "" || len(rows) < total {
			t.Fatalf("round %d: %d rows of %d, %q, %v", round, len(rows), total, warning, err)
		}
		total = len(rows) // a last one may be written but not yet told
	}
	if total < 100 {
		t.Errorf("only %d rows", total)
	}
}

// TestKilledWriter is the process that TestKill kills.
func TestKilledWriter(t *testing.T) {
	dir := os.Getenv("ROW_TEST_DIR")
	if dir == "" {
		t.Skip("runs as a process of TestKill")
	}
	w, _, err := OpenWriter(dir)
	if err != nil {
		t.Fatal(err)
	}
	r := sample("a")
	r.Series[0].Values = make([]float64, 10_000) // long lines are torn more easily
	for {
		if err := w.Append(r); err != nil {
			t.Fatal(err)
		}
		fmt.Println("written")
	}
}

func TestMerge(t *testing.T) {
	var rows []Row
	for i, s := range []struct {
		trial  string
		status Status
	}{{"a", Failed}, {"b", OK}, {"c", Failed}, {"a", OK}, {"b", Failed}, {"c", Failed}, {"a", OK}, {"d", OK}} {
		rows = append(rows, Row{Trial: s.trial, Status: s.status, Label: fmt.Sprint(i)})
	}
	got := ""
	for _, r := range Merge(rows) {
		got += r.Trial + r.Label + " "
	}
	if got != "a6 b1 c5 d7 " {
		t.Errorf("got %s", got)
	}
}

// FuzzRead checks that no input makes Read panic, and that what it reads can
// be written and read again.
func FuzzRead(f *testing.F) {
	line, err := json.Marshal(sample("a"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(append(line, '\n'))
	f.Add(bytes.Repeat(append(line, '\n'), 3)[:len(line)*2])
	f.Add([]byte(`{"schema":1,"trial":"a","status":"failed","config":null,"values":[{"value":1e400}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		rows, _, err := Read(bytes.NewReader(data), "rows")
		if err != nil {
			if !strings.HasPrefix(err.Error(), "rows:") {
				t.Errorf("an error without its line: %v", err)
			}
			return
		}
		var b bytes.Buffer
		for _, r := range rows {
			if err := r.finite(); err != nil {
				t.Error(err)
			}
			line, err := json.Marshal(r)
			if err != nil {
				t.Fatal(err)
			}
			b.Write(append(line, '\n'))
		}
		again, warning, err := Read(io.Reader(&b), "again")
		if err != nil || warning != "" || len(again) != len(rows) {
			t.Errorf("%d rows came back as %d, %q, %v", len(rows), len(again), warning, err)
		}
	})
}
