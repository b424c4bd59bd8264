//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package row

import (
	"errors"
	"os"
	"syscall"
)

// openLocked opens path for reading and appending and takes an exclusive lock
// on it. The kernel drops the lock with the process, however that ends.
func openLocked(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, &os.PathError{Op: "lock", Path: path, Err: ErrLocked}
		}
		return nil, &os.PathError{Op: "lock", Path: path, Err: err}
	}
	return f, nil
}
