package foreign

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/gguf"
	"github.com/mosaicquant/mosaicquant/internal/half"
	"github.com/mosaicquant/mosaicquant/internal/hf"
	"github.com/mosaicquant/mosaicquant/internal/llm"
	"github.com/mosaicquant/mosaicquant/quant"
)

// Targets are the formats that Writer writes.
var Targets = []string{"compressed-tensors", "gptq", "awq", "gguf", "16-bit"}

// Writer writes quantized layers as another program reads them. All layers have one
// format: that of the first.
type Writer struct {
	Target string
	Inputs int // bits to which inputs are rounded, 16: not
	format quant.Format
	any    bool // format is known
	head   bool // the output layer is among the layers
	left   []string
}

// Leave says that a layer stays in 16 bits.
func (w *Writer) Leave(name string) error {
	if w.Target == "gptq" {
		return fmt.Errorf("format gptq: %s: has no list of layers that stay in 16 bits", name)
	}
	w.left = append(w.left, name)
	return nil
}

// Layer returns the tensors of a layer. What the target cannot hold exactly is an error
// that says why; only 16-bit rounds, to half precision.
func (w *Writer) Layer(name string, q *quant.Quantized) ([]*hf.Tensor, error) {
	tensors, err := w.layer(name, q)
	if err != nil {
		return nil, fmt.Errorf("format %s: %s: %w", w.Target, name, err)
	}
	return tensors, nil
}

func (w *Writer) layer(name string, q *quant.Quantized) ([]*hf.Tensor, error) {
	if w.Target == "16-bit" {
		return halves(name, q)
	}
	if err := plain(q); err != nil {
		return nil, err
	}
	p := q.Base
	if w.any && p.Format != w.format {
		return nil, fmt.Errorf("is %s, layers before it are %s; one format is written", p.Format, w.format)
	}
	w.format, w.any = p.Format, true
	w.head = w.head || name == llm.OutputName
	switch {
	case w.Target != "compressed-tensors" && w.Inputs != 16:
		return nil, fmt.Errorf("holds no inputs of %d bits; use activations: a16", w.Inputs)
	case w.Target == "compressed-tensors" && p.Format.Kind == quant.MXFP4 && w.Inputs == 16:
		return microscaling(name, p)
	case w.Target == "gguf":
		return nil, errors.New("use Block")
	case p.Format.Kind != quant.Integer:
		return nil, fmt.Errorf("holds integers, not %s", p.Format)
	case p.Format.Group > 0 && p.K%p.Format.Group != 0:
		return nil, fmt.Errorf("has no shorter last group: K=%d, groups of %d", p.K, p.Format.Group)
	}
	switch w.Target {
	case "compressed-tensors":
		return w.packQuantized(name, p)
	case "awq":
		if name == llm.OutputName {
			return nil, errors.New("AutoAWQ leaves the output layer in 16 bits; drop lm_head")
		}
		return awqTensors(name, p)
	case "gptq":
		return gptqTensors(name, p)
	}
	return nil, fmt.Errorf("unknown format")
}

// plain reports what a layer has beside its base.
func plain(q *quant.Quantized) error {
	switch {
	case q.Residual != nil:
		return errors.New("holds no residual; 16-bit holds what it adds up to, and --format packed all of it")
	case q.Outliers != nil:
		return errors.New("holds no outliers; 16-bit does")
	case q.Columns != nil:
		return errors.New("holds no channels kept apart; 16-bit does")
	case q.LowRank != nil:
		return errors.New("holds no low-rank branch; 16-bit does")
	case q.ChannelScales != nil:
		return errors.New("holds no channel scales of one layer, which no norm can take up; 16-bit does")
	}
	return nil
}

// halves returns the dequantized weights in half precision.
func halves(name string, q *quant.Quantized) ([]*hf.Tensor, error) {
	t, err := Half(name+".weight", q.Dequantize())
	return []*hf.Tensor{t}, err
}

