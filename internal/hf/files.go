package hf

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/mosaicquant/mosaicquant/internal/bounded"
)

// Files is the folder of one model.
type Files interface {
	// Name is how the folder is called in errors and reports.
	Name() string
	// Open returns the content of a file. A missing file gives an error that
	// wraps fs.ErrNotExist.
	Open(name string) (*Blob, error)
}

// Blob is the content of one file.
type Blob struct {
	// Data is read-only; a mapped file faults on a write.
	Data  []byte
	close func() error
	// release, of mapped files, gives the memory of a part of Data back.
	release func(part []byte)
	// stamp tells this version of a file from others without reading it; empty
	// where nothing does.
	stamp string
}

// Close releases the content. Data, and every slice of it, must not be used
// afterwards: touching an unmapped page kills the process. A second Close does
// nothing.
func (b *Blob) Close() error {
	f := b.close
	b.Data, b.close = nil, nil
	if f == nil {
		return nil
	}
	return f()
}

// Dir returns the files of the folder at path, memory-mapped where the
// operating system allows it. A file that is truncated while it is mapped
// faults on access, as with any mapping.
func Dir(path string) Files { return dir(path) }

type dir string

func (d dir) Name() string { return string(d) }

func (d dir) Open(name string) (*Blob, error) {
	if !filepath.IsLocal(name) {
		return nil, fmt.Errorf("hf: %s: file name %q leaves the folder", string(d), name)
	}
	f, err := bounded.Open(filepath.Join(string(d), name))
	if err != nil {
		return nil, fmt.Errorf("hf: %w", err)
	}
	defer f.Close() // a mapping outlives its descriptor
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("hf: %w", err)
	}
	if int64(int(info.Size())) != info.Size() {
		return nil, fmt.Errorf("hf: %s: %d bytes do not fit this machine's address space", f.Name(), info.Size())
	}
	if info.Size() == 0 {
		return &Blob{}, nil // an empty mapping is an error on most systems
	}
	b, err := mapFile(f, int(info.Size()))
	if err != nil {
		return nil, fmt.Errorf("hf: %s: %w", f.Name(), err)
	}
	// A file that was just written may change again within the resolution of
	// its time.
	if path, err := filepath.Abs(f.Name()); err == nil && time.Since(info.ModTime()) > 5*time.Second {
		b.stamp = fmt.Sprintf("%q %d %d", path, info.Size(), info.ModTime().UnixNano())
	}
	return b, nil
}

// FS returns the files of fsys under the given name. Files are read whole.
func FS(name string, fsys fs.FS) Files { return fsFiles{name, fsys} }

type fsFiles struct {
	name string
	fsys fs.FS
}

func (f fsFiles) Name() string { return f.name }

func (f fsFiles) Open(name string) (*Blob, error) {
	data, err := fs.ReadFile(f.fsys, name)
	if err != nil {
		return nil, fmt.Errorf("hf: %s: %w", f.name, err)
	}
	return &Blob{Data: data}, nil
}

// openOptional is Open, but a missing file is nil without an error.
func openOptional(files Files, name string) (*Blob, error) {
	b, err := files.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return b, err
}

// at names a file of a model in an error.
func at(files Files, name string) string { return files.Name() + "/" + name }
