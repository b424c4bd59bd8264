package baseline

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"gonum.org/v1/gonum/mat"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/half"
	"github.com/mosaicquant/mosaicquant/quant"
	"github.com/mosaicquant/mosaicquant/quant/grid"
	"github.com/mosaicquant/mosaicquant/quant/plain"
	"github.com/mosaicquant/mosaicquant/quant/quanttest"
	"github.com/mosaicquant/mosaicquant/quant/solve"
)

// permuted returns p with its channels in the given order.
func permuted(p quant.Problem, order []int) quant.Problem {
	p.Weights, p.Moments = pickColumns(p, order), p.Moments.Channels(order)
	return p
}

// ByError keeps the channels of largest h_j·Σ_n (w_nj - ŵ_nj)², and so none whose weights
// are on the grid, however large its inputs are; groups of a fixed size must divide K.
func TestMixedByError(t *testing.T) {
	p := quanttest.Problem(t, 12, 96, 31)
	h := slices.Clone(p.Moments.H)
	for j := range 96 {
		h[5*96+j] *= 100
		h[j*96+5] *= 100
	}
	p.Moments = &quant.Moments{K: 96, Tokens: p.Moments.Tokens, H: h, AbsMax: p.Moments.AbsMax,
		Mean: p.Moments.Mean, MeanAbs: p.Moments.MeanAbs}
	for i := range 12 {
		p.Weights.Row(i)[5] = 0
	}
	f := quant.Format{Bits: 4, Affine: true}
	order, count, err := Mixed{Base: solve.GPTQ{Format: f, Scale: grid.Scale{Rule: grid.AbsMax}}, Score: ByError,
		Share: .125, Bits: 16}.channels(p)
	if err != nil || count != 12 {
		t.Fatal(count, err)
	}
	score := make([]float64, 96)
	for i := range 12 {
		row := p.Weights.Row(i)
		lo, hi := 0., 0.
		for _, v := range row {
			lo, hi = min(lo, float64(v)), max(hi, float64(v))
		}
		scale := float64(half.FromF16(half.ToF16(float32((hi - lo) / 15))))
		zero := math.RoundToEven(-lo / scale)
		for j, v := range row {
			u := max(0, min(15, math.RoundToEven(float64(v)/scale)+zero))
			d := float64(v) - (u-zero)*scale
			score[j] += h[j*96+j] * d * d
		}
	}
	least := math.Inf(1)
	for _, j := range order[84:] {
		least = min(least, score[j])
	}
	for _, j := range order[:84] {
		if score[j] > least*(1+1e-6) {
			t.Errorf("channel %d loses %g and is not kept, one that loses %g is", j, score[j], least)
		}
	}
	if slices.Contains(order[84:], 5) {
		t.Error("a channel whose weights lose nothing is kept")
	}
	fixed := Mixed{Base: solve.RTN{Format: quant.Format{Bits: 4, Group: 16, Kind: quant.NVFP4}}, Score: ByError, Share: .1, Bits: 16}
	if fixed.Fits(96) != nil || fixed.Fits(104) == nil {
		t.Error("groups of 16 in rows of 96 and 104")
	}
}

