package tasks

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/mosaicquant/mosaicquant/internal/bounded"
	"github.com/mosaicquant/mosaicquant/internal/hf"
	"github.com/mosaicquant/mosaicquant/internal/parquet"
)

// dataset is where the hub has a task: a configuration of a data set, which is a folder
// in it, or "" where there is one alone, and the split that is scored.
type dataset struct{ repository, config, split string }

// cached returns the files of the first of the data sets that Hugging Face's cache on
// this machine has. Nothing is downloaded.
func cached(name string, sets []dataset) ([]string, error) {
	cache, err := hf.HubCache()
	if err != nil {
		return nil, err
	}
	var names []string
	for _, d := range sets {
		names = append(names, d.repository)
		dir := filepath.Join(cache, "datasets--"+strings.ReplaceAll(d.repository, "/", "--"))
		if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		return d.find(dir)
	}
	return nil, fmt.Errorf("the cache %s has no data set %s; fetch one by its own tools, such as"+
		" huggingface-cli download --repo-type dataset %s, or name a file: %s=FILE", cache, strings.Join(names, " or "),
		names[0], name)
}

// find returns the files of d in its folder of the cache: of the commit that main is, or
// else of the only one that has them.
func (d dataset) find(dir string) ([]string, error) {
	if commit, err := bounded.ReadFile(filepath.Join(dir, "refs", "main"), 1<<10); err == nil {
		files, err := d.in(filepath.Join(dir, "snapshots", strings.TrimSpace(string(commit))))
		if err != nil || len(files) > 0 {
			return files, err
		}
	}
	commits, err := os.ReadDir(filepath.Join(dir, "snapshots"))
	if err != nil {
		return nil, err
	}
	var found [][]string
	for _, c := range commits {
		files, err := d.in(filepath.Join(dir, "snapshots", c.Name()))
		if err != nil {
			return nil, err
		}
		if len(files) > 0 {
			found = append(found, files)
		}
	}
	if len(found) != 1 {
		return nil, fmt.Errorf("%s: %d commits have a Parquet or JSON file of %s; want one", dir, len(found), d)
	}
	return found[0], nil
}

func (d dataset) String() string {
	if d.config == "" {
		return "split " + d.split
	}
	return d.config + ", split " + d.split
}

var (
	shard = regexp.MustCompile(`^(.*)-(\d+)-of-(\d+)$`)
	words = regexp.MustCompile(`[^-_.]+`)
)

// in returns the shards of the split in a snapshot, in order; none where it has none.
func (d dataset) in(snapshot string) ([]string, error) {
	sets := map[string][]string{} // by what their names have in common
	err := filepath.WalkDir(snapshot, func(file string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) && file == snapshot {
			return filepath.SkipDir
		}
		if err != nil || entry.IsDir() {
			return err
		}
		rel, err := filepath.Rel(snapshot, file)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		ext := path.Ext(rel)
		if !slices.Contains([]string{".parquet", ".jsonl", ".json"}, ext) || strings.HasPrefix(rel, ".") {
			return nil
		}
		stem := strings.TrimSuffix(rel, ext)
		if d.config != "" && !slices.Contains(strings.Split(path.Dir(stem), "/"), d.config) ||
			!slices.Contains(words.FindAllString(path.Base(stem), -1), d.split) {
			return nil
		}
		if m := shard.FindStringSubmatch(stem); m != nil {
			stem = m[1] + " of " + m[3]
		}
		sets[stem+ext] = append(sets[stem+ext], file)
		return nil
	})
	if err != nil {
		return nil, err
	}
	var names []string
	for name := range sets {
		names = append(names, name)
	}
	slices.Sort(names)
	switch {
	case len(names) == 0:
		return nil, nil
	case len(names) > 1:
		return nil, fmt.Errorf("%s: %d files fit %s: %s; name one of them",
			snapshot, len(names), d, strings.Join(names, ", "))
	}
	files := sets[names[0]]
	slices.Sort(files)
	if m := shard.FindStringSubmatch(strings.TrimSuffix(files[0], path.Ext(files[0]))); m != nil {
		if n, err := strconv.Atoi(m[3]); err != nil || n != len(files) {
			return nil, fmt.Errorf("%s: %d of %s shards are there", files[0], len(files), m[3])
		}
	}
	return files, nil
}

// readLines returns the content of the files, one after another, as JSON lines where they
// are Parquet.
func readLines(files []string) (text, raw []byte, err error) {
	for _, file := range files {
		data, err := bounded.ReadFile(file, maxFile)
		if err != nil {
			return nil, nil, err
		}
		raw = append(raw, data...)
		if parquet.Is(data) {
			if data, err = parquet.JSONLines(data); err != nil {
				return nil, nil, fmt.Errorf("%s: %w", file, err)
			}
		}
		text = append(text, data...)
		if n := len(text); n > 0 && text[n-1] != '\n' && len(files) > 1 {
			text = append(text, '\n')
		}
	}
	return text, raw, nil
}
