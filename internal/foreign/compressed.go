package foreign

import (
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strings"

	"github.com/mosaicquant/mosaicquant/internal/half"
	"github.com/mosaicquant/mosaicquant/internal/hf"
	"github.com/mosaicquant/mosaicquant/quant"
)

// ctScheme is a group of a compressed-tensors config.
type ctScheme struct {
	targets     []string
	format      string
	bits, group int // group -1: the whole row
	symmetric   bool
	perTensor   bool // one scale for the matrix
}

// compressedTensors reads the config of the library compressed-tensors.
func (r *reader) compressedTensors(f fields) error {
	for _, e := range []error{
		f.only("quantization_status", "", `"compressed"`),
		f.only("kv_cache_scheme", ""),
		f.onlyEmpty("sparsity_config", "dense"),
		f.onlyEmpty("transform_config", ""),
	} {
		if e != nil {
			return e
		}
	}
	format, err := f.str("format")
	if err != nil {
		return err
	}
	var ignore []string
	groups := map[string]fields{}
	if err := f.get("ignore", "a list of names", &ignore); err != nil {
		return err
	}
	if err := f.get("config_groups", "an object", &groups); err != nil {
		return err
	}
	if len(groups) == 0 {
		return fmt.Errorf("config_groups is missing or empty")
	}
	var schemes []*ctScheme
	for _, name := range slices.Sorted(maps.Keys(groups)) {
		s, err := r.ctGroup(groups[name], format)
		if err != nil {
			return fmt.Errorf("config_groups.%s.%w", name, err)
		}
		schemes = append(schemes, s)
	}
	r.choose = func(layer string) (scheme, error) {
		if hit, err := matches(layer, ignore); err != nil || hit {
			return nil, err
		}
		for _, s := range schemes {
			if hit, err := matches(layer, s.targets); err != nil || hit {
				return s, err
			}
		}
		return nil, nil
	}
	return nil
}

// onlyEmpty returns an error unless the field is missing, an empty object, or says
// that its format is the one named.
func (f fields) onlyEmpty(name, format string) error {
	if !f.has(name) {
		return nil
	}
	inner := fields{}
	if err := f.get(name, "an object", &inner); err != nil {
		return err
	}
	if v, err := inner.str("format"); len(inner) == 0 || err == nil && format != "" && v == format {
		return nil
	}
	return fmt.Errorf("%s %.120s is not supported", name, f[name])
}

// matches tells whether a layer is among targets: the class Linear, "re:" and a
// regular expression from the beginning of the name, a name or its last part.
func matches(layer string, targets []string) (bool, error) {
	for _, t := range targets {
		expr, isRegexp := strings.CutPrefix(t, "re:")
		if !isRegexp {
			if t == "Linear" || t == layer || strings.HasSuffix(layer, "."+t) {
				return true, nil
			}
			continue
		}
		re, err := regexp.Compile(`^(?:` + expr + `)`)
		if err != nil {
			return false, fmt.Errorf("pattern %.80q: %w", t, err)
		}
		if re.MatchString(layer) {
			return true, nil
		}
	}
	return false, nil
}

// ctGroup reads one of config_groups.
func (r *reader) ctGroup(f fields, format string) (*ctScheme, error) {
	s := &ctScheme{format: format}
	weights := fields{}
	if err := f.get("targets", "a list of names", &s.targets); err != nil {
		return nil, err
	}
	if err := f.get("weights", "an object", &weights); err != nil {
		return nil, err
	}
	if own, err := f.str("format"); err != nil {
		return nil, err
	} else if own != "" {
		s.format = own
	}
	if err := f.only("output_activations", ""); err != nil {
		return nil, err
	}
	if err := s.weights(weights); err != nil {
		return nil, fmt.Errorf("weights.%w", err)
	}
	if !f.has("input_activations") {
		return s, nil
	}
	inputs := fields{}
	if err := f.get("input_activations", "an object", &inputs); err != nil {
		return nil, err
	}
	bits := 0
	if err := inputs.get("num_bits", "a whole number", &bits); err != nil {
		return nil, fmt.Errorf("input_activations.%w", err)
	}
	if err := inputs.only("dynamic", "true", `"local"`); err != nil {
		return nil, fmt.Errorf("input_activations.%w: scales of inputs that do not follow the token are not executed", err)
	}
	r.into.InputBits = min(r.into.InputBits, bits)
	return s, nil
}

