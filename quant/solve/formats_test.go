package solve

import (
	"math"
	"strings"
	"testing"

	"github.com/mosaicquant/mosaicquant/internal/half"
	"github.com/mosaicquant/mosaicquant/quant"
	"github.com/mosaicquant/mosaicquant/quant/grid"
	"github.com/mosaicquant/mosaicquant/quant/plain"
	"github.com/mosaicquant/mosaicquant/quant/quanttest"
)

// Stored bits are what the field quotes for a layer.
func TestBitsOfFormats(t *testing.T) {
	p := quanttest.Problem(t, 32, 256, 2)
	for _, c := range []struct {
		name  string
		group int
		want  float64
	}{
		{"nf4", 64, 4.25}, {"nf4dq", 64, 4 + 8./64 + 2*32./(32*256)}, {"fp4", 32, 4.5}, {"bnbfp4", 64, 4.25}, {"mxfp4", 32, 4.25}, {"nvfp4", 16, 4.5 + 32./(32*256)},
		{"any4", 128, 4 + 32./128 + 256./256}, {"int4b", 16, 4.625}, {"int3b", 16, 3.625}, {"int5", 0, 5 + 16./256},
	} {
		f, err := quant.ParseFormat(c.name, c.group)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range []quant.Quantizer{RTN{f, grid.Scale{Rule: grid.AbsMax}}, NewGPTQ(f)} {
			if got := quanttest.Quantize(t, m, p).BitsPerWeight(); got != c.want {
				t.Errorf("%s: %g bits, want %g", f, got, c.want)
			}
		}
	}
}

