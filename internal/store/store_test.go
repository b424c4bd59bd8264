package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// open returns an empty store and a function that returns the warnings so far.
func open(t *testing.T) (*Store, func() []string) {
	t.Helper()
	var mu sync.Mutex
	var warnings []string
	s, err := Open(filepath.Join(t.TempDir(), "[store]"), func(w string) {
		mu.Lock()
		defer mu.Unlock()
		warnings = append(warnings, w)
	})
	if err != nil {
		t.Fatal(err)
	}
	return s, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return warnings
	}
}

func put(t *testing.T, s *Store, k Key, value string) {
	t.Helper()
	if err := s.Put(k, func(w io.Writer) error { _, err := io.WriteString(w, value); return err }); err != nil {
		t.Fatal(err)
	}
}

func get(s *Store, k Key) (string, error) {
	var got []byte
	err := s.Get(k, func(r io.Reader, size int64) (err error) {
		if got, err = io.ReadAll(r); err == nil && int64(len(got)) != size {
			err = fmt.Errorf("size %d, read %d", size, len(got))
		}
		return err
	})
	return string(got), err
}

// temporaries counts unfinished files.
func temporaries(t *testing.T, s *Store) int {
	t.Helper()
	_, unfinished, err := s.scan()
	if err != nil {
		t.Fatal(err)
	}
	return len(unfinished)
}

func TestRoundTrip(t *testing.T) {
	s, warnings := open(t)
	for _, value := range []string{"", "x", strings.Repeat("0123456789", 500_000)} {
		k := NewKey("moments", 1, fmt.Sprint(len(value)))
		if _, err := get(s, k); !errors.Is(err, ErrAbsent) {
			t.Fatalf("before Put: %v", err)
		}
		put(t, s, k, "an earlier value")
		put(t, s, k, value)
		if got, err := get(s, k); err != nil || got != value {
			t.Fatalf("%d bytes came back as %d (%v)", len(value), len(got), err)
		}
	}
	if w := warnings(); len(w) != 0 || temporaries(t, s) != 0 {
		t.Errorf("warnings %q, %d unfinished files", w, temporaries(t, s))
	}
}

func TestKeys(t *testing.T) {
	seen := map[Key]int{}
	for i, k := range []Key{
		NewKey("a", 1), NewKey("a", 2), NewKey("b", 1), NewKey("a", 1, ""), NewKey("a", 1, "", ""),
		NewKey("a", 1, "ab", "c"), NewKey("a", 1, "a", "bc"), NewKey("a", 1, "abc"), NewKey("a", 1, "c", "ab"),
		NewKey("a", 1, "1:a"), NewKey("a", 11, "a"), NewKey("a", 1, "1", "a"),
	} {
		if j, ok := seen[k]; ok {
			t.Errorf("keys %d and %d are equal", i, j)
		}
		seen[k] = i
	}
	if NewKey("a", 1, "x", "y") != NewKey("a", 1, "x", "y") {
		t.Error("equal parts give different keys")
	}
}

