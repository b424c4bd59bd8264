//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package row

import (
	"errors"
	"fmt"
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
		return nil, &os.PathError{Op: "lock", Path: path, Err: lockError(err)}
	}
	return f, nil
}

// lockError names what flock says where a file is locked, and where locks are
// not to be had: Lustre mounted without them, NFS without a lock server.
func lockError(err error) error {
	switch {
	case errors.Is(err, syscall.EWOULDBLOCK):
		return ErrLocked
	case errors.Is(err, syscall.ENOSYS), errors.Is(err, syscall.EOPNOTSUPP), errors.Is(err, syscall.ENOLCK):
		return fmt.Errorf("%w: %w", ErrNoLocks, err)
	}
	return err
}