// Half returns w as a tensor in half precision. A weight beyond its range is an error.
func Half(name string, w gemm.Matrix) (*hf.Tensor, error) {
	data := make([]byte, 0, 2*len(w.Data))
	for i, v := range w.Data {
		h := half.ToF16(v)
		if h&0x7c00 == 0x7c00 {
			return nil, fmt.Errorf("weight [%d,%d] is %v, beyond half precision", i/w.Cols, i%w.Cols, v)
		}
		data = binary.LittleEndian.AppendUint16(data, h)
	}
	return &hf.Tensor{Name: name, DType: "F16", Shape: []int{w.Rows, w.Cols}, Data: data}, nil
}

// gridOf returns p as codes and zeros.
func gridOf(p *quant.Packed) (g *Grid, groups int) {
	size := p.Format.Group
	if size == 0 || size > p.K {
		size = p.K
	}
	groups = p.K / size
	g = &Grid{N: p.N, K: p.K, Bits: p.Format.Bits, Codes: p.Codes, Group: size, Zero: 1 << (p.Format.Bits - 1)}
	if p.Format.Affine {
		zeros := &Grid{N: p.N, K: groups, Bits: g.Bits, Codes: p.Zeros}
		for i := range p.N {
			for j := range groups {
				g.Zeros = append(g.Zeros, int16(zeros.code(i, j)))
			}
		}
	}
	return g, groups
}

func (g *Grid) zero(i, groups, j int) int {
	if g.Zeros == nil {
		return int(g.Zero)
	}
	return int(g.Zeros[i*groups+j])
}

// int32Tensor packs codes below 2^bits into words [rows, cols·bits/32], lowest bits
// first.
func int32Tensor(name string, rows, cols, bits int, code func(i, j int) int) *hf.Tensor {
	w := 32 / bits
	wide := (cols + w - 1) / w
	v := make([]uint32, rows*wide)
	for i := range rows {
		for j := range cols {
			v[i*wide+j/w] |= uint32(code(i, j)) << (j % w * bits)
		}
	}
	return wordTensor(name, v, rows, wide)
}

func wordTensor(name string, v []uint32, shape ...int) *hf.Tensor {
	data := make([]byte, 0, 4*len(v))
	for _, x := range v {
		data = binary.LittleEndian.AppendUint32(data, x)
	}
	return &hf.Tensor{Name: name, DType: "I32", Shape: shape, Data: data}
}

// scaleTensor returns scales [rows, cols] of half precision.
func scaleTensor(name string, rows, cols int, scale func(i, j int) uint16) *hf.Tensor {
	t := &hf.Tensor{Name: name, DType: "F16", Shape: []int{rows, cols}}
	for i := range rows {
		for j := range cols {
			t.Data = binary.LittleEndian.AppendUint16(t.Data, scale(i, j))
		}
	}
	return t
}

// packQuantized writes pack-quantized of compressed-tensors.
func (w *Writer) packQuantized(name string, p *quant.Packed) ([]*hf.Tensor, error) {
	if b := p.Format.Bits; b != 2 && b != 4 && b != 8 {
		return nil, fmt.Errorf("codes of %d bits are written differently by its versions; 2, 4 and 8 are not", b)
	}
	if w.Inputs != 16 && w.Inputs != 8 {
		return nil, fmt.Errorf("holds no inputs of %d bits as rounded here", w.Inputs)
	}
	g, groups := gridOf(p)
	shape := &hf.Tensor{Name: name + ".weight_shape", DType: "I64", Shape: []int{2}}
	for _, d := range []int{p.N, p.K} {
		shape.Data = binary.LittleEndian.AppendUint64(shape.Data, uint64(d))
	}
	list := []*hf.Tensor{
		int32Tensor(name+".weight_packed", p.N, p.K, g.Bits, g.code),
		scaleTensor(name+".weight_scale", p.N, groups, func(i, j int) uint16 { return p.Scales[i*groups+j] }),
		shape,
	}
	if p.Format.Affine { // packed along the outputs
		per := 32 / g.Bits
		rows := (p.N + per - 1) / per
		v := make([]uint32, rows*groups)
		for i := range p.N {
			for j := range groups {
				v[i/per*groups+j] |= uint32(g.zero(i, groups, j)) << (i % per * g.Bits)
			}
		}
		list = append(list, wordTensor(name+".weight_zero_point", v, rows, groups))
	}
	return list, nil
}

