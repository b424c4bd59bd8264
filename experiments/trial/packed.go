package trial

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"

	"github.com/mosaicquant/mosaicquant/experiments/plan"
	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/hf"
	"github.com/mosaicquant/mosaicquant/internal/llm"
	"github.com/mosaicquant/mosaicquant/internal/row"
	"github.com/mosaicquant/mosaicquant/quant"
)

// packedVersion is that of the layout of packed checkpoints.
const packedVersion = 3

// Packed is what a packed checkpoint says of itself, as JSON in the metadata of
// its safetensors file under the name hf.QuantMethod.
//
// The checkpoint is a folder in Hugging Face layout. In model.safetensors the
// tensor NAME.weight of each linear layer is replaced by NAME.weight_packed, the
// binary form of a quant.Quantized; all other tensors are as in the source. An output
// layer that was tied to the embedding and is quantized becomes a layer of its own.
// config.json is the source's with a quantization_config, which keeps other
// programs from reading the folder as something it is not.
type Packed struct {
	Version int        `json:"version"`
	Trial   plan.Trial `json:"trial"` // method, calibration and activations
	// Content has the hashes of what the trial names: the source's weights
	// ("model"), config.json, tokenizer.json, texts.
	Content       map[string]string `json:"content"`
	BitsPerWeight float64           `json:"bits_per_weight"`
	Ledger        []row.Item        `json:"ledger"`
	SHA256        map[string]string `json:"sha256"` // of type, shape and bytes of each tensor, by its name
	Files         map[string]string `json:"files"`  // SHA-256 of each other file, by its name
}

func (p *Packed) String() string {
	method, err := json.Marshal(p.Trial.Method)
	if err != nil {
		panic(err) // it has come from JSON or goes there
	}
	return printable(fmt.Sprintf("%s by %s, %.3f bits per weight", p.Trial.Model, method, p.BitsPerWeight))
}

// Quantize runs the method of t and writes the result to dir as a packed
// checkpoint. What was written is read back and must give the hidden states
// that the quantized model in memory gives, bit for bit; only then the folder takes the
// name dir. A dir that holds something already is an error.
func (l *Lab) Quantize(ctx context.Context, t plan.Trial, dir string) (*Packed, error) {
	for key, name := range map[string]string{"basis": t.Basis, "transform": t.Transform} {
		if name != "" {
			return nil, fmt.Errorf("%s: %s: a packed checkpoint has the embedding, the norms and the inputs"+
				" of the source, so its weights must be in the basis of the source", key, name)
		}
	}
	if t.Prefix != "" {
		return nil, fmt.Errorf("prefix: %s: a packed checkpoint has no keys and values of a prefix", t.Prefix)
	}
	if t.ActivationsScale != "" {
		return nil, fmt.Errorf("activations_scale: %s: a packed checkpoint has no scales of inputs", t.ActivationsScale)
	}
	t.Engine = "" // what is written does not depend on it
	if err := Refused([]plan.Trial{t}); err != nil {
		return nil, err
	}
	if path := t.Method.Checkpoint(); path != "" {
		return nil, fmt.Errorf("method checkpoint: %s is a checkpoint already", path)
	}
	temp, err := newFolder(dir)
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(temp) // which is no more once it has its name
	s, err := l.Open(ctx, t)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	r, err := s.describe(t)
	if err != nil {
		return nil, err
	}
	q, err := s.quantize(ctx, t, r)
	if err != nil {
		return nil, err
	}
	q.report(r)
	bits, _ := r.Value(row.BitsPerWeight)
	p := &Packed{
		Version: packedVersion, Trial: t, Content: s.content,
		BitsPerWeight: bits.Value, Ledger: r.Ledger, SHA256: map[string]string{}, Files: map[string]string{},
	}
	tensors, err := p.pack(s, q)
	if err != nil {
		return nil, err
	}
	if err := p.write(temp, s, tensors, q.quantizesOutput()); err != nil {
		return nil, err
	}
	if err := s.verify(ctx, temp, q, t.Activations); err != nil {
		return nil, fmt.Errorf("%s is not written: %w", dir, err)
	}
	if err := publish(temp, dir); err != nil {
		return nil, err
	}
	q.drop()
	return p, nil
}

// pack lists the tensors of the checkpoint. Norms and biases that smoothing or
// stress has scaled are stored in float32, and so are tensors whose type
// safetensors lacks; all others as they are.
func (p *Packed) pack(s *Subject, q *quantizedModel) ([]*hf.Tensor, error) {
	linears := map[string]string{} // the name of a weight's tensor: the layer's
	for _, l := range s.source.linears {
		linears[l.Name+".weight"] = l.Name
	}
	folded, err := s.source.folded(q.model)
	if err != nil {
		return nil, err
	}
	names := s.source.model.Checkpoint().Names()
	if q.quantizesOutput() && !slices.Contains(names, headName) {
		names = append(slices.Clip(names), headName)
	}
	var tensors []*hf.Tensor
	for _, name := range names {
		layer, ok := linears[name]
		if !ok {
			t, err := s.source.model.Checkpoint().Raw(name)
			if err != nil {
				return nil, err
			}
			if v := folded[name]; v != nil {
				t = floatTensor(name, v)
			}
			t = t.Plain()
			p.SHA256[name] = tensorHash(t)
			tensors = append(tensors, t)
			continue
		}
		w, ok := q.replacements[layer].Weights.(*quant.Quantized)
		if !ok {
			t, err := p.whole(s, name)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", layer, err)
			}
			p.SHA256[name] = tensorHash(t)
			tensors = append(tensors, t)
			continue
		}
		data, err := w.MarshalBinary()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", layer, err)
		}
		t := &hf.Tensor{Name: layer + llm.PackedSuffix, DType: "U8", Shape: []int{len(data)}, Data: data}
		p.SHA256[t.Name] = tensorHash(t)
		tensors = append(tensors, t)
	}
	return tensors, nil
}

