// Package gguf reads GGUF, the container in which llama.cpp and its kin keep
// models: typed metadata, a list of tensors, and their bytes, often in blocks of
// few bits. The format is described in ggml's docs/gguf.md. It knows nothing of
// architectures.
package gguf

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"iter"
	"math"
	"math/bits"
	"slices"
)

const magic = "GGUF"

const (
	defaultAlignment = 32
	maxDims          = 4       // as in ggml
	maxName          = 1 << 16 // bytes of a key or a tensor's name
)

// File is one parsed GGUF file, whose bytes it aliases.
type File struct {
	Version uint32
	// Tensors are in the order of the file.
	Tensors []Tensor

	keys   []string
	values map[string]Value
}

// Tensor is one array of a file.
type Tensor struct {
	Name  string
	Type  *Type
	Shape []int  // row-major: the last dimension is contiguous, the reverse of the file's order
	Data  []byte // read-only, Type.Bytes for every Type.Block elements
}

// Keys lists the names of the metadata in the order of the file.
func (f *File) Keys() []string { return f.keys }

// Value returns the named metadata, and whether f has it.
func (f *File) Value(key string) (Value, bool) {
	v, ok := f.values[key]
	return v, ok
}

// Kind is the type of a metadata value.
type Kind uint32

// The kinds, numbered as in the file.
const (
	Uint8 Kind = iota
	Int8
	Uint16
	Int16
	Uint32
	Int32
	Float32
	Bool
	String
	Array
	Uint64
	Int64
	Float64
)

var kindNames = [...]string{"uint8", "int8", "uint16", "int16", "uint32", "int32",
	"float32", "bool", "string", "array", "uint64", "int64", "float64"}

// kindBytes is the storage of a value; 0 where it varies.
var kindBytes = [...]int{1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8}

func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("kind %d", uint32(k))
}

// Value is one metadata value. It aliases the file and is decoded when asked.
type Value struct {
	Kind Kind
	Elem Kind // of an Array's elements
	Len  int  // of an Array
	data []byte
}

// Parse reads the header of a GGUF file of version 2 or 3, little-endian. No
// tensor is touched. Every length, count and offset is checked against the file
// before anything is allocated for it, so that memory stays within a small
// multiple of the header's size. Errors carry no file name.
//
// Wrong are: another magic or version, what runs beyond the end of the file, a key
// or a tensor that stands twice, nested arrays, an unknown type, a row that is no
// whole number of blocks, tensors that overlap or are not aligned.
func Parse(data []byte) (*File, error) {
	r := &reader{data: data}
	if len(data) < 24 {
		return nil, fmt.Errorf("truncated: %d bytes, a GGUF file has at least 24", len(data))
	}
	if string(data[:4]) != magic {
		return nil, fmt.Errorf("begins with %q, not %q: no GGUF file", data[:4], magic)
	}
	r.pos = 4
	f := &File{Version: r.uint32(), values: map[string]Value{}}
	if v := f.Version; v != 2 && v != 3 {
		if w := bits.ReverseBytes32(v); w == 2 || w == 3 {
			return nil, fmt.Errorf("is big-endian: only little-endian files are read")
		}
		return nil, fmt.Errorf("version %d is not 2 or 3", v)
	}
	tensors, pairs := r.uint64(), r.uint64()
	// A pair takes at least 13 bytes (length, kind, one byte), a tensor 32.
	if left := uint64(len(data) - r.pos); pairs > left/13 || tensors > left/32 {
		return nil, fmt.Errorf("truncated: %d metadata pairs and %d tensors do not fit %d bytes", pairs, tensors, len(data))
	}
	for i := range pairs {
		if err := f.readPair(r); err != nil {
			return nil, fmt.Errorf("metadata pair %d of %d: %w", i+1, pairs, err)
		}
	}
	return f, f.readTensors(r, int(tensors))
}

func (f *File) readPair(r *reader) error {
	key := r.name()
	v := r.value(Kind(r.uint32()))
	if r.err != nil {
		if key != "" {
			return fmt.Errorf("%q: %w", key, r.err)
		}
		return r.err
	}
	if _, ok := f.values[key]; ok {
		return fmt.Errorf("%q stands twice", key)
	}
	f.keys = append(f.keys, key)
	f.values[key] = v
	return nil
}

// extent is where the bytes of a tensor lie in the data section.
type extent struct {
	name       string
	begin, end uint64
}