// Kept channels beside a GPTQ base are what GPTQ's elimination leaves of them
// when they come last and are stored in half precision; the base in 4 bits is
// what it makes of the others.
func TestMixedAgainstPlainElimination(t *testing.T) {
	p := quanttest.Problem(t, 12, 96, 31)
	for _, score := range []ChannelScore{ByAbsMax, ByEnergy, ByError} {
		m := Mixed{Base: solve.GPTQ{Format: quant.Int4(32), Scale: grid.Scale{Rule: grid.AbsMax}, Damping: .01}, Score: score, Share: 1. / 3, Bits: 16}
		order, count, err := m.channels(p)
		if err != nil || count != 32 {
			t.Fatal(count, err)
		}
		q := quanttest.Quantize(t, m, p)
		last := permuted(p, order)
		keep := make([][]bool, 12)
		for i := range keep {
			keep[i] = make([]bool, 96)
			for j := 64; j < 96; j++ {
				keep[i][j] = true
			}
		}
		want := plain.Elimination{Format: quant.Int4(32), Scale: grid.Scale{Rule: grid.AbsMax}, Damping: .01, Keep: keep}.Quantize(last)
		got := permuted(quant.Problem{Weights: q.Dequantize(), Moments: p.Moments}, order).Weights
		differ := 0
		for i := range want.Data {
			// A tie that float32 decides otherwise moves a code and all after it.
			if d := math.Abs(float64(got.Data[i] - want.Data[i])); !(d < 2e-3*(1+math.Abs(float64(want.Data[i])))) {
				differ++
			}
		}
		if differ > len(want.Data)/50 {
			t.Errorf("%s: %d of %d weights differ", score, differ, len(want.Data))
		}
		quanttest.Near(t, "objective", quanttest.Objective(last, got), quanttest.Objective(last, want), 2e-3)
	}
}

