package trial

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/mosaicquant/mosaicquant/experiments/plan"
	"github.com/mosaicquant/mosaicquant/internal/foreign"
	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/gguf"
	"github.com/mosaicquant/mosaicquant/internal/hf"
	"github.com/mosaicquant/mosaicquant/internal/llm"
	"github.com/mosaicquant/mosaicquant/internal/row"
	"github.com/mosaicquant/mosaicquant/quant"
)

// Exported is what Export has written.
type Exported struct {
	Trial         plan.Trial
	Weights       string // the file with the weights
	BitsPerWeight float64
	Ledger        []row.Item // of the layers as they are stored in the file
	Rounded       float64    // 16-bit: ||Ŵ - stored||² / ||Ŵ||² of the worst layer; else 0
}

// exportedFiles are copied from the source, as far as it has them.
var exportedFiles = []string{"tokenizer.json", "tokenizer_config.json", "generation_config.json",
	"special_tokens_map.json"}

// Export runs the method of t and writes the result to dir for other programs, in one
// of foreign.Targets. What was written is read back; every layer must have the weights
// of the quantized model, but for the rounding of 16-bit. A dir that holds something
// already, and a form that the format cannot hold, are errors.
func (l *Lab) Export(ctx context.Context, t plan.Trial, dir, format string) (*Exported, error) {
	switch {
	case !slices.Contains(foreign.Targets, format):
		return nil, fmt.Errorf("format %q is not packed, %s", format, strings.Join(foreign.Targets, ", "))
	case t.Method.Checkpoint() != "":
		return nil, fmt.Errorf("method checkpoint: %s is a checkpoint already", t.Method.Checkpoint())
	case t.Transform != "":
		return nil, fmt.Errorf("format %s: other programs do not turn inputs while the model runs;"+
			" no transform goes with it", format)
	case t.Prefix != "":
		return nil, fmt.Errorf("format %s: other programs have no keys and values of a prefix;"+
			" no prefix goes with it", format)
	}
	t.Execution, t.Engine = "", "" // what is written does not depend on them
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
	if err := s.ready(ctx); err != nil {
		return nil, err
	}
	q, err := s.quantize(ctx, t, r)
	if err != nil {
		return nil, err
	}
	e := &Exported{Trial: t}
	w := &foreign.Writer{Target: format, Inputs: 16}
	if format != "16-bit" {
		fmt.Sscanf(t.Activations, "a%d", &w.Inputs) // plan has checked it
	}
	if err := s.writeExport(ctx, temp, t, q, w, e); err != nil {
		return nil, err
	}
	if err := s.verifyExport(filepath.Join(temp, e.Weights), q, w, e); err != nil {
		return nil, fmt.Errorf("%s is not written: %w", dir, err)
	}
	if err := publish(temp, dir); err != nil {
		return nil, err
	}
	q.drop()
	return e, nil
}

// writeExport writes all files, synced to the disk.
func (s *Subject) writeExport(ctx context.Context, dir string, t plan.Trial, q *quantizedModel, w *foreign.Writer,
	e *Exported) error {
	files, err := s.source.lab.OpenModel(ctx, t.Model)
	if err != nil {
		return err
	}
	plain, err := s.plainTensors(q)
	if err != nil {
		return err
	}
	if w.Target == "gguf" {
		e.Weights = "model.gguf"
		return s.writeGGUF(filepath.Join(dir, e.Weights), files, plain, q, w)
	}
	e.Weights = "model.safetensors"
	var tensors []*hf.Tensor
	for _, tensor := range plain {
		tensors = append(tensors, tensor.Plain())
	}
	for _, l := range s.source.linears {
		layer, ok := q.replacements[l.Name].Weights.(*quant.Quantized)
		if !ok {
			if err := w.Leave(l.Name); err != nil {
				return err
			}
			continue
		}
		list, err := w.Layer(l.Name, layer)
		if err != nil {
			return err
		}
		tensors = append(tensors, list...)
	}
	if err := copyFiles(dir, files, w, s.source.computed || q.quantizesOutput()); err != nil {
		return err
	}
	return writeSynced(filepath.Join(dir, e.Weights), func(out io.Writer) error {
		return hf.Write(out, tensors, map[string]string{"format": "pt"})
	})
}

// The tensors around the layers.
const (
	embeddingName = "model.embed_tokens.weight"
	normName      = "model.norm.weight"
	headName      = llm.OutputName + ".weight"
)

// plainTensors are all tensors but those of quantized layers. In a basis that is
// computed, its matrices are rounded to half precision.
func (s *Subject) plainTensors(q *quantizedModel) ([]*hf.Tensor, error) {
	folded, err := s.source.folded(q.model)
	if err != nil {
		return nil, err
	}
	matrices := map[string]gemm.Source{}
	if s.source.computed {
		matrices[embeddingName], matrices[headName] = q.model.Embedding(), q.model.Output()
		folded[normName] = q.model.FinalNorm()
		for _, l := range q.model.Linears() {
			matrices[l.Name+".weight"] = l.Weights
		}
	}
	names := s.source.model.Checkpoint().Names()
	if s.source.computed && !slices.Contains(names, headName) {
		names = append(slices.Clip(names), headName)
	}
	var list []*hf.Tensor
	for _, name := range names {
		if _, ok := q.replacements[strings.TrimSuffix(name, ".weight")].Weights.(*quant.Quantized); ok {
			continue
		}
		var tensor *hf.Tensor
		switch {
		case matrices[name] != nil:
			m := gemm.NewMatrix(matrices[name].Dims())
			matrices[name].Load(m, 0, 0)
			tensor, err = foreign.Half(name, m)
		case folded[name] != nil:
			tensor = floatTensor(name, folded[name])
		default:
			tensor, err = s.source.model.Checkpoint().Raw(name)
		}
		if err != nil {
			return nil, err
		}
		list = append(list, tensor)
	}
	return list, nil
}

