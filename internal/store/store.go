// Package store is a content-addressed cache on disk for what is expensive to
// compute and cheap to check: second moments, reference states, quantized
// layers. A key is a hash of everything that the value depends on, so nothing
// in the store is ever out of date, and any of it may be deleted at any time.
//
// Values are files with a checksum. A file that is torn or damaged counts as
// absent, with a warning. Any number of goroutines and processes may use one
// store, also from many machines on a network file system: values appear by
// renaming a finished file, and no process holds a lock that could outlive it.
// Two that want an absent value at the same time both compute it.
package store

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
)

// ErrAbsent says that the store has no whole value under a key.
var ErrAbsent = errors.New("not in the store")

// Key names a value.
type Key struct {
	kind string
	sum  [sha256.Size]byte
}

// NewKey returns the key of a value of some kind ("moments") that is computed
// by the given version of the code from parts: hashes, settings, names. Equal
// parts in equal order give equal keys, and only those. kind becomes part of
// the file's name; it has only letters, digits, '-' and '_'.
func NewKey(kind string, version int, parts ...string) Key {
	if kind == "" || strings.Trim(kind, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") != "" {
		panic(fmt.Sprintf("store: kind %q", kind))
	}
	h := sha256.New()
	// Lengths keep ("ab","c") and ("a","bc") apart.
	fmt.Fprintf(h, "%d:%s %d", len(kind), kind, version)
	for _, p := range parts {
		fmt.Fprintf(h, " %d:%s", len(p), p)
	}
	k := Key{kind: kind}
	h.Sum(k.sum[:0])
	return k
}

// String returns kind-hash, the name of the value's file.
func (k Key) String() string { return k.kind + "-" + hex.EncodeToString(k.sum[:]) }

// Store is a folder of values.
type Store struct {
	dir  string
	warn func(string)

	mu     sync.Mutex
	flight map[Key]*call
	failed error // see Failed

	damaged int // values that were ignored, see Report
}

// DefaultDir is the folder mosaicquant in the user's cache folder.
func DefaultDir() (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("store: %w", err)
	}
	return filepath.Join(dir, "mosaicquant"), nil
}

// Open returns the store in the folder dir, which it creates where missing. One
// that cannot be created takes nothing, a failure as those that Keep warns of; an
// empty dir is an error. warn is told once of damaged files (Report tells their
// number), and once of a disk that cannot be written or read; it may be called
// from several goroutines.
func Open(dir string, warn func(string)) (*Store, error) {
	if dir == "" {
		return nil, errors.New("store: no folder")
	}
	s := &Store{dir: dir, warn: warn, flight: map[Key]*call{}}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		s.fail(fmt.Errorf("store: %w", err))
	}
	return s, nil
}

// None returns a store without a folder, which takes nothing, and warns of the
// reason.
func None(reason error, warn func(string)) *Store {
	s := &Store{warn: warn, flight: map[Key]*call{}}
	s.fail(reason)
	return s
}

// Dir is the folder of s.
func (s *Store) Dir() string { return s.dir }

func (s *Store) path(k Key) string {
	name := k.String()
	hash := name[len(k.kind)+1:]
	return filepath.Join(s.dir, hash[:2], name)
}

// A value's file: magic, key hash, payload, payload length (8 bytes,
// little-endian), CRC-32C of the payload. The length comes last because a
// value is written as it is computed, before its size is known.
const (
	magic      = "MOSAIC\x00\x01"
	headerSize = len(magic) + sha256.Size
	footerSize = 8 + 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Put stores what write writes, replacing an earlier value. If anything fails,
// the store is as before; the error names the file.
func (s *Store) Put(k Key, write func(w io.Writer) error) error {
	_, err := s.put(k, write)
	return err
}

// Keep is Put for a value that can be computed again: a disk that is full or
// cannot be written costs time, not results. Such a failure is a warning, given
// once, and kept is false; an error is one of write itself.
func (s *Store) Keep(k Key, write func(w io.Writer) error) (kept bool, err error) {
	own, err := s.put(k, write)
	if err == nil || own {
		return err == nil, err
	}
	s.fail(err)
	return false, nil
}

// fail warns of the first failure of the disk.
func (s *Store) fail(err error) {
	s.mu.Lock()
	first := s.failed == nil
	if first {
		s.failed = err
	}
	s.mu.Unlock()
	if first {
		s.warn(fmt.Sprintf("%v; the run goes on without this cache: what it cannot keep is computed again where it is "+
			"needed (said once)", err))
	}
}

// ignore warns of the first value that is damaged or not what its reader wants, and
// counts all.
func (s *Store) ignore(path string, err error) {
	s.mu.Lock()
	s.damaged++
	first := s.damaged == 1
	s.mu.Unlock()
	if first {
		s.warn(fmt.Sprintf("store: %s: %v; it is ignored and will be computed again, as others like it (said once)",
			path, err))
	}
}

// Report warns of the number of damaged values, where there was more than the one
// that was warned of already. Call it at the end.
func (s *Store) Report() {
	s.mu.Lock()
	n := s.damaged
	s.mu.Unlock()
	if n > 1 {
		s.warn(fmt.Sprintf("store: %d reads of %s met a damaged value; all were computed again", n, s.dir))
	}
}

// Failed returns the failure that s has warned of, nil if there was none.
func (s *Store) Failed() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed
}

