package row

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// file writes rows to a new file.
func file(t *testing.T, rows ...*Row) string {
	t.Helper()
	dir := t.TempDir()
	write(t, dir, rows...)
	return filepath.Join(dir, File)
}

func with(trial string, change func(*Row)) *Row {
	r := sample(trial)
	change(r)
	return r
}

// trials joins files and returns what Read makes of it.
func trials(t *testing.T, files ...string) (*Joined, []Row) {
	t.Helper()
	j, err := Join(files...)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if n, err := j.WriteTo(&b); err != nil || n != int64(b.Len()) {
		t.Fatal(n, err)
	}
	rows, warning, err := Read(&b, "joined")
	if err != nil || warning != "" || len(rows) != j.Len() {
		t.Fatal(len(rows), warning, err)
	}
	return j, rows
}

func TestJoin(t *testing.T) {
	time := func(seconds float64) []Value {
		return append(sample("").Values, Value{Name: EvalTime, Value: seconds, Unit: "s"}, Value{Name: "speed", Value: seconds, Unit: "token/s"},
			Value{Name: TimeOver("dense4"), Value: seconds}, Value{Name: RateShare, Value: seconds})
	}
	failed := func(r *Row) { r.Status, r.Error, r.Values, r.Series = Failed, "out of memory", nil, nil }
	a := file(t, sample("one"), with("two", failed), with("three", func(r *Row) { r.Values = time(1) }), with("lost", failed))
	b := file(t, sample("four"), with("three", func(r *Row) {
		r.Values, r.Start, r.Env, r.Label, r.Baseline = time(2), "2027-01-01T00:00:00Z", "f", "renamed", ""
	}), sample("two"), with("one", failed), with("lost", func(r *Row) { failed(r); r.Error = "no disk" }))
	j, rows := trials(t, a, b)
	var got []string
	for _, r := range rows {
		got = append(got, r.Trial+" "+string(r.Status))
	}
	if want := []string{"one ok", "two ok", "three ok", "lost failed", "four ok"}; !slices.Equal(got, want) || j.Repeated != 4 || j.Failed != 1 {
		t.Errorf("rows %q, %d repeated, %d failed", got, j.Repeated, j.Failed)
	}
	if rows[2].Label != "renamed" || rows[3].Error != "no disk" {
		t.Errorf("kept %q and %q, want the later ones", rows[2].Label, rows[3].Error)
	}
	if s := j.Status(json.RawMessage("{ \"a\": 1}\n")); s != OK {
		t.Errorf("the configuration with other white space has status %q", s)
	}
	if s := j.Status(json.RawMessage(`{"a":2}`)); s != "" {
		t.Errorf("an unknown configuration has status %q", s)
	}
	// Joining what was joined changes nothing.
	again := filepath.Join(t.TempDir(), File)
	if err := WriteFileFrom(again, j); err != nil {
		t.Fatal(err)
	}
	if j, rows := trials(t, again, again, again); j.Repeated != 10 || len(rows) != 5 {
		t.Errorf("three times the same: %d repeated, %d rows", j.Repeated, len(rows))
	}
}

// TestJoinConflict changes one member after the other: each must be found, in
// one file and in two.
func TestJoinConflict(t *testing.T) {
	for want, change := range map[string]func(*Row){
		"values[nll].value is 0.3333333333333333 and 2": func(r *Row) { r.Values[0].Value = 2 },
		"values[nll].unit":                    func(r *Row) { r.Values[0].Unit = "bit/token" },
		"values has 2 and 1 entries":          func(r *Row) { r.Values = r.Values[:1] },
		"series[window_kl].values[1] is -0.1": func(r *Row) { r.Series[0].Values[1] = -0.2 },
		"series is [":                         func(r *Row) { r.Series = nil },
		"layers[l].n is 2 and 7":              func(r *Row) { r.Layers[0].N = 7 },
		"ledger[codes].bytes":                 func(r *Row) { r.Ledger[0].Bytes = 1 },
		"warnings[0]":                         func(r *Row) { r.Warnings[0] = "none" },
		"axes.method":                         func(r *Row) { r.Axes = map[string]string{"method": "rtn"} },
		"config.a is 1 and 2":                 func(r *Row) { r.Config = json.RawMessage(`{"a":2}`) },
	} {
		a, b := file(t, sample("x"), sample("y")), file(t, with("y", change))
		both := file(t, sample("x"), sample("y"), with("y", change))
		for _, c := range []struct {
			files []string
			a, b  string
		}{{[]string{a, b}, a + ":2", b + ":1"}, {[]string{both}, both + ":2", both + ":3"}} {
			_, err := Join(c.files...)
			var conflict *ConflictError
			if !errors.As(err, &conflict) {
				t.Errorf("%s: error %v", want, err)
				continue
			}
			if conflict.Trial != "y" || conflict.A != c.a || conflict.B != c.b || !strings.HasPrefix(conflict.What, want) || !strings.Contains(err.Error(), conflict.What) {
				t.Errorf("want %q: %v", want, err)
			}
		}
	}
}

