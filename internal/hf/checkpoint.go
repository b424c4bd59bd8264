package hf

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
)

const (
	weightsName = "model.safetensors"
	indexName   = "model.safetensors.index.json"
)

// Checkpoint is the weights of a model, mapped and not yet read.
type Checkpoint struct {
	name     string
	shards   []shard
	tensors  map[string]*Tensor
	metadata map[string]string
}

type shard struct {
	name string
	blob *Blob
}

// OpenCheckpoint opens model.safetensors or, where that is missing, the shards
// named by model.safetensors.index.json, or the GGUF file. Only headers are read and checked; a
// tensor's bytes are first touched by its user. Tensors that a shard holds and
// the index does not mention are an error, as is the reverse.
func OpenCheckpoint(files Files) (*Checkpoint, error) {
	if g, ok := files.(ggufFile); ok {
		return g.checkpoint()
	}
	c := &Checkpoint{name: files.Name(), tensors: map[string]*Tensor{}, metadata: map[string]string{}}
	if err := c.open(files); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

func (c *Checkpoint) open(files Files) error {
	single, err := files.Open(weightsName)
	if err == nil {
		_, err := c.add(files, weightsName, single)
		return err
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	index, err := readIndex(files)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("hf: %s: neither %s nor %s: %w", files.Name(), weightsName, indexName, fs.ErrNotExist)
	}
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(index)) {
		blob, err := files.Open(name)
		if err != nil {
			return fmt.Errorf("hf: %s: shard %s: %w", at(files, indexName), name, err)
		}
		found, err := c.add(files, name, blob)
		if err != nil {
			return err
		}
		for _, want := range index[name] {
			if !found[want] {
				return fmt.Errorf("hf: %s: tensor %q is said to be in %s, which lacks it", at(files, indexName), want, name)
			}
			delete(found, want)
		}
		if len(found) > 0 {
			return fmt.Errorf("hf: %s: tensor %q is not in %s",
				at(files, name), slices.Min(slices.Collect(maps.Keys(found))), indexName)
		}
	}
	return nil
}

// readIndex returns the tensors of each shard.
func readIndex(files Files) (map[string][]string, error) {
	blob, err := files.Open(indexName)
	if err != nil {
		return nil, err
	}
	defer blob.Close()
	var index struct {
		WeightMap map[string]string `json:"weight_map"`
	}
	if err := json.Unmarshal(blob.Data, &index); err != nil {
		return nil, fmt.Errorf("hf: %s: %w", at(files, indexName), err)
	}
	if len(index.WeightMap) == 0 {
		return nil, fmt.Errorf("hf: %s: weight_map is empty", at(files, indexName))
	}
	shards := map[string][]string{}
	for _, tensor := range slices.Sorted(maps.Keys(index.WeightMap)) {
		name := index.WeightMap[tensor]
		shards[name] = append(shards[name], tensor)
	}
	return shards, nil
}

// add takes over blob and returns the names of its tensors.
func (c *Checkpoint) add(files Files, name string, blob *Blob) (map[string]bool, error) {
	c.shards = append(c.shards, shard{name, blob})
	tensors, metadata, err := parseSafetensors(blob.Data)
	if err != nil {
		return nil, fmt.Errorf("hf: %s: %w", at(files, name), err)
	}
	found := map[string]bool{}
	for _, t := range tensors {
		if c.tensors[t.Name] != nil {
			return nil, fmt.Errorf("hf: %s: tensor %q is in another shard too", at(files, name), t.Name)
		}
		t.release = blob.release
		c.tensors[t.Name] = t
		found[t.Name] = true
	}
	maps.Copy(c.metadata, metadata)
	return found, nil
}

// Names lists all tensors, sorted.
func (c *Checkpoint) Names() []string { return slices.Sorted(maps.Keys(c.tensors)) }

// Metadata returns the __metadata__ strings of the weight files.
func (c *Checkpoint) Metadata() map[string]string { return maps.Clone(c.metadata) }

// Precision names the types of the matrices, "Q4_1/Q8_0", the one of most weights
// first: what precision the file's weights came in.
func (c *Checkpoint) Precision() string {
	weights := map[string]int{}
	for _, t := range c.tensors {
		if len(t.Shape) == 2 || t.DType == "U8" { // packed layers are lists of bytes
			weights[t.DType] += t.Len()
		}
	}
	names := slices.SortedFunc(maps.Keys(weights), func(a, b string) int {
		return cmp.Or(weights[b]-weights[a], strings.Compare(a, b))
	})
	return strings.Join(names, "/")
}

// Quantized tells whether some matrix is stored in fewer than 16 bits.
func (c *Checkpoint) Quantized() bool {
	for _, t := range c.tensors {
		if t.blocks != nil || t.DType == "U8" {
			return true
		}
	}
	return false
}

// Tensor returns the named tensor, readable as float32: its type is F32, F16,
// BF16 or one of GGUF. It must not be used after Close.
func (c *Checkpoint) Tensor(name string) (*Tensor, error) {
	t, err := c.Raw(name)
	if err != nil {
		return nil, err
	}
	if !t.readable() {
		return nil, fmt.Errorf("hf: %s: tensor %q: dtype %s is not F32, F16 or BF16", c.name, name, t.DType)
	}
	return t, nil
}

// Raw returns the named tensor of any type; only its Data may be readable.
func (c *Checkpoint) Raw(name string) (*Tensor, error) {
	t := c.tensors[name]
	if t == nil {
		return nil, fmt.Errorf("hf: %s: no tensor %q", c.name, name)
	}
	return t, nil
}

// SHA256 returns the hex digest of all weight files, one after another in the
// order of their names. It reads every byte, once; mapped files pass through
// memory piece by piece.
func (c *Checkpoint) SHA256() string {
	h := sha256.New()
	for _, s := range c.shards {
		for rest := s.blob.Data; len(rest) > 0; {
			piece := rest[:min(len(rest), 64<<20)]
			h.Write(piece)
			if s.blob.release != nil {
				s.blob.release(piece)
			}
			rest = rest[len(piece):]
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}

// Stamp identifies the weight files by path, size and time of modification, and
// so their SHA256 as long as nobody forges times. It is empty where they are
// not files or were written a moment ago.
func (c *Checkpoint) Stamp() string {
	var all []string
	for _, s := range c.shards {
		if s.blob.stamp == "" {
			return ""
		}
		all = append(all, s.blob.stamp)
	}
	return strings.Join(all, "\n")
}

// Close unmaps the files. Every Tensor of c is dead from then on: using one is
// a fault that no error reports. A second Close does nothing.
func (c *Checkpoint) Close() error {
	var errs []error
	for _, s := range c.shards {
		errs = append(errs, s.blob.Close())
	}
	c.shards, c.tensors = nil, nil
	return errors.Join(errs...)
}