// put is Put; own tells that the error is one of write, not of the disk.
func (s *Store) put(k Key, write func(w io.Writer) error) (own bool, err error) {
	if s.dir == "" {
		return false, s.Failed()
	}
	path := s.path(k)
	fail := func(err error) (bool, error) { return own, fmt.Errorf("store: write %s: %w", path, err) }
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fail(err)
	}
	f, err := os.CreateTemp(filepath.Dir(path), tempPrefix+"*")
	if err != nil {
		return fail(err)
	}
	defer func() {
		if err != nil {
			f.Close() // again, perhaps; what matters is that the file goes
			os.Remove(f.Name())
		}
	}()
	if _, err := f.WriteString(magic + string(k.sum[:])); err != nil {
		return fail(err)
	}
	sw := &sumWriter{w: f, crc: crc32.New(castagnoli)}
	buf := bufio.NewWriterSize(sw, 1<<20)
	if err := write(buf); err != nil {
		own = sw.err == nil
		return fail(err)
	}
	if err := buf.Flush(); err != nil {
		return fail(err)
	}
	footer := binary.LittleEndian.AppendUint64(nil, uint64(sw.n))
	footer = binary.LittleEndian.AppendUint32(footer, sw.crc.Sum32())
	if _, err := f.Write(footer); err != nil {
		return fail(err)
	}
	// Without a sync a power failure could leave a renamed but empty file. Its
	// checksum would tell, but the work would be lost.
	if err := f.Sync(); err != nil {
		return fail(err)
	}
	if err := f.Close(); err != nil {
		return fail(err)
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return fail(err)
	}
	return false, nil
}

type sumWriter struct {
	w   io.Writer
	n   int64
	crc hash.Hash32
	err error // the last of w
}

func (s *sumWriter) Write(p []byte) (int, error) {
	n, err := s.w.Write(p)
	s.n += int64(n)
	s.crc.Write(p[:n])
	s.err = err
	return n, err
}

// Has reports whether there is a file for k. Whether it is whole, Get tells.
func (s *Store) Has(k Key) bool {
	if s.dir == "" {
		return false
	}
	_, err := os.Stat(s.path(k))
	return err == nil
}

// Get calls read with the value of k and its size in bytes. The whole value
// has been checked before, in one pass over the file, so that read never sees
// damaged bytes. It returns ErrAbsent where there is no value or only one that
// is damaged, cannot be opened, or makes read return an error: a value that is
// malformed under a valid checksum is computed again like any other. On a network file
// system another machine can replace the value's file while it is read, which
// makes the open one stale; it is opened once more then, and read is called
// again.
func (s *Store) Get(k Key, read func(r io.Reader, size int64) error) error {
	err := s.get(k, read)
	if errors.Is(err, syscall.ESTALE) {
		err = s.get(k, read)
	}
	return err
}

func (s *Store) get(k Key, read func(r io.Reader, size int64) error) error {
	if s.dir == "" {
		return ErrAbsent
	}
	path := s.path(k)
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return ErrAbsent
	}
	if errors.Is(err, syscall.ESTALE) {
		return fmt.Errorf("store: %w", err)
	}
	if err != nil {
		s.fail(fmt.Errorf("store: %w", err))
		return ErrAbsent
	}
	defer f.Close()
	size, err := verify(f, k)
	if errors.Is(err, syscall.ESTALE) {
		return fmt.Errorf("store: read %s: %w", path, err)
	}
	if err != nil {
		s.ignore(path, err)
		return ErrAbsent
	}
	payload := io.NewSectionReader(f, int64(headerSize), size)
	if err := read(bufio.NewReaderSize(payload, 1<<20), size); err != nil {
		if errors.Is(err, syscall.ESTALE) {
			return fmt.Errorf("store: read %s: %w", path, err)
		}
		s.ignore(path, err)
		return ErrAbsent
	}
	return nil
}

// verify checks that f is a whole value of k and returns its payload's size.
func verify(f *os.File, k Key) (size int64, err error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	size = info.Size() - int64(headerSize+footerSize)
	if size < 0 {
		return 0, fmt.Errorf("%d bytes are too few for a value", info.Size())
	}
	head := make([]byte, headerSize)
	if _, err := io.ReadFull(f, head); err != nil {
		return 0, err
	}
	if string(head) != magic+string(k.sum[:]) {
		return 0, errors.New("its header is not that of this value")
	}
	crc := crc32.New(castagnoli)
	if _, err := io.CopyBuffer(crc, io.LimitReader(f, size), make([]byte, 1<<20)); err != nil {
		return 0, err
	}
	var foot [footerSize]byte
	if _, err := io.ReadFull(f, foot[:]); err != nil {
		return 0, err
	}
	if n := binary.LittleEndian.Uint64(foot[:]); n != uint64(size) {
		return 0, fmt.Errorf("it has %d bytes of payload, its footer says %d", size, n)
	}
	if want := binary.LittleEndian.Uint32(foot[8:]); crc.Sum32() != want {
		return 0, fmt.Errorf("its checksum is %08x, its footer says %08x", crc.Sum32(), want)
	}
	return size, nil
}