// Keeping more channels never hurts much, keeping them beats not keeping them,
// 16 bits beat 8, and bits are those of the papers.
func TestMixed(t *testing.T) {
	p := quanttest.Problem(t, 64, 256, 5)
	base := solve.NewGPTQ(quant.Int4(0))
	last := quanttest.Objective(p, quanttest.Quantize(t, base, p).Dequantize())
	for _, share := range []float64{.03125, .125, .5} {
		m := Mixed{Base: base, Score: ByAbsMax, Share: share, Bits: 16}
		q := quanttest.Quantize(t, m, p)
		got := quanttest.Objective(p, q.Dequantize())
		if !(got < last) {
			t.Errorf("share %g: objective %g, with fewer channels %g", share, got, last)
		}
		last = got
		// QUIK: 4 + 12·f/K, a scale per row, and an index per kept channel.
		f := share * 256
		if want := 4 + 12*share + 16./256 + 8*f/(64*256); math.Abs(q.BitsPerWeight()-want) > 1e-12 {
			t.Errorf("share %g: %g bits, want %g", share, q.BitsPerWeight(), want)
		}
		m.Bits = 8
		eight := quanttest.Objective(p, quanttest.Quantize(t, m, p).Dequantize())
		if !(eight > got && eight < 1.2*got) {
			t.Errorf("share %g: kept in 8 bits %g, in 16 %g", share, eight, got)
		}
		m.Bits, m.Base = 16, solve.RTN{Format: quant.Int4(0), Scale: grid.Scale{Rule: grid.AbsMax}}
		q = quanttest.Quantize(t, m, p)
		for _, j := range []int{0, q.Columns.Count - 1} {
			if c := q.Columns.Index.At(j); q.Dequantize().Row(3)[c] != half.FromF16(half.ToF16(p.Weights.Row(3)[c])) {
				t.Errorf("kept channel %d is not the original in half precision", c)
			}
		}
	}

	// Atom: sorted by energy; a group of alike channels loses less.
	atom := Mixed{Base: solve.NewGPTQ(quant.Int4(112)), Score: ByEnergy, Share: .125, Bits: 8, Reorder: true}
	q := quanttest.Quantize(t, atom, p)
	order := q.Inputs(quant.A8).Channels.Order
	h := p.Moments.Diag()
	if !slices.IsSortedFunc(order, func(a, b int) int { return int(math.Copysign(1, h[a]-h[b])) }) {
		t.Error("Atom's channels are not sorted by energy")
	}
	if want := (4*224+8*32)/256. + 2*16./256 + 16./256 + 8./64; math.Abs(q.BitsPerWeight()-want) > 1e-12 {
		t.Errorf("Atom: %g bits, want %g", q.BitsPerWeight(), want)
	}

	// LLM.int8(): the threshold decides.
	int8 := Mixed{Base: solve.RTN{Format: quant.Format{Bits: 8}, Scale: grid.Scale{Rule: grid.AbsMax}}, Score: ByAbsMax, Threshold: 12, Bits: 16}
	q = quanttest.Quantize(t, int8, p)
	isKept := func(j int) bool { return slices.Index(q.Inputs(quant.A8).Channels.Order, j) >= 256-q.Columns.Count }
	for j, v := range p.Moments.AbsMax {
		if kept := isKept(j); kept != (v >= 12) {
			t.Errorf("channel %d of inputs up to %g: kept %v", j, v, kept)
		}
	}
	// A channel that just reaches the threshold is kept.
	at := slices.IndexFunc(p.Moments.AbsMax, func(v float32) bool { return v > 4 })
	int8.Threshold = float64(p.Moments.AbsMax[at])
	if q = quanttest.Quantize(t, int8, p); !isKept(at) {
		t.Errorf("channel %d of inputs up to the threshold is not kept", at)
	}
	int8.Threshold = 1e6
	if q = quanttest.Quantize(t, int8, p); q.Columns != nil {
		t.Error("a threshold that nothing reaches keeps channels")
	}
	int8.Threshold = 1e-6
	if _, err := int8.Quantize(p); err == nil || !strings.Contains(err.Error(), "all 256 channels") {
		t.Errorf("%v", err)
	}

	// QUIK's rule for down_proj.
	quik := Mixed{Base: solve.NewGPTQ(quant.Int4(128)), Score: ByAbsMax, Share: .0625, Bits: 16, Int8Down: true}
	fixed := quik
	fixed.Base = solve.NewGPTQ(quant.Format{Bits: 4, Group: 32, Kind: quant.MXFP4})
	for share, kept := range map[float64]int{.0625: 32, .05: 0, .19: 64} { // what leaves whole groups of 32
		fixed.Share = share
		if q = quanttest.Quantize(t, fixed, p); kept == 0 != (q.Columns == nil) || kept > 0 && q.Columns.Count != kept {
			t.Errorf("%g of 256 channels beside groups of 32: kept %+v, want %d", share, q.Columns, kept)
		}
	}
	int8.Base, int8.Threshold = solve.RTN{Format: fixed.Base.(solve.GPTQ).Format, Scale: grid.Scale{Rule: grid.AbsMax}}, float64(p.Moments.AbsMax[at])
	if q = quanttest.Quantize(t, int8, p); q.Columns == nil || q.Columns.Count%32 != 0 || !isKept(at) {
		t.Errorf("channels above a threshold are not joined to a whole group: %+v", q.Columns)
	}
	p.Name = "model.layers.0.mlp.down_proj"
	q = quanttest.Quantize(t, quik, p)
	if q.Base.Format != (quant.Format{Bits: 8}) || q.InputBits != 8 || q.Inputs(quant.A4).Bits != 8 || q.Inputs(quant.A16) != quant.A16 {
		t.Errorf("down_proj: %v, inputs %d", q.Base.Format, q.InputBits)
	}
	singular := p
	singular.Moments = p.Moments.Channels(make([]int, 256)) // 256 times channel 0
	quik.Base = solve.GPTQ{Format: quant.Int4(0), Scale: grid.Scale{Rule: grid.AbsMax}}
	if _, err := quik.Quantize(singular); err == nil || !strings.Contains(err.Error(), "not positive definite") {
		t.Errorf("singular: %v", err)
	}
}

