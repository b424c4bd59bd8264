package quant

import (
	"bytes"
	"fmt"
	"math"
	"reflect"
	"slices"
	"testing"
)

func TestMosaicDensityZeroIsBase(t *testing.T) {
	p := problem(t, 33, 96, 1)
	for _, base := range []Quantizer{RTN{Int4(32), Scale{Rule: AbsMax}}, NewGPTQ(Int4(32))} {
		a, _ := quantize(t, base, p).MarshalBinary()
		b, _ := quantize(t, NewMosaic(base, 16, 16, 0), p).MarshalBinary()
		if !bytes.Equal(a, b) {
			t.Errorf("%T: density 0 differs from the base", base)
		}
	}
}

// keep one block at a time and compare the fall of the objective with the score.
func bruteGain(t *testing.T, p Problem, m Mosaic) (score, gain []float64) {
	base := quantize(t, m.Base, p)
	tl := tiling{p.Weights.Rows, p.Weights.Cols, m.BlockRows, m.BlockCols}
	e := difference(p.Weights, base.Base)
	res, err := m.residual(p, tl, e, p.diag(), Format{Bits: m.Bits}, baseScales{})
	if err != nil {
		t.Fatal(err)
	}
	before := objective(p, base.Dequantize())
	for b := range tl.count() {
		one := *base
		one.Residual = gather(tl, res, []int{b}, m)
		gain = append(gain, before-objective(p, one.Dequantize()))
	}
	return m.score(p, tl, e, p.diag(), res), gain
}

func TestScoresEqualBruteForceGain(t *testing.T) {
	full := problem(t, 9, 70, 5)
	diag := full
	dm := *full.Moments
	dm.H = make([]float64, len(full.Moments.H))
	for j := range dm.K {
		dm.H[j*dm.K+j] = full.Moments.H[j*dm.K+j]
	}
	diag.Moments = &dm
	base := RTN{Int4(35), Scale{Rule: AbsMax}}
	for _, c := range []struct {
		criterion Criterion
		p         Problem
	}{{Delta, diag}, {Full, diag}, {Full, full}} {
		for _, shape := range [][2]int{{4, 16}, {1, 35}, {9, 1}} {
			m := NewMosaic(base, shape[0], shape[1], 1)
			m.Criterion = c.criterion
			score, gain := bruteGain(t, c.p, m)
			scale := objective(c.p, quantize(t, base, c.p).Dequantize())
			for b := range score {
				// Float32 weights carry 2^-24 of |W| into the differences of two
				// objectives.
				if d := score[b] - gain[b]; !(d < 1e-4*scale && d > -1e-4*scale) {
					t.Errorf("%s %v block %d: score %g, brute force %g", c.criterion, shape, b, score[b], gain[b])
				}
			}
		}
	}
}

func TestMosaicFullDensity(t *testing.T) {
	p := problem(t, 19, 70, 2)
	base := RTN{Int4(35), Scale{Rule: AbsMax}}
	for _, rows := range []bool{false, true} {
		m := NewMosaic(base, 4, 16, 1)
		m.RowScales = rows
		q := quantize(t, m, p)
		if d := q.Density(); d != 1 {
			t.Fatalf("density %g, want 1", d)
		}
		e := difference(p.Weights, q.Base)
		res, err := m.residual(p, tiling{19, 70, 4, 16}, e, p.diag(), Format{Bits: 4}, baseScales{})
		if err != nil {
			t.Fatal(err)
		}
		want, got := quantize(t, base, p).Dequantize(), q.Dequantize()
		for i := range want.Data {
			want.Data[i] += res.values.Data[i]
		}
		if !equal(got, want) {
			t.Error("density 1 is not base + Q(R)")
		}
		before, _ := WeightError(p.Weights, q.Base)
		after, _ := WeightError(p.Weights, q)
		if !(after < before/20) {
			t.Errorf("residual lowers ||E||² from %g to %g only", before, after)
		}
	}
}

