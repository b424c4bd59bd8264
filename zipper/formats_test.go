package zipper

import (
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/mosaicquant/mosaicquant/internal/half"
	"github.com/mosaicquant/mosaicquant/quant"
)

// baseFormats are those with kernels, with groups of g weights where the format
// does not prescribe them.
func baseFormats(t testing.TB, g int) []quant.Format {
	t.Helper()
	var out []quant.Format
	for _, name := range []string{"int4", "int4a", "int2", "int2a", "int3", "int3a", "int3b", "int4b",
		"nf4", "nf4dq", "fp4", "bnbfp4", "mxfp4", "nvfp4", "mxint4", "nvint4", "seq4",
		"any4", "qoq4", "intscale4", "int5a", "int6", "int7a", "int8a", "mxint8", "mxfp8", "fp8", "fp6", "fp6e2m3",
		"any2", "any3", "power4", "hqq4", "sdr4", "if4", "mxfp6", "mxfp6e2m3", "fp8e5m2"} {
		f, err := quant.ParseFormat(name, g)
		if fixed := f.Kind.FixedGroup(); fixed > 0 {
			f, err = quant.ParseFormat(name, fixed)
		}
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, f)
	}
	return out
}

// randomBase draws a base [n,k] of any format: kernels must not care how it came
// about.
func randomBase(rng *rand.Rand, f quant.Format, n, k int) *quant.Packed {
	groups := 1
	if f.Group > 0 {
		groups = ceilDiv(k, f.Group)
	}
	bytes := func(rows, codes, bits int) []byte {
		l := (codes*bits + 7) / 8
		b := make([]byte, rows*l)
		for i := range rows {
			for j := range codes {
				u := byte(rng.IntN(1 << bits))
				if f.Kind == quant.Integer && !f.Affine {
					u = max(u, 1)
				}
				if f.Kind == quant.IF4 {
					u = min(u, 14)
				}
				if levels := f.Kind.Levels(); levels != nil && bits > 4 { // -0 would come back as 0
					u = levels.Stored(byte(rng.IntN(len(levels.Value))))
				}
				flip(b[i*l:(i+1)*l], j, bits, u)
			}
		}
		return b
	}
	halves := func(n int) []uint16 {
		v := make([]uint16, n)
		for i := range v {
			v[i] = anyScale(rng)
		}
		return v
	}
	codes := bytes(n, k, f.Bits)
	f, stored := quant.Format{}, f // what follows are scales
	p := &quant.Packed{N: n, K: k, Format: stored, Codes: codes}
	zeroBits := stored.Bits
	switch stored.Scaling() {
	case quant.OffsetScaling:
		p.Scales, p.Offsets = halves(n*groups), halves(n*groups)
		if stored.Kind != quant.HQQ4 {
			p.Tables = make([]uint16, n<<stored.Bits)
		}
		for i := range p.Tables {
			p.Tables[i] = half.ToF16(float32(8 * rng.NormFloat64()))
		}
		for i := range p.Offsets {
			p.Offsets[i] |= uint16(rng.IntN(2)) << 15
		}
		return p
	case quant.WholeScaling:
		p.Tensor, p.Scales = []float32{1. / 1024}, make([]uint16, n*groups)
		for i := range p.Scales {
			p.Scales[i] = uint16(1 + rng.IntN(400))
		}
	case quant.QoQScaling:
		zeroBits = 4
		p.Second, p.ScaleBytes = halves(n), bytes(n, groups, 8)
		for i, b := range p.ScaleBytes {
			p.ScaleBytes[i] = b & 15
		}
	case quant.ShiftScaling:
		p.Second, p.ScaleBytes = halves(n), bytes(n, groups, 4)
		return p
	case quant.ChoiceScaling:
		p.Tensor, p.ScaleBytes = []float32{1}, bytes(n, groups, 8)
		for i, b := range p.ScaleBytes {
			if b&127 == 127 {
				p.ScaleBytes[i] = b - 1
			}
		}
		return p
	case quant.E8M0Scaling:
		p.ScaleBytes = make([]byte, n*groups)
		for i := range p.ScaleBytes {
			p.ScaleBytes[i] = byte(120 + rng.IntN(6))
		}
		p.ScaleBytes[rng.IntN(len(p.ScaleBytes))] = byte(rng.IntN(3)) // and nearly nothing
	case quant.E4M3Scaling:
		p.Tensor, p.ScaleBytes = []float32{0.013}, bytes(n, groups, 8)
		for i, b := range p.ScaleBytes {
			if p.ScaleBytes[i] = b & 127; p.ScaleBytes[i] == 127 {
				p.ScaleBytes[i] = 126
			}
		}
	case quant.DoubleScaling:
		p.ScaleBytes, p.Tensor = bytes(n, groups, 8), []float32{0.11}
		for range ceilDiv(n*groups, 256) {
			p.Tensor = append(p.Tensor, rng.Float32()/10)
		}
	case quant.BilevelScaling:
		zeroBits = 3
		p.ScaleBytes = bytes(n, groups, 3)
		for range ceilDiv(n, 16) * groups {
			p.Second = append(p.Second, anyScale(rng), anyScale(rng),
				0x3800+uint16(rng.IntN(0x400)), 0x4400+uint16(rng.IntN(0x400)))
		}
	default:
		p.Scales = halves(n * groups)
		if stored.Kind == quant.Power4 {
			p.Tensor = []float32{.65}
		}
	}
	if stored.Affine {
		p.Zeros = bytes(n, groups, zeroBits)
	}
	return p
}

