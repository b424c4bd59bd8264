package foreign

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/half"
	"github.com/mosaicquant/mosaicquant/internal/hf"
	"github.com/mosaicquant/mosaicquant/internal/llm"
	"github.com/mosaicquant/mosaicquant/quant"
)

// Layer is one linear layer [N,K] as a checkpoint has it. It is a gemm.Source.
type Layer struct {
	gemm.Source
	// Quantized is the layer in the form of package quant, nil where that cannot
	// hold it without a change.
	Quantized *quant.Quantized
	// Ledger counts the bytes of all tensors of the layer but its bias.
	Ledger quant.Ledger
	// Tensors are the bytes of those tensors; a packed layer of this program has more
	// than its ledger counts, the fields that say its shape and format.
	Tensors int64
	// Form names how it is stored: "gptq int4 g128 act-order", "Q4_1", "BF16".
	Form string
}

// Checkpoint is an opened model of another program.
type Checkpoint struct {
	Model *llm.Model
	// InputBits is the width to which the checkpoint wants the inputs of its layers
	// rounded, 16 where it says nothing.
	InputBits int
	// Format is the quant_method of config.json, "GGUF", or "" for plain weights.
	Format string
	layers map[string]*Layer
}

// Open opens the model in files. A layout that is wrong or not known is an error
// that names file, field and value.
func Open(files hf.Files) (*Checkpoint, error) {
	c := &Checkpoint{InputBits: 16, layers: map[string]*Layer{}}
	m, err := llm.OpenForeign(files, func(config *hf.Config, tensors *hf.Checkpoint) (llm.Layers, error) {
		r := &reader{tensors: tensors, into: c}
		if config.Packed {
			return nil, nil // of this program
		}
		return r, r.configure(files, config.Foreign)
	})
	if err != nil {
		return nil, err
	}
	c.Model = m
	if m.Config().Packed {
		c.Format = hf.QuantMethod
		if err := c.own(); err != nil {
			m.Close()
			return nil, err
		}
	}
	return c, nil
}

// own lists the layers of a packed checkpoint of this program.
func (c *Checkpoint) own() error {
	for _, l := range c.Model.Linears() {
		q, ok := l.Weights.(*quant.Quantized)
		if !ok { // it stayed in 16 bits
			r := &reader{tensors: c.Model.Checkpoint(), into: c, choose: func(string) (scheme, error) { return nil, nil }}
			if _, _, err := r.Layer(l.Name, l.N, l.K); err != nil {
				return err
			}
			continue
		}
		t, err := c.Model.Checkpoint().Raw(l.Name + llm.PackedSuffix)
		if err != nil {
			return err
		}
		c.layers[l.Name] = &Layer{Source: q, Quantized: q, Ledger: q.Ledger(), Tensors: int64(len(t.Data)),
			Form: q.Base.Format.String()}
	}
	return nil
}

// Layer returns a linear layer of Model by its name.
func (c *Checkpoint) Layer(name string) *Layer { return c.layers[name] }

// Close closes the model.
func (c *Checkpoint) Close() error { return c.Model.Close() }

// scheme reads a layer [n,k] that is quantized in one way.
type scheme interface {
	layer(r *reader, name string, n, k int) (*Layer, error)
}

// reader reads the layers of a checkpoint.
type reader struct {
	tensors *hf.Checkpoint
	into    *Checkpoint
	// choose returns the scheme of a layer, nil for a matrix of a float type.
	choose func(layer string) (scheme, error)
	used   []string // tensors of the layer at hand
}

// configure reads the quantization_config, which plain weights lack.
func (r *reader) configure(files hf.Files, config json.RawMessage) error {
	r.choose = func(string) (scheme, error) { return nil, nil }
	if config == nil {
		if strings.HasSuffix(files.Name(), ".gguf") {
			r.into.Format = "GGUF"
		}
		return nil
	}
	f := fields{}
	err := json.Unmarshal(config, &f)
	if err == nil {
		r.into.Format, err = f.str("quant_method")
	}
	if err == nil {
		configure, ok := map[string]func(*reader, fields) error{
			"compressed-tensors": (*reader).compressedTensors,
			"gptq":               (*reader).gptq,
			"awq":                (*reader).awq,
			"bitsandbytes":       (*reader).bitsandbytes,
		}[r.into.Format]
		if !ok {
			return fmt.Errorf("foreign: %s/config.json: quantization_config.quant_method %.60q is not compressed-tensors, "+
				"gptq, awq, bitsandbytes or %s", files.Name(), r.into.Format, hf.QuantMethod)
		}
		err = configure(r, f)
	}
	if err != nil {
		return fmt.Errorf("foreign: %s/config.json: quantization_config: %w", files.Name(), err)
	}
	return nil
}

// Layer implements llm.Layers.
func (r *reader) Layer(name string, n, k int) (gemm.Source, []string, error) {
	r.used = nil
	s, err := r.choose(name)
	if err != nil {
		return nil, nil, fmt.Errorf("foreign: %s: %w", name, err)
	}
	var l *Layer
	if s == nil {
		l, err = r.plain(name, n, k)
	} else {
		l, err = s.layer(r, name, n, k)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("foreign: %w", err)
	}
	l.Tensors = l.Ledger.Total()
	r.into.layers[name] = l
	return l, r.used, nil
}

