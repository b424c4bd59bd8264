package trial

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// newFolder returns a new folder beside dir, to be filled and then renamed to dir by
// publish. A dir that holds something is an error.
func newFolder(dir string) (string, error) {
	if err := free(dir); err != nil {
		return "", err
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(filepath.Dir(abs), 0o755); err != nil {
		return "", err
	}
	temp, err := os.MkdirTemp(filepath.Dir(abs), "."+filepath.Base(abs)+".writing-*")
	if err != nil {
		return "", err
	}
	return temp, os.Chmod(temp, 0o755)
}

// free returns an error unless dir is absent or an empty folder.
func free(dir string) error {
	path := filepath.Join(dir, "model.safetensors")
	if _, err := os.Lstat(path); err == nil {
		return fmt.Errorf("%s: exists already", path)
	}
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if len(entries) > 0 {
		return fmt.Errorf("%s: is not empty (%s); name a new folder", dir, entries[0].Name())
	}
	return nil
}

// publish gives the folder temp the name dir, which newFolder has seen free.
func publish(temp, dir string) error {
	if err := free(dir); err != nil { // another process was faster
		return err
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) { // an empty folder is in the way
		return err
	}
	return os.Rename(temp, dir)
}