// formatShapes are matrices, with groups, whose last groups, cells and panels are
// full or not.
var formatShapes = []struct{ n, k, group int }{
	{16, 128, 128}, {35, 576, 128}, {17, 200, 64}, {48, 1000, 0}, {33, 90, 24}, {5, 40, 128}, {21, 4128, 16},
	{50, 176, 48},
}

// forFormats calls f for a matrix of every format and shape, some with a residual,
// that runs with activations a.
func forFormats(t *testing.T, a quant.Activations, f func(i int, name string, q *quant.Quantized)) {
	t.Helper()
	seen := map[quant.Kind]int{}
	i := 0
	for _, s := range formatShapes {
		if testing.Short() && s.n*s.k > 20000 {
			continue
		}
		for _, format := range baseFormats(t, s.group) {
			k := s.k
			if g := format.Group; g > 0 && format.Fits(k) != nil {
				k = ceilDiv(k, g) * g
			}
			if i++; s.n*s.k > 50000 && i%3 > 0 {
				continue // slow, and no other than those of the other shapes
			}
			l := layout{n: s.n, k: k, r: []int{16, 1, 4, s.n}[i%4], c: []int{16, 8, 1, 12, 5}[i%5], density: 0.3, rowScales: i%4 == 0}
			q := l.random(uint64(i), anyScale)
			q.Base = randomBase(rand.New(rand.NewPCG(uint64(i), 8)), format, s.n, k)
			if Takes(q.Form(), Zipped, a) != nil {
				continue
			}
			seen[format.Kind]++
			f(i, fmt.Sprintf("%s %dx%d", format, s.n, k), q)
		}
	}
	for _, format := range baseFormats(t, 32) {
		if seen[format.Kind] == 0 {
			t.Errorf("no matrix of %s was executed with activations %s", format, a)
		}
	}
}

// TestFormatRoundTrip reads bases of all formats back.
func TestFormatRoundTrip(t *testing.T) {
	for _, a := range activationFormats {
		forFormats(t, a, func(i int, name string, q *quant.Quantized) {
			got := prepackFor(t, q, Zipped, a).Unpack()
			if !reflect.DeepEqual(got.Base, q.Base) {
				t.Errorf("%s %s: base changed", name, a)
			}
			if !reflect.DeepEqual(got.Residual, q.Residual) {
				t.Errorf("%s %s: residual changed", name, a)
			}
		})
	}
}

// TestFormatReference compares products of all formats with float64, alone and with
// a residual.
func TestFormatReference(t *testing.T) {
	for _, a := range activationFormats {
		t.Run(a.String(), func(t *testing.T) {
			for _, k := range kernels() {
				t.Run(k.name, func(t *testing.T) {
					use(t, k)
					forFormats(t, a, func(i int, name string, q *quant.Quantized) {
						for _, v := range []Variant{Dense4, Zipped, Separate} {
							x := normal(uint64(i), tokens[i%len(tokens)], q.Base.K)
							q := executed(q, v)
							want := reference(t, q, i, v, x, a)
							size := remember(t, "size", i, v, a, func() []float64 { return absolute(q, x, a) })
							near(t, name+" "+string(v), multiply(t, prepackFor(t, q, v, a), x), want, size, rounding(q, a))
						}
					})
				})
			}
		})
	}
}

