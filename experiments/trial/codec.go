package trial

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/store"
)

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