// plain reads a matrix of a float type, or of blocks of GGUF.
func (r *reader) plain(name string, n, k int) (*Layer, error) {
	t, err := r.tensors.Tensor(name + ".weight")
	if err != nil {
		return nil, err
	}
	if !slices.Equal(t.Shape, []int{n, k}) {
		return nil, fmt.Errorf("%s: shape %v, but by config.json [%d %d]", t.Name, t.Shape, n, k)
	}
	r.used = append(r.used, t.Name)
	item := "16-bit weights"
	if r.into.Format == "GGUF" && !slices.Contains([]string{"F32", "F16", "BF16"}, t.DType) {
		item = t.DType + " blocks"
	} else if t.DType == "F32" {
		item = "32-bit weights"
	}
	l := &Layer{Source: t, Ledger: quant.Ledger{{Name: item, Bytes: int64(len(t.Data))}}, Form: t.DType}
	if g := blocks(t); g != nil {
		if err := g.check(name); err != nil {
			return nil, err
		}
		if q := g.quantized(); q != nil {
			l.Quantized, l.Source = q, q
		}
	}
	return l, nil
}

// blocks returns a matrix of Q4_0 or Q8_0, whose blocks are groups of symmetric integers;
// nil for other types.
func blocks(t *hf.Tensor) *Grid {
	bits := map[string]int{"Q4_0": 4, "Q8_0": 8}[t.DType]
	if bits == 0 {
		return nil
	}
	const block = 32
	n, k := t.Dims()
	size := 2 + block*bits/8
	g := &Grid{N: n, K: k, Bits: bits, Group: block, Zero: 1 << (bits - 1), Scales: make([]float32, n*k/block)}
	for i := range n {
		row := t.Row(i)
		for j := range k / block {
			g.Scales[i*k/block+j] = half.FromF16(binary.LittleEndian.Uint16(row[j*size:]))
		}
	}
	g.Codes = pack(n, k, bits, func(i, j int) int {
		codes, at := t.Row(i)[j/block*size+2:], j%block
		if bits == 8 {
			return int(int8(codes[at])) + 128
		}
		return int(codes[at%16]>>(at/16*4)) & 15
	})
	return g
}

// tensor returns the named tensor, which must have one of the types and the shape;
// a dimension -1 may be of any size.
func (r *reader) tensor(name string, types []string, shape ...int) (*hf.Tensor, error) {
	t, err := r.tensors.Raw(name)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(types, t.DType) {
		return nil, fmt.Errorf("tensor %q: dtype %s is not %s", name, t.DType, strings.Join(types, " or "))
	}
	ok := len(t.Shape) == len(shape)
	for i, d := range shape {
		ok = ok && (d < 0 || t.Shape[i] == d)
	}
	if !ok {
		return nil, fmt.Errorf("tensor %q: shape %v, want %v", name, t.Shape, shape)
	}
	r.used = append(r.used, name)
	return t, nil
}

// has tells whether the checkpoint has a tensor.
func (r *reader) has(name string) bool {
	_, err := r.tensors.Raw(name)
	return err == nil
}

var (
	floatTypes = []string{"F16", "BF16", "F32"}
	int32s     = []string{"I32"}
)

// fields are those of a JSON object.
type fields map[string]json.RawMessage

// has tells whether a field is there and not null.
func (f fields) has(name string) bool { return f[name] != nil && string(f[name]) != "null" }

// get decodes a field, which may be missing.
func (f fields) get(name, want string, v any) error {
	if f.has(name) && json.Unmarshal(f[name], v) != nil {
		return fmt.Errorf("%s %.80s is not %s", name, f[name], want)
	}
	return nil
}

func (f fields) str(name string) (v string, err error) {
	err = f.get(name, "a string", &v)
	return v, err
}

func (f fields) flag(name string, missing bool) (bool, error) {
	err := f.get(name, "true or false", &missing)
	return missing, err
}

// only returns an error unless the field has one of the values, in JSON; "" stands for
// a field that is missing or null.
func (f fields) only(name string, values ...string) error {
	v := ""
	if f.has(name) {
		v = string(f[name])
	}
	if !slices.Contains(values, v) {
		if v == "" {
			v = "missing"
		}
		return fmt.Errorf("%s %.120s is not supported (want %s)", name, v, strings.Trim(strings.Join(values, " or "), " or"))
	}
	return nil
}

// bitsAndGroup reads the width of a code and the group size, -1 for the whole row.
func (f fields) bitsAndGroup(bitsName, groupName string) (bits, group int, err error) {
	group = -1
	if err = f.get(bitsName, "a whole number", &bits); err == nil {
		err = f.get(groupName, "a whole number", &group)
	}
	if err == nil && bits != 2 && bits != 4 && bits != 8 {
		err = fmt.Errorf("%s %d: only 2, 4 and 8 are read", bitsName, bits)
	}
	if err == nil && (group == 0 || group < -1 || group > 1<<24) {
		err = fmt.Errorf("%s %d is no group size", groupName, group)
	}
	return bits, group, err
}
