package hf

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/bits"
	"slices"
	"strings"
)

// maxHeader is the longest safetensors header accepted, as in the reference
// implementation: a longer one is a corrupt length, not a model.
const maxHeader = 100_000_000

// dtypeBits is the size of one element of every safetensors type.
var dtypeBits = map[string]int{
	"F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
	"BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8,
	"U16": 16, "I16": 16, "F16": 16, "BF16": 16,
	"U32": 32, "I32": 32, "F32": 32,
	"U64": 64, "I64": 64, "F64": 64, "C64": 64,
}

// parseSafetensors splits one safetensors file into tensors that alias data.
// The format (github.com/huggingface/safetensors): a little-endian uint64 N, N
// bytes of a JSON object name -> {dtype, shape, data_offsets}, then the tensor
// bytes, without holes or overlap. Errors carry no file name.
func parseSafetensors(data []byte) (tensors []*Tensor, metadata map[string]string, err error) {
	if len(data) < 8 {
		return nil, nil, fmt.Errorf("truncated: %d bytes, a safetensors file has at least 8", len(data))
	}
	n := binary.LittleEndian.Uint64(data)
	if n > maxHeader {
		return nil, nil, fmt.Errorf("header length %d exceeds %d: not a safetensors file", n, maxHeader)
	}
	if n > uint64(len(data)-8) {
		return nil, nil, fmt.Errorf("truncated: header of %d bytes in a file of %d", n, len(data))
	}
	header, payload := data[8:8+n], data[8+n:]
	var entries []headerEntry
	if entries, metadata, err = parseHeader(header); err != nil {
		return nil, nil, err
	}
	slices.SortStableFunc(entries, func(a, b headerEntry) int {
		if a.begin != b.begin {
			return cmpU64(a.begin, b.begin)
		}
		return cmpU64(a.end, b.end)
	})
	var end uint64
	for _, e := range entries {
		if e.begin > e.end {
			return nil, nil, fmt.Errorf("tensor %q: data_offsets [%d, %d] run backwards", e.name, e.begin, e.end)
		}
		if e.end > uint64(len(payload)) {
			return nil, nil, fmt.Errorf("tensor %q: data_offsets [%d, %d] beyond the %d bytes of data: truncated?",
				e.name, e.begin, e.end, len(payload))
		}
		if e.begin < end {
			return nil, nil, fmt.Errorf("tensor %q: data_offsets [%d, %d] overlap the tensor before, which ends at %d",
				e.name, e.begin, e.end, end)
		}
		if e.begin > end {
			return nil, nil, fmt.Errorf("tensor %q: data_offsets [%d, %d] leave a hole after byte %d",
				e.name, e.begin, e.end, end)
		}
		size, err := byteSize(e.DType, e.Shape)
		if err != nil {
			return nil, nil, fmt.Errorf("tensor %q: %w", e.name, err)
		}
		if size != e.end-e.begin {
			return nil, nil, fmt.Errorf("tensor %q: %s %v is %d bytes, data_offsets [%d, %d] hold %d",
				e.name, e.DType, e.Shape, size, e.begin, e.end, e.end-e.begin)
		}
		tensors = append(tensors, &Tensor{Name: e.name, DType: e.DType, Shape: e.Shape, Data: payload[e.begin:e.end:e.end]})
		end = e.end
	}
	if end != uint64(len(payload)) {
		return nil, nil, fmt.Errorf("%d bytes of data, but the tensors end at %d", len(payload), end)
	}
	return tensors, metadata, nil
}

type headerEntry struct {
	DType      string    `json:"dtype"`
	Shape      []int     `json:"shape"`
	Offsets    *[]uint64 `json:"data_offsets"`
	name       string
	begin, end uint64
}

// parseHeader walks the top level of the JSON object by token: a map would hide
// a name that stands there twice.
func parseHeader(header []byte) (entries []headerEntry, metadata map[string]string, err error) {
	dec := json.NewDecoder(bytes.NewReader(header))
	if tok, err := dec.Token(); err != nil {
		return nil, nil, fmt.Errorf("header is not JSON: %w", err)
	} else if tok != json.Delim('{') {
		return nil, nil, fmt.Errorf("header begins with %v, not an object", tok)
	}
	seen := map[string]bool{}
	for dec.More() {
		tok, err := dec.Token()
		if err != nil {
			return nil, nil, fmt.Errorf("header is not JSON: %w", err)
		}
		name := tok.(string) // a key of an object, by the grammar Token enforces
		if seen[name] {
			return nil, nil, fmt.Errorf("tensor %q stands twice in the header", name)
		}
		seen[name] = true
		if name == "__metadata__" {
			if err := dec.Decode(&metadata); err != nil {
				return nil, nil, fmt.Errorf("__metadata__: %w", err)
			}
			continue
		}
		e := headerEntry{name: name}
		if err := dec.Decode(&e); err != nil {
			return nil, nil, fmt.Errorf("tensor %q: %w", name, err)
		}
		if e.Shape == nil {
			return nil, nil, fmt.Errorf("tensor %q: no shape", name)
		}
		if e.Offsets == nil || len(*e.Offsets) != 2 {
			return nil, nil, fmt.Errorf("tensor %q: data_offsets is not a pair", name)
		}
		e.begin, e.end = (*e.Offsets)[0], (*e.Offsets)[1]
		entries = append(entries, e)
	}
	if _, err := dec.Token(); err != nil {
		return nil, nil, fmt.Errorf("header is not JSON: %w", err)
	}
	if rest := strings.TrimRight(string(header[dec.InputOffset():]), " \t\r\n"); rest != "" {
		return nil, nil, fmt.Errorf("header goes on after its object with %.20q", rest)
	}
	return entries, metadata, nil
}

// byteSize is the storage of a tensor, or why it has none.
func byteSize(dtype string, shape []int) (uint64, error) {
	width, ok := dtypeBits[dtype]
	if !ok {
		return 0, fmt.Errorf("unknown dtype %q", dtype)
	}
	size := uint64(width)
	for _, d := range shape {
		if d < 0 {
			return 0, fmt.Errorf("shape %v has a negative dimension", shape)
		}
		hi, lo := bits.Mul64(size, uint64(d))
		if hi != 0 || lo > 1<<62 {
			return 0, fmt.Errorf("shape %v of %s overflows", shape, dtype)
		}
		size = lo
	}
	if size%8 != 0 {
		return 0, fmt.Errorf("shape %v of %s is no whole number of bytes", shape, dtype)
	}
	return size / 8, nil
}

func cmpU64(a, b uint64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}
