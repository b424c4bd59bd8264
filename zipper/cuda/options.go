package cuda

import (
	"fmt"
	"math"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
	f16 "github.com/mosaicquant/mosaicquant/internal/half"
	"github.com/mosaicquant/mosaicquant/internal/parallel"
)

// Type is a type of activations and outputs on the device, with the numbers of
// kernels/ABI.md.
type Type int

const (
	Float32  Type = 0
	Half     Type = 1
	BFloat16 Type = 2
)

func (t Type) bytes() int {
	if t == Float32 {
		return 4
	}
	return 2
}

// Tile is the choice that a matrix kernel leaves open: tokens of a block, and
// the number of blocks that share a column of K.
type Tile struct{ Tokens, Splits int }

// String returns "t16 s4".
func (t Tile) String() string { return fmt.Sprintf("t%d s%d", t.Tokens, t.Splits) }

// ParseTile reads what String writes, "t16 s4" or "t16" for one split.
func ParseTile(text string) (Tile, error) {
	t := Tile{Splits: 1}
	n, _ := fmt.Sscanf(text, "t%d s%d", &t.Tokens, &t.Splits)
	if n == 0 || t.Tokens < 1 || t.Splits < 1 || t.Splits > maxSplits {
		return Tile{}, fmt.Errorf("tile %q: want for example \"t16 s4\"", text)
	}
	return t, nil
}

const maxSplits = 64

// Options of a layer.
type Options struct {
	Input, Output Type
	// Tile forces the choice of the matrix kernels; with zero Tokens every Load
	// tries those that suit its M, and keeps the fastest.
	Tile Tile

	sparse Tile // the same for the residual's own kernel
}

// tiles returns the choices that are worth trying for m tokens and n rows of
// weights on so many SMs, the likeliest first. tokens lists what kernels exist.
func tiles(tokens []int, rows, m, n, columnTiles, sms int, split bool) []Tile {
	var all []Tile
	smallest := math.MaxInt
	for _, t := range tokens {
		smallest = min(smallest, t)
	}
	for _, t := range tokens {
		if t > max(smallest, 2*m) || t*16 < m && t < 64 {
			continue // more than half of it idle, or weights read very often
		}
		blocks := ceilDiv(n, rows) * ceilDiv(m, t)
		for s := 1; s <= min(maxSplits, columnTiles); s *= 2 {
			if s > 1 && (!split || blocks*s > 4*sms) {
				break
			}
			all = append(all, Tile{t, s})
		}
	}
	return all
}

// encode writes x to rows of ld elements of type t, zeros behind its columns.
func encode(x gemm.Matrix, ld int, t Type) []byte {
	size := t.bytes()
	b := make([]byte, x.Rows*ld*size)
	parallel.Each(x.Rows, func(i int) {
		out := b[i*ld*size:]
		for j, v := range x.Row(i) {
			switch t {
			case Float32:
				u := math.Float32bits(v)
				out[4*j], out[4*j+1], out[4*j+2], out[4*j+3] = byte(u), byte(u>>8), byte(u>>16), byte(u>>24)
			case Half:
				u := f16.ToF16(v)
				out[2*j], out[2*j+1] = byte(u), byte(u>>8)
			case BFloat16:
				u := f16.ToBF16(v)
				out[2*j], out[2*j+1] = byte(u), byte(u>>8)
			}
		}
	})
	return b
}

// decode reads what kernels wrote: y [m,n] of type t.
func decode(b []byte, m, n int, t Type) gemm.Matrix {
	y := gemm.NewMatrix(m, n)
	switch t {
	case Float32:
		for i := range y.Data {
			y.Data[i] = math.Float32frombits(uint32(b[4*i]) | uint32(b[4*i+1])<<8 | uint32(b[4*i+2])<<16 | uint32(b[4*i+3])<<24)
		}
	case Half:
		gemm.DecodeF16(y.Data, b)
	case BFloat16:
		gemm.DecodeBF16(y.Data, b)
	}
	return y
}

func le32(b []byte) uint32 {
	return uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24
}

// float is a float32 as kernels take it.
func float(v float32) uint64 { return uint64(math.Float32bits(v)) }