// Decoding by tiles, at any corner, equals decoding at once.
func TestLoadTiles(t *testing.T) {
	p := problem(t, 13, 66, 7)
	mosaic := NewMosaic(RTN{Format{Bits: 5, Affine: true, Group: 33}, Scale{Rule: SearchHessian}}, 4, 7, .5)
	for _, m := range []Quantizer{mosaic, NewSpQR(Int4(33), .1), RTN{Int4(0), Scale{Rule: SearchMSE, Norm: 2.4}}} {
		q := quantize(t, m, p)
		all := q.Dequantize()
		for n0 := range 13 {
			for k0 := 0; k0 < 66; k0 += 5 {
				tile := Matrix{Rows: min(3, 13-n0), Cols: min(11, 66-k0), Stride: 12, Data: make([]float32, 36)}
				q.Load(tile, n0, k0)
				if !equal(tile, all.View(n0, n0+tile.Rows, k0, k0+tile.Cols)) {
					t.Fatalf("%T: tile at (%d,%d) differs", m, n0, k0)
				}
			}
		}
	}
}

func TestBinaryAndLedger(t *testing.T) {
	p, wide := problem(t, 13, 66, 8), problem(t, 18, 96, 8)
	narrow := len(forms())
	for i, m := range append(forms(), kindForms()...) {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			if i == narrow {
				p = wide
			}
			q := quantize(t, m, p)
			data, _ := q.MarshalBinary()
			var back Quantized
			if err := back.UnmarshalBinary(data); err != nil {
				t.Fatal(err)
			}
			again, _ := back.MarshalBinary()
			if !bytes.Equal(data, again) || !equal(q.Dequantize(), back.Dequantize()) || !reflect.DeepEqual(q.Ledger(), back.Ledger()) {
				t.Error("the decoded matrix differs")
			}
			// Everything but the headers is booked: 8 bytes for each field.
			if got := int64(len(data) - 8*headerFields(q)); got != q.Ledger().Total() {
				t.Errorf("ledger %d B, stored %d B", q.Ledger().Total(), got)
			}
			for n := 0; n < len(data); n += 1 + n/999 {
				if err := new(Quantized).UnmarshalBinary(data[:n]); err == nil {
					t.Fatalf("truncation to %d of %d bytes is not noticed", n, len(data))
				}
			}
		})
	}
}

// headerFields is the number of fields of the binary form that the ledger does not
// book; a matrix with warnings has more.
func headerFields(q *Quantized) int {
	fields := 1 + packedFields + 2 + 2 + 3
	if c := q.Columns; c != nil {
		fields += 6 + 1
		if c.Packed != nil {
			fields += packedFields - 1
		}
	}
	if q.LowRank != nil {
		fields += 3
	}
	if q.Residual != nil {
		fields += 5 + 4 + 2
	}
	if q.Outliers != nil {
		fields += 1 + 4 + 1
	}
	return fields
}

// packedFields are the fields of a dense matrix: N, K, five of the format, and a
// length for each of eight arrays.
const packedFields = 2 + 4 + 8

func forms() []Quantizer {
	rtn := RTN{Int4(33), Scale{Rule: AbsMax}}
	rows := NewMosaic(rtn, 4, 7, .3)
	rows.RowScales, rows.Bits = true, 3
	tied := NewMosaic(rtn, 1, 8, .3)
	tied.BaseScales, tied.Bits = true, 2
	return []Quantizer{rtn, RTN{Format{Bits: 3, Affine: true, Group: 22}, Scale{Rule: AbsMax}},
		rows, NewMosaic(NewGPTQ(Int4(0)), 16, 16, 1), tied, NewSpQR(Int4(33), .05)}
}

func FuzzQuantized(f *testing.F) {
	p := problem(f, 5, 66, 8)
	for _, m := range forms() {
		data, _ := quantize(f, m, p).MarshalBinary()
		f.Add(data)
	}
	p = problem(f, 3, 96, 8)
	for _, m := range kindForms() {
		data, _ := quantize(f, m, p).MarshalBinary()
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var q Quantized
		if q.UnmarshalBinary(data) != nil {
			return
		}
		if n, k := q.Dims(); n*k < 1<<20 {
			q.Dequantize()
		}
		q.Inputs(A4)
		if again, _ := q.MarshalBinary(); !bytes.Equal(again, data) {
			t.Fatal("encoded again, the matrix differs")
		}
	})
}

