package parquet

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"math/bits"
)

// Kinds of pages, physical types, encodings and codecs, by parquet.thrift.
const (
	pageData       = 0
	pageDictionary = 2
	pageDataV2     = 3

	typeBoolean   = 0
	typeInt32     = 1
	typeInt64     = 2
	typeFloat     = 4
	typeDouble    = 5
	typeByteArray = 6

	encodingPlain           = 0
	encodingPlainDictionary = 2
	encodingRLE             = 3
	encodingRLEDictionary   = 8

	codecNone   = 0
	codecSnappy = 1
	codecGzip   = 2
)

var (
	typeNames  = []string{"BOOLEAN", "INT32", "INT64", "INT96", "FLOAT", "DOUBLE", "BYTE_ARRAY", "FIXED_LEN_BYTE_ARRAY"}
	codecNames = []string{"UNCOMPRESSED", "SNAPPY", "GZIP", "LZO", "BROTLI", "LZ4", "ZSTD", "LZ4_RAW"}
)

// nameOf names a number of a table, which may be none of it.
func nameOf(table []string, i int) string {
	if i < len(table) {
		return table[i]
	}
	return fmt.Sprint(i)
}

// Limits of what a file may ask for.
const (
	maxPage   = 1 << 29 // bytes of a page
	maxValues = 1 << 27 // values of a column
)

// chunk reads the pages of a column of a row group.
type chunk struct {
	leaf       *leaf
	codec      int
	dictionary []any
	// What the pages have: for each entry its levels, and the values of those that have
	// one.
	repetition, definition []byte
	values                 []any
}

// page reads the page at the begin of data and returns what follows it.
func (c *chunk) page(data []byte) ([]byte, error) {
	r := thriftReader{data}
	head, err := r.structure(0)
	if err != nil {
		return nil, fmt.Errorf("header of a page: %w", err)
	}
	kind, err := head.int(1, "type of a page", -1, math.MaxInt32)
	if err != nil {
		return nil, err
	}
	size, err := head.int(2, "uncompressed_page_size", -1, maxPage)
	if err != nil {
		return nil, err
	}
	stored, err := head.int(3, "compressed_page_size", -1, int64(len(r.data)))
	if err != nil {
		return nil, err
	}
	body, rest := r.data[:stored], r.data[stored:]
	switch kind {
	case pageDictionary:
		return rest, c.readDictionary(head.structure(7), body, size)
	case pageData:
		return rest, c.readData(head.structure(5), body, size)
	case pageDataV2:
		return rest, c.readDataV2(head.structure(8), body, size)
	}
	return rest, nil // an index, which is not needed
}

// unpack decompresses a body of size bytes.
func (c *chunk) unpack(body []byte, size int) ([]byte, error) {
	switch c.codec {
	case codecNone:
		if len(body) != size {
			return nil, fmt.Errorf("a page of %d bytes says %d", len(body), size)
		}
		return body, nil
	case codecSnappy:
		return unsnappy(body, size)
	case codecGzip:
		z, err := gzip.NewReader(bytes.NewReader(body))
		if err != nil {
			return nil, err
		}
		out, err := io.ReadAll(io.LimitReader(z, int64(size)+1))
		if err == nil && len(out) != size {
			err = fmt.Errorf("gzip: not the %d bytes of the page", size)
		}
		return out, err
	}
	return nil, fmt.Errorf("codec %s is not read: UNCOMPRESSED, SNAPPY and GZIP are", nameOf(codecNames, c.codec))
}

func (c *chunk) readDictionary(h thriftStruct, body []byte, size int) error {
	n, err := h.int(1, "values of a dictionary", -1, maxValues)
	if err != nil {
		return err
	}
	encoding, err := h.int(2, "encoding of a dictionary", -1, math.MaxInt32)
	if err != nil {
		return err
	}
	if encoding != encodingPlain && encoding != encodingPlainDictionary {
		return fmt.Errorf("encoding %d of a dictionary is not plain", encoding)
	}
	if body, err = c.unpack(body, size); err != nil {
		return err
	}
	c.dictionary, err = c.leaf.plain(body, n)
	return err
}

