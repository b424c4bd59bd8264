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
	s, warnings := open(t)
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
	large := func(w io.Writer) error { _, err := w.Write(make([]byte, 5<<20)); return err }
	err := s.Put(k, large)
	for range 2 { // of which one warning is enough
		if kept, err := s.Keep(k, large); kept || err != nil {
			t.Errorf("Keep: %t, %v", kept, err)
		}
	}
	kept, kerr := s.Keep(NewKey("v", 1, "small"), func(w io.Writer) error { _, err := w.Write([]byte("fits")); return err })
	if e := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &old); e != nil {
		t.Fatal(e)
	}
	if !errors.Is(err, syscall.EFBIG) || !strings.Contains(err.Error(), s.path(k)) {
		t.Errorf("error %v", err)
	}
	if !kept || kerr != nil {
		t.Errorf("what fits was kept: %t, %v", kept, kerr)
	}
	if w := warnings(); len(w) != 1 || !strings.Contains(w[0], s.path(k)) || !errors.Is(s.Failed(), syscall.EFBIG) {
		t.Errorf("warnings %q, failure %v", w, s.Failed())
	}
	if got, err := get(s, k); err != nil || got != "first" || temporaries(t, s) != 0 {
		t.Errorf("the earlier value became %q, %v; %d unfinished files", got, err, temporaries(t, s))
	}
}
