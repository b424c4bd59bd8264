package foreign

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// gptqScheme is that of AutoGPTQ and GPTQModel.
type gptqScheme struct {
	bits, group int // group -1: the whole row
	plusOne     int // 1: zeros are stored less one
}

// gptq reads the config of AutoGPTQ and GPTQModel.
func (r *reader) gptq(f fields) error {
	s := gptqScheme{plusOne: 1}
	var err error
	if s.bits, s.group, err = f.bitsAndGroup("bits", "group_size"); err != nil {
		return err
	}
	for _, e := range []error{
		f.only("checkpoint_format", "", `"gptq"`, `"gptq_v2"`),
		f.only("is_marlin_format", "", "false"),
		f.only("pack_dtype", "", `"int32"`),
		f.only("dynamic", "", "{}"),
		f.only("lm_head", "", "false", "true"),
	} {
		if e != nil {
			return e
		}
	}
	if string(f["checkpoint_format"]) == `"gptq_v2"` {
		s.plusOne = 0
	}
	r.choose = func(string) (scheme, error) { return s, nil }
	return nil
}

func (s gptqScheme) layer(r *reader, name string, n, k int) (*Layer, error) {
	if !r.has(name+".qweight") && r.has(name+".weight") {
		return r.plain(name, n, k) // left in 16 bits
	}
	w, group := 32/s.bits, s.group
	if group < 0 || group > k {
		group = k
	}
	groups := (k + group - 1) / group
	if k%w != 0 || n%w != 0 {
		return nil, fmt.Errorf("%s: [%d,%d] of %d bits fills no whole words", name, n, k, s.bits)
	}
	qweight, err := r.tensor(name+".qweight", int32s, k/w, n)
	if err != nil {
		return nil, err
	}
	qzeros, err := r.tensor(name+".qzeros", int32s, groups, n/w)
	if err != nil {
		return nil, err
	}
	scales, err := r.tensor(name+".scales", floatTypes, groups, n)
	if err != nil {
		return nil, err
	}
	g := &Grid{N: n, K: k, Bits: s.bits, Group: group, Scales: transposed(floats(scales), groups, n),
		Zeros: make([]int16, n*groups)}
	codes, zeros, mask := words(qweight), words(qzeros), uint32(1)<<s.bits-1
	g.Codes = pack(n, k, s.bits, func(i, j int) int { return int(codes[j/w*n+i] >> (j % w * s.bits) & mask) })
	for i := range n {
		for j := range groups {
			z := int(zeros[j*(n/w)+i/w]>>(i%w*s.bits)&mask) + s.plusOne
			if z > int(mask) {
				return nil, fmt.Errorf("%s.qzeros: group %d of output %d stores %d, which with checkpoint_format gptq is the "+
					"zero %d of AutoGPTQ and 0 of GPTQModel", name, j, i, mask, z)
			}
			g.Zeros[i*groups+j] = int16(z)
		}
	}
	form := fmt.Sprintf("gptq int%d g%d", s.bits, group)
	if r.has(name + ".g_idx") {
		t, err := r.tensor(name+".g_idx", int32s, k)
		if err != nil {
			return nil, err
		}
		g.Index = make([]int32, k)
		natural := true
		for j, v := range words(t) {
			g.Index[j] = int32(v)
			natural = natural && int(v) == j/group
		}
		if natural {
			g.Index = nil
		} else {
			form += " act-order"
		}
	}
	return g.layer(r, name, form, part{".qweight", "codes"}, part{".scales", "scales"}, part{".qzeros", "zeros"},
		part{".g_idx", "column index"})
}

// awqScheme is that of AutoAWQ, version gemm.
type awqScheme struct {
	group int // -1: the whole row
	skip  []string
}

// awqOrder[i] is the output, of eight, whose code is the i-th lowest of a word.
var awqOrder = [8]int{0, 2, 4, 6, 1, 3, 5, 7}

// awq reads the config of AutoAWQ.
func (r *reader) awq(f fields) error {
	bits, group, err := f.bitsAndGroup("bits", "group_size")
	if err != nil {
		return err
	}
	if bits != 4 {
		return fmt.Errorf("bits %d: awq has 4", bits)
	}
	if f.has("version") {
		f["version"] = json.RawMessage(strings.ToLower(string(f["version"])))
	}
	s := awqScheme{group: group}
	for _, e := range []error{
		f.only("version", "", `"gemm"`),
		f.only("zero_point", "", "true"),
		f.get("modules_to_not_convert", "a list of names", &s.skip),
	} {
		if e != nil {
			return e
		}
	}
	r.choose = func(layer string) (scheme, error) {
		if slices.ContainsFunc(s.skip, func(part string) bool { return strings.Contains(layer, part) }) {
			return nil, nil
		}
		return s, nil
	}
	return nil
}

func (s awqScheme) layer(r *reader, name string, n, k int) (*Layer, error) {
	group := s.group
	if group < 0 || group > k {
		group = k
	}
	if k%group != 0 || n%8 != 0 {
		return nil, fmt.Errorf("%s: [%d,%d] with groups of %d fills no whole groups and words", name, n, k, group)
	}
	groups := k / group
	qweight, err := r.tensor(name+".qweight", int32s, k, n/8)
	if err != nil {
		return nil, err
	}
	qzeros, err := r.tensor(name+".qzeros", int32s, groups, n/8)
	if err != nil {
		return nil, err
	}
	scales, err := r.tensor(name+".scales", floatTypes, groups, n)
	if err != nil {
		return nil, err
	}
	var place [8]int // of an output in its word
	for i, out := range awqOrder {
		place[out] = i
	}
	codes, zeros := words(qweight), words(qzeros)
	at := func(v []uint32, row, i int) int { return int(v[row*(n/8)+i/8] >> (4 * place[i%8]) & 15) }
	g := &Grid{N: n, K: k, Bits: 4, Group: group, Scales: transposed(floats(scales), groups, n),
		Zeros: make([]int16, n*groups)}
	g.Codes = pack(n, k, 4, func(i, j int) int { return at(codes, j, i) })
	for i := range n {
		for j := range groups {
			g.Zeros[i*groups+j] = int16(at(zeros, j, i))
		}
	}
	return g.layer(r, name, fmt.Sprintf("awq int4 g%d", group), part{".qweight", "codes"}, part{".scales", "scales"},
		part{".qzeros", "zeros"})
}
