package hf

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
)

// Tensor is one array of a checkpoint: row-major, little-endian, aliasing the
// mapped file. A two-dimensional tensor of a float type is a gemm.Source that
// converts to float32 tile by tile as it is loaded.
type Tensor struct {
	Name  string
	DType string // as safetensors spells it: "F32", "BF16", "U8", ...
	Shape []int
	Data  []byte // read-only

	release func([]byte) // nil unless Data is mapped
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

// Load writes the tile of dst.Rows x dst.Cols elements at t[n0,k0] into dst as
// float32. It panics on a tile outside t and on a type other than F32, F16 and
// BF16. It is safe for concurrent use.
func (t *Tensor) Load(dst gemm.Matrix, n0, k0 int) {
	n, k := t.Dims()
	if n0 < 0 || k0 < 0 || n0+dst.Rows > n || k0+dst.Cols > k {
		panic(fmt.Sprintf("hf: tensor %q: tile [%d:%d,%d:%d] outside %dx%d", t.Name, n0, n0+dst.Rows, k0, k0+dst.Cols, n, k))
	}
	if dst.Cols == 0 {
		return // an empty view has no rows to take
	}
	for i := range dst.Rows {
		t.decode(dst.Row(i), (n0+i)*k+k0)
	}
}

// Float32 returns a fresh copy of all elements, row-major. It panics on a type
// other than F32, F16 and BF16.
func (t *Tensor) Float32() []float32 {
	dst := make([]float32, t.Len())
	t.decode(dst, 0)
	return dst
}

// decode writes the len(dst) elements from index first on into dst.
func (t *Tensor) decode(dst []float32, first int) {
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

// isFloat tells the types that decode handles.
func isFloat(dtype string) bool { return dtype == "F32" || dtype == "F16" || dtype == "BF16" }