// Base and residual quantized together must beat both GPTQ alone and a residual
// that is added to it afterwards, and equal GPTQ where nothing is kept.
func TestJoint(t *testing.T) {
	p := problem(t, 32, 256, 6)
	base := NewGPTQ(Int4(128))
	gptq := objective(p, quantize(t, base, p).Dequantize())
	for _, shape := range [][2]int{{16, 16}, {1, 16}} {
		m := NewMosaic(base, shape[0], shape[1], .1)
		after := objective(p, quantize(t, m, p).Dequantize())
		m.Joint = true
		q := quantize(t, m, p)
		joint := objective(p, q.Dequantize())
		t.Logf("%v: GPTQ %.4g, residual afterwards %.4g, joint %.4g", shape, gptq, after, joint)
		if !(joint < gptq && joint < after) {
			t.Errorf("%v: joint %g, GPTQ %g, residual afterwards %g", shape, joint, gptq, after)
		}
		if d := q.Density(); !(d > .09 && d < .11) {
			t.Errorf("%v: density %g", shape, d)
		}
		m.Density = 0
		if !equal(quantize(t, m, p).Dequantize(), quantize(t, base, p).Dequantize()) {
			t.Errorf("%v: density 0 differs from GPTQ", shape)
		}
	}
	m := NewMosaic(RTN{Int4(128), Scale{Rule: AbsMax}}, 16, 16, .1)
	m.Joint = true
	if _, err := m.Quantize(p); err == nil {
		t.Error("a joint RTN base is accepted")
	}
}

// The blocks of a joint residual are those whose errors in GPTQ's loop, weighted
// by 1/U_jj², the residual lowers most.
func TestJointBlocks(t *testing.T) {
	const n, k, rows, cols = 8, 96, 2, 16
	p := problem(t, n, k, 16)
	base := NewGPTQ(Int4(48))
	loop := plain{format: base.Format, scale: base.Scale, damping: .01, actOrder: true, errors: make([][]float64, n)}
	for i := range loop.errors {
		loop.errors[i] = make([]float64, k)
	}
	loop.quantize(p)
	s, err := base.start(p)
	if err != nil {
		t.Fatal(err)
	}
	lambda := make([]float64, k)
	for i, c := range s.order {
		lambda[c] = 1 / (s.u[i*k+i] * s.u[i*k+i])
	}
	score := make([]float64, n/rows*(k/cols))
	for b := range score {
		var top float64
		each := func(f func(d float64, j int)) {
			for i := b / (k / cols) * rows; i < b/(k/cols)*rows+rows; i++ {
				for j := b % (k / cols) * cols; j < b%(k/cols)*cols+cols; j++ {
					f(loop.errors[i][j], j)
				}
			}
		}
		each(func(d float64, j int) { top = max(top, math.Abs(d)) })
		step := float64(fromF16(toF16(float32(top / 7))))
		each(func(d float64, j int) {
			left := d - max(-7, min(7, math.RoundToEven(d/step)))*step
			score[b] += lambda[j] * (d*d - left*left)
		})
	}
	for _, count := range []int{3, 9, 17} {
		m := NewMosaic(base, rows, cols, float64(count)/float64(len(score)))
		m.Joint = true
		r := quantize(t, m, p).Residual
		var got []int
		for b := range n / rows {
			for i := r.RowPtr.At(b); i < r.RowPtr.At(b+1); i++ {
				got = append(got, b*(k/cols)+r.Cols.At(i))
			}
		}
		if want := largest(score, count); !slices.Equal(got, want) {
			t.Errorf("%d blocks: %v, want %v", count, got, want)
		}
	}
}

