package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/mosaicquant/mosaicquant/internal/builtin"
)

// kills ends a sweep again and again.
func kills(s *soak, dir string) (string, error) {
	results := filepath.Join(dir, "results")
	n, err := s.storm(8, nil, "sweep", "-c", s.config, "-o", results, "--cache", filepath.Join(dir, "cache"))
	if err == nil {
		err = s.compare(results)
	}
	return fmt.Sprintf("%d starts", n), err
}

// slices kills two slices that run at a time, then joins their rows.
func slices(s *soak, dir string) (string, error) {
	results, cache := filepath.Join(dir, "results"), filepath.Join(dir, "cache")
	lives := [2]time.Duration{}
	for i := range lives {
		lives[i] = 50*time.Millisecond + time.Duration(s.rng.Float64()*float64(s.took))
	}
	var wg sync.WaitGroup
	var errs [2]error
	for i := range lives {
		wg.Go(func() {
			args := []string{"sweep", "-c", s.config, "-o", results, "--cache", cache, "--slice", fmt.Sprintf("%d/2", i+1)}
			if _, errs[i] = s.start(lives[i], os.Kill, "", args...); errs[i] == nil {
				_, errs[i] = s.finish(args...)
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return "", err
		}
	}
	n, err := s.storm(3, nil, "merge", results)
	if err == nil {
		err = s.compare(results)
	}
	return fmt.Sprintf("killed after %s and %s, %d merges", lives[0].Round(time.Millisecond),
		lives[1].Round(time.Millisecond), n), err
}

// deletions deletes the results of a running sweep. It must say so, or be over already.
func deletions(s *soak, dir string) (string, error) {
	results := filepath.Join(dir, "results")
	args := []string{"sweep", "-c", s.config, "-o", results, "--cache", filepath.Join(dir, "cache")}
	wait := time.Duration(s.rng.Float64() * float64(s.took))
	deleted := make(chan error, 1)
	go func() {
		time.Sleep(wait)
		deleted <- os.RemoveAll(results)
	}()
	e, err := s.start(0, nil, "", args...)
	if derr := <-deleted; err == nil {
		err = derr
	}
	if err != nil {
		return "", err
	}
	if e.code == 0 {
		if _, err := os.Stat(filepath.Join(results, "rows.jsonl")); err == nil {
			if err := s.compare(results); err != nil {
				return "", err
			}
		}
	}
	if _, err := s.finish(args...); err != nil {
		return "", err
	}
	return fmt.Sprintf("after %s, code %d", wait.Round(time.Millisecond), e.code), s.compare(results)
}

// fullDisk limits the size of files, as a full disk does.
func fullDisk(s *soak, dir string) (string, error) {
	results := filepath.Join(dir, "results")
	args := []string{"sweep", "-c", s.config, "-o", results, "--cache", filepath.Join(dir, "cache")}
	blocks := 1 + s.rng.IntN(400)
	e, err := s.start(0, nil, fmt.Sprintf("trap '' XFSZ; ulimit -f %d", blocks), args...)
	if err == nil {
		_, err = s.finish(args...)
	}
	if err == nil {
		err = s.compare(results)
	}
	return fmt.Sprintf("%d blocks, code %d", blocks, e.code), err
}

// damagedCache damages values of the cache, some under a valid checksum, each time that a
// sweep was killed.
func damagedCache(s *soak, dir string) (string, error) {
	results, cache := filepath.Join(dir, "results"), filepath.Join(dir, "cache")
	damaged := 0
	between := func() error {
		return filepath.WalkDir(cache, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || s.rng.IntN(2) == 0 {
				return err
			}
			data, err := os.ReadFile(path)
			if err != nil || len(data) < 60 {
				return err
			}
			damaged++
			return os.WriteFile(path, s.damage(data), 0o644)
		})
	}
	n, err := s.storm(4, between, "sweep", "-c", s.config, "-o", results, "--cache", cache)
	if err == nil {
		err = s.compare(results)
	}
	return fmt.Sprintf("%d starts, %d values damaged", n, damaged), err
}

// damage changes a value's file: by a bit, by its length, or by a cut payload under a
// valid checksum; see internal/store.
func (s *soak) damage(data []byte) []byte {
	const header, footer = 8 + 32, 8 + 4
	data = bytes.Clone(data)
	switch s.rng.IntN(3) {
	case 0:
		data[s.rng.IntN(len(data))] ^= 1 << s.rng.IntN(8)
		return data
	case 1:
		return data[:s.rng.IntN(len(data))]
	}
	payload := data[header : len(data)-footer]
	payload = payload[:s.rng.IntN(len(payload)+1)]
	data = data[:header+len(payload)]
	sum := crc32.Checksum(payload, crc32.MakeTable(crc32.Castagnoli))
	data = binary.LittleEndian.AppendUint64(data, uint64(len(payload)))
	return binary.LittleEndian.AppendUint32(data, sum)
}

// hostileModel evaluates copies of a model with random damage: an end with a result or
// one error, never a dump and never a wait.
func hostileModel(s *soak, dir string) (string, error) {
	files, err := builtin.Model("tiny-llama3")
	if err != nil {
		return "", err
	}
	refused := 0
	const copies = 12
	for n := range copies {
		model := filepath.Join(dir, fmt.Sprint("model", n))
		if err := os.MkdirAll(model, 0o755); err != nil {
			return "", err
		}
		names := []string{"config.json", "tokenizer.json", "model.safetensors"}
		victim := names[s.rng.IntN(len(names))]
		for _, name := range names {
			blob, err := files.Open(name)
			if err != nil {
				return "", err
			}
			data := blob.Data
			if name == victim {
				data = s.hostile(data)
			}
			if err := os.WriteFile(filepath.Join(model, name), data, 0o644); err != nil {
				return "", err
			}
		}
		e, err := s.start(0, nil, "", "eval", "-m", model, "--cache", filepath.Join(dir, "cache"),
			"--text", "builtin:heldout", "--context", "64", "--tokens", "64")
		if err != nil {
			return "", fmt.Errorf("damaged %s: %w", victim, err)
		}
		if e.code != 0 {
			refused++
			if last := strings.TrimSpace(e.output); !strings.Contains(last, "error: ") {
				return "", fmt.Errorf("damaged %s: code %d without an error:\n%s", victim, e.code, tail(e.output))
			}
		}
		if err := os.RemoveAll(model); err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("%d of %d refused", refused, copies), nil
}

// hostile changes the beginning of a file, where its structure is, or cuts it.
func (s *soak) hostile(data []byte) []byte {
	data = bytes.Clone(data)
	head := min(len(data), 2000)
	switch s.rng.IntN(5) {
	case 0:
		return data[:s.rng.IntN(len(data))]
	case 1:
		data[s.rng.IntN(head)] ^= 1 << s.rng.IntN(8)
	case 2: // another number
		for i, first := 0, s.rng.IntN(head); i < head; i++ {
			if at := (first + i) % head; data[at] >= '0' && data[at] <= '9' {
				return append(append(bytes.Clone(data[:at]), "2147483646"...), data[at+1:]...)
			}
		}
	case 3:
		for range 20 {
			data[s.rng.IntN(head)] = byte(s.rng.IntN(256))
		}
	case 4:
		return nil
	}
	return data
}

// quantize kills the writing of a packed checkpoint, then damages a copy of the result.
func quantize(s *soak, dir string) (string, error) {
	packed, cache := filepath.Join(dir, "packed"), filepath.Join(dir, "cache")
	args := []string{"quantize", "-c", s.one, "-o", packed, "--cache", cache}
	starts := 0
	for ; starts < 6; starts++ {
		if _, err := s.start(50*time.Millisecond+time.Duration(s.rng.Float64()*float64(s.quantizing)), os.Kill, "",
			args...); err != nil {
			return "", err
		}
		if _, err := os.Stat(packed); err == nil { // a folder that has its name is whole
			break
		}
	}
	if _, err := os.Stat(packed); err != nil {
		if _, err := s.finish(args...); err != nil {
			return "", err
		}
	}
	nll, err := s.evaluate(packed, cache)
	if err != nil {
		return "", err
	}
	if nll != s.nll {
		return "", fmt.Errorf("NLL %v of the packed checkpoint, undisturbed %v", nll, s.nll)
	}
	const flips = 6
	for range flips {
		name := []string{"model.safetensors", "model.safetensors", "config.json", "tokenizer.json"}[s.rng.IntN(4)]
		path := filepath.Join(packed, name)
		data, err := os.ReadFile(path)
		if err != nil {
			return "", err
		}
		at, bit := s.rng.IntN(len(data)), s.rng.IntN(8)
		data[at] ^= 1 << bit
		if err := os.WriteFile(path, data, 0o644); err != nil {
			return "", err
		}
		e, err := s.start(0, nil, "", "eval", "-m", packed, "--cache", cache, "--text", "builtin:heldout", "--context", "64",
			"--tokens", "64")
		if err != nil {
			return "", err
		}
		if e.code == 0 {
			return "", fmt.Errorf("bit %d of byte %d of %s is flipped, and the checkpoint is accepted", bit, at, path)
		}
		data[at] ^= 1 << bit
		if err := os.WriteFile(path, data, 0o644); err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("%d kills, %d flipped bits refused", starts, flips), nil
}
