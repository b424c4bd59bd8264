package row

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/mosaicquant/mosaicquant/internal/bounded"
)

// Packed is the ending of rows and studies that are kept compressed: wherever a
// folder may have File or CriteriaFile, it may have the same, by gzip, under the
// name with this ending. A program that writes to it unpacks it first.
const Packed = ".gz"

// maxUnpacked bounds the bytes that a packed file may unfold to in memory.
const maxUnpacked = 1 << 30

// source is a file to read, packed or not.
type source interface {
	io.Reader
	io.ReaderAt
	io.Closer
	Name() string
}

// open opens the file path, or in its absence the packed one. A path that ends
// in Packed is unpacked. It is an error if both are there: they may differ.
func open(path string) (source, error) {
	if len(path) > len(Packed) && path[len(path)-len(Packed):] == Packed {
		return openPacked(path)
	}
	f, err := bounded.Open(path)
	packed := path + Packed
	if errors.Is(err, fs.ErrNotExist) {
		if _, e := os.Stat(packed); e == nil {
			return openPacked(packed)
		}
		return nil, err
	}
	if err != nil {
		return nil, err
	}
	if _, e := os.Stat(packed); e == nil {
		f.Close()
		return nil, bothError(path)
	}
	return f, nil
}

func bothError(path string) error {
	return fmt.Errorf("%s and %s%s are both there; remove the one that is out of date", path, path, Packed)
}

// unpacked is a source in memory.
type unpacked struct {
	*bytes.Reader
	name string
}

func (u *unpacked) Name() string { return u.name }
func (u *unpacked) Close() error { return nil }

func openPacked(path string) (source, error) {
	text, err := unpack(path)
	if err != nil {
		return nil, err
	}
	return &unpacked{bytes.NewReader(text), path}, nil
}

// unpack returns what a packed file holds.
func unpack(path string) ([]byte, error) {
	f, err := bounded.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	text, err := io.ReadAll(io.LimitReader(z, maxUnpacked+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if len(text) > maxUnpacked {
		return nil, fmt.Errorf("%s: more than %d bytes unpacked; unpack it by hand", path, maxUnpacked)
	}
	return text, nil
}

// unpackInto moves the content of the packed file beside f, if there is one,
// into f, which its caller has locked. An earlier attempt may have been killed
// halfway: f may hold the beginning.
func unpackInto(f *os.File) error {
	packed := f.Name() + Packed
	text, err := unpack(packed)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	have, err := io.ReadAll(f)
	if err != nil {
		return err
	}
	if !bytes.HasPrefix(text, have) {
		return bothError(f.Name())
	}
	if _, err := f.Write(text[len(have):]); err != nil { // f appends
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return os.Remove(packed)
}