// The joint loop against plain elimination that gives each weight of a kept
// block the nearest of all sums of two levels, or of those with the base code
// nearest to it or one beside that.
func TestJointAgainstPlainElimination(t *testing.T) {
	const n, k, group, cols = 12, 96, 48, 16
	p := problem(t, n, k, 17)
	for run := range 4 {
		bits, all := []int{4, 2}[run%2], run > 1
		m := NewMosaic(NewGPTQ(Int4(group)), 1, cols, .4)
		m.Joint, m.Bits, m.AllPairs = true, bits, all
		q := quantize(t, m, p)
		scale := make(map[int]float64) // of a kept block
		for i := range n {
			for b := q.Residual.RowPtr.At(i); b < q.Residual.RowPtr.At(i+1); b++ {
				scale[i*(k/cols)+q.Residual.Cols.At(b)] = float64(fromF16(q.Residual.Scales[b]))
			}
		}
		second, top := 0, 1<<(bits-1)-1
		loop := plain{format: Int4(group), scale: Scale{Rule: AbsMax}, damping: .01, actOrder: true}
		loop.nearest = func(i, c int, w float64) float64 {
			base := float64(fromF16(q.Base.Scales[i*(k/group)+c/group]))
			first := max(-7, min(7, math.RoundToEven(w/base)))
			res, kept := scale[i*(k/cols)+c/cols]
			if !kept {
				return first * base
			}
			best, code := first*base, first
			for u := -7; u <= 7; u++ {
				if !all && math.Abs(float64(u)-first) > 1 {
					continue
				}
				for v := -top; v <= top; v++ {
					if x := float64(u)*base + float64(v)*res; math.Abs(w-x) < math.Abs(w-best)-1e-9 {
						best, code = x, float64(u)
					}
				}
			}
			if code != first {
				second++
			}
			return best
		}
		want, got, differ := loop.quantize(p), q.Dequantize(), 0
		for i, v := range got.Data {
			if !(math.Abs(float64(v-want.Data[i])) < 1e-4) {
				differ++
			}
		}
		t.Logf("%d bits: %d of %d weights differ, %d have not the nearest base code", bits, differ, n*k, second)
		if differ > n*k/50 { // roundings that fall the other way
			t.Errorf("%d bits: %d of %d weights differ", bits, differ, n*k)
		}
		if second < 5 {
			t.Errorf("%d bits: the nearest base code is always the best: a poor test", bits)
		}
	}
}

// Scores of the criteria that look at the block alone, by their definitions.
func TestScoresByDefinition(t *testing.T) {
	p := problem(t, 9, 70, 12)
	m := NewMosaic(RTN{Int4(35), Scale{Rule: AbsMax}}, 4, 16, 1)
	e, h := difference(p.Weights, quantize(t, m.Base, p)), p.Moments.Diag()
	for c, term := range map[Criterion]func(i, j int) float64{
		Diag:   func(i, j int) float64 { return h[j] * float64(e.Row(i)[j]) * float64(e.Row(i)[j]) },
		Error:  func(i, j int) float64 { return float64(e.Row(i)[j]) * float64(e.Row(i)[j]) },
		Weight: func(i, j int) float64 { return math.Abs(float64(p.Weights.Row(i)[j])) },
	} {
		m.Criterion = c
		scores, _, err := m.Scores(p)
		if err != nil {
			t.Fatal(err)
		}
		want := make([]float64, 3*5)
		for i := range 9 {
			for j := range 70 {
				want[i/4*5+j/16] += term(i, j)
			}
		}
		for b, got := range scores {
			near(t, fmt.Sprintf("%s of block %d", c, b), got, want[b], 1e-9)
		}
	}
	m.Criterion = Random
	draw := func(name string, seed uint64) string {
		p := p
		p.Name, p.Seed = name, seed
		scores, _, err := m.Scores(p)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(scores)
	}
	first := draw("a", 1)
	if first != draw("a", 1) || first == draw("b", 1) || first == draw("a", 2) {
		t.Error("random scores do not come from seed and layer")
	}
}

// Densities round to the nearest number of blocks.
func TestDensityRounds(t *testing.T) {
	p := problem(t, 8, 64, 1) // 16 blocks of 4 x 8
	for density, want := range map[float64]int{.03: 0, .04: 1, .15: 2, .16: 3, .97: 16} {
		q := quantize(t, NewMosaic(RTN{Int4(32), Scale{Rule: AbsMax}}, 4, 8, density), p)
		got := 0
		if q.Residual != nil {
			got = q.Residual.Blocks()
		}
		if got != want {
			t.Errorf("density %g keeps %d of 16 blocks, want %d", density, got, want)
		}
	}
}
