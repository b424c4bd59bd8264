package gguf

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"slices"
)

// Pair is one entry of the metadata to write. Its value is a string, uint32, float32,
// bool, []string, []int32 or []float32.
type Pair struct {
	Key   string
	Value any
}

// Write writes a GGUF file of version 3 with the metadata and tensors in the order
// given. The same arguments give the same bytes.
func Write(w io.Writer, pairs []Pair, tensors []Tensor) error {
	e := &encoder{}
	e.data = append(e.data, magic...)
	e.uint32(3)
	e.uint64(uint64(len(tensors)))
	e.uint64(uint64(len(pairs)))
	for _, p := range pairs {
		if err := e.pair(p); err != nil {
			return err
		}
	}
	var offset uint64
	for _, t := range tensors {
		elements := 1
		for _, d := range t.Shape {
			elements *= d
		}
		if len(t.Shape) == 0 || t.Shape[len(t.Shape)-1]%t.Type.Block != 0 ||
			elements/t.Type.Block*t.Type.Bytes != len(t.Data) {
			return fmt.Errorf("gguf: tensor %q: %d bytes for %s %v", t.Name, len(t.Data), t.Type.Name, t.Shape)
		}
		e.text(t.Name)
		e.uint32(uint32(len(t.Shape)))
		for _, d := range slices.Backward(t.Shape) {
			e.uint64(uint64(d))
		}
		e.uint32(idOf(t.Type))
		e.uint64(offset)
		offset += aligned(uint64(len(t.Data)))
	}
	e.data = append(e.data, make([]byte, aligned(uint64(len(e.data)))-uint64(len(e.data)))...)
	if _, err := w.Write(e.data); err != nil {
		return err
	}
	for _, t := range tensors {
		if _, err := w.Write(t.Data); err != nil {
			return err
		}
		if _, err := w.Write(make([]byte, aligned(uint64(len(t.Data)))-uint64(len(t.Data)))); err != nil {
			return err
		}
	}
	return nil
}

func aligned(n uint64) uint64 {
	return (n + defaultAlignment - 1) / defaultAlignment * defaultAlignment
}

func idOf(t *Type) uint32 {
	for id, x := range typeByID {
		if x == t {
			return id
		}
	}
	panic("gguf: type " + t.Name + " is not of this package")
}

// encoder appends numbers, little-endian.
type encoder struct{ data []byte }

func (e *encoder) uint32(v uint32) { e.data = binary.LittleEndian.AppendUint32(e.data, v) }
func (e *encoder) uint64(v uint64) { e.data = binary.LittleEndian.AppendUint64(e.data, v) }
func (e *encoder) text(s string) {
	e.uint64(uint64(len(s)))
	e.data = append(e.data, s...)
}

func (e *encoder) pair(p Pair) error {
	array := func(elem Kind, n int) {
		e.uint32(uint32(Array))
		e.uint32(uint32(elem))
		e.uint64(uint64(n))
	}
	e.text(p.Key)
	switch v := p.Value.(type) {
	case string:
		e.uint32(uint32(String))
		e.text(v)
	case uint32:
		e.uint32(uint32(Uint32))
		e.uint32(v)
	case float32:
		e.uint32(uint32(Float32))
		e.uint32(math.Float32bits(v))
	case bool:
		e.uint32(uint32(Bool))
		b := byte(0)
		if v {
			b = 1
		}
		e.data = append(e.data, b)
	case []string:
		array(String, len(v))
		for _, s := range v {
			e.text(s)
		}
	case []int32:
		array(Int32, len(v))
		for _, x := range v {
			e.uint32(uint32(x))
		}
	case []float32:
		array(Float32, len(v))
		for _, x := range v {
			e.uint32(math.Float32bits(x))
		}
	default:
		return fmt.Errorf("gguf: %s: a value of type %T cannot be written", p.Key, v)
	}
	return nil
}
