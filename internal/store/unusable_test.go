package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestNoFolder opens stores whose folder cannot be, and one that has none at all:
// each takes nothing, with one warning that says why.
func TestNoFolder(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	var warnings []string
	warn := func(text string) { warnings = append(warnings, text) }
	for name, open := range map[string]func() *Store{
		file:      func() *Store { s, _ := Open(filepath.Join(file, "store"), warn); return s },
		"no home": func() *Store { return None(errors.New("no home"), warn) },
	} {
		warnings = nil
		s := open()
		if s == nil {
			t.Fatalf("%s: no store", name)
		}
		k := NewKey("v", 1, "x")
		for range 2 {
			v, err := Do(t.Context(), s, k, words, func(context.Context) (string, error) { return "value", nil })
			if err != nil || v != "value" {
				t.Errorf("%s: %q, %v", name, v, err)
			}
			s.Delete(k)
		}
		if kept, err := s.Keep(k, func(io.Writer) error { return nil }); kept || err != nil || s.Has(k) || s.Failed() == nil {
			t.Errorf("%s: kept %t, %v; failure %v", name, kept, err, s.Failed())
		}
		if items, err := s.List(); len(items) != 0 || err != nil {
			t.Errorf("%s: %d values, %v", name, len(items), err)
		}
		s.Report()
		if len(warnings) != 1 || !strings.Contains(warnings[0], name) {
			t.Errorf("%s: warnings %q", name, warnings)
		}
	}
}

// TestMalformed: a value whose checksum is right and whose content is not what its
// reader wants counts as absent.
func TestMalformed(t *testing.T) {
	s, warnings := open(t)
	var keys []Key
	for i := range 5 {
		keys = append(keys, NewKey("v", 1, fmt.Sprint(i)))
		put(t, s, keys[i], "malformed")
	}
	bad := errors.New("not what was asked for")
	for _, k := range keys {
		if err := s.Get(k, func(io.Reader, int64) error { return bad }); !errors.Is(err, ErrAbsent) {
			t.Errorf("error %v", err)
		}
	}
	if w := warnings(); len(w) != 1 || !strings.Contains(w[0], bad.Error()) || !strings.Contains(w[0], s.path(keys[0])) {
		t.Errorf("warnings %q", w)
	}
	s.Report()
	if w := warnings(); len(w) != 2 || !strings.Contains(w[1], "5 ") {
		t.Errorf("warnings %q", w)
	}
}
