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
	"path/filepath"
)

// File is the name of the rows in a results folder.
const File = "rows.jsonl"

// ErrLocked says that another process is writing the rows, ErrNoLocks that the
// file system cannot tell.
var (
	ErrLocked  = errors.New("another process is writing this file")
	ErrNoLocks = errors.New("this file system has no file locks")
)

// Writer appends rows to a file. It may be used by one goroutine at a time.
type Writer struct {
	f      *os.File
	create func() (*os.File, error) // makes f for the first row; nil once there is f
	broken error                    // a torn row could not be taken back
}

// OpenWriter opens the rows of the folder dir for appending, creating both
// where missing, and keeps other writers out (ErrLocked) until it is closed or
// its process ends. Where that cannot be had (ErrNoLocks: some network file
// systems) there is no Writer; OpenPart needs none of it. A last line that a killed process left unfinished is
// removed, and said in warning; all finished rows are kept. Packed rows are
// unpacked for good.
func OpenWriter(dir string) (w *Writer, warning string, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, "", err
	}
	f, err := openLocked(filepath.Join(dir, File))
	if err != nil {
		return nil, "", err
	}
	if err = unpackInto(f); err == nil {
		warning, err = repair(f)
	}
	if err != nil {
		f.Close()
		return nil, "", err
	}
	return &Writer{f: f}, warning, nil
}

// repair makes f end with a finished line and moves to its end.
func repair(f *os.File) (warning string, err error) {
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return "", err
	}
	end, err := lastLineEnd(f, size)
	if err != nil || end == size {
		return "", err
	}
	tail := make([]byte, size-end)
	if _, err := f.ReadAt(tail, end); err != nil {
		return "", err
	}
	if _, err := decode(tail); err == nil { // only the newline is missing
		_, err := f.Write([]byte{'\n'})
		return "", err
	}
	if err := f.Truncate(end); err != nil {
		return "", err
	}
	if _, err := f.Seek(end, io.SeekStart); err != nil {
		return "", err
	}
	return tornWarning(f.Name(), len(tail)), f.Sync()
}

func tornWarning(name string, bytes int) string {
	return fmt.Sprintf("%s: the last line is unfinished (%d bytes): its writer was interrupted; the row is left out",
		name, bytes)
}

// lastLineEnd returns the offset after the last newline of the size bytes of f.
func lastLineEnd(f *os.File, size int64) (int64, error) {
	buf := make([]byte, 64<<10)
	for end := size; end > 0; {
		n := min(end, int64(len(buf)))
		if _, err := f.ReadAt(buf[:n], end-n); err != nil {
			return 0, err
		}
		if i := bytes.LastIndexByte(buf[:n], '\n'); i >= 0 {
			return end - n + int64(i) + 1, nil
		}
		end -= n
	}
	return 0, nil
}

// Append writes r and waits until the disk has it. A row that cannot be
// written in full (a full disk) is taken back: the rows before it stay
// readable, and a later Append may succeed. Where the file is no longer found by
// its name nothing is written (ErrReplaced).
func (w *Writer) Append(r *Row) error {
	if err := r.Storable(); err != nil {
		return err
	}
	line, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("row %.80s: %w", r.Trial, err)
	}
	if w.broken != nil { // another row would make the torn one a corrupt line in the middle
		return w.broken
	}
	if w.create != nil {
		if w.f, err = w.create(); err != nil {
			return err
		}
		w.create = nil
	}
	if err := w.reachable(); err != nil {
		return err
	}
	start, err := w.f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	// One write per row: a kill can tear only the row being written.
	_, err = w.f.Write(append(line, '\n'))
	if err == nil {
		err = w.f.Sync()
	}
	if err == nil {
		return nil
	}
	if e := w.f.Truncate(start); e != nil {
		w.broken = errors.Join(err, e) // both name the file
		return w.broken
	}
	return err
}

// Close releases the file to other writers.
func (w *Writer) Close() error {
	if w.f == nil { // no row came
		return nil
	}
	return w.f.Close()
}

// ReadFile reads the rows of a file, packed or not. warning tells of an unfinished last line,
// which is left out.
func ReadFile(path string) (rows []Row, warning string, err error) {
	f, err := open(path)
	if err != nil {
		return nil, "", err
	}
	defer f.Close()
	return Read(f, f.Name())
}

