package quant

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"slices"
)

// The large arrays of calibration are triangles of float32: half of a symmetric
// matrix, or all of a triangular one. They are written and read row by row, so
// that no second copy of them is in memory.

// Encode writes m: its magic, K and the number of tokens, the upper triangle of
// H row by row, AbsMax, Mean and MeanAbs.
func (m *Moments) Encode(w io.Writer) error {
	e := encoder(magicMoments)
	e.ints(m.K, m.Tokens)
	if _, err := w.Write(e); err != nil {
		return err
	}
	if err := writeTriangle(w, m.H, m.K); err != nil {
		return err
	}
	buf := e[:0]
	for _, v := range slices.Concat(m.AbsMax, m.Mean, m.MeanAbs) {
		buf = binary.LittleEndian.AppendUint32(buf, math.Float32bits(v))
	}
	_, err := w.Write(buf)
	return err
}

// DecodeMoments reads and checks what Encode wrote, of which size bytes are
// there; nothing is allocated before K agrees with them.
func DecodeMoments(r io.Reader, size int64) (*Moments, error) {
	fail := func(err error) (*Moments, error) { return nil, fmt.Errorf("quant: moments: %w", err) }
	head := make([]byte, len(magicMoments)+16)
	if _, err := io.ReadFull(r, head); err != nil {
		return fail(err)
	}
	d := decoder{data: head}
	d.magic(magicMoments)
	k, tokens := d.int("K", maxDim), d.int("tokens", math.MaxInt)
	if d.err != nil {
		return nil, d.err
	}
	if want := int64(len(head)) + 2*int64(k)*int64(k+1) + 12*int64(k); size != want {
		return fail(fmt.Errorf("%d bytes for K=%d, want %d", size, k, want))
	}
	m := &Moments{K: k, Tokens: tokens, H: make([]float64, k*k), last: &derived{}}
	if err := readTriangle(r, m.H, k); err != nil {
		return fail(err)
	}
	for i := range k {
		for j := range i {
			m.H[i*k+j] = m.H[j*k+i]
		}
	}
	rest := make([]byte, 12*k)
	if _, err := io.ReadFull(r, rest); err != nil {
		return fail(err)
	}
	all := make([]float32, 3*k)
	for i := range all {
		all[i] = math.Float32frombits(binary.LittleEndian.Uint32(rest[4*i:]))
	}
	m.AbsMax, m.Mean, m.MeanAbs = all[:k:k], all[k:2*k:2*k], all[2*k:]
	if err := m.check(); err != nil {
		return fail(err)
	}
	return m, nil
}

// writeTriangle writes the upper triangle of a [k,k], whose elements float32
// can hold.
func writeTriangle(w io.Writer, a []float64, k int) error {
	buf := make([]byte, 0, 4*k)
	for i := range k {
		buf = buf[:0]
		for _, v := range a[i*k+i : (i+1)*k] {
			buf = binary.LittleEndian.AppendUint32(buf, math.Float32bits(float32(v)))
		}
		if _, err := w.Write(buf); err != nil {
			return err
		}
	}
	return nil
}

// readTriangle fills the upper triangle of a [k,k].
func readTriangle(r io.Reader, a []float64, k int) error {
	buf := make([]byte, 4*k)
	for i := range k {
		row := a[i*k+i : (i+1)*k]
		if _, err := io.ReadFull(r, buf[:4*len(row)]); err != nil {
			return err
		}
		for j := range row {
			row[j] = float64(math.Float32frombits(binary.LittleEndian.Uint32(buf[4*j:])))
		}
	}
	return nil
}
