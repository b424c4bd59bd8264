package hf

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
)

// Write writes tensors, in the order given, as one safetensors file. Data must
// have the size that DType and Shape say. The tensor bytes begin on a multiple
// of 8. The same arguments give the same bytes.
func Write(w io.Writer, tensors []*Tensor, metadata map[string]string) error {
	var h bytes.Buffer
	h.WriteByte('{')
	field := func(name string, value any) error {
		if h.Len() > 1 {
			h.WriteByte(',')
		}
		for i, v := range []any{name, value} {
			if i == 1 {
				h.WriteByte(':')
			}
			data, err := json.Marshal(v)
			if err != nil {
				return fmt.Errorf("hf: tensor %q: %w", name, err)
			}
			h.Write(data)
		}
		return nil
	}
	if len(metadata) > 0 {
		if err := field("__metadata__", metadata); err != nil {
			return err
		}
	}
	seen := map[string]bool{"__metadata__": true}
	var end uint64
	for _, t := range tensors {
		if seen[t.Name] {
			return fmt.Errorf("hf: tensor %q is written twice", t.Name)
		}
		seen[t.Name] = true
		size, err := byteSize(t.DType, t.Shape)
		if err != nil {
			return fmt.Errorf("hf: tensor %q: %w", t.Name, err)
		}
		if size != uint64(len(t.Data)) {
			return fmt.Errorf("hf: tensor %q: %s %v is %d bytes, Data has %d", t.Name, t.DType, t.Shape, size, len(t.Data))
		}
		err = field(t.Name, struct {
			DType   string    `json:"dtype"`
			Shape   []int     `json:"shape"`
			Offsets [2]uint64 `json:"data_offsets"`
		}{t.DType, append([]int{}, t.Shape...), [2]uint64{end, end + size}})
		if err != nil {
			return err
		}
		end += size
	}
	h.WriteByte('}')
	for h.Len()%8 != 0 {
		h.WriteByte(' ')
	}
	if h.Len() > maxHeader {
		return fmt.Errorf("hf: header of %d bytes exceeds %d", h.Len(), maxHeader)
	}
	if _, err := w.Write(binary.LittleEndian.AppendUint64(nil, uint64(h.Len()))); err != nil {
		return err
	}
	if _, err := w.Write(h.Bytes()); err != nil {
		return err
	}
	for _, t := range tensors {
		if _, err := w.Write(t.Data); err != nil {
			return err
		}
	}
	return nil
}