func (c *chunk) readData(h thriftStruct, body []byte, size int) error {
	n, err := h.int(1, "values of a page", -1, maxValues)
	if err != nil {
		return err
	}
	encoding, err := h.int(2, "encoding of a page", -1, math.MaxInt32)
	if err != nil {
		return err
	}
	if body, err = c.unpack(body, size); err != nil {
		return err
	}
	levels := func(name string, id, most int) ([]byte, error) {
		if most == 0 {
			return make([]byte, n), nil
		}
		if e, err := h.int(id, "encoding of levels", -1, math.MaxInt32); err != nil || e != encodingRLE {
			return nil, fmt.Errorf("encoding %d of %s levels is not RLE", e, name)
		}
		if len(body) < 4 || uint64(binary.LittleEndian.Uint32(body)) > uint64(len(body)-4) {
			return nil, fmt.Errorf("%s levels: %w", name, errShort)
		}
		end := 4 + int(binary.LittleEndian.Uint32(body))
		list, err := hybridBytes(body[4:end], bits.Len(uint(most)), n, most)
		body = body[end:]
		return list, err
	}
	repetition, err := levels("repetition", 4, c.leaf.repetition)
	if err != nil {
		return err
	}
	definition, err := levels("definition", 3, c.leaf.definition)
	if err != nil {
		return err
	}
	return c.add(repetition, definition, encoding, body)
}

func (c *chunk) readDataV2(h thriftStruct, body []byte, size int) error {
	var f [4]int // values, encoding, bytes of definition and repetition levels
	for i, x := range []struct {
		id    int
		name  string
		limit int64
	}{{1, "values of a page", maxValues}, {4, "encoding of a page", math.MaxInt32},
		{5, "bytes of definition levels", int64(len(body))}, {6, "bytes of repetition levels", int64(len(body))}} {
		var err error
		if f[i], err = h.int(x.id, x.name, -1, x.limit); err != nil {
			return err
		}
	}
	head := f[2] + f[3]
	if head > len(body) || head > size {
		return fmt.Errorf("levels of %d bytes in a page of %d", head, len(body))
	}
	levels := func(data []byte, most int) ([]byte, error) {
		if most == 0 {
			return make([]byte, f[0]), nil
		}
		return hybridBytes(data, bits.Len(uint(most)), f[0], most)
	}
	repetition, err := levels(body[:f[3]], c.leaf.repetition)
	if err != nil {
		return err
	}
	definition, err := levels(body[f[3]:head], c.leaf.definition)
	if err != nil {
		return err
	}
	values := body[head:]
	if compressed, ok := h[7].(bool); compressed || !ok {
		if values, err = c.unpack(values, size-head); err != nil {
			return err
		}
	}
	return c.add(repetition, definition, f[1], values)
}

// add appends the entries of a page, whose values are encoded in data.
func (c *chunk) add(repetition, definition []byte, encoding int, data []byte) error {
	n := 0
	for _, d := range definition {
		if int(d) == c.leaf.definition {
			n++
		}
	}
	var values []any
	var err error
	switch {
	case encoding == encodingPlain:
		values, err = c.leaf.plain(data, n)
	case encoding == encodingRLE && c.leaf.kind == typeBoolean:
		if len(data) < 4 {
			return errShort
		}
		err = hybrid(data[4:], 1, n, func(v uint32) error { values = append(values, v == 1); return nil })
	case encoding == encodingPlainDictionary || encoding == encodingRLEDictionary:
		values, err = c.looked(data, n)
	default:
		err = fmt.Errorf("encoding %d is not read: PLAIN and dictionaries are", encoding)
	}
	if err != nil {
		return err
	}
	if len(c.definition)+len(definition) > maxValues {
		return fmt.Errorf("more than %d values", maxValues)
	}
	c.repetition, c.definition = append(c.repetition, repetition...), append(c.definition, definition...)
	c.values = append(c.values, values...)
	return nil
}

