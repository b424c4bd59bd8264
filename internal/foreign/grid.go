package foreign

import (
	"encoding/binary"
	"fmt"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/half"
	"github.com/mosaicquant/mosaicquant/internal/hf"
	"github.com/mosaicquant/mosaicquant/quant"
)

// Grid is a matrix Ŵ [N,K] of codes on grids, in whatever layout it came:
//
//	ŵ = (code - zero)·scale, or level[code]·scale
//
// with scale and zero of the group of the weight.
type Grid struct {
	N, K, Bits int
	Codes      []byte    // [N, ceil(K·Bits/8)], lowest bits first
	Levels     []float32 // [2^Bits], nil for integers
	Scales     []float32 // [N, groups], or of blocks
	Zeros      []int16   // as Scales; nil: Zero
	Zero       int16
	Group      int     // size of the groups along K; 0 where Index or Block says it
	Index      []int32 // [K] group of a column; nil without act-order
	Block      int     // groups of the flat matrix, across rows
}

// Dims returns N and K.
func (g *Grid) Dims() (n, k int) { return g.N, g.K }

// groups is the number of groups of a row.
func (g *Grid) groups() int {
	if g.Block > 0 {
		return 0
	}
	return len(g.Scales) / g.N
}

// code returns the code of a weight.
func (g *Grid) code(n, k int) int {
	row := g.Codes[n*((g.K*g.Bits+7)/8):]
	at := k * g.Bits
	return int(row[at>>3]) >> (at & 7) & (1<<g.Bits - 1)
}

// at returns where the scale of a weight stands.
func (g *Grid) at(n, k int) int {
	switch {
	case g.Block > 0:
		return (n*g.K + k) / g.Block
	case g.Index != nil:
		return n*g.groups() + int(g.Index[k])
	}
	return n*g.groups() + k/g.Group
}

// Load decodes a tile of Ŵ into dst.
func (g *Grid) Load(dst gemm.Matrix, n0, k0 int) {
	for i := range dst.Rows {
		row := dst.Row(i)
		for j := range row {
			at, code := g.at(n0+i, k0+j), g.code(n0+i, k0+j)
			if g.Levels != nil {
				row[j] = g.Levels[code] * g.Scales[at]
				continue
			}
			zero := g.Zero
			if g.Zeros != nil {
				zero = g.Zeros[at]
			}
			row[j] = float32(code-int(zero)) * g.Scales[at]
		}
	}
}

// pack stores codes, each below 2^bits, as rows of Codes.
func pack(n, k, bits int, code func(n, k int) int) []byte {
	length := (k*bits + 7) / 8
	out := make([]byte, n*length)
	for i := range n {
		row := out[i*length : (i+1)*length]
		for j := range k {
			at := j * bits
			row[at>>3] |= byte(code(i, j) << (at & 7))
		}
	}
	return out
}

// check reports scales that are not finite and indices out of range.
func (g *Grid) check(name string) error {
	for i, s := range g.Scales {
		if s-s != 0 {
			return fmt.Errorf("%s: scale %d is %v", name, i, s)
		}
	}
	for k, i := range g.Index {
		if i < 0 || int(i) >= g.groups() {
			return fmt.Errorf("%s: g_idx[%d] is %d, of %d groups", name, k, i, g.groups())
		}
	}
	return nil
}

// quantized returns g in the form of package quant, nil where that cannot hold it
// without a change: groups that are no runs of columns, scales that are not in half
// precision, zeros beyond the codes.
func (g *Grid) quantized() *quant.Quantized {
	if g.Levels != nil || g.Index != nil || g.Block > 0 {
		return nil
	}
	f := quant.Format{Bits: g.Bits, Group: g.Group}
	if g.Group >= g.K {
		f.Group = 0
	}
	groups, middle := g.groups(), 1<<(g.Bits-1)
	p := &quant.Packed{N: g.N, K: g.K, Codes: g.Codes, Scales: make([]uint16, len(g.Scales))}
	for i, s := range g.Scales {
		if p.Scales[i] = half.ToF16(s); half.FromF16(p.Scales[i]) != s {
			return nil
		}
	}
	zero := func(i, j int) int {
		if g.Zeros == nil {
			return int(g.Zero)
		}
		return int(g.Zeros[i*groups+j])
	}
	for i := range g.N {
		for j := range groups {
			z := zero(i, j)
			f.Affine = f.Affine || z != middle
			if z < 0 || z >= 1<<g.Bits {
				return nil
			}
		}
	}
	if f.Affine {
		p.Zeros = pack(g.N, groups, g.Bits, zero)
	}
	p.Format = f
	return &quant.Quantized{Base: p}
}

// floats returns all elements of a tensor of a float type.
func floats(t *hf.Tensor) []float32 { return t.Float32() }

// words returns the elements of a tensor of 32-bit integers.
func words(t *hf.Tensor) []uint32 {
	v := make([]uint32, len(t.Data)/4)
	for i := range v {
		v[i] = binary.LittleEndian.Uint32(t.Data[4*i:])
	}
	return v
}

// transposed returns [rows, cols] as [cols, rows].
func transposed(v []float32, rows, cols int) []float32 {
	out := make([]float32, len(v))
	for i := range rows {
		for j := range cols {
			out[j*rows+i] = v[i*cols+j]
		}
	}
	return out
}

// layer wraps g, whose ledger has the bytes of the tensors.
func (g *Grid) layer(r *reader, name, form string, parts ...part) (*Layer, error) {
	if err := g.check(name); err != nil {
		return nil, err
	}
	l := &Layer{Source: g, Form: form}
	if q := g.quantized(); q != nil {
		l.Quantized, l.Source = q, q
	}
	l.book(r, name, parts)
	return l, nil
}

// part says as what an entry of the ledger counts a tensor of the layer.
type part struct{ suffix, item string }

// book counts the tensors of the layer that were read.
func (l *Layer) book(r *reader, name string, parts []part) {
	for _, p := range parts {
		for _, used := range r.used {
			if used != name+p.suffix {
				continue
			}
			if t, err := r.tensors.Raw(used); err == nil {
				l.add(p.item, int64(len(t.Data)))
			}
		}
	}
}

// add adds bytes to an item of the ledger.
func (l *Layer) add(item string, bytes int64) {
	for i := range l.Ledger {
		if l.Ledger[i].Name == item {
			l.Ledger[i].Bytes += bytes
			return
		}
	}
	l.Ledger = append(l.Ledger, quant.Entry{Name: item, Bytes: bytes})
}