func (f *File) readTensors(r *reader, n int) error {
	alignment, err := f.alignment()
	if err != nil {
		return err
	}
	seen := make(map[string]bool, n)
	extents := make([]extent, 0, n)
	for i := range n {
		t, e, err := r.tensor()
		if err != nil {
			return fmt.Errorf("tensor %d of %d: %w", i+1, n, err)
		}
		if seen[t.Name] {
			return fmt.Errorf("tensor %q stands twice", t.Name)
		}
		if e.begin%alignment != 0 {
			return fmt.Errorf("tensor %q: offset %d is no multiple of general.alignment %d", t.Name, e.begin, alignment)
		}
		seen[t.Name] = true
		f.Tensors, extents = append(f.Tensors, t), append(extents, e)
	}
	start := (uint64(r.pos) + alignment - 1) / alignment * alignment
	size := uint64(len(r.data)) - min(start, uint64(len(r.data)))
	for i, e := range extents {
		if e.end > size {
			return fmt.Errorf("tensor %q: bytes %d to %d are beyond the %d bytes of data: truncated?",
				e.name, e.begin, e.end, size)
		}
		f.Tensors[i].Data = r.data[start+e.begin : start+e.end : start+e.end]
	}
	slices.SortFunc(extents, func(a, b extent) int {
		return cmp.Or(cmp.Compare(a.begin, b.begin), cmp.Compare(a.end, b.end))
	})
	for i := 1; i < len(extents); i++ {
		if a, b := extents[i-1], extents[i]; b.begin < a.end {
			return fmt.Errorf("tensor %q: offset %d overlaps tensor %q, which ends at %d", b.name, b.begin, a.name, a.end)
		}
	}
	return nil
}

// alignment returns general.alignment, a power of two.
func (f *File) alignment() (uint64, error) {
	const key = "general.alignment"
	v, ok := f.values[key]
	if !ok {
		return defaultAlignment, nil
	}
	n, err := v.Uint()
	if err != nil {
		return 0, fmt.Errorf("%s: %w", key, err)
	}
	if bits.OnesCount64(n) != 1 || n > 1<<30 {
		return 0, fmt.Errorf("%s %d is no power of two up to 2^30", key, n)
	}
	return n, nil
}

// reader walks the header and keeps the first error.
type reader struct {
	data []byte
	pos  int
	err  error
}

// take returns the next n bytes, nil after an error.
func (r *reader) take(n uint64) []byte {
	if r.err != nil {
		return nil
	}
	if left := uint64(len(r.data) - r.pos); n > left {
		r.err = fmt.Errorf("truncated: %d bytes wanted at byte %d, %d left", n, r.pos, left)
		return nil
	}
	b := r.data[r.pos : r.pos+int(n)]
	r.pos += int(n)
	return b
}