// Zero groups, constant groups, one huge weight, subnormal scales: what is
// decoded is finite, zeros stay zeros, and no error exceeds that of the group's
// largest weight.
func TestFormatsOfAwkwardGroups(t *testing.T) {
	p := quanttest.Problem(t, 17, 96, 11)
	clear(p.Weights.Row(0))
	clear(p.Weights.Row(1)[:48])
	for j := range 96 {
		p.Weights.Row(2)[j] = 3
		p.Weights.Row(3)[j] *= 1e-7
		p.Weights.Row(4)[j] *= 1e-30
		p.Weights.Row(6)[j] = float32(math.Copysign(0, -1))
	}
	p.Weights.Row(5)[50] = 1e4
	for _, f := range quanttest.Kinds() {
		for _, m := range []quant.Quantizer{RTN{f, grid.Scale{Rule: grid.AbsMax}}, RTN{f, grid.Scale{Rule: grid.SearchMSE, Norm: 2}}, RTN{f, grid.Scale{Rule: grid.SearchHessian}}, NewGPTQ(f)} {
			if m, ok := m.(RTN); ok && grid.Fixed(f) && m.Scale.Rule != grid.AbsMax {
				continue
			}
			q := quanttest.Quantize(t, m, p)
			out := q.Dequantize()
			for i := range 17 {
				for j, v := range out.Row(i) {
					if v-v != 0 {
						t.Fatalf("%T %s: [%d,%d] is %g", m, f, i, j, v)
					}
				}
			}
			if _, rtn := m.(RTN); !rtn || f.Kind == quant.Bilevel { // rows share, columns pay
				continue
			}
			for i := range 17 {
				m := quanttest.LargestOf(p.Weights.Row(i))
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

// A search never ends above its rule's starting point in its own measure, and
// clipping by the output is never worse than not clipping, group by group.
func TestSearchesOfFormats(t *testing.T) {
	p := quanttest.Problem(t, 12, 96, 4)
	h := p.Moments.Diag()
	for _, f := range quanttest.Kinds() {
		if grid.Together(f) || grid.Fixed(f) { // weights of k-means; a second level after the search; no search
			continue
		}
		plain := quanttest.Quantize(t, RTN{f, grid.Scale{Rule: grid.AbsMax}}, p).Dequantize()
		for _, s := range []grid.Scale{{Rule: grid.SearchMSE, Norm: 2}, {Rule: grid.SearchHessian}, {Rule: grid.SearchClip}} {
			got := quanttest.Quantize(t, RTN{f, s}, p).Dequantize()
			size, groups := f.Groups(96)
			loss := func(w quant.Matrix, i, g int) (sum float64) {
				for j := g * size; j < (g+1)*size; j++ {
					d := float64(w.Row(i)[j] - p.Weights.Row(i)[j])
					switch s.Rule {
					case grid.SearchMSE:
						sum += d * d
					case grid.SearchHessian:
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
	p := quanttest.Problem(t, 12, 64, 17)
	for j := range 16 {
		p.Weights.Row(3)[j] = 0
		p.Weights.Row(4)[j] = 1e-6
	}
	var largest float64
	for _, v := range p.Weights.Data {
		largest = max(largest, math.Abs(float64(v)))
	}
	d := float64(float32(largest) / (6 * 256))
	f := quant.Format{Bits: 4, Group: 16, Kind: quant.NVFP4}
	got := quanttest.Quantize(t, RTN{f, grid.Scale{Rule: grid.FourOverSix}}, p).Dequantize()
	fours, lost, six := 0, 0.0, 0.0
	for i := range 12 {
		for g := 0; g < 64; g += 16 {
			var m float64
			for _, v := range p.Weights.Row(i)[g : g+16] {
				m = max(m, math.Abs(float64(v)))
			}
			errors := func(top float64) (sum float64) {
				s := float64(float32(d * half.FromE4M3(half.ToE4M3(m/(top*d)))))
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
	if _, err := (RTN{quant.Int4(32), grid.Scale{Rule: grid.FourOverSix}}).Quantize(p); err == nil {
		t.Error("int4 with the rule foursix is accepted")
	}
}

// MXFP4 with the rule ceil clips nothing, and the floor of the specification
// does.
func TestMXFP4Rules(t *testing.T) {
	p := quanttest.Problem(t, 8, 96, 5)
	f := quanttest.Kinds()[3]
	for _, c := range []struct {
		rule  grid.ScaleRule
		clips bool
	}{{grid.AbsMax, true}, {grid.Ceil, false}} {
		q := quanttest.Quantize(t, RTN{f, grid.Scale{Rule: c.rule}}, p)
		clips := false
		for i := range 8 {
			for g := range 3 {
				m := float64(quanttest.LargestOf(p.Weights.Row(i)[g*32 : g*32+32]))
				s := half.FromE8M0(q.Base.ScaleBytes[i*3+g])
				clips = clips || m > 6*s
				if !(m > 3*s && m < 8*s) || c.rule == grid.Ceil && m > 6*s {
					t.Errorf("%s: scale %g for weights up to %g", c.rule, s, m)
				}
			}
		}
		if clips != c.clips {
			t.Errorf("%s clips: %v", c.rule, clips)
		}
	}
	if _, err := (RTN{quant.Int4(32), grid.Scale{Rule: grid.Ceil}}).Quantize(p); err == nil {
		t.Error("int4 with the rule ceil is accepted")
	}
}

func TestAny4(t *testing.T) {
	p := quanttest.Problem(t, 5, 96, 9)
	f := quanttest.Kinds()[5]
	for _, s := range []grid.Scale{{Rule: grid.AbsMax}, {Rule: grid.SearchMSE, Norm: 2}, {Rule: grid.SearchHessian}} {
		a, _ := quanttest.Quantize(t, RTN{f, s}, p).MarshalBinary()
		b, _ := quanttest.Quantize(t, RTN{f, s}, p).MarshalBinary()
		if string(a) != string(b) {
			t.Errorf("%s: one seed, two results", s.Rule)
		}
	}
	// The consistent weights serve their own objective best.
	diag := func(s grid.Scale) (sum float64) {
		w := quanttest.Quantize(t, RTN{f, s}, p).Dequantize()
		for i := range 5 {
			for j, h := range p.Moments.Diag() {
				d := float64(w.Row(i)[j] - p.Weights.Row(i)[j])
				sum += h * d * d
			}
		}
		return sum
	}
	if h, m := diag(grid.Scale{Rule: grid.SearchHessian}), diag(grid.Scale{Rule: grid.SearchMSE, Norm: 2}); !(h < m) {
		t.Errorf("Σhd² is %g with weights h, %g without", h, m)
	}
	// No more than 16 values: the table has them all, to half precision.
	for j := range p.Weights.Row(0) {
		p.Weights.Row(0)[j] = float32(j*j%11) / 8
	}
	w := quanttest.Quantize(t, RTN{f, grid.Scale{Rule: grid.AbsMax}}, p).Dequantize()
	for j, v := range w.Row(0) {
		if d := math.Abs(float64(v - p.Weights.Row(0)[j])); !(d < 2e-3) {
			t.Errorf("value %g became %g", p.Weights.Row(0)[j], v)
		}
	}
	dynamic := GPTQ{Format: f, Scale: grid.Scale{Rule: grid.AbsMax}, Damping: .01, DynamicGroups: true}
	if _, err := dynamic.Quantize(p); err == nil || !strings.Contains(err.Error(), "static groups") {
		t.Errorf("dynamic groups: %v", err)
	}
	p.Moments.Mean = nil
	if _, err := (RTN{f, grid.Scale{Rule: grid.AbsMax}}).Quantize(p); err == nil || !strings.Contains(err.Error(), "mean input") {
		t.Errorf("no means: %v", err)
	}
}

// Searches against trying every range that they may: the scale and zero of least
// error, first come first served, and no range below the last.
func TestSearchesAgainstAllRanges(t *testing.T) {
	p := quanttest.Problem(t, 12, 64, 14)
	for i := range 12 {
		p.Weights.Row(i)[i] = 40 // a weight that is best cut off where its error does not count
	}
	for j := range 12 {
		for i := range 64 {
			p.Moments.H[j*64+i], p.Moments.H[i*64+j] = 0, 0
		}
	}
	h := p.Moments.Diag()
	for _, f := range []quant.Format{quant.Int4(32), {Bits: 4, Affine: true, Group: 32}, {Bits: 3, Affine: true, Group: 16}} {
		for _, s := range []grid.Scale{{Rule: grid.SearchMSE, Norm: 2}, {Rule: grid.SearchHessian}, {Rule: grid.SearchClip}} {
			q := quanttest.Quantize(t, RTN{f, s}, p).Base
			_, groups := f.Groups(64)
			count, step := 80, .01
			if s.Rule == grid.SearchClip {
				count, step = 10, .05
			}
			for i := range 12 {
				for g := range groups {
					w := p.Weights.Row(i)[g*f.Group : (g+1)*f.Group]
					var lo, hi float64
					for _, v := range w {
						lo, hi = min(lo, float64(v)), max(hi, float64(v))
					}
					least, best := math.Inf(1), plain.Grid{}
					for c := range count {
						gr := plain.Elimination{Format: f, Scale: grid.Scale{Rule: grid.AbsMax}}.Fit([]float64{lo * (1 - float64(c)*step), hi * (1 - float64(c)*step)}, []float64{0, 0}, nil)
						d := make([]float64, len(w))
						for j, v := range w {
							d[j] = float64(v) - gr.Round(float64(v))
						}
						var loss float64
						for j, v := range d {
							switch s.Rule {
							case grid.SearchMSE:
								loss += v * v
							case grid.SearchHessian:
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
					if got := float64(half.FromF16(q.Scales[i*groups+g])); got != best.Step {
						t.Errorf("%s %s: scale [%d,%d] is %g, want %g", f, s.Rule, i, g, got, best.Step)
					}
					if f.Affine {
						at := quant.PackedLen(groups, f.Bits)
						if got := quant.CodeAt(q.Zeros[i*at:(i+1)*at], g, f.Bits); float64(got) != best.Zero {
							t.Errorf("%s %s: zero [%d,%d] is %d, want %g", f, s.Rule, i, g, got, best.Zero)
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
	if n := len(quant.Dynamic.Value); n != 256 || quant.Dynamic.Value[127] != 0 || quant.Dynamic.Value[255] != 1 || quant.Dynamic.Value[0] != -float64(float32(.1+.9*63.5/64)) {
		t.Fatalf("%d levels from %g", n, quant.Dynamic.Value[0])
	}
	p := quanttest.Problem(t, 40, 256, 23) // 640 groups
	for i := range 40 {
		for j := range 256 {
			p.Weights.Row(i)[j] *= float32(1 + i%7)
		}
	}
	clear(p.Weights.Row(3)[:32])
	absmax := grid.Scale{Rule: grid.AbsMax}
	f := quant.Format{Bits: 4, Group: 16, Kind: quant.NF4DQ}
	q := quanttest.Quantize(t, RTN{f, absmax}, p).Base
	var mean float64
	maxima := make([]float64, 640)
	for g := range maxima {
		maxima[g] = float64(quanttest.LargestOf(p.Weights.Row(g / 16)[g%16*16:][:16]))
		mean += maxima[g] / 640
	}
	quanttest.Near(t, "mean scale", float64(q.Tensor[0]), mean, 1e-6)
	for b := 0; b < 640; b += 256 {
		block := maxima[b:min(b+256, 640)]
		var m float64
		for _, v := range block {
			m = max(m, math.Abs(v-float64(q.Tensor[0])))
		}
		quanttest.Near(t, "largest of a block", float64(q.Tensor[1+b/256]), m, 1e-6)
		for i, v := range block {
			least, got := math.Inf(1), quant.DoubleDecode(q.ScaleBytes[b+i], q.Tensor[1+b/256], q.Tensor[0])
			for u := range 256 {
				least = min(least, math.Abs(v-quant.DoubleDecode(uint8(u), q.Tensor[1+b/256], q.Tensor[0])))
			}
			if d := math.Abs(got - v); !(d <= least+1e-6*v) {
				t.Errorf("scale %d is %g for a maximum of %g, %g off the nearest", b+i, got, v, least)
			}
		}
	}
	lost := func(f quant.Format) float64 {
		return quanttest.Objective(p, quanttest.Quantize(t, RTN{f, absmax}, p).Dequantize())
	}
	if a, b := lost(f), lost(quant.Format{Bits: 4, Group: 16, Kind: quant.NF4}); !(a < 1.03*b) {
		t.Errorf("objective %g, with 16-bit scales %g", a, b)
	}
}