// TestFormatOutliers: outliers replace weights of any format, those that cannot be
// zero included, and come back.
func TestFormatOutliers(t *testing.T) {
	l := layout{n: 37, k: 240, group: 48, outliers: 0.05}
	for _, a := range activationFormats {
		for i, f := range baseFormats(t, l.group) {
			if f.Fits(l.k) != nil {
				continue
			}
			q := l.random(uint64(i), anyScale)
			q.Base = randomBase(rand.New(rand.NewPCG(uint64(i), 8)), f, l.n, l.k)
			if Takes(q.Form(), Outlier16, a) != nil {
				continue
			}
			w := prepackFor(t, q, Outlier16, a)
			if got := w.Unpack().Outliers; !reflect.DeepEqual(got, q.Outliers) {
				t.Errorf("%s %s: outliers changed", f, a)
			}
			for _, m := range []int{1, 7} {
				x := normal(uint64(i), m, l.k)
				want, _ := Reference(q, x, a)
				for _, k := range kernels() {
					use(t, k)
					near(t, fmt.Sprint(f, " ", a, " ", k.name), multiply(t, w, x), want, absolute(q, x, a), rounding(q, a))
				}
			}
		}
	}
}

// TestFormatKernelsAgree demands the same bits of all kernels where products are
// integers.
func TestFormatKernelsAgree(t *testing.T) {
	for _, a := range []quant.Activations{quant.A8, quant.A4} {
		n := 0
		forFormats(t, a, func(i int, name string, q *quant.Quantized) {
			w := prepackFor(t, q, Zipped, a)
			if w.scheme.float() {
				return
			}
			n++
			sameBits(t, layout{n: q.Base.N, k: q.Base.K}, w, normal(uint64(i), tokens[i%len(tokens)], q.Base.K))
		})
		if n < 20 {
			t.Errorf("%d matrices", n)
		}
	}
}

// spread is what rounding of a weight is relative to, beyond the weight itself:
// where weights have a zero of their own, two terms larger than their sum.
func spread(p *quant.Packed, n, k int) float64 {
	group, groups := 0, 1
	if p.Format.Group > 0 {
		group, groups = k/p.Format.Group, ceilDiv(p.K, p.Format.Group)
	}
	var scale, zero float64
	switch {
	case p.Format.Kind == quant.Bilevel:
		l := (groups*3 + 7) / 8
		second := p.Second[(n/16*groups+group)*4:]
		scale = float64(half.FromF16(second[1])) + float64(codeAt(p.ScaleBytes[n*l:], group, 3))*float64(half.FromF16(second[0]))
		zero = float64(half.FromF16(second[3])) + float64(codeAt(p.Zeros[n*l:], group, 3))*float64(half.FromF16(second[2]))
	case p.Format.Scaling() == quant.OffsetScaling:
		if scale = 15; p.Tables != nil {
			scale = 0
		}
		for _, v := range p.Tables[min(len(p.Tables), n<<p.Format.Bits):min(len(p.Tables), (n+1)<<p.Format.Bits)] {
			scale = max(scale, math.Abs(float64(half.FromF16(v))))
		}
		scale *= float64(half.FromF16(p.Scales[n*groups+group]))
		return scale + math.Abs(float64(half.FromF16(p.Offsets[n*groups+group])))
	case p.Format.Kind == quant.QoQ4:
		scale = float64(half.FromF16(p.Second[n])) * float64(p.ScaleBytes[n*groups+group])
		zero = float64(codeAt(p.Zeros[n*((groups*4+7)/8):], group, 4))
	case p.Format.Affine:
		scale = float64(half.FromF16(p.Scales[n*groups+group]))
		zero = float64(codeAt(p.Zeros[n*((groups*p.Format.Bits+7)/8):], group, p.Format.Bits))
	}
	middle := math.Exp2(float64(max(4, p.Format.Bits) - 1))
	return math.Abs(scale) * (middle + math.Abs(zero-middle))
}
