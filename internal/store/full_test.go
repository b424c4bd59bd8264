//go:build linux || darwin

package store

import (
	"errors"
	"io"
	"os/signal"
	"strings"
	"syscall"
	"testing"
)

// TestFullDisk limits the size of files, as a full disk does: the value is cut
// in the middle by the system, and nothing of it may stay.
func TestFullDisk(t *testing.T) {
	s, _ := open(t)
	k := NewKey("v", 1, "x")
	put(t, s, k, "first")
	var old syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
		t.Fatal(err)
	}
	signal.Ignore(syscall.SIGXFSZ)
	defer signal.Reset(syscall.SIGXFSZ)
	limit := old
	limit.Cur = 2_500_000
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	err := s.Put(k, func(w io.Writer) error { _, err := w.Write(make([]byte, 5<<20)); return err })
	if e := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &old); e != nil {
		t.Fatal(e)
	}
	if !errors.Is(err, syscall.EFBIG) || !strings.Contains(err.Error(), s.path(k)) {
		t.Errorf("error %v", err)
	}
	if got, err := get(s, k); err != nil || got != "first" || temporaries(t, s) != 0 {
		t.Errorf("the earlier value became %q, %v; %d unfinished files", got, err, temporaries(t, s))
	}
}
