package gemm

import (
	"encoding/binary"
	"fmt"
	"unsafe"

	"github.com/mosaicquant/mosaicquant/internal/half"
)

// DecodeBF16 widens the little-endian bfloat16 values in src to float32. It is
// exact. src must hold 2*len(dst) bytes.
func DecodeBF16(dst []float32, src []byte) {
	checkDecode("DecodeBF16", dst, src)
	k := active
	if n := len(dst) / k.lanes * k.lanes; n > 0 {
		k.decodeBF16(n, &dst[0], &src[0])
		dst, src = dst[n:], src[2*n:]
	}
	if len(dst) > 0 {
		decodeBF16Generic(len(dst), &dst[0], &src[0])
	}
}

// DecodeF16 widens the little-endian IEEE 754 half floats in src to float32. It
// is exact; a signalling NaN becomes a quiet one. src must hold 2*len(dst) bytes.
func DecodeF16(dst []float32, src []byte) {
	checkDecode("DecodeF16", dst, src)
	k := active
	if n := len(dst) / k.lanes * k.lanes; n > 0 {
		k.decodeF16(n, &dst[0], &src[0])
		dst, src = dst[n:], src[2*n:]
	}
	if len(dst) > 0 {
		decodeF16Generic(len(dst), &dst[0], &src[0])
	}
}

func checkDecode(name string, dst []float32, src []byte) {
	if len(src) != 2*len(dst) {
		panic(fmt.Sprintf("gemm: %s: %d values need %d bytes, got %d", name, len(dst), 2*len(dst), len(src)))
	}
}

func decodeBF16Generic(n int, dst *float32, src *byte) {
	d, s := unsafe.Slice(dst, n), unsafe.Slice(src, 2*n)
	for i := range d {
		d[i] = half.FromBF16(binary.LittleEndian.Uint16(s[2*i:]))
	}
}

func decodeF16Generic(n int, dst *float32, src *byte) {
	d, s := unsafe.Slice(dst, n), unsafe.Slice(src, 2*n)
	for i := range d {
		d[i] = half.FromF16(binary.LittleEndian.Uint16(s[2*i:]))
	}
}