// TestDamage cuts a file at every length, flips every bit of it, and appends
// to it: each time the value must count as absent, with a warning.
func TestDamage(t *testing.T) {
	s, warnings := open(t)
	k := NewKey("moments", 1, "x")
	put(t, s, k, "a value")
	good, err := os.ReadFile(s.path(k))
	if err != nil {
		t.Fatal(err)
	}
	var damaged [][]byte
	for n := range good {
		damaged = append(damaged, good[:n])
		for bit := range 8 {
			flipped := bytes.Clone(good)
			flipped[n] ^= 1 << bit
			damaged = append(damaged, flipped)
		}
	}
	damaged = append(damaged, append(bytes.Clone(good), 0), make([]byte, len(good)))
	for i, data := range damaged {
		if err := os.WriteFile(s.path(k), data, 0o644); err != nil {
			t.Fatal(err)
		}
		if got, err := get(s, k); !errors.Is(err, ErrAbsent) {
			t.Fatalf("damage %d: got %q, %v", i, got, err)
		}
		if w := warnings(); len(w) != 1 || !strings.Contains(w[0], s.path(k)) {
			t.Fatalf("damage %d: warnings %q", i, w)
		}
	}
	if s.Report(); !strings.Contains(warnings()[1], fmt.Sprintf("%d reads", len(damaged))) {
		t.Errorf("the report of %d damaged values is %q", len(damaged), warnings()[1:])
	}
	other := NewKey("moments", 1, "y") // a value under another's name
	if err := os.MkdirAll(filepath.Dir(s.path(other)), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.path(other), good, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := get(s, other); !errors.Is(err, ErrAbsent) {
		t.Errorf("another key's file: %v", err)
	}
	put(t, s, k, "a new value")
	if got, err := get(s, k); err != nil || got != "a new value" {
		t.Errorf("after repair: %q, %v", got, err)
	}
}

func TestFailedPut(t *testing.T) {
	s, warnings := open(t)
	k := NewKey("moments", 1, "x")
	put(t, s, k, "first")
	boom := errors.New("boom")
	write := func(w io.Writer) error {
		if _, err := w.Write(make([]byte, 3<<20)); err != nil {
			return err
		}
		return boom
	}
	if err := s.Put(k, write); !errors.Is(err, boom) || !strings.Contains(err.Error(), s.path(k)) {
		t.Errorf("error %v", err)
	}
	if kept, err := s.Keep(k, write); kept || !errors.Is(err, boom) || s.Failed() != nil || len(warnings()) > 0 {
		t.Errorf("an error of the value itself: kept %t, error %v, failure of the store %v", kept, err, s.Failed())
	}
	if got, err := get(s, k); err != nil || got != "first" {
		t.Errorf("the earlier value became %q, %v", got, err)
	}
	if n := temporaries(t, s); n != 0 {
		t.Errorf("%d unfinished files left", n)
	}
}

// TestConcurrentWriters lets several stores on one folder, as several
// processes have, write and read the same keys.
func TestConcurrentWriters(t *testing.T) {
	s, warnings := open(t)
	value := func(k, writer int) string { return strings.Repeat(fmt.Sprintf("%d/%d ", k, writer), 1000) }
	var wg sync.WaitGroup
	for writer := range 8 {
		other, err := Open(s.Dir(), s.warn)
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			for i := range 40 {
				k := NewKey("v", 1, fmt.Sprint(i%4))
				if err := other.Put(k, func(w io.Writer) error { _, err := io.WriteString(w, value(i%4, writer)); return err }); err != nil {
					t.Error(err)
				}
				got, err := get(other, k)
				whole := false
				for w := range 8 {
					whole = whole || got == value(i%4, w)
				}
				if err != nil || !whole {
					t.Errorf("key %d: %d bytes that nobody wrote, %v", i%4, len(got), err)
				}
			}
		})
	}
	wg.Wait()
	if w := warnings(); len(w) != 0 || temporaries(t, s) != 0 {
		t.Errorf("warnings %q, %d unfinished files", w, temporaries(t, s))
	}
}

var words = Codec[string]{
	Write: func(w io.Writer, v string) error { _, err := io.WriteString(w, v); return err },
	Read:  func(r io.Reader, _ int64) (string, error) { b, err := io.ReadAll(r); return string(b), err },
}

func TestDoComputesOnce(t *testing.T) {
	s, _ := open(t)
	k := NewKey("v", 1, "x")
	var computed atomic.Int32
	release := make(chan struct{})
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			v, err := Do(t.Context(), s, k, words, func(context.Context) (string, error) {
				computed.Add(1)
				<-release
				return "value", nil
			})
			if err != nil || v != "value" {
				t.Errorf("%q, %v", v, err)
			}
		})
	}
	time.Sleep(20 * time.Millisecond) // let some of them wait
	close(release)
	wg.Wait()
	again, err := Open(s.Dir(), s.warn) // another process finds it on disk
	if err != nil {
		t.Fatal(err)
	}
	v, err := Do(t.Context(), again, k, words, func(context.Context) (string, error) { computed.Add(1); return "", nil })
	if err != nil || v != "value" || computed.Load() != 1 {
		t.Errorf("%q, %v; computed %d times", v, err, computed.Load())
	}
}

func TestDoErrors(t *testing.T) {
	s, _ := open(t)
	k := NewKey("v", 1, "x")
	boom := errors.New("boom")
	if _, err := Do(t.Context(), s, k, words, func(context.Context) (string, error) { return "", boom }); !errors.Is(err, boom) {
		t.Errorf("error %v", err)
	}
	v, err := Do(t.Context(), s, k, words, func(context.Context) (string, error) { return "second", nil })
	if err != nil || v != "second" {
		t.Errorf("after an error: %q, %v", v, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Do(ctx, s, k, words, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled before: %v", err)
	}
}

// TestDoCancelledLeader cancels the caller that computes: one that waits must
// take over.
func TestDoCancelledLeader(t *testing.T) {
	s, _ := open(t)
	k := NewKey("v", 1, "x")
	ctx, cancel := context.WithCancel(t.Context())
	computing := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		_, err := Do(ctx, s, k, words, func(ctx context.Context) (string, error) {
			close(computing)
			<-ctx.Done()
			return "", ctx.Err()
		})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("the cancelled caller got %v", err)
		}
	})
	<-computing
	wg.Go(func() {
		v, err := Do(t.Context(), s, k, words, func(context.Context) (string, error) { return "value", nil })
		if err != nil || v != "value" {
			t.Errorf("the waiting caller got %q, %v", v, err)
		}
	})
	time.Sleep(20 * time.Millisecond) // let it wait
	cancel()
	wg.Wait()
}