func (r *reader) uint32() uint32 {
	if b := r.take(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

func (r *reader) uint64() uint64 {
	if b := r.take(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

// name reads a key or the name of a tensor.
func (r *reader) name() string {
	n := r.uint64()
	if r.err == nil && n > maxName {
		r.err = fmt.Errorf("a name of %d bytes exceeds %d", n, maxName)
	}
	return string(r.take(n))
}

func (r *reader) value(k Kind) Value {
	v := Value{Kind: k}
	n := uint64(1)
	elem := k
	if k == Array {
		elem = Kind(r.uint32())
		n = r.uint64()
		v.Elem = elem
		if elem == Array && r.err == nil {
			r.err = fmt.Errorf("an array of arrays is not supported")
		}
	}
	if r.err == nil && int(elem) >= len(kindBytes) {
		r.err = fmt.Errorf("kind %d is unknown", uint32(elem))
	}
	if r.err != nil {
		return v
	}
	begin := r.pos
	if elem == String {
		for i := uint64(0); i < n && r.err == nil; i++ {
			r.take(r.uint64())
		}
	} else if hi, size := bits.Mul64(n, uint64(kindBytes[elem])); hi != 0 {
		r.err = fmt.Errorf("truncated: an array of %d", n)
	} else {
		r.take(size)
	}
	if r.err == nil {
		v.data = r.data[begin:r.pos]
		v.Len = int(n)
	}
	return v
}

// tensor reads one entry of the list of tensors.
func (r *reader) tensor() (t Tensor, e extent, err error) {
	t.Name = r.name()
	dims := r.uint32()
	if r.err != nil {
		return t, e, r.err
	}
	if dims < 1 || dims > maxDims {
		return t, e, fmt.Errorf("%q: %d dimensions are not 1 to %d", t.Name, dims, maxDims)
	}
	elements := uint64(1)
	for range dims {
		d := r.uint64()
		if r.err != nil {
			return t, e, fmt.Errorf("%q: %w", t.Name, r.err)
		}
		hi, lo := bits.Mul64(elements, d)
		if d == 0 || hi != 0 || lo > 1<<56 {
			return t, e, fmt.Errorf("%q: dimension %d is 0 or too large", t.Name, d)
		}
		elements = lo
		t.Shape = append(t.Shape, int(d))
	}
	id := r.uint32()
	e.begin = r.uint64()
	if r.err != nil {
		return t, e, fmt.Errorf("%q: %w", t.Name, r.err)
	}
	if t.Type = typeByID[id]; t.Type == nil {
		if name, ok := otherTypes[id]; ok {
			return t, e, fmt.Errorf("%q: type %s is not supported", t.Name, name)
		}
		return t, e, fmt.Errorf("%q: type %d is unknown", t.Name, id)
	}
	if t.Shape[0]%t.Type.Block != 0 {
		return t, e, fmt.Errorf("%q: rows of %d are no whole number of %s blocks of %d",
			t.Name, t.Shape[0], t.Type.Name, t.Type.Block)
	}
	slices.Reverse(t.Shape)
	size := elements / uint64(t.Type.Block) * uint64(t.Type.Bytes)
	if e.begin > math.MaxInt64-size {
		return t, e, fmt.Errorf("%q: offset %d is beyond any file", t.Name, e.begin)
	}
	e.name, e.end = t.Name, e.begin+size
	return t, e, nil
}

func (v Value) is(kinds ...Kind) error {
	if !slices.Contains(kinds, v.Kind) {
		return fmt.Errorf("is of kind %s, not %s", v.Kind, kinds[0])
	}
	return nil
}

// Uint returns an integer of any width that is not negative.
func (v Value) Uint() (uint64, error) {
	if err := v.is(Uint32, Uint64, Int32, Int64, Uint16, Int16, Uint8, Int8); err != nil {
		return 0, err
	}
	n := integer(v.Kind, v.data)
	if n < 0 && v.Kind != Uint64 {
		return 0, fmt.Errorf("%d is negative", n)
	}
	return uint64(n), nil
}

// Float returns a floating-point number.
func (v Value) Float() (float64, error) {
	if err := v.is(Float32, Float64); err != nil {
		return 0, err
	}
	if v.Kind == Float32 {
		return float64(math.Float32frombits(binary.LittleEndian.Uint32(v.data))), nil
	}
	return math.Float64frombits(binary.LittleEndian.Uint64(v.data)), nil
}

// Bool returns a truth value, 0 or 1 in the file.
func (v Value) Bool() (bool, error) {
	if err := v.is(Bool); err != nil {
		return false, err
	}
	if v.data[0] > 1 {
		return false, fmt.Errorf("%d is neither 0 nor 1", v.data[0])
	}
	return v.data[0] == 1, nil
}

// Text returns a string.
func (v Value) Text() (string, error) {
	if err := v.is(String); err != nil {
		return "", err
	}
	return string(v.data[8:]), nil
}

// Texts yields the strings of an array, one after another.
func (v Value) Texts() (iter.Seq2[int, string], error) {
	if v.Kind != Array || v.Elem != String {
		return nil, fmt.Errorf("is of kind %s, not an array of strings", v.kind())
	}
	return func(yield func(int, string) bool) {
		r := &reader{data: v.data}
		for i := range v.Len {
			if !yield(i, string(r.take(r.uint64()))) {
				return
			}
		}
	}, nil
}

// Ints returns an array of integers of at most 32 bits.
func (v Value) Ints() ([]int64, error) {
	if v.Kind != Array || !slices.Contains([]Kind{Uint8, Int8, Uint16, Int16, Uint32, Int32}, v.Elem) {
		return nil, fmt.Errorf("is of kind %s, not an array of int32", v.kind())
	}
	out := make([]int64, v.Len)
	for i := range out {
		out[i] = integer(v.Elem, v.data[i*kindBytes[v.Elem]:])
	}
	return out, nil
}

// Floats returns an array of float32.
func (v Value) Floats() ([]float32, error) {
	if v.Kind != Array || v.Elem != Float32 {
		return nil, fmt.Errorf("is of kind %s, not an array of float32", v.kind())
	}
	out := make([]float32, v.Len)
	for i := range out {
		out[i] = math.Float32frombits(binary.LittleEndian.Uint32(v.data[4*i:]))
	}
	return out, nil
}

func (v Value) kind() string {
	if v.Kind == Array {
		return "array of " + v.Elem.String()
	}
	return v.Kind.String()
}

// integer decodes the first integer of kind k in b.
func integer(k Kind, b []byte) int64 {
	switch k {
	case Uint8:
		return int64(b[0])
	case Int8:
		return int64(int8(b[0]))
	case Uint16:
		return int64(binary.LittleEndian.Uint16(b))
	case Int16:
		return int64(int16(binary.LittleEndian.Uint16(b)))
	case Uint32:
		return int64(binary.LittleEndian.Uint32(b))
	case Int32:
		return int64(int32(binary.LittleEndian.Uint32(b)))
	}
	return int64(binary.LittleEndian.Uint64(b))
}
