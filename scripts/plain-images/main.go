// Command plain-images writes the images of the CUDA kernels to a folder as gzip without
// compression, and to standard output what `go build -overlay` takes, so that a program holds
// them so. An archive of programs then shrinks them together, which is far better than each alone.
//
//	go run ./scripts/plain-images FOLDER >overlay.json
package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"log"
	"os"
	"path/filepath"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("plain-images: ")
	if len(os.Args) != 2 {
		log.Fatal("want a folder")
	}
	names, err := filepath.Glob("zipper/cuda/kernels/*.gz")
	if err != nil || len(names) == 0 {
		log.Fatalf("no images in zipper/cuda/kernels: run it in the top folder (%v)", err)
	}
	overlay := struct{ Replace map[string]string }{map[string]string{}}
	for _, name := range names {
		from, err := filepath.Abs(name)
		if err != nil {
			log.Fatal(err)
		}
		to, err := filepath.Abs(filepath.Join(os.Args[1], filepath.Base(name)))
		if err != nil {
			log.Fatal(err)
		}
		if err := store(to, from); err != nil {
			log.Fatalf("%s: %v", name, err)
		}
		overlay.Replace[from] = to
	}
	if err := json.NewEncoder(os.Stdout).Encode(overlay); err != nil {
		log.Fatal(err)
	}
}

// store writes what a gzip file holds to another one, without compression.
func store(to, from string) error {
	f, err := os.Open(from)
	if err != nil {
		return err
	}
	defer f.Close()
	in, err := gzip.NewReader(f)
	if err != nil {
		return err
	}
	var out bytes.Buffer
	w, err := gzip.NewWriterLevel(&out, gzip.NoCompression)
	if err != nil {
		return err
	}
	if _, err := io.Copy(w, in); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	return os.WriteFile(to, out.Bytes(), 0o644)
}
