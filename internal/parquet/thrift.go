package parquet

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// The metadata of a file is in Thrift's compact protocol: structs of numbered fields,
// each with its type.

// thriftStruct has the fields of a struct by number: int64, bool, []byte, []any or
// thriftStruct; a double is skipped.
type thriftStruct map[int]any

// Types of the compact protocol.
const (
	thriftStop = iota
	thriftTrue
	thriftFalse
	thriftByte
	thriftI16
	thriftI32
	thriftI64
	thriftDouble
	thriftBinary
	thriftList
	thriftSet
	thriftMap
	thriftStructType
)

const maxDepth = 32

var errShort = errors.New("ends too early")

// thriftReader reads from the begin of data on.
type thriftReader struct{ data []byte }

func (r *thriftReader) byte() (byte, error) {
	if len(r.data) == 0 {
		return 0, errShort
	}
	b := r.data[0]
	r.data = r.data[1:]
	return b, nil
}

func (r *thriftReader) uvarint() (uint64, error) {
	v, n := binary.Uvarint(r.data)
	if n <= 0 {
		return 0, errShort
	}
	r.data = r.data[n:]
	return v, nil
}

// size reads the number of bytes, or of elements of at least a byte, that follow.
func (r *thriftReader) size() (int, error) {
	n, err := r.uvarint()
	if err == nil && n > uint64(len(r.data)) {
		return 0, fmt.Errorf("%d bytes or elements, and %d bytes are left", n, len(r.data))
	}
	return int(n), err
}

func (r *thriftReader) structure(depth int) (thriftStruct, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("more than %d levels", maxDepth)
	}
	s, id := thriftStruct{}, 0
	for {
		head, err := r.byte()
		if err != nil || head&15 == thriftStop {
			return s, err
		}
		if delta := int(head >> 4); delta > 0 {
			id += delta
		} else {
			v, err := r.uvarint()
			if err != nil {
				return nil, err
			}
			id = int(int16(unzigzag(v)))
		}
		var v any
		switch kind := int(head & 15); kind {
		case thriftTrue, thriftFalse:
			v = kind == thriftTrue
		default:
			if v, err = r.value(kind, depth); err != nil {
				return nil, err
			}
		}
		s[id] = v
	}
}

func (r *thriftReader) value(kind, depth int) (any, error) {
	switch kind {
	case thriftTrue, thriftFalse: // of a list: a byte each
		b, err := r.byte()
		return b == thriftTrue, err
	case thriftByte:
		b, err := r.byte()
		return int64(int8(b)), err
	case thriftI16, thriftI32, thriftI64:
		v, err := r.uvarint()
		return unzigzag(v), err
	case thriftDouble:
		if len(r.data) < 8 {
			return nil, errShort
		}
		r.data = r.data[8:]
		return nil, nil
	case thriftBinary:
		n, err := r.size()
		if err != nil {
			return nil, err
		}
		v := r.data[:n]
		r.data = r.data[n:]
		return v, nil
	case thriftList, thriftSet:
		return r.list(depth)
	case thriftStructType:
		return r.structure(depth + 1)
	}
	return nil, fmt.Errorf("Thrift type %d is not known", kind)
}

func (r *thriftReader) list(depth int) ([]any, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("more than %d levels", maxDepth)
	}
	head, err := r.byte()
	if err != nil {
		return nil, err
	}
	n := int(head >> 4)
	if n == 15 {
		if n, err = r.size(); err != nil {
			return nil, err
		}
	}
	var list []any
	for range n {
		v, err := r.value(int(head&15), depth+1)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	return list, nil
}

func unzigzag(v uint64) int64 { return int64(v>>1) ^ -int64(v&1) }

// int returns a field that must be a whole number from 0 to limit; missing is what one
// that is not there has, negative for an error.
func (s thriftStruct) int(id int, name string, missing, limit int64) (int, error) {
	v, ok := s[id].(int64)
	switch {
	case !ok && s[id] != nil:
		return 0, fmt.Errorf("%s is no number", name)
	case !ok && missing < 0:
		return 0, fmt.Errorf("%s is missing", name)
	case !ok:
		return int(missing), nil
	case v < 0 || v > limit:
		return 0, fmt.Errorf("%s %d is outside 0..%d", name, v, limit)
	}
	return int(v), nil
}

// structure returns a field that is a struct, empty where it is not there.
func (s thriftStruct) structure(id int) thriftStruct {
	v, _ := s[id].(thriftStruct)
	return v
}

// structures returns a field that is a list of structs.
func (s thriftStruct) structures(id int, name string) ([]thriftStruct, error) {
	list, ok := s[id].([]any)
	if !ok {
		return nil, fmt.Errorf("%s is missing", name)
	}
	var out []thriftStruct
	for _, v := range list {
		x, ok := v.(thriftStruct)
		if !ok {
			return nil, fmt.Errorf("%s has an element that is no struct", name)
		}
		out = append(out, x)
	}
	return out, nil
}
