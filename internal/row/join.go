package row

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
)

// Joined is the union of row files: each trial once. It holds where the rows
// are, not the rows.
type Joined struct {
	// Repeated counts rows left out because an equal one, or one with status ok
	// in place of a failed one, is kept.
	Repeated int
	Failed   int      // trials whose row is a failed one
	Warnings []string // unfinished last lines

	files  []string
	rows   []place // by the trial's first appearance
	config map[[sha256.Size]byte]Status
}

// place is one line of a file.
type place struct {
	file, line int
	offset     int64
	size       int // without the newline
	head       head
}

// ConflictError tells that two rows of one trial differ in what no clock
// measured.
type ConflictError struct {
	Trial, Label string
	A, B         string    // FILE:LINE
	What         string    // the first difference
	Env          [2]string // Row.Env of A and B
}

func (e *ConflictError) Error() string {
	return fmt.Sprintf("trial %.80s (%.200s): %s and %s differ: %s", e.Trial, e.Label, e.A, e.B, e.What)
}

// Join reads the files and finds one row for each trial. Of rows with equal
// content it keeps the last, for its label; one with status ok goes before
// failed ones. Content is all that a row says except where and when it was
// computed, its label and baseline, and values and series that are times. Rows
// of a trial with different content are a *ConflictError. Every line must be a
// row, as for Read; fields that joining does not need are checked for syntax
// alone.
func Join(files ...string) (*Joined, error) {
	j := &Joined{files: files, config: map[[sha256.Size]byte]Status{}}
	at := map[string]int{}
	for i, file := range files {
		err := j.scan(i, file, func(p place) error {
			k, seen := at[p.head.Trial]
			if !seen {
				at[p.head.Trial] = len(j.rows)
				j.rows = append(j.rows, p)
				return nil
			}
			j.Repeated++
			old := j.rows[k]
			if old.head.Status == OK && p.head.Status == OK {
				if err := j.compare(old, p); err != nil {
					return err
				}
			}
			if p.head.Status == OK || old.head.Status != OK {
				j.rows[k] = p
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	for _, p := range j.rows {
		if p.head.Status != OK {
			j.Failed++
		}
		j.config[p.head.config] = p.head.Status
	}
	return j, nil
}

// Len is the number of trials.
func (j *Joined) Len() int { return len(j.rows) }

// Status is that of a row whose Config is config, empty where there is none.
func (j *Joined) Status(config json.RawMessage) Status { return j.config[configSum(config)] }

// WriteTo writes the rows as they stand in their files, one a line.
func (j *Joined) WriteTo(w io.Writer) (n int64, err error) {
	var f source
	defer func() {
		if f != nil {
			f.Close()
		}
	}()
	at := -1
	var line []byte
	for _, p := range j.rows {
		if p.file != at {
			if f != nil {
				f.Close()
			}
			if f, err = open(j.files[p.file]); err != nil {
				return n, err
			}
			at = p.file
		}
		if line, err = p.read(f, line); err != nil {
			return n, err
		}
		m, err := w.Write(append(line, '\n'))
		n += int64(m)
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// read returns the line at p of f, in buf if it fits.
func (p place) read(f source, buf []byte) ([]byte, error) {
	if cap(buf) <= p.size {
		buf = make([]byte, p.size+1)
	}
	buf = buf[:p.size]
	if _, err := f.ReadAt(buf, p.offset); err != nil {
		return nil, fmt.Errorf("%s:%d: %w", f.Name(), p.line, err)
	}
	return buf, nil
}

// compare returns a ConflictError unless the rows at a and b are equal.
func (j *Joined) compare(a, b place) error {
	var lines [2][]byte
	var rows [2]Row
	for i, p := range []place{a, b} {
		f, err := open(j.files[p.file])
		if err != nil {
			return err
		}
		lines[i], err = p.read(f, nil)
		f.Close()
		if err != nil {
			return err
		}
	}
	if bytes.Equal(lines[0], lines[1]) {
		return nil
	}
	what, err := difference(lines[0], lines[1])
	if err != nil || what == "" {
		return err
	}
	for i, line := range lines {
		if err := json.Unmarshal(line, &rows[i]); err != nil {
			return err
		}
	}
	where := func(p place) string { return fmt.Sprintf("%s:%d", j.files[p.file], p.line) }
	return &ConflictError{Trial: b.head.Trial, Label: rows[1].Label, A: where(a), B: where(b),
		What: what, Env: [2]string{rows[0].Env, rows[1].Env}}
}

// head is what joining needs of a row.
type head struct {
	Schema int
	Trial  string
	Status Status
	config [sha256.Size]byte
}

// configSum identifies a configuration whatever the white space in it.
func configSum(config json.RawMessage) [sha256.Size]byte {
	var b bytes.Buffer
	if json.Compact(&b, config) != nil {
		return sha256.Sum256(config)
	}
	return sha256.Sum256(b.Bytes())
}

// readHead reads the head of a row. It checks the rest of the line for its
// syntax alone, which takes a tenth of the time of decoding it.
func readHead(line []byte) (head, error) {
	var h head
	found := 0
	read := func(value []byte, v any) {
		if json.Unmarshal(value, v) == nil {
			found++
		}
	}
	valid := members(line, func(name, value []byte) {
		switch string(name) {
		case "schema":
			read(value, &h.Schema)
		case "trial":
			read(value, &h.Trial)
		case "status":
			read(value, &h.Status)
		case "config":
			h.config = configSum(value)
			found++
		}
	})
	if valid && found == 4 && (&Row{Schema: h.Schema, Trial: h.Trial, Status: h.Status}).check() == nil {
		return h, nil
	}
	r, err := decode(line) // for its error, and for rows written by others
	if err != nil {
		return h, err
	}
	return head{r.Schema, r.Trial, r.Status, configSum(r.Config)}, nil
}

// scan calls f with every row of a file, in order. Several goroutines parse.
func (j *Joined) scan(file int, path string, f func(place) error) error {
	in, err := open(path)
	if err != nil {
		return err
	}
	defer in.Close()
	stop := make(chan struct{})
	defer close(stop)
	for c := range chunks(in, path, stop) {
		<-c.parsed
		for _, p := range c.rows {
			p.file = file
			if err := f(p); err != nil {
				return err
			}
		}
		if c.warning != "" {
			j.Warnings = append(j.Warnings, c.warning)
		}
		if c.err != nil {
			return c.err
		}
	}
	return nil
}

// chunk is a run of lines.
type chunk struct {
	text    []byte // the last line may lack its newline at the file's end
	first   int    // number of the first line
	offset  int64  // of the first line
	parsed  chan struct{}
	rows    []place
	warning string
	err     error
}

// chunks reads lines and has them parsed, some chunks ahead of the reader of
// the channel, until stop.
func chunks(in io.Reader, path string, stop <-chan struct{}) <-chan *chunk {
	const size = 1 << 20
	out := make(chan *chunk, 2*runtime.GOMAXPROCS(0))
	go func() {
		defer close(out)
		c := &chunk{first: 1}
		for end := false; !end; {
			n := len(c.text)
			c.text = slices.Grow(c.text, size)
			m, err := io.ReadFull(in, c.text[n:n+size])
			c.text = c.text[:n+m]
			next := &chunk{first: c.first, offset: c.offset}
			if end = err == io.EOF || err == io.ErrUnexpectedEOF; !end {
				if err != nil {
					c.err, end = fmt.Errorf("%s: %w", path, err), true
				}
				whole := bytes.LastIndexByte(c.text, '\n') + 1
				if whole == 0 && !end { // a line longer than a chunk
					continue
				}
				next.text = append(next.text, c.text[whole:]...)
				c.text = c.text[:whole]
				next.first += bytes.Count(c.text, []byte{'\n'})
				next.offset += int64(whole)
			}
			c.parsed = make(chan struct{})
			select {
			case out <- c:
				go c.parse(path)
			case <-stop:
				return
			}
			c = next
		}
	}()
	return out
}

// parse turns lines into rows until the first that is none.
func (c *chunk) parse(path string) {
	defer close(c.parsed)
	offset := c.offset
	n := c.first
	for line := range bytes.Lines(c.text) {
		text, whole := bytes.CutSuffix(line, []byte{'\n'})
		h, err := readHead(text)
		var newer *newerSchemaError
		if err != nil && !whole && !errors.As(err, &newer) {
			c.warning = tornWarning(path, len(line))
			break
		}
		if err != nil {
			c.err = fmt.Errorf("%s:%d: %w", path, n, err)
			break
		}
		c.rows = append(c.rows, place{line: n, offset: offset, size: len(text), head: h})
		offset += int64(len(line))
		n++
	}
	c.text = nil
}
