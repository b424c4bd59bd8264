package hf

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/gguf"
)

// Tensor is one array of a checkpoint: row-major, little-endian, aliasing the
// mapped file. A two-dimensional tensor of a float type is a gemm.Source that
// converts to float32 tile by tile as it is loaded.
type Tensor struct {
	Name  string
	DType string // as safetensors or GGUF spells it: "F32", "BF16", "U8", "Q4_1", ...
	Shape []int
	Data  []byte // read-only

	release func([]byte) // nil unless Data is mapped
	blocks  *gguf.Type   // nil for F32, F16, BF16 and what is no float
	// headDim, where not 0, says that Data has the rows of each head of that many
	// in the order 0, d/2, 1, d/2+1, ..., as llama.cpp stores what it rotates.
	headDim int
}

// stored returns where in Data row n lies.
func (t *Tensor) stored(n int) int {
	if t.headDim == 0 {
		return n
	}
	head, i, half := n/t.headDim, n%t.headDim, t.headDim/2
	return head*t.headDim + i%half*2 + i/half
}

// Plain returns t itself if it is stored row by row in a type that safetensors
// has, else a copy of it in F32.
func (t *Tensor) Plain() *Tensor {
	if t.blocks == nil && t.headDim == 0 {
		return t
	}
	data := make([]byte, 0, 4*t.Len())
	for _, x := range t.Float32() {
		data = binary.LittleEndian.AppendUint32(data, math.Float32bits(x))
	}
	return &Tensor{Name: t.Name, DType: "F32", Shape: t.Shape, Data: data}
}

// Release gives the memory of Data back to the system until its next use, where
// Data is part of a mapped file: what reads a large model tensor by tensor need
// not hold all of it.
func (t *Tensor) Release() {
	if t.release != nil {
		t.release(t.Data)
	}
}

var _ gemm.Source = (*Tensor)(nil)

// Len is the number of elements.
func (t *Tensor) Len() int {
	n := 1
	for _, d := range t.Shape {
		n *= d
	}
	return n
}

// Dims returns N and K of a weight [N,K]. It panics unless t has two
// dimensions.
func (t *Tensor) Dims() (n, k int) {
	if len(t.Shape) != 2 {
		panic(fmt.Sprintf("hf: tensor %q: shape %v is not a matrix", t.Name, t.Shape))
	}
	return t.Shape[0], t.Shape[1]
}

// Row returns the stored bytes of row n of a matrix.
func (t *Tensor) Row(n int) []byte {
	rows, _ := t.Dims()
	size := len(t.Data) / rows
	at := t.stored(n) * size
	return t.Data[at : at+size]
}

// Load writes the tile of dst.Rows x dst.Cols elements at t[n0,k0] into dst as
// float32. It panics on a tile outside t and on a type that is not readable as
// float32. It is safe for concurrent use.
func (t *Tensor) Load(dst gemm.Matrix, n0, k0 int) {
	n, k := t.Dims()
	if n0 < 0 || k0 < 0 || n0+dst.Rows > n || k0+dst.Cols > k {
		panic(fmt.Sprintf("hf: tensor %q: tile [%d:%d,%d:%d] outside %dx%d", t.Name, n0, n0+dst.Rows, k0, k0+dst.Cols, n, k))
	}
	if dst.Cols == 0 {
		return // an empty view has no rows to take
	}
	for i := range dst.Rows {
		t.decode(dst.Row(i), t.stored(n0+i)*k+k0)
	}
}

// Float32 returns a fresh copy of all elements, row-major. It panics on a type
// that is not readable as float32.
func (t *Tensor) Float32() []float32 {
	dst := make([]float32, t.Len())
	if t.headDim == 0 {
		t.decode(dst, 0)
		return dst
	}
	k := len(dst) / t.Shape[0]
	for n := range t.Shape[0] {
		t.decode(dst[n*k:(n+1)*k], t.stored(n)*k)
	}
	return dst
}

// decode writes the len(dst) elements from index first on into dst.
func (t *Tensor) decode(dst []float32, first int) {
	if t.blocks != nil {
		t.blocks.Decode(dst, t.Data, first)
		return
	}
	switch t.DType {
	case "F32":
		src := t.Data[4*first : 4*(first+len(dst))]
		for i := range dst {
			dst[i] = math.Float32frombits(binary.LittleEndian.Uint32(src[4*i:]))
		}
	case "BF16":
		gemm.DecodeBF16(dst, t.Data[2*first:2*(first+len(dst))])
	case "F16":
		gemm.DecodeF16(dst, t.Data[2*first:2*(first+len(dst))])
	default:
		panic(fmt.Sprintf("hf: tensor %q: dtype %s is not readable as float32", t.Name, t.DType))
	}
}

// readable tells whether decode can read t.
func (t *Tensor) readable() bool { return t.blocks != nil || isPlain(t.DType) }

// isPlain tells the float types that safetensors has too.
func isPlain(dtype string) bool { return dtype == "F32" || dtype == "F16" || dtype == "BF16" }