// The low-rank branch captures what a full SVD does, to a thousandth, also of a
// flat spectrum, and all of a matrix of that rank.
func TestLowRankAgainstLAPACK(t *testing.T) {
	draw := rand.New(rand.NewPCG(8, 8))
	for _, c := range []struct{ n, k, rank, own int }{{40, 70, 3, 0}, {96, 64, 8, 0}, {5, 9, 5, 0}, {64, 64, 16, 0}, {30, 50, 4, 4}, {1, 20, 1, 0}} {
		w := gemm.NewMatrix(c.n, c.k)
		for i := range w.Data {
			w.Data[i] = float32(draw.NormFloat64())
		}
		if c.own > 0 {
			a, b := gemm.NewMatrix(c.n, c.own), gemm.NewMatrix(c.own, c.k)
			for i := range a.Data {
				a.Data[i] = float32(draw.NormFloat64())
			}
			for i := range b.Data {
				b.Data[i] = float32(draw.NormFloat64())
			}
			gemm.Gemm(false, false, 1, a, b, 0, w)
		}
		d := mat.NewDense(c.n, c.k, nil)
		for i := range c.n {
			for j, v := range w.Row(i) {
				d.Set(i, j, float64(v))
			}
		}
		var svd mat.SVD
		if !svd.Factorize(d, mat.SVDNone) {
			t.Fatal("no SVD")
		}
		var total, best float64
		for i, s := range svd.Values(nil) {
			total += s * s
			if i < c.rank {
				best += s * s
			}
		}
		l, err := lowRank(w, c.rank, draw)
		if err != nil {
			t.Fatal(err)
		}
		got := gemm.NewMatrix(c.n, c.k)
		l.Add(got, 0, 0)
		lost, _ := quant.WeightError(w, got)
		if !(lost <= total-best+2e-3*total+1e-9) {
			t.Errorf("%v: %g of %g is left, the best is %g", c, lost, total, total-best)
		}
	}
	zero, err := lowRank(gemm.NewMatrix(4, 6), 2, draw)
	if err != nil {
		t.Fatal(err)
	}
	got := gemm.NewMatrix(4, 6)
	zero.Add(got, 0, 0)
	if !quanttest.Equal(got, gemm.NewMatrix(4, 6)) {
		t.Error("the branch of a zero matrix is not zero")
	}
}

// More rank, smoothing and more rounds each lower the output error or leave it.
func TestSVDQuant(t *testing.T) {
	p := quanttest.Problem(t, 48, 96, 3)
	rtn := solve.RTN{Format: quant.Int4(32), Scale: grid.Scale{Rule: grid.AbsMax}}
	loss := func(m quant.Quantizer) float64 {
		return quanttest.Objective(p, quanttest.Quantize(t, m, p).Dequantize())
	}
	last := loss(rtn)
	for _, rank := range []int{8, 24, 40} {
		got := loss(SVDQuant{Base: rtn, Rank: rank})
		if !(got < last) {
			t.Errorf("rank %d: %g, with less %g", rank, got, last)
		}
		last = got
		rounds := loss(SVDQuant{Base: rtn, Rank: rank, Rounds: 5})
		smooth := loss(SVDQuant{Base: rtn, Rank: rank, Smooth: true})
		if !(rounds <= got*(1+1e-5) && smooth <= got*(1+1e-2)) {
			t.Errorf("rank %d: %g, 5 rounds %g, smoothed %g", rank, got, rounds, smooth)
		}
	}
	// A second round replaces the branch by what the codes of the first lack.
	coarse := solve.RTN{Format: quant.Format{Bits: 3, Group: 96}, Scale: grid.Scale{Rule: grid.AbsMax}}
	first, second := quanttest.Quantize(t, SVDQuant{Base: coarse, Rank: 8}, p), quanttest.Quantize(t, SVDQuant{Base: coarse, Rank: 8, Rounds: 1}, p)
	if a, b := quanttest.Objective(p, first.Dequantize()), quanttest.Objective(p, second.Dequantize()); !(b < .98*a) {
		t.Errorf("a second round leaves %g of %g", b, a)
	}
	// No round that raises the loss is kept.
	least := math.Inf(1)
	for rounds := range 8 {
		got := quanttest.Objective(p, quanttest.Quantize(t, SVDQuant{Base: rtn, Rank: 40, Rounds: rounds}, p).Dequantize())
		if !(got <= least*(1+1e-5)) {
			t.Errorf("%d rounds lose %g, fewer %g", rounds, got, least)
		}
		least = min(least, got)
	}
	lacks := quant.Difference(p.Weights, first.Base)
	branch := gemm.NewMatrix(48, 96)
	second.LowRank.Add(branch, 0, 0)
	want, err := lowRank(lacks, 8, rand.New(rand.NewPCG(5, 5)))
	if err != nil {
		t.Fatal(err)
	}
	best := gemm.NewMatrix(48, 96)
	want.Add(best, 0, 0)
	left, total := quant.WeightError(lacks, branch)
	if least, _ := quant.WeightError(lacks, best); !(left < least+2e-3*total) {
		t.Errorf("the branch of the second round leaves %g of what the codes lack, at best %g", left, least)
	}
	q := quanttest.Quantize(t, SVDQuant{Base: solve.NewGPTQ(quant.Int4(32)), Rank: 4}, p)
	if want := 4.5 + 16*4*(48.+96)/(48*96); q.BitsPerWeight() != want {
		t.Errorf("%g bits, want %g", q.BitsPerWeight(), want)
	}
	for _, c := range []struct {
		m    SVDQuant
		want string
	}{{SVDQuant{Base: rtn}, "rank 0 outside 1..48"}, {SVDQuant{Base: rtn, Rank: 49}, "rank 49"}, {SVDQuant{Base: AWQ{}, Rank: 1}, "needs a base of RTN or GPTQ"}, {SVDQuant{Base: rtn, Rank: 1, Rounds: -1}, "-1 rounds"}} {
		if _, err := c.m.Quantize(p); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want %q", err, c.want)
		}
	}
}

