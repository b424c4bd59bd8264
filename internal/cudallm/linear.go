//go:build cuda && linux && cgo

package cudallm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/half"
	"github.com/mosaicquant/mosaicquant/internal/llm"
	"github.com/mosaicquant/mosaicquant/internal/parallel"
	"github.com/mosaicquant/mosaicquant/internal/variants"
	"github.com/mosaicquant/mosaicquant/quant"
	"github.com/mosaicquant/mosaicquant/zipper/cuda"
	"github.com/mosaicquant/mosaicquant/zipper/cuda/driver"
)

// format is how a product reads its inputs.
type format struct {
	row   cuda.RowType
	round int
}

// linear is a linear layer on the device: packed, or in 16 bits.
type linear struct {
	name   string
	n, k   int
	in     format
	packed *cuda.Layer
	high   driver.Buffer // bfloat16 [N,K]
	low    driver.Buffer // what that leaves, empty where it leaves nothing
	bias   driver.Buffer
	wide   bool // outputs are float32, else bfloat16
}

// loader puts layers on the device. Layouts of weights that several layers share are made once.
type loader struct {
	device  *cuda.Device
	options Options
	layouts map[string]*cuda.Layout // by name, where layers are repeated
	halves  map[string][2][]byte
}

// linear puts p on the device, with outputs in float32 where wide. What has no kernel is an error that
// names it.
func (l *loader) linear(p llm.Part, wide bool) (*linear, error) {
	y := &linear{name: p.Name, wide: wide}
	y.n, y.k = p.Weights.Dims()
	err := l.load(y, p)
	if err == nil && p.Bias != nil {
		err = l.device.Do(func(w *cuda.Work) error { return w.Fill(&y.bias, float32Bytes(p.Bias)) })
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("engine cuda: %s: %w", p.Name, err), y.close(l.device))
	}
	return y, nil
}

func (l *loader) load(y *linear, p llm.Part) error {
	if p.Product != nil {
		return errors.New("is executed by a kernel of the CPU")
	}
	if y.n%8 != 0 || y.k%8 != 0 || y.k > cuda.MaxRow {
		return fmt.Errorf("is %dx%d: sizes must be multiples of 8, and inputs at most %d", y.n, y.k, cuda.MaxRow)
	}
	round, scheme := 0, cuda.W4A16BF16
	switch p.Act {
	case quant.A16:
	case quant.A8:
		round, scheme = 8, cuda.W4A8
	case quant.A4:
		round, scheme = 4, cuda.W4A4
	default:
		return fmt.Errorf("activations %s have no kernel", p.Act)
	}
	y.in = format{cuda.SplitBF16, round}
	if l.options.Fast {
		y.in.row = cuda.RowBFloat16
	}
	q, ok := p.Weights.(*quant.Quantized)
	if !ok || !l.options.Packed {
		return l.sixteen(y, p.Weights)
	}
	if round > 0 {
		y.in.row = map[int]cuda.RowType{8: cuda.RowInt8, 4: cuda.RowInt4}[round]
	}
	return l.pack(y, q, scheme)
}

// pack puts the codes of q on the device.
func (l *loader) pack(y *linear, q *quant.Quantized, scheme cuda.Scheme) (err error) {
	if err := cuda.Takes(q.Form(), scheme); err != nil {
		return err
	}
	layout := l.layouts[y.name]
	if layout == nil {
		lay := cuda.NewLayout
		if l.options.Variant == variants.Separate { // a residual that rides in the base has no kernel of its own
			lay = cuda.NewSeparable
		}
		if layout, err = lay(q, scheme); err != nil {
			return err
		}
		if l.options.Repeat > 0 {
			l.layouts[y.name] = layout
		}
	}
	variant := l.options.Variant
	switch {
	case q.Outliers != nil:
		variant = variants.Outlier16
	case variant == "":
		variant = variants.Zipper
	}
	o := cuda.Options{Output: cuda.Float32}
	if !y.wide {
		o.Output = cuda.BFloat16
	}
	y.packed, err = l.device.NewLayer(layout, variant, o)
	return err
}

