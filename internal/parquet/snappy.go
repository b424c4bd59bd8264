package parquet

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// unsnappy decodes a block of Snappy (the raw format, without frames), which must have
// size bytes.
func unsnappy(src []byte, size int) ([]byte, error) {
	n, w := binary.Uvarint(src)
	if w <= 0 || n != uint64(size) {
		return nil, fmt.Errorf("snappy: the block says %d bytes, the page %d", n, size)
	}
	src = src[w:]
	short := errors.New("snappy: the block ends too early")
	dst := make([]byte, 0, min(size, 64*len(src)))
	for len(src) > 0 {
		tag := src[0]
		src = src[1:]
		length, offset, extra := int(tag>>2)+1, 0, 0
		switch tag & 3 {
		case 0: // literal
			if length > 60 {
				extra = length - 60
			}
		case 1:
			length, extra = 4+int(tag>>2)&7, 1
		case 2:
			extra = 2
		case 3:
			extra = 4
		}
		if len(src) < extra {
			return nil, short
		}
		number := 0
		for i := range extra {
			number |= int(src[i]) << (8 * i)
		}
		src = src[extra:]
		switch tag & 3 {
		case 0:
			if extra > 0 {
				length = number + 1
			}
			if length > len(src) {
				return nil, short
			}
			dst = append(dst, src[:length]...)
			src = src[length:]
		case 1:
			offset = int(tag>>5)<<8 | number
		default:
			offset = number
		}
		if tag&3 != 0 {
			if offset < 1 || offset > len(dst) {
				return nil, fmt.Errorf("snappy: a copy from %d bytes before byte %d", offset, len(dst))
			}
			if len(dst)+length > size {
				return nil, fmt.Errorf("snappy: more than the %d bytes of the page", size)
			}
			for range length { // it may overlap itself
				dst = append(dst, dst[len(dst)-offset])
			}
		}
		if len(dst) > size {
			return nil, fmt.Errorf("snappy: more than the %d bytes of the page", size)
		}
	}
	if len(dst) != size {
		return nil, short
	}
	return dst, nil
}