// TestDoPanic checks that a panic does not leave others waiting for ever.
func TestDoPanic(t *testing.T) {
	s, _ := open(t)
	k := NewKey("v", 1, "x")
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic was swallowed")
			}
		}()
		Do(t.Context(), s, k, words, func(context.Context) (string, error) { panic("boom") })
	}()
	v, err := Do(t.Context(), s, k, words, func(context.Context) (string, error) { return "value", nil })
	if err != nil || v != "value" {
		t.Errorf("%q, %v", v, err)
	}
}

// TestDoWithoutDisk: what cannot be stored or read is computed, with a warning.
func TestDoWithoutDisk(t *testing.T) {
	s, warnings := open(t)
	k := NewKey("v", 1, "x")
	if err := os.WriteFile(filepath.Dir(s.path(k)), nil, 0o644); err != nil { // a file where a folder must be
		t.Fatal(err)
	}
	v, err := Do(t.Context(), s, k, words, func(context.Context) (string, error) { return "value", nil })
	if err != nil || v != "value" {
		t.Errorf("%q, %v", v, err)
	}
	if w := warnings(); len(w) != 1 || !strings.Contains(w[0], s.path(k)) {
		t.Errorf("warnings %q", w)
	}
}

func TestListAndClean(t *testing.T) {
	s, _ := open(t)
	put(t, s, NewKey("moments", 1, "x"), "12345")
	put(t, s, NewKey("layer", 1, "y"), "1234567")
	foreign := filepath.Join(s.Dir(), "ab", "holiday-photo.jpg")
	old := filepath.Join(s.Dir(), "ab", tempPrefix+"1")
	young := filepath.Join(s.Dir(), "ab", tempPrefix+"2")
	if err := os.MkdirAll(filepath.Dir(foreign), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{foreign, old, young} {
		if err := os.WriteFile(path, []byte("x"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	long := time.Now().Add(-2 * staleAfter)
	if err := os.Chtimes(old, long, long); err != nil {
		t.Fatal(err)
	}
	items, err := s.List()
	if err != nil || len(items) != 2 {
		t.Fatalf("%v, %v", items, err)
	}
	for _, i := range items {
		if want := map[string]int64{"moments": 5, "layer": 7}[i.Kind] + int64(headerSize+footerSize); i.Bytes != want {
			t.Errorf("%s has %d bytes, want %d", i.Kind, i.Bytes, want)
		}
	}
	freed, err := s.Clean(func(i Item) bool { return i.Kind == "layer" })
	if want := int64(7+headerSize+footerSize) + 1; err != nil || freed != want {
		t.Errorf("freed %d, want %d (%v)", freed, want, err)
	}
	if _, err := get(s, NewKey("moments", 1, "x")); err != nil {
		t.Errorf("a kept value: %v", err)
	}
	for path, there := range map[string]bool{foreign: true, young: true, old: false} {
		if _, err := os.Stat(path); (err == nil) != there {
			t.Errorf("%s: %v, want there = %v", path, err, there)
		}
	}
}

// FuzzVerify feeds arbitrary files: none may be taken for a value that nobody
// stored.
func FuzzVerify(f *testing.F) {
	k := NewKey("v", 1, "x")
	f.Add([]byte(nil))
	f.Add([]byte(magic + string(k.sum[:]) + "value\x05\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(t.TempDir(), "v")
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
		file, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		size, err := verify(file, k)
		if err == nil && (size != int64(len(data)-headerSize-footerSize) || !bytes.HasPrefix(data, []byte(magic+string(k.sum[:])))) {
			t.Errorf("accepted %q as %d bytes", data, size)
		}
	})
}

// TestStale: a value that another machine replaces while it is read is opened
// once more, and only once.
func TestStale(t *testing.T) {
	s, err := Open(t.TempDir(), func(text string) { t.Error(text) })
	if err != nil {
		t.Fatal(err)
	}
	k := NewKey("test", 1)
	if err := s.Put(k, func(w io.Writer) error { _, err := w.Write([]byte("value")); return err }); err != nil {
		t.Fatal(err)
	}
	for _, stale := range []int{1, 2} {
		calls := 0
		err := s.Get(k, func(io.Reader, int64) error {
			if calls++; calls <= stale {
				return &os.PathError{Op: "read", Path: "x", Err: syscall.ESTALE}
			}
			return nil
		})
		if calls != 2 || (err == nil) != (stale == 1) {
			t.Errorf("stale %d times: %d calls, error %v", stale, calls, err)
		}
	}
}
