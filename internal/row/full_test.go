//go:build linux || darwin

package row

import (
	"errors"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestFullDisk limits the size of files, as a full disk does: a row is cut in
// the middle by the system and must be taken back.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	w, _, err := OpenWriter(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if err := w.Append(sample("a")); err != nil {
		t.Fatal(err)
	}
	var old syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
		t.Fatal(err)
	}
	signal.Ignore(syscall.SIGXFSZ)
	defer signal.Reset(syscall.SIGXFSZ)
	limit := old
	limit.Cur = 100_000
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	big := sample("big")
	big.Series[0].Values = make([]float64, 100_000)
	err = w.Append(big)
	if e := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &old); e != nil {
		t.Fatal(e)
	}
	path := filepath.Join(dir, File)
	if !errors.Is(err, syscall.EFBIG) || !strings.Contains(err.Error(), path) {
		t.Errorf("error %v", err)
	}
	if err := w.Append(sample("b")); err != nil { // there is room again
		t.Fatal(err)
	}
	rows, warning, err := ReadFile(path)
	if err != nil || warning != "" || len(rows) != 2 || rows[0].Trial != "a" || rows[1].Trial != "b" {
		t.Errorf("%d rows, %q, %v", len(rows), warning, err)
	}
}

// TestBroken writes to a device that is always full and cannot be cut: once a
// torn row cannot be taken back, nothing may follow it.
func TestBroken(t *testing.T) {
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip("needs /dev/full")
	}
	f, err := os.OpenFile("/dev/full", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := &Writer{f: f}
	for range 2 {
		err := w.Append(sample("a"))
		if !errors.Is(err, syscall.ENOSPC) || !errors.Is(err, syscall.EINVAL) || !strings.Contains(err.Error(), "/dev/full") {
			t.Errorf("error %v", err)
		}
	}
	if w.broken == nil {
		t.Error("the writer would go on")
	}
}