// whole returns the tensor of a layer that stays in 16 bits.
func (p *Packed) whole(s *Subject, name string) (*hf.Tensor, error) {
	m := p.Trial.Method
	if !m.ByLayer() {
		return nil, fmt.Errorf("method %s leaves nothing quantized to store", m.Name())
	}
	if m.Smooths() {
		return nil, errors.New("it stays in 16 bits, and a packed checkpoint has no such weights after smoothing")
	}
	t, err := s.source.model.Checkpoint().Raw(name)
	if err != nil {
		return nil, err
	}
	plain := t.Plain()
	if len(plain.Data) != len(t.Data) {
		return nil, fmt.Errorf("it stays as it is, and safetensors has no %s", t.DType)
	}
	return plain, nil
}

// floatTensor returns a vector as a tensor of float32.
func floatTensor(name string, v []float32) *hf.Tensor {
	data := make([]byte, 0, 4*len(v))
	for _, x := range v {
		data = binary.LittleEndian.AppendUint32(data, math.Float32bits(x))
	}
	return &hf.Tensor{Name: name, DType: "F32", Shape: []int{len(v)}, Data: data}
}

func sum256(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// write writes all files, synced to the disk, the weights last.
func (p *Packed) write(dir string, s *Subject, tensors []*hf.Tensor, untied bool) error {
	files, err := s.source.lab.OpenModel(context.Background(), p.Trial.Model)
	if err != nil {
		return err
	}
	for _, name := range packedFiles {
		blob, err := files.Open(name)
		if errors.Is(err, fs.ErrNotExist) && name == "tokenizer_config.json" {
			continue
		}
		if err != nil {
			return err
		}
		data := bytes.Clone(blob.Data)
		if err := blob.Close(); err != nil {
			return err
		}
		if name == "config.json" {
			if data, err = packedConfig(data, untied); err != nil {
				return fmt.Errorf("%s: %s: %w", files.Name(), name, err)
			}
		}
		p.Files[name] = sum256(data)
		err = writeSynced(filepath.Join(dir, name), func(w io.Writer) error {
			_, err := w.Write(data)
			return err
		})
		if err != nil {
			return err
		}
	}
	meta, err := json.Marshal(p)
	if err != nil {
		return err
	}
	return writeSynced(filepath.Join(dir, "model.safetensors"), func(w io.Writer) error {
		return hf.Write(w, tensors, map[string]string{hf.QuantMethod: string(meta), sealName: sum256(meta)})
	})
}

// writeSynced writes a new file and waits until the disk has it.
func writeSynced(path string, write func(io.Writer) error) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	err = write(f)
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	return err
}

// packedConfig adds the quantization_config to a config.json. untied says that the output
// layer is not the embedding, whatever the source has.
func packedConfig(data []byte, untied bool) ([]byte, error) {
	var m map[string]json.RawMessage
	if err := json.Unmarshal(data, &m); err != nil {
		return nil, err
	}
	if untied {
		m["tie_word_embeddings"] = json.RawMessage("false")
	}
	m["quantization_config"] = json.RawMessage(fmt.Sprintf(`{"quant_method": %q, "version": %d}`,
		hf.QuantMethod, packedVersion))
	out, err := json.MarshalIndent(m, "", "  ")
	return append(out, '\n'), err
}

// verify compares the checkpoint in dir with q, both executed as q is, on one
// calibration sequence. activations are those of the trial.
func (s *Subject) verify(ctx context.Context, dir string, q *quantizedModel, activations string) error {
	stored, err := llm.Open(hf.Dir(dir))
	if err != nil {
		return err
	}
	defer stored.Close()
	if _, err := readPacked(hf.Dir(dir), stored); err != nil {
		return err
	}
	replacements := map[string]llm.Replacement{}
	for _, l := range stored.Linears() {
		r := llm.Replacement{Act: q.replacements[l.Name].Act}
		if q.replacements[l.Name].Product != nil { // the same kernels, on what was read back
			if r.Product, err = packAll(l.Weights.(*quant.Quantized), activations); err != nil {
				return fmt.Errorf("%s: %w", l.Name, err)
			}
		}
		replacements[l.Name] = r
	}
	seqs := [][]int32{s.calibrated.sequences[0]}
	want, err := q.view().Hidden(ctx, seqs, nil)
	if err != nil {
		return err
	}
	got, err := stored.With(replacements).Hidden(ctx, seqs, nil)
	if err != nil {
		return err
	}
	if !slices.Equal(got.Data, want.Data) {
		return fmt.Errorf("the stored model does not compute what the quantized one does")
	}
	if !q.quantizesOutput() {
		return nil
	}
	last := want.View(max(0, want.Rows-8), want.Rows, 0, want.Cols)
	a, b := gemm.NewMatrix(last.Rows, stored.Config().VocabSize), gemm.NewMatrix(last.Rows, stored.Config().VocabSize)
	if err := q.view().Logits(a, last); err != nil {
		return err
	}
	if err := stored.With(replacements).Logits(b, last); err != nil {
		return err
	}
	if !slices.Equal(a.Data, b.Data) {
		return fmt.Errorf("%s: the stored output layer does not compute what the quantized one does", llm.OutputName)
	}
	return nil
}