// weights reads the format of a group and what it says of weights.
func (s *ctScheme) weights(f fields) error {
	var err error
	if s.bits, s.group, err = f.bitsAndGroup("num_bits", "group_size"); err != nil {
		return err
	}
	if s.symmetric, err = f.flag("symmetric", true); err != nil {
		return err
	}
	if err := f.only("dynamic", "", "false"); err != nil {
		return err
	}
	kind, want := `"int"`, []string{`"group"`, `"channel"`, `"tensor"`}
	switch s.format {
	case "pack-quantized", "int-quantized":
	case "nvfp4-pack-quantized":
		kind, want = `"float"`, []string{`"tensor_group"`}
	case "mxfp4-pack-quantized":
		kind, want = `"float"`, []string{`"group"`}
	default:
		return fmt.Errorf("format %.60q is not pack-quantized, int-quantized, nvfp4-pack-quantized or mxfp4-pack-quantized",
			s.format)
	}
	if err := f.only("type", kind); err != nil {
		return err
	}
	if err := f.only("strategy", want...); err != nil {
		return err
	}
	fixed := map[string]int{"nvfp4-pack-quantized": 16, "mxfp4-pack-quantized": 32}[s.format]
	if fixed > 0 && (s.bits != 4 || s.group != fixed || !s.symmetric) {
		return fmt.Errorf("num_bits %d, group_size %d, symmetric %v: %s has 4, %d, true", s.bits, s.group, s.symmetric,
			s.format, fixed)
	}
	switch string(f["strategy"]) {
	case `"group"`:
		if s.group < 0 {
			return fmt.Errorf("group_size -1 or missing with strategy group")
		}
	case `"channel"`, `"tensor"`:
		s.group = -1
		s.perTensor = string(f["strategy"]) == `"tensor"`
	}
	return nil
}

func (s *ctScheme) layer(r *reader, name string, n, k int) (*Layer, error) {
	if s.bits == 4 && strings.Contains(s.format, "fp4") {
		return s.fp4(r, name, n, k)
	}
	group := s.group
	if group < 0 || group > k {
		group = k
	}
	g := &Grid{N: n, K: k, Bits: s.bits, Group: group, Zero: 1 << (s.bits - 1)}
	groups := (k + group - 1) / group
	if err := s.codes(r, g, name); err != nil {
		return nil, err
	}
	shape := []int{n, groups}
	if s.perTensor {
		shape = []int{-1}
	}
	t, err := r.tensor(name+".weight_scale", floatTypes, shape...)
	if err != nil {
		return nil, err
	}
	if g.Scales = floats(t); s.perTensor {
		if len(g.Scales) != 1 {
			return nil, fmt.Errorf("tensor %q: shape %v, want [1]", t.Name, t.Shape)
		}
		g.Scales = slices.Repeat(g.Scales, n)
	}
	if !s.symmetric {
		if err := s.zeros(r, g, name, groups); err != nil {
			return nil, err
		}
	}
	form := fmt.Sprintf("compressed-tensors int%d g%d", s.bits, group)
	if group == k {
		form = fmt.Sprintf("compressed-tensors int%d per-channel", s.bits)
	}
	if !s.symmetric {
		form += " asymmetric"
	}
	if r.has(name + ".weight_g_idx") {
		t, err := r.tensor(name+".weight_g_idx", int32s, k)
		if err != nil {
			return nil, err
		}
		for _, v := range words(t) {
			g.Index = append(g.Index, int32(v))
		}
		form += " act-order"
	}
	return g.layer(r, name, form, part{".weight_packed", "codes"}, part{".weight", "codes"},
		part{".weight_scale", "scales"},
		part{".weight_zero_point", "zeros"}, part{".weight_g_idx", "column index"}, part{".weight_shape", "layout"})
}

// codes reads the codes of integers, as unsigned numbers.
func (s *ctScheme) codes(r *reader, g *Grid, name string) error {
	middle := 1 << (s.bits - 1)
	if s.format == "int-quantized" {
		if s.bits != 8 {
			return fmt.Errorf("%s: int-quantized with num_bits %d: only 8 are read", name, s.bits)
		}
		t, err := r.tensor(name+".weight", []string{"I8"}, g.N, g.K)
		if err != nil {
			return err
		}
		g.Codes = pack(g.N, g.K, 8, func(i, j int) int { return int(int8(t.Data[i*g.K+j])) + middle })
		return nil
	}
	w := 32 / s.bits
	wide := (g.K + w - 1) / w
	t, err := r.tensor(name+".weight_packed", int32s, g.N, wide)
	if err != nil {
		return err
	}
	shape, err := r.tensor(name+".weight_shape", []string{"I64", "I32"}, 2)
	if err != nil {
		return err
	}
	if got := integers(shape); !slices.Equal(got, []int{g.N, g.K}) {
		return fmt.Errorf("tensor %q: holds %v, but by config.json [%d %d]", shape.Name, got, g.N, g.K)
	}
	v := words(t)
	g.Codes = pack(g.N, g.K, s.bits,
		func(i, j int) int { return int(v[i*wide+j/w] >> (j % w * s.bits) & (1<<s.bits - 1)) })
	return nil
}