// microscaling writes mxfp4-pack-quantized of compressed-tensors.
func microscaling(name string, p *quant.Packed) ([]*hf.Tensor, error) {
	return []*hf.Tensor{
		{Name: name + ".weight_packed", DType: "U8", Shape: []int{p.N, p.K / 2}, Data: p.Codes},
		{Name: name + ".weight_scale", DType: "U8", Shape: []int{p.N, p.K / 32}, Data: p.ScaleBytes},
	}, nil
}

func gptqTensors(name string, p *quant.Packed) ([]*hf.Tensor, error) {
	if b := p.Format.Bits; b != 2 && b != 4 && b != 8 {
		return nil, fmt.Errorf("codes of %d bits: 2, 4 and 8 are written", b)
	}
	g, groups := gridOf(p)
	per := 32 / g.Bits
	if p.K%32 != 0 || p.N%32 != 0 {
		return nil, fmt.Errorf("[%d,%d] is no multiple of 32, which its kernels need", p.N, p.K)
	}
	less := 0 // version 1 stores zeros less one
	if !p.Format.Affine {
		less = 1
	}
	codes := make([]uint32, p.K/per*p.N)
	for i := range p.N {
		for j := range p.K {
			codes[j/per*p.N+i] |= uint32(g.code(i, j)) << (j % per * g.Bits)
		}
	}
	index := make([]uint32, p.K)
	for j := range index {
		index[j] = uint32(j / g.Group)
	}
	return []*hf.Tensor{
		wordTensor(name+".qweight", codes, p.K/per, p.N),
		int32Tensor(name+".qzeros", groups, p.N, g.Bits, func(j, i int) int { return g.zero(i, groups, j) - less }),
		scaleTensor(name+".scales", groups, p.N, func(j, i int) uint16 { return p.Scales[i*groups+j] }),
		wordTensor(name+".g_idx", index, p.K),
	}, nil
}

func awqTensors(name string, p *quant.Packed) ([]*hf.Tensor, error) {
	if p.Format.Bits != 4 {
		return nil, fmt.Errorf("has codes of 4 bits, not %d", p.Format.Bits)
	}
	if p.N%8 != 0 {
		return nil, fmt.Errorf("%d outputs are no multiple of 8", p.N)
	}
	g, groups := gridOf(p)
	output := func(i int) int { return i/8*8 + awqOrder[i%8] } // of place i among a row's codes
	return []*hf.Tensor{
		int32Tensor(name+".qweight", p.K, p.N, 4, func(j, i int) int { return g.code(output(i), j) }),
		int32Tensor(name+".qzeros", groups, p.N, 4, func(j, i int) int { return g.zero(output(i), groups, j) }),
		scaleTensor(name+".scales", groups, p.N, func(j, i int) uint16 { return p.Scales[i*groups+j] }),
	}, nil
}

// Config returns the quantization_config for the layers that were written, nil for
// 16-bit.
func (w *Writer) Config() (json.RawMessage, error) {
	group := w.format.Group
	if group == 0 {
		group = -1
	}
	var c map[string]any
	switch w.Target {
	case "gptq":
		version := "gptq"
		if w.format.Affine {
			version = "gptq_v2"
		}
		c = map[string]any{"quant_method": "gptq", "bits": w.format.Bits, "group_size": group, "desc_act": false,
			"sym": !w.format.Affine, "checkpoint_format": version, "lm_head": w.head, "pack_dtype": "int32"}
	case "awq":
		c = map[string]any{"quant_method": "awq", "bits": 4, "group_size": group, "version": "gemm", "zero_point": true,
			"modules_to_not_convert": w.left}
	case "compressed-tensors":
		c = w.compressedConfig()
	default:
		return nil, nil
	}
	return json.Marshal(c)
}

