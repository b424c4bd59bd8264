package trial

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/store"
)

// reference returns the final hidden states of the 16-bit model for the
// windows first..last-1, computed once and kept in the store.
func (s *Subject) reference(ctx context.Context, first, last int, seqs [][]int32) (gemm.Matrix, error) {
	p := s.protocol
	// The kernel is part of the key: another one rounds differently, and an
	// unchanged model would show a divergence.
	parts := []string{s.content["model"], s.content["config.json"], s.content["tokenizer.json"], s.content["text"],
		fmt.Sprint(p.Context, p.Stride, p.BOS, p.Tokens), gemm.Kernel(), fmt.Sprint(first, last, batchTokens)}
	if s.stressed != "" { // the same function, but rounded otherwise
		parts = append(parts, s.stressed)
	}
	if s.basis != "" { // which comes after stress
		parts = append(parts, s.basis)
	}
	rows := 0
	for _, seq := range seqs {
		rows += len(seq)
	}
	codec := matrixOf(rows, s.model.Config().HiddenSize)
	return store.Do(ctx, s.lab.Store, store.NewKey("reference", 1, parts...), codec, func(ctx context.Context) (gemm.Matrix, error) {
		defer s.release() // the trials that follow have weights of their own
		return s.model.Hidden(ctx, seqs, nil)
	})
}

// matrixCodec stores rows and columns as uint64 and the elements as float32,
// little-endian.
var matrixCodec = store.Codec[gemm.Matrix]{
	Write: func(w io.Writer, m gemm.Matrix) error {
		buf := binary.LittleEndian.AppendUint64(nil, uint64(m.Rows))
		buf = binary.LittleEndian.AppendUint64(buf, uint64(m.Cols))
		for i := range m.Rows {
			for _, v := range m.Row(i) {
				buf = binary.LittleEndian.AppendUint32(buf, math.Float32bits(v))
			}
			if _, err := w.Write(buf); err != nil {
				return err
			}
			buf = buf[:0]
		}
		return nil
	},
	Read: func(r io.Reader, size int64) (gemm.Matrix, error) {
		data := make([]byte, size)
		if _, err := io.ReadFull(r, data); err != nil {
			return gemm.Matrix{}, err
		}
		if size < 16 {
			return gemm.Matrix{}, fmt.Errorf("matrix of %d bytes", size)
		}
		rows, cols := binary.LittleEndian.Uint64(data), binary.LittleEndian.Uint64(data[8:])
		if data = data[16:]; rows > 1<<30 || cols > 1<<30 || rows*cols*4 != uint64(len(data)) {
			return gemm.Matrix{}, fmt.Errorf("matrix [%d,%d] of %d bytes", rows, cols, size)
		}
		m := gemm.NewMatrix(int(rows), int(cols))
		for i := range m.Data {
			m.Data[i] = math.Float32frombits(binary.LittleEndian.Uint32(data[4*i:]))
		}
		return m, nil
	},
}

// matrixOf is matrixCodec for matrices [rows,cols] alone.
func matrixOf(rows, cols int) store.Codec[gemm.Matrix] {
	codec := matrixCodec
	codec.Read = func(r io.Reader, size int64) (gemm.Matrix, error) {
		m, err := matrixCodec.Read(r, size)
		if err == nil && (m.Rows != rows || m.Cols != cols) {
			err = fmt.Errorf("matrix [%d,%d], want [%d,%d]", m.Rows, m.Cols, rows, cols)
		}
		return m, err
	}
	return codec
}

// bytesCodec stores bytes as they are.
var bytesCodec = store.Codec[[]byte]{
	Write: func(w io.Writer, data []byte) error {
		_, err := w.Write(data)
		return err
	},
	Read: func(r io.Reader, size int64) ([]byte, error) {
		data := make([]byte, size)
		_, err := io.ReadFull(r, data)
		return data, err
	},
}
