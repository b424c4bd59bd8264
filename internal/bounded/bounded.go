// Package bounded reads files that a user names: no more than a limit, and
// nothing that is not a file, where reading would wait (a pipe) or never end (a
// device).
package bounded

import (
	"fmt"
	"io"
	"os"
)

// Open opens the regular file at path, or the one that a link there leads to.
func Open(path string) (*os.File, error) {
	info, err := os.Stat(path) // before it is opened, which waits at a named pipe
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: not a regular file", path)
	}
	return os.Open(path)
}

// ReadFile returns the content of the regular file at path, which must have at most
// limit bytes.
func ReadFile(path string, limit int64) ([]byte, error) {
	f, err := Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if size := info.Size(); size > limit {
		return nil, fmt.Errorf("%s: %d bytes; at most %d are read", path, size, limit)
	}
	data := make([]byte, 0, info.Size()+1)
	for { // a file may grow, and those of /proc have no size
		n, err := f.Read(data[len(data):cap(data)])
		data = data[:len(data)+n]
		if int64(len(data)) > limit {
			return nil, fmt.Errorf("%s: more than the %d bytes that are read", path, limit)
		}
		if err == io.EOF {
			return data, nil
		}
		if err != nil {
			return nil, err
		}
		if len(data) == cap(data) {
			data = append(data, 0)[:len(data)]
		}
	}
}