func (w *Writer) compressedConfig() map[string]any {
	format := "pack-quantized"
	weights := map[string]any{"num_bits": w.format.Bits, "type": "int", "symmetric": !w.format.Affine,
		"strategy": "channel", "dynamic": false}
	if w.format.Group > 0 {
		weights["strategy"], weights["group_size"] = "group", w.format.Group
	}
	if w.format.Kind == quant.MXFP4 {
		format = "mxfp4-pack-quantized"
		weights["type"] = "float"
		weights["scale_dtype"] = "torch.uint8"
	}
	group := map[string]any{"targets": []string{"Linear"}, "weights": weights, "input_activations": nil,
		"output_activations": nil, "format": format}
	if w.Inputs < 16 {
		group["input_activations"] = map[string]any{"num_bits": w.Inputs, "type": "int", "symmetric": true,
			"strategy": "token", "dynamic": true}
	}
	ignore := append([]string{}, w.left...)
	if !w.head {
		ignore = append([]string{llm.OutputName}, ignore...)
	}
	return map[string]any{"quant_method": "compressed-tensors", "format": format, "quantization_status": "compressed",
		"ignore": ignore, "config_groups": map[string]any{"group_0": group}, "kv_cache_scheme": nil}
}

// Block returns a layer as blocks of GGUF: Q4_0 and Q8_0 for symmetric integers of 4
// and 8 bits in groups of a multiple of 32, MXFP4 for its like. A scale is repeated in
// each block of its group.
func (w *Writer) Block(name string, q *quant.Quantized) (gguf.Tensor, error) {
	t, err := w.block(name, q)
	if err != nil {
		return t, fmt.Errorf("format gguf: %s: %w", name, err)
	}
	return t, nil
}

func (w *Writer) block(name string, q *quant.Quantized) (gguf.Tensor, error) {
	t := gguf.Tensor{Name: name + ".weight"}
	if err := plain(q); err != nil {
		return t, err
	}
	p := q.Base
	t.Shape = []int{p.N, p.K}
	size := p.Format.Group
	if size == 0 {
		size = p.K
	}
	names := map[quant.Format]string{
		{Bits: 4}: "Q4_0", {Bits: 8}: "Q8_0", {Bits: 4, Kind: quant.MXFP4}: "MXFP4"}
	typeName := names[quant.Format{
		Bits: p.Format.Bits, Affine: p.Format.Affine, Kind: p.Format.Kind}]
	switch {
	case w.Inputs != 16:
		return t, fmt.Errorf("holds no inputs of %d bits; use activations: a16", w.Inputs)
	case p.Format.Kind == quant.Integer && p.Format.Affine:
		return t, fmt.Errorf("has no blocks with integer zeros, as %s needs: Q4_1 rounds a minimum to half precision",
			p.Format)
	case typeName == "":
		return t, fmt.Errorf("has no blocks of %s; int4, int8 and mxfp4 are written", p.Format)
	case size%32 != 0 || p.K%32 != 0:
		return t, fmt.Errorf("has blocks of 32: groups of %d and K=%d are no multiples", size, p.K)
	}
	t.Type = gguf.TypeByName(typeName)
	groups := (p.K + size - 1) / size
	codes := &Grid{N: p.N, K: p.K, Bits: p.Format.Bits, Codes: p.Codes}
	for n := range p.N {
		for k := 0; k < p.K; k += 32 {
			if at := n*groups + k/size; typeName == "MXFP4" {
				t.Data = append(t.Data, p.ScaleBytes[at])
			} else {
				t.Data = binary.LittleEndian.AppendUint16(t.Data, p.Scales[at])
			}
			for i := range 32 {
				switch c := codes.code(n, k+i); {
				case typeName == "Q8_0":
					t.Data = append(t.Data, byte(c-128))
				case i < 16:
					t.Data = append(t.Data, byte(c|codes.code(n, k+16+i)<<4))
				}
			}
		}
	}
	return t, nil
}

// Plain returns a tensor that is not quantized here for GGUF: matrices as they are,
// vectors in F32, as llama.cpp wants norms and biases.
func Plain(t *hf.Tensor) (gguf.Tensor, error) {
	out := gguf.Tensor{Name: t.Name, Type: gguf.TypeByName(t.DType), Shape: t.Shape, Data: t.Data}
	if len(t.Shape) == 1 { // in the order of Hugging Face
		out.Type, out.Data = gguf.TypeByName("F32"), nil
		for _, v := range t.Float32() {
			out.Data = binary.LittleEndian.AppendUint32(out.Data, math.Float32bits(v))
		}
	}
	if out.Type == nil {
		return out, fmt.Errorf("tensor %q: GGUF has no type %s", t.Name, t.DType)
	}
	return out, nil
}
