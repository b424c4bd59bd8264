package quant

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
)

// kinds are formats of every kind that 96 columns can have.
func kinds() []Format {
	return []Format{
		{Bits: 4, Group: 32, Kind: NF4}, {Bits: 4, Group: 48, Kind: FP4}, {Bits: 4, Kind: BnbFP4},
		{Bits: 4, Group: 32, Kind: MXFP4}, {Bits: 4, Group: 16, Kind: NVFP4}, {Bits: 4, Affine: true, Group: 48, Kind: Any4},
		{Bits: 4, Affine: true, Group: 16, Kind: Bilevel}, {Bits: 3, Affine: true, Group: 16, Kind: Bilevel},
		{Bits: 5, Affine: true, Group: 24},
		{Bits: 4, Group: 16, Kind: NF4DQ},
	}
}

// kindForms are methods with every kind, and with every part of a Quantized.
func kindForms() []Quantizer {
	absmax := Scale{Rule: AbsMax}
	var all []Quantizer
	for _, f := range kinds() {
		all = append(all, RTN{f, absmax})
	}
	rtn := RTN{Int4(32), absmax}
	gptq := NewGPTQ(Int4(0))
	residual := NewMosaic(RTN{kinds()[4], absmax}, 0, 1, .1)
	residual.Bits = 2
	return append(all, residual,
		AWQ{NewMosaic(rtn, 4, 7, .2), rtn.Format},
		SVDQuant{Base: rtn, Rank: 2, Smooth: true, Rounds: 2},
		Mixed{Base: gptq, Score: ByAbsMax, Share: .1, Bits: 16},
		Mixed{Base: NewGPTQ(kinds()[0]), Score: ByEnergy, Share: 1. / 3, Bits: 8, Reorder: true},
		Mixed{Base: RTN{Format{Bits: 8}, absmax}, Score: ByAbsMax, Threshold: 20, Bits: 16})
}

func TestParseFormat(t *testing.T) {
	for name, want := range map[string]string{"int4": "int4 g32", "int8a": "int8 affine g32", "int3b": "int3b g32", "nf4": "nf4 g32",
		"fp4": "fp4 g32", "bnbfp4": "bnbfp4 g32", "mxfp4": "mxfp4 g32", "any4": "any4 g32"} {
		f, err := ParseFormat(name, 32)
		if err != nil || f.String() != want {
			t.Errorf("%s: %v, %v", name, f, err)
		}
	}
	for name, want := range map[string]string{"nvfp4": "groups of 16", "int9": "unknown", "int5b": "bilevel", "b": "unknown", "int": "unknown", "int4x": "unknown", "": "unknown"} {
		if f, err := ParseFormat(name, 32); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, %v", name, f, err)
		}
	}
}