// looked returns n values of the dictionary.
func (c *chunk) looked(data []byte, n int) ([]any, error) {
	if n == 0 {
		return nil, nil
	}
	if len(data) == 0 || data[0] > 32 {
		return nil, fmt.Errorf("width of indices: %w", errShort)
	}
	values := make([]any, 0, min(n, 1<<16))
	return values, hybrid(data[1:], int(data[0]), n, func(v uint32) error {
		if uint64(v) >= uint64(len(c.dictionary)) {
			return fmt.Errorf("index %d, and the dictionary has %d values", v, len(c.dictionary))
		}
		values = append(values, c.dictionary[v])
		return nil
	})
}

// hybridBytes decodes n levels up to most.
func hybridBytes(data []byte, width, n, most int) ([]byte, error) {
	list := make([]byte, 0, min(n, 1<<16))
	err := hybrid(data, width, n, func(v uint32) error {
		if v > uint32(most) {
			return fmt.Errorf("level %d is above %d", v, most)
		}
		list = append(list, byte(v))
		return nil
	})
	return list, err
}

// hybrid calls f for n numbers of the given width in runs of RLE and of packed bits.
func hybrid(data []byte, width, n int, f func(v uint32) error) error {
	for n > 0 {
		head, w := binary.Uvarint(data)
		if w <= 0 {
			return errShort
		}
		data = data[w:]
		if head&1 == 0 {
			size := (width + 7) / 8
			if len(data) < size {
				return errShort
			}
			var v uint32
			for i := range size {
				v |= uint32(data[i]) << (8 * i)
			}
			data = data[size:]
			run := int(min(head>>1, uint64(n)))
			for range run {
				if err := f(v); err != nil {
					return err
				}
			}
			if n -= run; run == 0 && len(data) == 0 {
				return errShort
			}
			continue
		}
		groups := int(min(head>>1, uint64(n+7)/8)) // of eight numbers
		size := min(groups*width, len(data))
		count := min(groups*8, n)
		if count*width > 8*size {
			return errShort
		}
		for i := range count {
			var v uint32
			for b := range width {
				at := i*width + b
				v |= uint32(data[at/8]>>(at%8)&1) << b
			}
			if err := f(v); err != nil {
				return err
			}
		}
		n -= count
		data = data[size:]
	}
	return nil
}

// plain decodes n values of the column's type.
func (l *leaf) plain(data []byte, n int) ([]any, error) {
	values := make([]any, 0, min(n, 1<<16))
	width := map[int]int{typeInt32: 4, typeInt64: 8, typeFloat: 4, typeDouble: 8}[l.kind]
	for i := range n {
		if l.kind == typeBoolean {
			if i/8 >= len(data) {
				return nil, errShort
			}
			values = append(values, data[i/8]>>(i%8)&1 == 1)
			continue
		}
		size := width
		if l.kind == typeByteArray {
			if len(data) < 4 || uint64(binary.LittleEndian.Uint32(data)) > uint64(len(data)-4) {
				return nil, errShort
			}
			size = int(binary.LittleEndian.Uint32(data))
			data = data[4:]
		}
		if len(data) < size {
			return nil, errShort
		}
		switch l.kind {
		case typeByteArray:
			values = append(values, string(data[:size]))
		case typeInt32:
			values = append(values, int64(int32(binary.LittleEndian.Uint32(data))))
		case typeInt64:
			values = append(values, int64(binary.LittleEndian.Uint64(data)))
		case typeFloat:
			values = append(values, float64(math.Float32frombits(binary.LittleEndian.Uint32(data))))
		case typeDouble:
			values = append(values, math.Float64frombits(binary.LittleEndian.Uint64(data)))
		}
		data = data[size:]
	}
	return values, nil
}