// zeros reads stored zeros, which have an offset as the codes have.
func (s *ctScheme) zeros(r *reader, g *Grid, name string, groups int) error {
	g.Zeros = make([]int16, g.N*groups)
	if s.format == "int-quantized" || s.perTensor {
		shape := []int{g.N, groups}
		if s.perTensor {
			shape = []int{1}
		}
		t, err := r.tensor(name+".weight_zero_point", []string{"I8"}, shape...)
		if err != nil {
			return err
		}
		for i := range g.Zeros {
			g.Zeros[i] = int16(int8(t.Data[i%len(t.Data)])) + g.Zero
		}
		return nil
	}
	w := 32 / s.bits
	t, err := r.tensor(name+".weight_zero_point", int32s, (g.N+w-1)/w, groups)
	if err != nil {
		return err
	}
	v := words(t)
	for i := range g.N {
		for j := range groups {
			g.Zeros[i*groups+j] = int16(v[i/w*groups+j] >> (i % w * s.bits) & (1<<s.bits - 1))
		}
	}
	return nil
}

// integers returns the elements of a tensor of I64 or I32.
func integers(t *hf.Tensor) []int {
	var v []int
	w := words(t)
	step := len(t.Data) / 4 / max(t.Len(), 1)
	for i := 0; i < len(w); i += step {
		x := int64(int32(w[i]))
		if step == 2 {
			x = int64(w[i]) | int64(w[i+1])<<32
		}
		v = append(v, int(x))
	}
	return v
}

// e2m1 are the levels of FP4 by their codes.
var e2m1 = []float32{0, .5, 1, 1.5, 2, 3, 4, 6, 0, -.5, -1, -1.5, -2, -3, -4, -6}

// fp4 reads NVFP4 and MXFP4.
func (s *ctScheme) fp4(r *reader, name string, n, k int) (*Layer, error) {
	if k%s.group != 0 {
		return nil, fmt.Errorf("%s: K=%d is not divisible by the group %d of %s", name, k, s.group, s.format)
	}
	groups := k / s.group
	codes, err := r.tensor(name+".weight_packed", []string{"U8"}, n, k/2)
	if err != nil {
		return nil, err
	}
	parts := []part{{".weight_packed", "codes"}, {".weight_scale", "scales"},
		{".weight_global_scale", "second-level scales"}}
	g := &Grid{N: n, K: k, Bits: 4, Codes: codes.Data, Levels: e2m1, Group: s.group, Scales: make([]float32, n*groups)}
	p := &quant.Packed{N: n, K: k, Codes: codes.Data}
	if s.format == "mxfp4-pack-quantized" {
		scale, err := r.tensor(name+".weight_scale", []string{"U8", "F8_E8M0"}, n, groups)
		if err != nil {
			return nil, err
		}
		for i, b := range scale.Data {
			if b > 252 { // 6·2^126 exceeds float32
				return nil, fmt.Errorf("tensor %q: scale %d is the byte %#x, which is no scale", scale.Name, i, b)
			}
			g.Scales[i] = float32(half.FromE8M0(b))
		}
		p.Format, p.ScaleBytes = quant.Format{Bits: 4, Group: 32, Kind: quant.MXFP4}, scale.Data
		l, err := g.layer(r, name, "compressed-tensors mxfp4", parts...)
		if err == nil {
			l.Quantized = &quant.Quantized{Base: p}
			l.Source = l.Quantized
		}
		return l, err
	}
	scale, err := r.tensor(name+".weight_scale", []string{"F8_E4M3"}, n, groups)
	if err != nil {
		return nil, err
	}
	global, err := r.tensor(name+".weight_global_scale", []string{"F32"}, 1)
	if err != nil {
		return nil, err
	}
	if r.has(name + ".input_global_scale") { // of inputs, which are not rounded to NVFP4 here
		if _, err := r.tensor(name+".input_global_scale", []string{"F32"}, 1); err != nil {
			return nil, err
		}
	}
	d := floats(global)[0]
	if !(d > 0) || math.IsInf(float64(d), 0) {
		return nil, fmt.Errorf("tensor %q: is %v, want a positive number", global.Name, d)
	}
	// The quotient is rounded to float32, as the library does.
	p.Format, p.ScaleBytes = quant.Format{Bits: 4, Group: 16, Kind: quant.NVFP4}, scale.Data
	p.Tensor = []float32{1 / d}
	exact := true
	for i, b := range scale.Data {
		e := float32(half.FromE4M3(b))
		if b >= 0x7f { // negative, or NaN
			return nil, fmt.Errorf("tensor %q: scale %d is the byte %#x, which is no scale", scale.Name, i, b)
		}
		g.Scales[i] = e / d
		exact = exact && g.Scales[i] == float32(float64(p.Tensor[0])*float64(e))
	}
	l, err := g.layer(r, name, "compressed-tensors nvfp4", parts...)
	if err == nil && exact {
		l.Quantized = &quant.Quantized{Base: p}
		l.Source = l.Quantized
	}
	return l, err
}
