package trial

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/hf"
	"github.com/mosaicquant/mosaicquant/internal/llm"
	"github.com/mosaicquant/mosaicquant/internal/store"
	"github.com/mosaicquant/mosaicquant/quant"
)

// source is the 16-bit model that trials start from, with its tokenizer.
type source struct {
	lab       *Lab
	name      string // as the trial has it
	model     *llm.Model
	linears   []llm.Linear // of model
	tokenizer *hf.Tokenizer
	bos       int32             // the token that begins sequences, or -1
	content   map[string]string // SHA-256 of what the model is made of
	warnings  []string

	changes  []string // names the changes that model has, in order; part of the keys of the cache
	prefixed bool     // model has a prefix, once Subject.ready has found it
	basis    *change  // of basis; model and linears are in it once Subject.ready has made it
	computed bool     // the change of basis computes new weights, in float32
}

// newSource returns the source for an open model. It warns of a model whose file
// holds quantized weights.
func (l *Lab) newSource(name string, model *llm.Model) *source {
	s := &source{lab: l, name: name, model: model, linears: model.Linears(), content: map[string]string{}}
	if c := model.Checkpoint(); c.Quantized() && !model.Config().Packed {
		s.warn("the model's weights came as %s: what is called 16-bit here is these, decoded", c.Precision())
	}
	return s
}

// listOutput says whether the output layer is among the linear layers.
func (s *source) listOutput(listed bool) {
	s.model = s.model.WithOutputListed(listed)
	s.linears = s.model.Linears()
}

// tiedOutput reports whether l is an output layer that is stored as the embedding.
func (s *source) tiedOutput(l llm.Linear) bool {
	return l.Name == llm.OutputName && s.model.Config().TieEmbeddings
}

func (s *source) warn(format string, args ...any) {
	s.warnings = append(s.warnings, fmt.Sprintf(format, args...))
}

// note tells of what a reader of the log may want to know.
func (l *Lab) note(format string, args ...any) {
	if l.Progress != nil {
		fmt.Fprintf(l.Progress, "note: "+format+"\n", args...)
	}
}

// readTokenizer reads the tokenizer and finds the token that begins sequences, if
// they begin with one: where bos is set, or, with asTokenizer, where the tokenizer
// has one.
func (s *source) readTokenizer(files hf.Files, bos, asTokenizer bool) error {
	tokenizer, err := hf.ReadTokenizer(files)
	if err != nil {
		return err
	}
	s.tokenizer = tokenizer
	s.bos = -1
	id, ok := tokenizer.BOS()
	if asTokenizer {
		bos = ok
	}
	if bos {
		if !ok {
			return fmt.Errorf("%s: protocol.bos is true, but the tokenizer has no BOS token; set bos: false", files.Name())
		}
		s.bos = id
	}
	return nil
}

// encode returns the tokens of text. A token that the model's vocabulary lacks is
// an error: tokenizers may have more tokens than the model.
func (s *source) encode(text string) ([]int32, error) {
	tokens := s.tokenizer.Encode(text)
	for i, id := range tokens {
		if v := s.model.Config().VocabSize; int(id) >= v {
			return nil, fmt.Errorf("%s: token %d is %q with id %d, the model's vocabulary has %d",
				s.name, i, s.tokenizer.Decode(tokens[i:i+1]), id, v)
		}
	}
	return tokens, nil
}

// hash hashes what the model is made of.
func (s *source) hash(files hf.Files) error {
	s.content["model"] = s.lab.weightsHash(s.model.Checkpoint())
	for _, name := range []string{"config.json", "tokenizer.json"} {
		blob, err := files.Open(name)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(blob.Data)
		s.content[name] = hex.EncodeToString(sum[:])
		if err := blob.Close(); err != nil {
			return err
		}
	}
	return nil
}