// SpQR's own rule: no outliers where the threshold is out of reach, more of them
// and less loss as it falls; its grid costs 4.625 bits.
func TestSpQRThreshold(t *testing.T) {
	p := quanttest.Problem(t, 32, 256, 40)
	f := quant.Format{Bits: 4, Affine: true, Group: 16, Kind: quant.Bilevel}
	m := SpQR{GPTQ: solve.NewGPTQ(f), Threshold: 1e6}
	q := quanttest.Quantize(t, m, p)
	if q.Outliers.Count() != 0 || !quanttest.Equal(q.Dequantize(), quanttest.Quantize(t, m.GPTQ, p).Dequantize()) {
		t.Errorf("%d outliers beyond reach, or another matrix than GPTQ's", q.Outliers.Count())
	}
	count, last := 0, quanttest.Objective(p, q.Dequantize())
	for _, tau := range []float64{.02, .01, .005, .002} {
		m.Threshold = tau
		q = quanttest.Quantize(t, m, p)
		got := quanttest.Objective(p, q.Dequantize())
		if !(q.Outliers.Count() > count && got < last) {
			t.Errorf("τ=%g: %d outliers after %d, objective %g after %g", tau, q.Outliers.Count(), count, got, last)
		}
		count, last = q.Outliers.Count(), got
		wants := 4.625 + (16+8)*q.Density() + 8*2*33./(32*256)
		if d := q.BitsPerWeight() - wants; !(math.Abs(d) < .01) {
			t.Errorf("τ=%g: %g bits, want %g", tau, q.BitsPerWeight(), wants)
		}
	}
	for _, bad := range []SpQR{{GPTQ: solve.NewGPTQ(f), Threshold: .1, Share: .1}, {GPTQ: solve.NewGPTQ(f), Threshold: math.NaN()}, {GPTQ: solve.NewGPTQ(f), Threshold: -1}} {
		if _, err := bad.Quantize(p); err == nil {
			t.Errorf("τ=%g beside a share of %g is accepted", bad.Threshold, bad.Share)
		}
	}
}