// The code of a number is that of the level nearest to it, for every grid that a
// matrix can lead to; levels are codes of themselves.
func TestNearestLevel(t *testing.T) {
	p := problem(t, 4, 96, 3)
	for _, f := range kinds() {
		grids, err := fitAll(p, p.Weights, fitter{format: f, scale: Scale{Rule: AbsMax}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		draw := rand.New(rand.NewPCG(1, 2))
		for range 2000 {
			g := &grids[draw.IntN(len(grids))]
			w := draw.NormFloat64() * 2
			got := g.code(w)
			for u := g.lo; u <= g.hi; u++ {
				if math.Abs(w-g.value(uint8(u))) < math.Abs(w-g.value(got))-1e-12 {
					t.Fatalf("%s: %g has code %d (%g), but %d is %g", f, w, got, g.value(got), u, g.value(uint8(u)))
				}
			}
			if v := g.value(got); g.value(g.code(v)) != v {
				t.Fatalf("%s: level %g is coded as another", f, v)
			}
		}
	}
}

func TestE2M1TiesGoToEvenMantissa(t *testing.T) {
	l := fixedLevels[FP4]
	for x, want := range map[float64]float64{.25: 0, .75: 1, 1.25: 1, 1.75: 2, 2.5: 2, 3.5: 4, 5: 4, 9: 6} {
		if got := l.value[l.nearest(x)]; got != want {
			t.Errorf("%g becomes %g, want %g", x, got, want)
		}
		if got := l.value[l.nearest(-x)]; got != -want {
			t.Errorf("%g becomes %g, want %g", -x, got, -want)
		}
	}
}

func TestE4M3(t *testing.T) {
	for b := range 0x7f {
		v := fromE4M3(uint8(b))
		if got := toE4M3(v); got != uint8(b) {
			t.Fatalf("%#x is %g, encoded %#x", b, v, got)
		}
		if b == 0x7e {
			break
		}
		mid := (v + fromE4M3(uint8(b+1))) / 2
		if got := toE4M3(mid); got != uint8(b+b&1) {
			t.Fatalf("midpoint after %#x encoded %#x", b, got)
		}
		if got := toE4M3(math.Nextafter(mid, 1e9)); got != uint8(b+1) {
			t.Fatalf("above the midpoint after %#x encoded %#x", b, got)
		}
	}
	if toE4M3(1e9) != 0x7e || toE4M3(math.Inf(1)) != 0x7e || toE4M3(0) != 0 {
		t.Error("no saturation at 448")
	}
}

// Stored bits are what the field quotes for a layer.
func TestBitsOfFormats(t *testing.T) {
	p := problem(t, 32, 256, 2)
	for _, c := range []struct {
		name  string
		group int
		want  float64
	}{
		{"nf4", 64, 4.25}, {"nf4dq", 64, 4 + 8./64 + 2*32./(32*256)}, {"fp4", 32, 4.5}, {"bnbfp4", 64, 4.25}, {"mxfp4", 32, 4.25}, {"nvfp4", 16, 4.5 + 32./(32*256)},
		{"any4", 128, 4 + 32./128 + 256./256}, {"int4b", 16, 4.625}, {"int3b", 16, 3.625}, {"int5", 0, 5 + 16./256},
	} {
		f, err := ParseFormat(c.name, c.group)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range []Quantizer{RTN{f, Scale{Rule: AbsMax}}, NewGPTQ(f)} {
			if got := quantize(t, m, p).BitsPerWeight(); got != c.want {
				t.Errorf("%s: %g bits, want %g", f, got, c.want)
			}
		}
	}
}

// Zero groups, constant groups, one huge weight, subnormal scales: what is
// decoded is finite, zeros stay zeros, and no error exceeds that of the group's
// largest weight.
func TestFormatsOfAwkwardGroups(t *testing.T) {
	p := problem(t, 17, 96, 11)
	clear(p.Weights.Row(0))
	clear(p.Weights.Row(1)[:48])
	for j := range 96 {
		p.Weights.Row(2)[j] = 3
		p.Weights.Row(3)[j] *= 1e-7
		p.Weights.Row(4)[j] *= 1e-30
		p.Weights.Row(6)[j] = float32(math.Copysign(0, -1))
	}
	p.Weights.Row(5)[50] = 1e4
	for _, f := range kinds() {
		for _, m := range []Quantizer{RTN{f, Scale{Rule: AbsMax}}, RTN{f, Scale{Rule: SearchMSE, Norm: 2}}, RTN{f, Scale{Rule: SearchHessian}}, NewGPTQ(f)} {
			q := quantize(t, m, p)
			out := q.Dequantize()
			for i := range 17 {
				for j, v := range out.Row(i) {
					if v-v != 0 {
						t.Fatalf("%T %s: [%d,%d] is %g", m, f, i, j, v)
					}
				}
			}
			if _, rtn := m.(RTN); !rtn || f.Kind == Bilevel { // rows share, columns pay
				continue
			}
			for i := range 17 {
				m := largestOf(p.Weights.Row(i))
				for j, v := range out.Row(i) {
					if d := math.Abs(float64(v - p.Weights.Row(i)[j])); !(d <= float64(m)*1.001+3e-7) {
						t.Errorf("%s: [%d,%d] %g became %g", f, i, j, p.Weights.Row(i)[j], v)
					}
				}
			}
			for _, i := range []int{0, 6} {
				for j, v := range out.Row(i) {
					if v != 0 {
						t.Fatalf("%s: zero weight [%d,%d] became %g", f, i, j, v)
					}
				}
			}
			// The first half of its groups is zero, whatever the second is.
			if v := out.Row(1)[3]; f.Group > 0 && v != 0 {
				t.Errorf("%s: a weight of a zero group became %g", f, v)
			}
		}
	}
}

func TestFormatsRefuseNaN(t *testing.T) {
	for _, bad := range []float64{math.NaN(), math.Inf(-1)} {
		p := problem(t, 18, 96, 1)
		p.Weights.Row(7)[9] = float32(bad)
		for i, m := range kindForms() {
			if _, err := m.Quantize(p); err == nil || !strings.Contains(err.Error(), "layer: weight [7,9]") {
				t.Errorf("form %d: %v", i, err)
			}
		}
	}
}

// A search never ends above its rule's starting point in its own measure, and
// clipping by the output is never worse than not clipping, group by group.
func TestSearchesOfFormats(t *testing.T) {
	p := problem(t, 12, 96, 4)
	h := p.Moments.Diag()
	for _, f := range kinds() {
		if f.Kind == Any4 || f.Kind == Bilevel || f.Kind == NF4DQ { // weights of k-means; a second level after the search
			continue
		}
		plain := quantize(t, RTN{f, Scale{Rule: AbsMax}}, p).Dequantize()
		for _, s := range []Scale{{Rule: SearchMSE, Norm: 2}, {Rule: SearchHessian}, {Rule: SearchClip}} {
			got := quantize(t, RTN{f, s}, p).Dequantize()
			size, groups := f.groups(96)
			loss := func(w Matrix, i, g int) (sum float64) {
				for j := g * size; j < (g+1)*size; j++ {
					d := float64(w.Row(i)[j] - p.Weights.Row(i)[j])
					switch s.Rule {
					case SearchMSE:
						sum += d * d
					case SearchHessian:
						sum += h[j] * d * d
					default:
						for l := g * size; l < (g+1)*size; l++ {
							sum += d * p.Moments.H[j*96+l] * float64(w.Row(i)[l]-p.Weights.Row(i)[l])
						}
					}
				}
				return sum
			}
			var before, after float64
			for i := range 12 {
				for g := range groups {
					a, b := loss(plain, i, g), loss(got, i, g)
					if !(b <= a*(1+1e-5)) {
						t.Errorf("%s %s: loss of group [%d,%d] rises from %g to %g", f, s.Rule, i, g, a, b)
					}
					before, after = before+a, after+b
				}
			}
			if !(after < before) {
				t.Errorf("%s %s: the search finds nothing: %g, %g", f, s.Rule, before, after)
			}
		}
	}
}

// Four over six against the definition: both candidates of every group, rounded
// to the nearest of all E2M1 numbers by search.
func TestFourOverSix(t *testing.T) {
	p := problem(t, 12, 64, 17)
	for j := range 16 {
		p.Weights.Row(3)[j] = 0
		p.Weights.Row(4)[j] = 1e-6
	}
	var largest float64
	for _, v := range p.Weights.Data {
		largest = max(largest, math.Abs(float64(v)))
	}
	d := float64(float32(largest) / (6 * 256))
	f := Format{Bits: 4, Group: 16, Kind: NVFP4}
	got := quantize(t, RTN{f, Scale{Rule: FourOverSix}}, p).Dequantize()
	fours, lost, six := 0, 0.0, 0.0
	for i := range 12 {
		for g := 0; g < 64; g += 16 {
			var m float64
			for _, v := range p.Weights.Row(i)[g : g+16] {
				m = max(m, math.Abs(float64(v)))
			}
			errors := func(top float64) (sum float64) {
				s := float64(float32(d * fromE4M3(toE4M3(m/(top*d)))))
				for _, v := range p.Weights.Row(i)[g : g+16] {
					least := math.Inf(1)
					for _, level := range []float64{0, .5, 1, 1.5, 2, 3, 4, 6} {
						least = min(least, math.Abs(math.Abs(float64(v))-level*s))
					}
					sum += least * least
				}
				return sum
			}
			var sum float64
			for j, v := range got.Row(i)[g : g+16] {
				e := float64(v) - float64(p.Weights.Row(i)[g+j])
				sum += e * e
			}
			a, b := errors(6), errors(4)
			if !(math.Abs(sum-min(a, b)) <= 1e-6*min(a, b)) {
				t.Errorf("row %d, group %d: loses %g, with 6 %g, with 4 %g", i, g/16, sum, a, b)
			}
			if b < a {
				fours++
			}
			lost, six = lost+sum, six+a
		}
	}
	// The authors' figures for Gaussian weights: 45 % of the groups, -17 %.
	if fours < 12 || fours > 36 || !(lost < .92*six) {
		t.Errorf("%d of 48 groups take 4; the error is %g of %g", fours, lost, six)
	}
	if _, err := (RTN{Int4(32), Scale{Rule: FourOverSix}}).Quantize(p); err == nil {
		t.Error("int4 with the rule foursix is accepted")
	}
}

// MXFP4 with the rule ceil clips nothing, and the floor of the specification
// does.
func TestMXFP4Rules(t *testing.T) {
	p := problem(t, 8, 96, 5)
	f := kinds()[3]
	for _, c := range []struct {
		rule  ScaleRule
		clips bool
	}{{AbsMax, true}, {Ceil, false}} {
		q := quantize(t, RTN{f, Scale{Rule: c.rule}}, p)
		clips := false
		for i := range 8 {
			for g := range 3 {
				m := float64(largestOf(p.Weights.Row(i)[g*32 : g*32+32]))
				s := fromE8M0(q.Base.ScaleBytes[i*3+g])
				clips = clips || m > 6*s
				if !(m > 3*s && m < 8*s) || c.rule == Ceil && m > 6*s {
					t.Errorf("%s: scale %g for weights up to %g", c.rule, s, m)
				}
			}
		}
		if clips != c.clips {
			t.Errorf("%s clips: %v", c.rule, clips)
		}
	}
	if _, err := (RTN{Int4(32), Scale{Rule: Ceil}}).Quantize(p); err == nil {
		t.Error("int4 with the rule ceil is accepted")
	}
}

// In every format GPTQ loses less than rounding to nearest, refinement never
// raises the objective, residuals of 2, 3 and 4 bits lower it, each more than
// the one before, and a joint residual beats the base.
func TestMethodsInEveryFormat(t *testing.T) {
	p := problem(t, 32, 192, 6)
	for _, f := range kinds() {
		rtn := RTN{f, Scale{Rule: AbsMax}}
		gptq := NewGPTQ(f)
		r, g := objective(p, quantize(t, rtn, p).Dequantize()), objective(p, quantize(t, gptq, p).Dequantize())
		if !(g < r) {
			t.Errorf("%s: GPTQ %g, RTN %g", f, g, r)
		}
		last := g
		for rounds := 1; rounds <= 3; rounds++ {
			gptq.Refine = rounds
			got := objective(p, quantize(t, gptq, p).Dequantize())
			if !(got <= last*(1+1e-6)) {
				t.Errorf("%s: round %d raises the objective from %g to %g", f, rounds, last, got)
			}
			last = got
		}
		if !(last < g) {
			t.Errorf("%s: refinement finds nothing below %g", f, g)
		}
		gptq.Refine = 0
		last = r
		for bits := 2; bits <= 4; bits++ {
			m := NewMosaic(rtn, 4, 16, .2)
			m.Bits = bits
			got := objective(p, quantize(t, m, p).Dequantize())
			if !(got < last) {
				t.Errorf("%s: residual of %d bits %g, before %g", f, bits, got, last)
			}
			last = got
		}
		m := NewMosaic(gptq, 1, 16, .2)
		m.Joint = true
		if got := objective(p, quantize(t, m, p).Dequantize()); !(got < g) {
			t.Errorf("%s: joint residual %g, GPTQ %g", f, got, g)
		}
		for _, share := range []float64{.02, .1} {
			if got := objective(p, quantize(t, NewSpQR(f, share), p).Dequantize()); !(got < g) {
				t.Errorf("%s: outliers of %g %g, GPTQ %g", f, share, got, g)
			}
		}
	}
}

func TestAny4(t *testing.T) {
	p := problem(t, 5, 96, 9)
	f := kinds()[5]
	for _, s := range []Scale{{Rule: AbsMax}, {Rule: SearchMSE, Norm: 2}, {Rule: SearchHessian}} {
		a, _ := quantize(t, RTN{f, s}, p).MarshalBinary()
		b, _ := quantize(t, RTN{f, s}, p).MarshalBinary()
		if string(a) != string(b) {
			t.Errorf("%s: one seed, two results", s.Rule)
		}
	}
	// The consistent weights serve their own objective best.
	diag := func(s Scale) (sum float64) {
		w := quantize(t, RTN{f, s}, p).Dequantize()
		for i := range 5 {
			for j, h := range p.Moments.Diag() {
				d := float64(w.Row(i)[j] - p.Weights.Row(i)[j])
				sum += h * d * d
			}
		}
		return sum
	}
	if h, m := diag(Scale{Rule: SearchHessian}), diag(Scale{Rule: SearchMSE, Norm: 2}); !(h < m) {
		t.Errorf("Σhd² is %g with weights h, %g without", h, m)
	}
	// No more than 16 values: the table has them all, to half precision.
	for j := range p.Weights.Row(0) {
		p.Weights.Row(0)[j] = float32(j*j%11) / 8
	}
	w := quantize(t, RTN{f, Scale{Rule: AbsMax}}, p).Dequantize()
	for j, v := range w.Row(0) {
		if d := math.Abs(float64(v - p.Weights.Row(0)[j])); !(d < 2e-3) {
			t.Errorf("value %g became %g", p.Weights.Row(0)[j], v)
		}
	}
	dynamic := GPTQ{Format: f, Scale: Scale{Rule: AbsMax}, Damping: .01, DynamicGroups: true}
	if _, err := dynamic.Quantize(p); err == nil || !strings.Contains(err.Error(), "static groups") {
		t.Errorf("dynamic groups: %v", err)
	}
	p.Moments.Mean = nil
	if _, err := (RTN{f, Scale{Rule: AbsMax}}).Quantize(p); err == nil || !strings.Contains(err.Error(), "mean input") {
		t.Errorf("no means: %v", err)
	}
}

// No step of Lloyd's iteration raises the inertia, and it ends where centres are
// the means of their points.
func TestKMeansDescends(t *testing.T) {
	draw := rand.New(rand.NewPCG(4, 4))
	for _, n := range []int{1, 3, 16, 17, 100, 999} {
		points := make([]point, n)
		for i := range points {
			points[i] = point{draw.NormFloat64() * 5, draw.Float64()}
			if i%7 == 3 {
				points[i].weight = 0
			}
		}
		sorted := sortedPoints(points)
		l := newLloyd(sorted)
		centers := make([]float64, 16)
		for c := range centers {
			centers[c] = float64(c)/3 - 2
		}
		last := inertia(points, centers)
		for l.step(centers) {
			got := inertia(points, centers)
			if !(got <= last*(1+1e-12)) {
				t.Fatalf("%d points: inertia rises from %g to %g", n, last, got)
			}
			last = got
		}
		got := kmeans(points, 16, rand.New(rand.NewPCG(1, 1)))
		if n <= 16 && !(inertia(points, got) < 1e-9) {
			t.Errorf("%d points, 16 centres: inertia %g", n, inertia(points, got))
		}
		for c, v := range got { // each is the mean of what is nearest to it
			var weight, moment float64
			for _, p := range points {
				if newLevels(got).nearest(p.value) == uint8(c) {
					weight, moment = weight+p.weight, moment+p.weight*p.value
				}
			}
			if weight > 0 && !(math.Abs(moment/weight-v) < 1e-9) {
				t.Errorf("%d points: centre %g, mean of its points %g", n, v, moment/weight)
			}
		}
	}
	if got := kmeans(nil, 16, draw); len(got) != 16 {
		t.Error("no points, no centres")
	}
}

// Any tile of any form equals that of the whole.
func TestLoadTilesOfForms(t *testing.T) {
	p := problem(t, 18, 96, 7)
	for i, m := range kindForms() {
		q := quantize(t, m, p)
		all := q.Dequantize()
		if n, k := q.Dims(); n != 18 || k != 96 {
			t.Fatalf("form %d is [%d,%d]", i, n, k)
		}
		for n0 := range 18 {
			for k0 := 0; k0 < 96; k0 += 5 {
				tile := gemm.Matrix{Rows: min(3, 18-n0), Cols: min(11, 96-k0), Stride: 12, Data: make([]float32, 36)}
				q.Load(tile, n0, k0)
				if !equal(tile, all.View(n0, n0+tile.Rows, k0, k0+tile.Cols)) {
					t.Fatalf("form %d (%T): tile at (%d,%d) differs", i, m, n0, k0)
				}
			}
		}
	}
}

// What the loops take a code for is what is decoded.
func TestGridsEqualDecoding(t *testing.T) {
	p := problem(t, 18, 96, 8)
	for _, f := range kinds() {
		grids, err := fitAll(p, p.Weights, fitter{format: f, scale: Scale{Rule: AbsMax}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		size, groups := f.groups(96)
		codes := make([]uint8, 18*96)
		draw := rand.New(rand.NewPCG(3, 3))
		for i := range codes {
			g := &grids[i/96*groups+i%96/size]
			codes[i] = uint8(g.lo + draw.IntN(g.hi-g.lo+1))
		}
		w := gemm.NewMatrix(18, 96)
		packBase(18, 96, f, codes, grids).Load(w, 0, 0)
		for i, v := range w.Data {
			g := &grids[i/96*groups+i%96/size]
			if want := g.value(codes[i]); !(math.Abs(float64(v)-want) <= 1e-6*(math.Abs(want)+math.Abs(g.offset))) {
				t.Fatalf("%s: code %d is decoded as %g, was taken for %g", f, codes[i], v, want)
			}
		}
	}
}

func ExampleParseFormat() {
	f, err := ParseFormat("nvfp4", 16)
	fmt.Println(f, err)
	_, err = ParseFormat("mxfp4", 64)
	fmt.Println(err)
	// Output:
	// nvfp4 g16 <nil>
	// quant: mxfp4 has groups of 32, not 64
}

// A scale is stored as the nearest number that its kind can store.
func TestStorableScales(t *testing.T) {
	draw := rand.New(rand.NewPCG(6, 6))
	for _, g := range []grid{{kind: Integer}, {kind: NF4}, {kind: MXFP4}, {kind: NVFP4, tensor: 3e-3}} {
		decode := func(bits int) float64 {
			switch g.kind {
			case MXFP4:
				return fromE8M0(uint8(bits))
			case NVFP4:
				return g.nvScale(uint8(bits))
			}
			return float64(fromF16(uint16(bits)))
		}
		for range 500 {
			s := math.Exp(4*draw.Float64() - 4)
			bits, got := g.storable(s)
			if decode(int(bits)) != got {
				t.Fatalf("kind %d: bits %#x are %g, not %g", g.kind, bits, decode(int(bits)), got)
			}
			for _, other := range []float64{decode(int(bits) - 1), decode(int(bits) + 1)} {
				if math.Abs(other-s) < math.Abs(got-s)*(1-1e-6) {
					t.Errorf("kind %d: %g is stored as %g, but %g is nearer", g.kind, s, got, other)
				}
			}
		}
	}
}

// Searches against trying every range that they may: the scale and zero of least
// error, first come first served, and no range below the last.
func TestSearchesAgainstAllRanges(t *testing.T) {
	p := problem(t, 12, 64, 14)
	for i := range 12 {
		p.Weights.Row(i)[i] = 40 // a weight that is best cut off where its error does not count
	}
	for j := range 12 {
		for i := range 64 {
			p.Moments.H[j*64+i], p.Moments.H[i*64+j] = 0, 0
		}
	}
	h := p.Moments.Diag()
	for _, f := range []Format{Int4(32), {Bits: 4, Affine: true, Group: 32}, {Bits: 3, Affine: true, Group: 16}} {
		for _, s := range []Scale{{Rule: SearchMSE, Norm: 2}, {Rule: SearchHessian}, {Rule: SearchClip}} {
			q := quantize(t, RTN{f, s}, p).Base
			_, groups := f.groups(64)
			count, step := 80, .01
			if s.Rule == SearchClip {
				count, step = 10, .05
			}
			for i := range 12 {
				for g := range groups {
					w := p.Weights.Row(i)[g*f.Group : (g+1)*f.Group]
					var lo, hi float64
					for _, v := range w {
						lo, hi = min(lo, float64(v)), max(hi, float64(v))
					}
					least, best := math.Inf(1), plainGrid{}
					for c := range count {
						gr := plain{format: f, scale: Scale{Rule: AbsMax}}.fit([]float64{lo * (1 - float64(c)*step), hi * (1 - float64(c)*step)}, []float64{0, 0}, nil)
						d := make([]float64, len(w))
						for j, v := range w {
							d[j] = float64(v) - gr.round(float64(v))
						}
						var loss float64
						for j, v := range d {
							switch s.Rule {
							case SearchMSE:
								loss += v * v
							case SearchHessian:
								loss += h[g*f.Group+j] * v * v
							default:
								for l, u := range d {
									loss += v * p.Moments.H[(g*f.Group+j)*64+g*f.Group+l] * u
								}
							}
						}
						if loss < least*(1-1e-6) {
							least, best = loss, gr
						}
					}
					if got := float64(fromF16(q.Scales[i*groups+g])); got != best.step {
						t.Errorf("%s %s: scale [%d,%d] is %g, want %g", f, s.Rule, i, g, got, best.step)
					}
					if f.Affine {
						at := packedLen(groups, f.Bits)
						if got := codeAt(q.Zeros[i*at:(i+1)*at], g, f.Bits); float64(got) != best.zero {
							t.Errorf("%s %s: zero [%d,%d] is %d, want %g", f, s.Rule, i, g, got, best.zero)
						}
					}
				}
			}
		}
	}
}

// Scales of NF4DQ are the nearest that their block of 256 offers, in more blocks
// than one, and cost little: the error is hardly more than NF4's.
func TestDoubleQuantization(t *testing.T) {
	if n := len(dynamic.value); n != 256 || dynamic.value[127] != 0 || dynamic.value[255] != 1 || dynamic.value[0] != -float64(float32(.1+.9*63.5/64)) {
		t.Fatalf("%d levels from %g", n, dynamic.value[0])
	}
	p := problem(t, 40, 256, 23) // 640 groups
	for i := range 40 {
		for j := range 256 {
			p.Weights.Row(i)[j] *= float32(1 + i%7)
		}
	}
	clear(p.Weights.Row(3)[:32])
	absmax := Scale{Rule: AbsMax}
	f := Format{Bits: 4, Group: 16, Kind: NF4DQ}
	q := quantize(t, RTN{f, absmax}, p).Base
	var mean float64
	maxima := make([]float64, 640)
	for g := range maxima {
		maxima[g] = float64(largestOf(p.Weights.Row(g / 16)[g%16*16:][:16]))
		mean += maxima[g] / 640
	}
	near(t, "mean scale", float64(q.Tensor[0]), mean, 1e-6)
	for b := 0; b < 640; b += 256 {
		block := maxima[b:min(b+256, 640)]
		var m float64
		for _, v := range block {
			m = max(m, math.Abs(v-float64(q.Tensor[0])))
		}
		near(t, "largest of a block", float64(q.Tensor[1+b/256]), m, 1e-6)
		for i, v := range block {
			least, got := math.Inf(1), doubleDecode(q.ScaleBytes[b+i], q.Tensor[1+b/256], q.Tensor[0])
			for u := range 256 {
				least = min(least, math.Abs(v-doubleDecode(uint8(u), q.Tensor[1+b/256], q.Tensor[0])))
			}
			if d := math.Abs(got - v); !(d <= least+1e-6*v) {
				t.Errorf("scale %d is %g for a maximum of %g, %g off the nearest", b+i, got, v, least)
			}
		}
	}
	lost := func(f Format) float64 { return objective(p, quantize(t, RTN{f, absmax}, p).Dequantize()) }
	if a, b := lost(f), lost(Format{Bits: 4, Group: 16, Kind: NF4}); !(a < 1.03*b) {
		t.Errorf("objective %g, with 16-bit scales %g", a, b)
	}
}

// The tensor scale of NVFP4 is that of the weights that count.
func TestTensorScaleOfWeightsThatCount(t *testing.T) {
	p := problem(t, 4, 32, 15)
	p.Weights.Row(2)[5] = -50
	skip := make([]bool, 4*32)
	skip[2*32+5] = true
	f := fitter{format: Format{Bits: 4, Group: 16, Kind: NVFP4}, scale: Scale{Rule: AbsMax}}
	with := f.matrix(p.Weights, nil).tensor
	without := f.matrix(p.Weights, skip).tensor
	p.Weights.Row(2)[5] = 0
	if want := f.matrix(p.Weights, nil).tensor; without != want || with != 50./(6*448) {
		t.Errorf("tensor scale %g without an outlier of 50, want %g; %g with it", without, want, with)
	}
}