// weightsHash returns the SHA-256 of the weights; that of files is computed
// once and kept until they change.
func (l *Lab) weightsHash(c *hf.Checkpoint) string {
	stamp := c.Stamp()
	if stamp == "" {
		return c.SHA256()
	}
	key := store.NewKey("sha256", 1, stamp)
	hash, err := store.Do(context.Background(), l.Store, key, bytesCodec, func(context.Context) ([]byte, error) {
		return []byte(c.SHA256()), nil
	})
	if sum, e := hex.DecodeString(string(hash)); err != nil || e != nil || len(sum) != sha256.Size {
		return c.SHA256()
	}
	return string(hash)
}

// tensorBytes is the size of a tensor in the checkpoint.
func (s *source) tensorBytes(name string) (int64, error) {
	t, err := s.model.Checkpoint().Raw(name)
	if err != nil {
		return 0, err
	}
	return int64(len(t.Data)), nil
}

// linearBytes is what the weights of l count in 16 bits: their size in the
// checkpoint, or two bytes each if a change of basis has computed new ones.
func (s *source) linearBytes(l llm.Linear) (int64, error) {
	if s.computed {
		return 2 * int64(l.N) * int64(l.K), nil
	}
	return s.tensorBytes(l.Name + ".weight")
}

// sixteenBits is the name in the ledger of weights that stay as they are.
const sixteenBits = "16-bit weights"

// precision names the weights of the source in the ledger.
func (s *source) precision() string {
	if c := s.model.Checkpoint(); c.Quantized() && !s.computed {
		return c.Precision() + " weights"
	}
	return sixteenBits
}

// otherBytes is the size of all tensors but the weights of linear layers, for a
// view of the model whose norms and biases may be scaled: those that are count as
// float32, all others as in the checkpoint.
func (s *source) otherBytes(model *llm.Model) (int64, error) {
	var n int64
	for _, name := range s.model.Checkpoint().Names() {
		size, err := s.tensorBytes(name)
		if err != nil {
			return 0, err
		}
		n += size
	}
	folded, err := s.folded(model)
	if err != nil {
		return 0, err
	}
	for name, v := range folded {
		size, err := s.tensorBytes(name)
		if err != nil {
			return 0, err
		}
		n += 4*int64(len(v)) - size
	}
	for _, l := range s.linears {
		if s.tiedOutput(l) { // the embedding stays beside its copy
			continue
		}
		size, err := s.tensorBytes(l.Name + ".weight")
		if err != nil {
			return 0, err
		}
		n -= size
	}
	// An output layer beside the embedding, which it was before.
	if c := s.model.Config(); c.TieEmbeddings && s.basis.folds() && !s.model.OutputListed() {
		n += 2 * int64(c.VocabSize) * int64(c.HiddenSize)
	}
	return n, nil
}

// folded returns the norms and biases of model that differ from the checkpoint's,
// by the name of their tensor.
func (s *source) folded(model *llm.Model) (map[string][]float32, error) {
	changed := map[string][]float32{}
	for name, v := range model.Vectors() {
		t, err := s.model.Checkpoint().Raw(name)
		if err != nil {
			return nil, err
		}
		if !slices.Equal(v, t.Float32()) {
			changed[name] = v
		}
	}
	return changed, nil
}

// release releases all layers, see the function release.
func (s *source) release() {
	for _, l := range s.linears {
		release(l)
	}
}

// release tells the operating system that the mapped bytes of l are not needed
// in memory for now: a model that is read layer by layer does not pile up.
func release(l llm.Linear) {
	if t, ok := l.Weights.(interface{ Release() }); ok {
		t.Release()
	}
}

// load returns the weights [N,K] of l and releases them.
func load(l llm.Linear) gemm.Matrix {
	w := gemm.NewMatrix(l.N, l.K)
	l.Weights.Load(w, 0, 0)
	release(l)
	return w
}

// outputEnergy returns tr(W·H·Wᵀ) of l.
func outputEnergy(l llm.Linear, m *quant.Moments) float64 { return quant.OutputEnergy(load(l), m) }