// sixteen puts w on the device in bfloat16, and what that leaves.
func (l *loader) sixteen(y *linear, w gemm.Source) error {
	cut, ok := l.halves[y.name]
	if !ok {
		cut = split(w, l.options.Fast)
		if l.options.Repeat > 0 {
			l.halves[y.name] = cut
		}
	}
	return l.device.Do(func(work *cuda.Work) error {
		if _, err := work.BLAS(); err != nil {
			return err
		}
		err := work.Fill(&y.high, cut[0])
		if err == nil && cut[1] != nil {
			err = work.Fill(&y.low, cut[1])
		}
		return err
	})
}

// split rounds w to bfloat16, and returns what that leaves in bfloat16 too; nil where it leaves
// nothing, or once says that it does not matter.
func split(w gemm.Source, once bool) (cut [2][]byte) {
	const rows = 64
	n, k := w.Dims()
	high, low := make([]byte, 2*n*k), make([]byte, 2*n*k)
	blocks := (n + rows - 1) / rows
	left := make([]bool, blocks)
	parallel.Each(blocks, func(i int) {
		part := gemm.NewMatrix(min(rows, n-i*rows), k)
		w.Load(part, i*rows, 0)
		for j, v := range part.Data {
			at := 2 * (i*rows*k + j)
			h := half.ToBF16(v)
			rest := v - math.Float32frombits(uint32(h)<<16)
			binary.LittleEndian.PutUint16(high[at:], h)
			binary.LittleEndian.PutUint16(low[at:], half.ToBF16(rest))
			left[i] = left[i] || rest != 0
		}
	})
	if r, ok := w.(interface{ Release() }); ok {
		r.Release()
	}
	cut[0] = high
	for _, l := range left {
		if l && !once {
			cut[1] = low
		}
	}
	return cut
}

// bytes is what one product reads of the weights.
func (l *linear) bytes() int64 {
	if l.packed != nil {
		return l.packed.Bytes(1)
	}
	return l.high.Size() + l.low.Size()
}

// outputBytes is the room that y must have for m tokens.
func (l *linear) outputBytes(m int) int64 {
	size := int64(2)
	if l.wide {
		size = 4
	}
	if l.packed != nil && l.in.row == cuda.SplitBF16 {
		size *= 2 // the rest of the inputs has outputs of its own
	}
	return align(size * int64(m) * int64(l.n))
}

// outputType is that of y.
func (l *linear) outputType() cuda.Type {
	if l.wide {
		return cuda.Float32
	}
	return cuda.BFloat16
}

func align(n int64) int64 { return (n + 255) / 256 * 256 }

// multiply puts y [m,N] = X·Wᵀ into the stream; in is X in the layer's format.
func (l *linear) multiply(w *cuda.Work, y driver.Buffer, in cuda.Row, m int) error {
	switch {
	case l.packed != nil && l.in.row == cuda.SplitBF16:
		if err := w.Multiply(l.packed, y, in.To, in.Scales, 2*m); err != nil { // the rest follows In.To
			return err
		}
		return w.Accumulate(y, m*l.n)
	case l.packed != nil:
		return w.Multiply(l.packed, y, in.To, in.Scales, m)
	}
	blas, err := w.BLAS()
	if err != nil {
		return err
	}
	ld := in.Type.Stride(l.k) / 2
	if !l.wide {
		return blas.GEMM16(y, in.To, l.high, m, l.n, l.k, ld)
	}
	err = blas.GEMM32(y, in.To, l.high, m, l.n, l.k, ld, false)
	if err == nil && in.Type == cuda.SplitBF16 {
		err = blas.GEMM32(y, in.Rest, l.high, m, l.n, l.k, ld, true)
	}
	if err == nil && l.low.Size() > 0 {
		err = blas.GEMM32(y, in.To, l.low, m, l.n, l.k, ld, true)
	}
	return err
}

func (l *linear) close(d *cuda.Device) error {
	if l == nil {
		return nil
	}
	var err error
	if l.packed != nil {
		err = l.packed.Close()
	}
	return errors.Join(err, d.Do(func(w *cuda.Work) error {
		return errors.Join(w.Free(&l.high), w.Free(&l.low), w.Free(&l.bias))
	}))
}

func float32Bytes(v []float32) []byte {
	b := make([]byte, 4*len(v))
	for i, x := range v {
		binary.LittleEndian.PutUint32(b[4*i:], math.Float32bits(x))
	}
	return b
}

func uint32Bytes(v []uint32) []byte {
	b := make([]byte, 4*len(v))
	for i, x := range v {
		binary.LittleEndian.PutUint32(b[4*i:], x)
	}
	return b
}