// Leave-one-out marks what a fit without it makes cheap, by the definition.
func TestLeaveOneOut(t *testing.T) {
	p := quanttest.Problem(t, 4, 32, 41)
	p.Weights.Row(2)[7] = 9
	g := solve.NewGPTQ(quant.Format{Bits: 4, Affine: true, Group: 16})
	s, err := g.Start(p)
	if err != nil {
		t.Fatal(err)
	}
	lambda := s.Lambda()
	limit := .2 * meanVariance(p.Weights, lambda)
	skip, err := leaveOneOut(s, lambda, limit)
	if err != nil {
		t.Fatal(err)
	}
	if !skip[2*32+7] {
		t.Error("the outlier is not left out")
	}
	marked := 0
	for i := range skip {
		if skip[i] {
			marked++
		}
		row, g := p.Weights.Row(i/32), i%32/16*16
		loss := func(without int) (sum float64) {
			lo, hi := 0.0, 0.0
			for j := g; j < g+16; j++ {
				if j != without {
					lo, hi = min(lo, float64(row[j])), max(hi, float64(row[j]))
				}
			}
			step := float64(half.FromF16(half.ToF16(float32((hi - lo) / 15))))
			zero := math.RoundToEven(-lo / step)
			for j := g; j < g+16; j++ {
				if j != without {
					u := max(0, min(15, math.RoundToEven(float64(row[j])/step)+zero))
					d := float64(row[j]) - (u-zero)*step
					sum += lambda[j] * d * d
				}
			}
			return sum
		}
		if want := loss(-1)-loss(i%32) > limit; skip[i] != want {
			t.Errorf("weight %d: marked %v, want %v", i, skip[i], want)
		}
	}
	if marked > 16 {
		t.Errorf("%d of 128 weights are left out", marked)
	}
}

// Searches for channel scales find the best of all that they may try: AWQ's 20
// powers, SVDQuant's 41 pairs.
func TestChannelScaleSearches(t *testing.T) {
	rtn := solve.RTN{Format: quant.Int4(32), Scale: grid.Scale{Rule: grid.AbsMax}}
	var powers, pairs []int
	for seed := range uint64(4) {
		p := quanttest.Problem(t, 24, 96, 80+seed)
		if seed >= 2 { // weights that answer strong inputs
			for i := range 24 {
				for j := range 96 {
					p.Weights.Row(i)[j] /= float32(math.Pow(float64(p.Moments.MeanAbs[j]), .9))
				}
			}
		}
		if seed == 3 {
			for i := range p.Weights.Rows {
				p.Weights.Row(i)[7] *= 30
			}
		}
		top := make([]float64, 96)
		for i := range 24 {
			for j, v := range p.Weights.Row(i) {
				top[j] = max(top[j], math.Abs(float64(v)))
			}
		}
		argmin := func(candidates [][]uint16, m quant.Quantizer) (best int) {
			least := math.Inf(1)
			for i, s := range candidates {
				q, err := m.Quantize(scaled(p, s))
				if err != nil {
					t.Fatal(err)
				}
				q.ChannelScales = s
				if l := quanttest.Objective(p, q.Dequantize()); l < least {
					least, best = l, i
				}
			}
			return best
		}
		check := func(m quant.Quantizer, want []uint16) {
			t.Helper()
			got := quanttest.Quantize(t, m, p).ChannelScales
			if got == nil {
				got = slices.Repeat([]uint16{half.ToF16(1)}, 96)
			}
			if !slices.Equal(got, want) {
				t.Errorf("seed %d: %T has other scales than the best", seed, m)
			}
		}
		var awq, svd [][]uint16
		for i := range 20 {
			awq = append(awq, awqScales(p.Moments, float64(i)/20))
		}
		best := argmin(awq, rtn)
		powers = append(powers, best)
		check(AWQ{rtn, rtn.Format}, awq[best])
		for i := range 21 {
			for _, b := range []float64{0, 1 - float64(i)/20} {
				s := make([]float64, 96)
				for j := range s {
					s[j] = math.Pow(float64(p.Moments.AbsMax[j]), float64(i)/20) / math.Pow(top[j], b)
				}
				if i > 0 || b == 0 {
					svd = append(svd, channelScales(s))
				}
			}
		}
		best = argmin(svd, SVDQuant{Base: rtn, Rank: 4})
		pairs = append(pairs, best)
		check(SVDQuant{Base: rtn, Rank: 4, Smooth: true}, svd[best])
	}
	t.Logf("best powers %v, best pairs %v", powers, pairs)
	if slices.Max(powers) < 10 || slices.Min(powers) > 8 {
		t.Errorf("best powers %v: a poor test", powers)
	}
}
