//go:build !unix

package hf

import (
	"io"
	"os"
)

func mapFile(f *os.File, size int) (*Blob, error) {
	data := make([]byte, size)
	if _, err := io.ReadFull(f, data); err != nil {
		return nil, err
	}
	return &Blob{Data: data}, nil
}
