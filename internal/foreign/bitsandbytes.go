package foreign

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
)

// bnbScheme is that of 4-bit weights of bitsandbytes.
type bnbScheme struct{ kind string } // nf4 or fp4

// bitsandbytes reads the config of transformers' BitsAndBytesConfig.
func (r *reader) bitsandbytes(f fields) error {
	var skip []string
	for _, e := range []error{
		f.only("load_in_8bit", "", "false"),
		f.only("load_in_4bit", "true"),
		f.only("bnb_4bit_quant_type", `"nf4"`, `"fp4"`),
		f.only("bnb_4bit_quant_storage", "", `"uint8"`),
		f.get("llm_int8_skip_modules", "a list of names", &skip),
	} {
		if e != nil {
			return e
		}
	}
	kind, err := f.str("bnb_4bit_quant_type")
	r.choose = func(layer string) (scheme, error) {
		skipped := func(name string) bool {
			return layer == name || strings.HasSuffix(layer, "."+name) || strings.Contains(layer, name+".")
		}
		if slices.ContainsFunc(skip, skipped) {
			return nil, nil
		}
		return bnbScheme{kind}, nil
	}
	return err
}

func (s bnbScheme) layer(r *reader, name string, n, k int) (*Layer, error) {
	w := name + ".weight"
	codes, err := r.tensor(w, []string{"U8"}, (n*k+1)/2, 1)
	if err != nil {
		return nil, err
	}
	stateName := w + ".quant_state.bitsandbytes__" + s.kind
	state, err := r.tensor(stateName, []string{"U8"}, -1)
	if err != nil {
		return nil, err
	}
	var q struct {
		Kind         string  `json:"quant_type"`
		Block        int     `json:"blocksize"`
		Shape        []int   `json:"shape"`
		NestedBlock  int     `json:"nested_blocksize"`
		NestedOffset float64 `json:"nested_offset"`
	}
	if err := json.Unmarshal(state.Data, &q); err != nil {
		return nil, fmt.Errorf("tensor %q: %w", stateName, err)
	}
	if q.Kind != s.kind || !slices.Equal(q.Shape, []int{n, k}) || q.Block < 1 {
		return nil, fmt.Errorf("tensor %q: quant_type %q, shape %v, blocksize %d; by config.json %s [%d %d]", stateName,
			q.Kind, q.Shape, q.Block,
			s.kind, n, k)
	}
	table, err := r.tensor(w+".quant_map", []string{"F32"}, 16)
	if err != nil {
		return nil, err
	}
	blocks := (n*k + q.Block - 1) / q.Block
	g := &Grid{N: n, K: k, Bits: 4, Levels: floats(table), Block: q.Block}
	for i, v := range g.Levels {
		if v-v != 0 {
			return nil, fmt.Errorf("tensor %q: level %d is %v", table.Name, i, v)
		}
	}
	g.Codes = pack(n, k, 4, func(i, j int) int {
		at := i*k + j
		return int(codes.Data[at/2]) >> (4 * (1 - at%2)) & 15
	})
	form := fmt.Sprintf("bitsandbytes %s g%d", s.kind, q.Block)
	if r.has(w + ".nested_absmax") {
		form += " double-quantized"
		g.Scales, err = r.nested(w, blocks, q.NestedBlock, float32(q.NestedOffset))
	} else {
		t, e := r.tensor(w+".absmax", []string{"F32"}, blocks)
		if err = e; err == nil {
			g.Scales = floats(t)
		}
	}
	if err != nil {
		return nil, err
	}
	return g.layer(r, name, form, part{".weight", "codes"}, part{".weight.absmax", "scales"},
		part{".weight.nested_absmax", "second-level scales"},
		part{".weight.quant_map", "tables"}, part{".weight.nested_quant_map", "tables"},
		part{".weight.quant_state.bitsandbytes__" + s.kind, "layout"})
}

// nested reads scales that are quantized themselves.
func (r *reader) nested(w string, blocks, block int, offset float32) ([]float32, error) {
	if block < 1 || math.IsNaN(float64(offset)) || math.IsInf(float64(offset), 0) {
		return nil, fmt.Errorf("%s: nested_blocksize %d, nested_offset %v", w, block, offset)
	}
	codes, err := r.tensor(w+".absmax", []string{"U8"}, blocks)
	if err != nil {
		return nil, err
	}
	largest, err := r.tensor(w+".nested_absmax", []string{"F32"}, (blocks+block-1)/block)
	if err != nil {
		return nil, err
	}
	table, err := r.tensor(w+".nested_quant_map", []string{"F32"}, 256)
	if err != nil {
		return nil, err
	}
	absmax, levels := floats(largest), floats(table)
	scales := make([]float32, blocks)
	for i, c := range codes.Data {
		scales[i] = float32(levels[c]*absmax[i/block]) + offset
	}
	return scales, nil
}
