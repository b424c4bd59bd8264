package store

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// tempPrefix marks files that are being written.
const tempPrefix = ".writing-"

// staleAfter is the age at which a file that is being written is taken for one
// whose writer has died.
const staleAfter = 24 * time.Hour

// Delete drops the value of k, if there is one. One that cannot be deleted stays,
// a failure as those that Keep warns of.
func (s *Store) Delete(k Key) {
	if s.dir == "" {
		return
	}
	if err := os.Remove(s.path(k)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.fail(fmt.Errorf("store: %w", err))
	}
}

// Item is a value in the store.
type Item struct {
	Kind     string
	Bytes    int64 // of its file
	Modified time.Time

	path string
}

// List returns the values of s by file name.
func (s *Store) List() ([]Item, error) {
	items, _, err := s.scan()
	return items, err
}

// scan finds values and unfinished files. Files that are not the store's own
// are left alone, so that a store in the wrong folder does no harm.
func (s *Store) scan() (values, unfinished []Item, err error) {
	if s.dir == "" {
		return nil, nil, nil
	}
	paths, err := filepath.Glob(filepath.Join(escape(s.dir), "[0-9a-f][0-9a-f]", "*"))
	if err != nil {
		return nil, nil, fmt.Errorf("store: %w", err)
	}
	for _, path := range paths {
		name := filepath.Base(path)
		i := strings.LastIndexByte(name, '-')
		isValue := i > 0 && len(name)-i-1 == 64 && name[i+1:i+3] == filepath.Base(filepath.Dir(path))
		if isValue {
			_, err := hex.DecodeString(name[i+1:])
			isValue = err == nil
		}
		if !isValue && !strings.HasPrefix(name, tempPrefix) {
			continue
		}
		info, err := os.Lstat(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue // another process was faster
		}
		if err != nil {
			return nil, nil, fmt.Errorf("store: %w", err)
		}
		if !info.Mode().IsRegular() {
			continue
		}
		item := Item{Bytes: info.Size(), Modified: info.ModTime(), path: path}
		if isValue {
			item.Kind = name[:i]
			values = append(values, item)
		} else {
			unfinished = append(unfinished, item)
		}
	}
	return values, unfinished, nil
}

// escape makes dir literal in a Glob pattern.
func escape(dir string) string {
	if filepath.Separator == '\\' {
		return dir // Windows has no escapes, and its names no '*' or '?'
	}
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(dir)
}

// Clean deletes the values for which drop returns true, and what writers that
// died left behind. It returns the bytes that this freed.
func (s *Store) Clean(drop func(Item) bool) (freed int64, err error) {
	values, unfinished, err := s.scan()
	if err != nil {
		return 0, err
	}
	var errs []error
	remove := func(i Item) {
		if err := os.Remove(i.path); err == nil {
			freed += i.Bytes
		} else if !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("store: %w", err))
		}
	}
	for _, i := range values {
		if drop(i) {
			remove(i)
		}
	}
	for _, i := range unfinished {
		if time.Since(i.Modified) > staleAfter {
			remove(i)
		}
	}
	return freed, errors.Join(errs...)
}
