package main

import (
	"fmt"
	"io"
	"os"
)

// maxFile bounds the sweep and bench files that are read: honest ones have some
// kilobytes, and plan refuses more than a mebibyte.
const maxFile = 2 << 20

// readFile reads a file that a user names. It waits for no pipe, and ends at
// maxFile bytes however long the file is.
func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: not a regular file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = fmt.Errorf("%s: more than %d bytes", path, maxFile)
	}
	return data, err
}