// copyFiles writes config.json and the tokenizer. untied says that the output layer is
// not the embedding, whatever the source has.
func copyFiles(dir string, files hf.Files, w *foreign.Writer, untied bool) error {
	quantization, err := w.Config()
	if err != nil {
		return err
	}
	for _, name := range append([]string{"config.json"}, exportedFiles...) {
		blob, err := files.Open(name)
		if errors.Is(err, fs.ErrNotExist) && name != "config.json" {
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
			if data, err = exportedConfig(data, quantization, untied); err != nil {
				return fmt.Errorf("%s: %s: %w", files.Name(), name, err)
			}
		}
		err = writeSynced(filepath.Join(dir, name), func(out io.Writer) error {
			_, err := out.Write(data)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// exportedConfig adds a quantization_config, nil for none, and says that the model is to
// be read in half precision, which scales and weights have, and whether its output layer
// is one of its own.
func exportedConfig(data []byte, quantization json.RawMessage, untied bool) ([]byte, error) {
	var m map[string]json.RawMessage
	if err := json.Unmarshal(data, &m); err != nil {
		return nil, err
	}
	delete(m, "dtype")
	m["torch_dtype"] = json.RawMessage(`"float16"`)
	if untied {
		m["tie_word_embeddings"] = json.RawMessage("false")
	}
	if quantization != nil {
		m["quantization_config"] = quantization
	}
	if _, ok := m["architectures"]; !ok { // a GGUF file has none
		var kind string
		if err := json.Unmarshal(m["model_type"], &kind); err != nil {
			return nil, err
		}
		names := map[string]string{"llama": "LlamaForCausalLM", "mistral": "MistralForCausalLM", "qwen2": "Qwen2ForCausalLM",
			"qwen3": "Qwen3ForCausalLM"}
		m["architectures"] = json.RawMessage(fmt.Sprintf("[%q]", names[kind]))
	}
	out, err := json.MarshalIndent(m, "", "  ")
	return append(out, '\n'), err
}

func (s *Subject) writeGGUF(path string, files hf.Files, plain []*hf.Tensor, q *quantizedModel,
	w *foreign.Writer) error {
	var tensors []gguf.Tensor
	for _, tensor := range plain {
		tied := s.source.model.Config().TieEmbeddings && !s.source.computed
		if tied && tensor.Name == headName || strings.HasSuffix(tensor.Name, ".rotary_emb.inv_freq") {
			continue // says what is said elsewhere
		}
		t, err := foreign.Plain(tensor)
		if err != nil {
			return err
		}
		tensors = append(tensors, t)
	}
	for _, l := range s.source.linears {
		layer, ok := q.replacements[l.Name].Weights.(*quant.Quantized)
		if !ok {
			continue
		}
		t, err := w.Block(l.Name, layer)
		if err != nil {
			return err
		}
		tensors = append(tensors, t)
	}
	return writeSynced(path, func(out io.Writer) error { return hf.WriteGGUF(out, files, tensors) })
}

// verifyExport reads the layers back and compares them with those of q, which w wrote.
func (s *Subject) verifyExport(weights string, q *quantizedModel, w *foreign.Writer, e *Exported) error {
	files := hf.Dir(filepath.Dir(weights))
	if strings.HasSuffix(weights, ".gguf") {
		files = hf.GGUF(weights)
	}
	c, err := foreign.Open(files)
	if err != nil {
		return err
	}
	defer c.Close()
	var bits, total int64
	for _, l := range s.source.linears {
		got := c.Layer(l.Name)
		if got == nil { // an output layer of 16 bits, which is not listed
			size := int64(2 * l.N * l.K)
			got = &foreign.Layer{Source: c.Model.Output(), Ledger: quant.Ledger{{Name: sixteenBits, Bytes: size}}}
		}
		for _, item := range got.Ledger {
			e.Ledger = addBytes(e.Ledger, item.Name, item.Bytes)
		}
		bits += 8 * got.Ledger.Total()
		total += int64(l.N) * int64(l.K)
		want, ok := q.replacements[l.Name].Weights.(*quant.Quantized)
		if !ok {
			continue
		}
		a, b := want.Dequantize(), gemm.NewMatrix(l.N, l.K)
		got.Load(b, 0, 0)
		lost, energy := quant.WeightError(a, got)
		e.Rounded = max(e.Rounded, relative(lost, energy))
		if !(lost <= 1e-6*energy) || w.Target != "16-bit" && !slices.Equal(a.Data, b.Data) {
			return fmt.Errorf("%s: what is read back is not what was quantized", l.Name)
		}
	}
	e.BitsPerWeight = float64(bits) / float64(total)
	return nil
}