func TestJoinErrors(t *testing.T) {
	good, err := json.Marshal(sample("x"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	put := func(text string) string {
		f := filepath.Join(dir, fmt.Sprint(len(text), ".jsonl"))
		if err := os.WriteFile(f, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return f
	}
	line := string(good) + "\n"
	for _, bad := range []string{
		"nothing\n", "{}\n", "null\n", "[]\n", "\n",
		`{"schema":99,"trial":"z","status":"ok"}` + "\n",
		`{"schema":1,"trial":"z","config":{},"status":"fine"}` + "\n",
		`{"schema":1,"trial":"","config":{},"status":"ok"}` + "\n",
		`{"schema":1,"trial":"z","config":{},"status":"ok","values":[1,}` + "\n",
	} {
		f := put(line + bad + line)
		_, _, want := ReadFile(f)
		if _, err := Join(f); err == nil || want == nil || err.Error() != want.Error() {
			t.Errorf("%q: error %v, ReadFile says %v", bad, err, want)
		}
	}
	// What an interrupted writer leaves is said and left out, a missing newline
	// is nothing.
	for cut := range len(line) {
		if cut%97 != 0 && cut < len(line)-2 {
			continue
		}
		f := put(strings.Replace(line, `"x"`, `"w"`, 1) + line[:cut])
		_, warning, err := ReadFile(f)
		j, jerr := Join(f)
		if err != nil || jerr != nil || (warning == "") != (len(j.Warnings) == 0) || len(j.Warnings) > 0 && j.Warnings[0] != warning {
			t.Fatalf("%d bytes of a last line: %v, %v; ReadFile warns %q", cut, jerr, err, warning)
		}
	}
	// Members in another order, and in another writing, are read all the same.
	odd := put(`{"status":"ok","CONFIG":{"a":1},"new":[{"schema":7}],"trial":"x","schema":1}` + "\n")
	if j, err := Join(odd); err != nil || j.Len() != 1 || j.Status(json.RawMessage(`{"a":1}`)) != OK {
		t.Errorf("%+v, %v", j, err)
	}
	if _, err := Join(odd, filepath.Join(dir, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v", err)
	}
	if j, err := Join(); err != nil || j.Len() != 0 {
		t.Errorf("no files: %+v, %v", j, err)
	}
}

// TestJoinManyChunks joins more than the reader holds at a time.
func TestJoinManyChunks(t *testing.T) {
	const n = 3000
	var files []string
	for range 2 {
		f, err := os.Create(filepath.Join(t.TempDir(), File))
		if err != nil {
			t.Fatal(err)
		}
		for i := range n {
			line, err := json.Marshal(with(fmt.Sprint(i), func(r *Row) { r.Error = strings.Repeat("x", i) }))
			if err != nil {
				t.Fatal(err)
			}
			f.Write(append(line, '\n'))
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		files = append(files, f.Name())
	}
	j, rows := trials(t, files...)
	for i, r := range rows {
		if r.Trial != fmt.Sprint(i) || len(r.Error) != i {
			t.Fatalf("row %d is %s, with %d bytes", i, r.Trial, len(r.Error))
		}
	}
	if len(rows) != n || j.Repeated != n {
		t.Errorf("%d rows, %d repeated", len(rows), j.Repeated)
	}
	if err := os.Truncate(files[1], 100); err != nil { // someone shortened it meanwhile
		t.Fatal(err)
	}
	if _, err := j.WriteTo(io.Discard); err == nil || !strings.Contains(err.Error(), files[1]+":1") {
		t.Errorf("error %v", err)
	}
}

// BenchmarkJoin joins 1000 rows of the size of real ones from 10 files.
func BenchmarkJoin(b *testing.B) {
	windows := make([]float64, 200)
	for i := range windows {
		windows[i] = 1 / float64(i+3)
	}
	var files []string
	var bytes int64
	for range 10 {
		f, err := os.Create(filepath.Join(b.TempDir(), File))
		if err != nil {
			b.Fatal(err)
		}
		for i := range 100 {
			r := sample(fmt.Sprint(len(files), " ", i))
			for _, name := range []string{WindowNLL, WindowKL, WindowTokens, WindowTop1} {
				r.Series = append(r.Series, Series{Name: name, Values: windows})
			}
			line, err := json.Marshal(r)
			if err != nil {
				b.Fatal(err)
			}
			bytes += int64(len(line)) + 1
			f.Write(append(line, '\n'))
		}
		f.Close()
		files = append(files, f.Name())
	}
	b.SetBytes(bytes)
	for b.Loop() {
		j, err := Join(files...)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := j.WriteTo(io.Discard); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(bytes)/1000, "B/row")
}