// Read reads rows as lines of JSON. Errors name the given name of the source
// and the line. A last line without its newline that is no row is left out and
// said in warning: it is what an interrupted writer leaves. Any other line
// that is no row, or whose schema is newer than this package, is an error.
func Read(r io.Reader, name string) (rows []Row, warning string, err error) {
	br := bufio.NewReaderSize(r, 1<<20)
	for n := 1; ; n++ {
		line, err := br.ReadBytes('\n')
		if err != nil && err != io.EOF {
			return nil, "", fmt.Errorf("%s:%d: %w", name, n, err)
		}
		last := err == io.EOF
		if last && len(line) == 0 {
			return rows, "", nil
		}
		row, err := decode(line)
		var newer *newerSchemaError
		if last && err != nil && !errors.As(err, &newer) {
			return rows, tornWarning(name, len(line)), nil
		}
		if err != nil {
			return nil, "", fmt.Errorf("%s:%d: %w", name, n, err)
		}
		rows = append(rows, *row)
		if last {
			return rows, "", nil
		}
	}
}

type newerSchemaError struct{ schema int }

func (e *newerSchemaError) Error() string {
	return fmt.Sprintf("schema %d is newer than this program's %d: use a newer version", e.schema, Schema)
}

// decode reads one line.
func decode(line []byte) (*Row, error) {
	// The schema first: a newer row may differ in anything else.
	var head struct {
		Schema int `json:"schema"`
	}
	if err := json.Unmarshal(line, &head); err != nil {
		return nil, fmt.Errorf("not a row: %w", err)
	}
	if head.Schema > Schema {
		return nil, &newerSchemaError{head.Schema}
	}
	var r Row
	if err := json.Unmarshal(line, &r); err != nil {
		return nil, fmt.Errorf("not a row: %w", err)
	}
	if err := r.check(); err != nil {
		return nil, err
	}
	return &r, nil
}

// check tells what makes r no row.
func (r *Row) check() error {
	switch {
	case r.Schema < 1 || r.Schema > Schema:
		return fmt.Errorf("row %.80q: schema is %d, want 1 to %d", r.Trial, r.Schema, Schema)
	case r.Trial == "":
		return errors.New("row: trial is empty")
	case r.Status != OK && r.Status != Failed && r.Status != Predicted:
		return fmt.Errorf("row %.80q: status is %.80q, want %q, %q or %q", r.Trial, r.Status, OK, Failed, Predicted)
	}
	return nil
}

// Storable tells why r cannot be stored: it is no row, or one of its numbers is
// not finite, which JSON cannot carry.
func (r *Row) Storable() error {
	if err := r.check(); err != nil {
		return err
	}
	return r.finite()
}

// Fail makes r a failed row, which carries no results.
func (r *Row) Fail(err error) {
	r.Status, r.Error = Failed, err.Error()
	r.Values, r.Series = nil, nil
	if r.finite() != nil {
		r.Layers = nil
	}
}

// finite names the first number of r that JSON cannot carry.
func (r *Row) finite() error {
	bad := func(v float64) bool { return math.IsNaN(v) || math.IsInf(v, 0) }
	for _, v := range r.Values {
		if bad(v.Value) {
			return fmt.Errorf("row %.80s: value %.80s is %v", r.Trial, v.Name, v.Value)
		}
		if v.SE != nil && bad(*v.SE) {
			return fmt.Errorf("row %.80s: standard error of %.80s is %v", r.Trial, v.Name, *v.SE)
		}
		for _, b := range []*float64{v.Low, v.High} {
			if b != nil && bad(*b) {
				return fmt.Errorf("row %.80s: a bound of %.80s is %v", r.Trial, v.Name, *b)
			}
		}
	}
	for _, s := range r.Series {
		for i, v := range s.Values {
			if bad(v) {
				return fmt.Errorf("row %.80s: series %.80s, entry %d is %v", r.Trial, s.Name, i, v)
			}
		}
	}
	for _, l := range r.Layers {
		numbers := []struct {
			name  string
			value float64
		}{
			{"bits_per_weight", l.BitsPerWeight}, {"weight_error", l.WeightError},
			{"output_error", l.OutputError}, {"density", l.Density},
		}
		if l.BaseOutputError != nil {
			numbers = append(numbers, struct {
				name  string
				value float64
			}{"base_output_error", *l.BaseOutputError})
		}
		for _, v := range numbers {
			if bad(v.value) {
				return fmt.Errorf("row %.80s: layer %.80s: %s is %v", r.Trial, l.Name, v.name, v.value)
			}
		}
	}
	return nil
}

// Merge returns one row per trial, in the order in which the trials first
// appear: its last row with status ok, or its last row where none is.
func Merge(rows []Row) []Row {
	var merged []Row
	at := map[string]int{}
	for _, r := range rows {
		i, seen := at[r.Trial]
		switch {
		case !seen:
			at[r.Trial] = len(merged)
			merged = append(merged, r)
		case r.Status == OK || merged[i].Status != OK:
			merged[i] = r
		}
	}
	return merged
}
