// Package builtin carries the models and texts that ship inside the binary, so
// that the default sweep needs no download. All of them were made for this
// project; their cards stand beside them.
package builtin

import (
	"embed"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/mosaicquant/mosaicquant/internal/hf"
)

// Prefix marks a model or text reference as one of this package's.
const Prefix = "builtin:"

//go:embed text/*.txt text/*.jsonl
var texts embed.FS

// Model returns the Hugging Face folder of the embedded model name.
func Model(name string) (hf.Files, error) {
	dir, err := fs.Sub(models, path.Join("models", name))
	if err == nil {
		_, err = fs.Stat(dir, "config.json")
	}
	if err != nil && absent != "" {
		return nil, fmt.Errorf("builtin: no model %q: %s", name, absent)
	}
	if err != nil {
		return nil, fmt.Errorf("builtin: no model %q; there are: %s", name, strings.Join(Models(), ", "))
	}
	return hf.FS(Prefix+name, dir), nil
}

// Text returns the embedded text name, UTF-8.
func Text(name string) ([]byte, error) {
	data, err := texts.ReadFile(path.Join("text", name+".txt"))
	if err != nil {
		return nil, fmt.Errorf("builtin: no text %q; there are: %s", name, strings.Join(Texts(), ", "))
	}
	return data, nil
}

// Task returns the embedded zero-shot set name, JSON lines as text/README.md
// describes them.
func Task(name string) ([]byte, error) {
	data, err := texts.ReadFile(path.Join("text", name+".jsonl"))
	if err != nil {
		return nil, fmt.Errorf("builtin: no task %q; there are: %s", name, strings.Join(Tasks(), ", "))
	}
	return data, nil
}

// Models lists the embedded models by name.
func Models() []string {
	if absent != "" {
		return nil
	}
	return names(models, "models", "")
}

// Texts lists the embedded texts by name.
func Texts() []string { return names(texts, "text", ".txt") }

// Tasks lists the embedded zero-shot sets by name.
func Tasks() []string { return names(texts, "text", ".jsonl") }

func names(files embed.FS, dir, ext string) []string {
	entries, err := files.ReadDir(dir)
	if err != nil {
		panic("builtin: " + err.Error()) // the embed pattern guarantees the folder
	}
	var list []string
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), ext); ok {
			list = append(list, name)
		}
	}
	return list
}
