package solve

import (
	"encoding/binary"
	"fmt"
	"math"
)

// magicFactor opens the binary form of a factor, which is little-endian: K and the
// number of dead channels as uint64, the order as uint32, and the upper triangle
// of U row by row as float32.
const magicFactor = "MQFAC\x00\x00\x01"

// encode returns f as bytes.
func (f *factor) encode() []byte {
	k := len(f.order)
	e := make([]byte, 0, len(magicFactor)+16+4*k+2*k*(k+1))
	e = append(e, magicFactor...)
	e = binary.LittleEndian.AppendUint64(e, uint64(k))
	e = binary.LittleEndian.AppendUint64(e, uint64(f.dead))
	for _, c := range f.order {
		e = binary.LittleEndian.AppendUint32(e, uint32(c))
	}
	for i := range k {
		for _, v := range f.u[i*k+i : (i+1)*k] {
			e = binary.LittleEndian.AppendUint32(e, math.Float32bits(float32(v)))
		}
	}
	return e
}

// decodeFactor reads and checks a factor of a [k,k] matrix.
func decodeFactor(data []byte, k int) (*factor, error) {
	head := len(magicFactor) + 16
	if len(data) < head || string(data[:len(magicFactor)]) != magicFactor {
		return nil, fmt.Errorf("quant: factor: %d bytes that do not begin with %q", len(data), magicFactor)
	}
	got, dead := binary.LittleEndian.Uint64(data[head-16:]), binary.LittleEndian.Uint64(data[head-8:])
	if got != uint64(k) || dead > got {
		return nil, fmt.Errorf("quant: factor of K=%d with %d dead channels, want K=%d", got, dead, k)
	}
	rest := data[head:]
	if want := 4*k + 2*k*(k+1); len(rest) != want {
		return nil, fmt.Errorf("quant: %d bytes of factor for K=%d, want %d", len(rest), k, want)
	}
	f := &factor{order: make([]int, k), dead: int(dead)}
	seen := make([]bool, k)
	for i := range f.order {
		c := binary.LittleEndian.Uint32(rest[4*i:])
		if int64(c) >= int64(k) || seen[c] {
			return nil, fmt.Errorf("quant: factor: column %d is out of range or there twice", c)
		}
		f.order[i], seen[c] = int(c), true
	}
	f.u = make([]float64, k*k)
	rest = rest[4*k:]
	for i := range k {
		row := f.u[i*k+i : (i+1)*k]
		for j := range row {
			row[j] = float64(math.Float32frombits(binary.LittleEndian.Uint32(rest[4*j:])))
		}
		rest = rest[4*len(row):]
		if !(row[0] > 0 && row[0] <= math.MaxFloat32) {
			return nil, fmt.Errorf("quant: factor: diagonal element %d is %g, want it positive", i, row[0])
		}
	}
	return f, nil
}
