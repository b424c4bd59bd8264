package tasks

import (
	"bytes"
	"encoding/json"
	"fmt"
	"unicode/utf8"
)

// record is one JSON object of a file. The first error of its fields stays.
type record struct {
	at  string // "FILE:LINE"
	m   map[string]json.RawMessage
	err error
}

func (r *record) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf("%s: %s", r.at, fmt.Sprintf(format, args...))
	}
}

func (r *record) has(name string) bool { return r.m[name] != nil }

// get decodes the field name into v.
func (r *record) get(name string, v any) {
	raw, ok := r.m[name]
	if !ok || string(raw) == "null" {
		r.fail("%s is missing", name)
		return
	}
	if err := json.Unmarshal(raw, v); err != nil {
		r.fail("%s: %v", name, err)
	}
}

func (r *record) text(name string) (s string) {
	r.get(name, &s)
	return s
}

// index reads a number below n, or a string of its digits, as exports differ.
func (r *record) index(name string, n int) int {
	var i json.Number
	r.get(name, &i)
	if r.err != nil {
		return 0
	}
	for k := range n {
		if i.String() == fmt.Sprint(k) {
			return k
		}
	}
	r.fail("%s %q is not 0 to %d", name, i, n-1)
	return 0
}

// jsonRecords calls f for every object of data, which is JSON lines or one
// array of objects.
func jsonRecords(file string, data []byte, f func(r *record) Item) ([]Item, error) {
	if err := checkUTF8(file, data); err != nil {
		return nil, err
	}
	line := 1
	d := json.NewDecoder(bytes.NewReader(data))
	seen := 0
	// at is the line of the value that comes next.
	at := func() string {
		next := int(d.InputOffset())
		for next < len(data) && bytes.IndexByte([]byte(" \t\r\n,"), data[next]) >= 0 {
			next++
		}
		line += bytes.Count(data[seen:next], []byte("\n"))
		seen = next
		return fmt.Sprintf("%s:%d", file, line)
	}
	array := bytes.HasPrefix(bytes.TrimLeft(data, " \t\r\n"), []byte("["))
	if array {
		if _, err := d.Token(); err != nil {
			return nil, fmt.Errorf("%s: %w", at(), err)
		}
	}
	var items []Item
	for d.More() {
		r := &record{at: at()}
		if err := d.Decode(&r.m); err != nil {
			return nil, fmt.Errorf("%s: %w", r.at, err)
		}
		item := f(r)
		if r.err != nil {
			return nil, r.err
		}
		item.At = r.at
		items = append(items, item)
	}
	if array {
		if _, err := d.Token(); err != nil {
			return nil, fmt.Errorf("%s: %w", at(), err)
		}
	}
	if where := at(); d.More() || seen != len(data) {
		return nil, fmt.Errorf("%s: unexpected %.20q", where, data[seen:])
	}
	return items, nil
}

// checkUTF8 refuses what JSON would only mangle.
func checkUTF8(file string, data []byte) error {
	for i := 0; i < len(data); {
		r, n := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError && n == 1 {
			return fmt.Errorf("%s:%d: byte 0x%02x is not UTF-8", file, 1+bytes.Count(data[:i], []byte("\n")), data[i])
		}
		i += n
	}
	return nil
}
