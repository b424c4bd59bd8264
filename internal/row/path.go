package row

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// ErrReplaced says that the path of the rows no longer leads to the file that a
// Writer has open: rows written to it would be lost.
var ErrReplaced = errors.New("was deleted, moved or replaced while this run writes to it; the run stops here. " +
	"Start it again to measure what is missing")

// reachable returns ErrReplaced unless the file of w is still found by its name,
// or where Retire puts it.
func (w *Writer) reachable() error {
	open, err := w.f.Stat()
	if err != nil {
		return err
	}
	path := w.f.Name()
	for _, p := range []string{path, filepath.Join(filepath.Dir(path), joinedFolder, filepath.Base(path))} {
		if found, err := os.Stat(p); err == nil && os.SameFile(open, found) {
			return nil
		}
	}
	return fmt.Errorf("%s: %w", path, ErrReplaced)
}
