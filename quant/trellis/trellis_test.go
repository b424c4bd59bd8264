package trellis

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"gonum.org/v1/gonum/mat"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/half"
	"github.com/mosaicquant/mosaicquant/quant"
)

// TestPublishedValues: the values of states 0 to 3, and the rms, kurtosis and largest of
// all 65536, are those of QTIP's bitshift.py and exllamav3's kernels.
func TestPublishedValues(t *testing.T) {
	for _, c := range []struct {
		code               quant.TrellisCode
		first              [4]float64
		rms, kurtosis, top float64
	}{
		{quant.OneMAD, [4]float64{-1.251687, -.838969, -.426250, -.013532}, 1.000088, 2.699, 3.268},
		{quant.ThreeInst, [4]float64{.768066, -.919434, .931641, .294434}, 1.243711, 2.880, 3.973},
		{quant.Mul1, [4]float64{-3.453125, .641113, -.448486, .194458}, 1.000312, 0, 0},
	} {
		values := quant.TrellisValues(c.code, 16)
		var second, fourth, top float64
		for _, v := range values {
			s := float64(v) * float64(v)
			second, fourth, top = second+s, fourth+s*s, max(top, math.Abs(float64(v)))
		}
		n := float64(len(values))
		if rms := math.Sqrt(second / n); !(math.Abs(rms-c.rms) < 2e-6) {
			t.Errorf("%s: rms %.7g, want %g", c.code, rms, c.rms)
		}
		k := n * fourth / (second * second)
		if c.kurtosis > 0 && !(math.Abs(k-c.kurtosis) < 1e-3 && math.Abs(top-c.top) < 1e-3) {
			t.Errorf("%s: kurtosis %.4g and largest %.4g, want %g and %g", c.code, k, top, c.kurtosis, c.top)
		}
		for s, want := range c.first {
			if d := math.Abs(float64(values[s]) - want); !(d < 1e-6) {
				t.Errorf("%s: state %d is %g, want %g", c.code, s, values[s], want)
			}
		}
	}
}

// TestBruteForce: the path is the best of all, open and with both ends given, and that
// with a tail is a circle that costs no less than the best open one.
func TestBruteForce(t *testing.T) {
	const bits, length, steps = 2, 4, 5
	values := quant.TrellisValues(quant.Mul1, length)
	draw := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		x := make([]float32, steps)
		for i := range x {
			x[i] = float32(draw.NormFloat64())
		}
		const groups = 1 << (length - bits)
		least, forced := math.Inf(1), make([]float64, groups)
		for g := range forced {
			forced[g] = math.Inf(1)
		}
		for first := range 1 << (length + bits*(steps-1)) {
			state := uint32(first) >> (bits * (steps - 1))
			begin := int(state) >> bits
			var cost float64
			for i, v := range x {
				if i > 0 {
					state = (state<<bits | uint32(first)>>(bits*(steps-1-i))&(1<<bits-1)) & (1<<length - 1)
				}
				d := float64(v - values[state])
				cost += d * d
			}
			least = min(least, cost)
			if int(state)&(groups-1) == begin {
				forced[begin] = min(forced[begin], cost)
			}
		}
		s := newSearch(values, bits, steps)
		states := make([]uint32, steps)
		if got := s.path(states, x, free); !(math.Abs(got-least) < 1e-4) {
			t.Errorf("open path %g, want %g", got, least)
		}
		for g, want := range forced {
			if got := s.path(states, x, g); !(math.Abs(got-want) < 1e-4) {
				t.Errorf("path from %d to %d: %g, want %g", g, g, got, want)
			}
		}
		got := s.tailBiting(states, x)
		is := func(f float64) bool { return math.Abs(f-got) < 1e-4 }
		if !(got >= least-1e-4) || !slices.ContainsFunc(forced, is) {
			t.Errorf("circle %g is none of %v", got, forced)
		}
		for i := range steps {
			before := states[(i+steps-1)%steps]
			if states[i]>>bits != before&(groups-1) {
				t.Errorf("state %d does not follow %d", states[i], before)
			}
		}
	}
}

// TestYardstick: normal numbers are coded with the SNR of a random table of as many
// states, 2.2 dB above the best scalar grid at 4 bits, and longer states code better.
func TestYardstick(t *testing.T) {
	draw := rand.New(rand.NewPCG(5, 6))
	const tiles = 12
	x := make([]float32, tiles*tile)
	var energy float64
	for i := range x {
		x[i] = float32(draw.NormFloat64())
		energy += float64(x[i]) * float64(x[i])
	}
	for _, c := range []struct {
		bits, length int
		want         float64 // dB of random tables of as many states; 0: not known
	}{{2, 12, 11.3}, {4, 10, 21.9}, {3, 10, 0}, {3, 12, 0}} {
		values := quant.TrellisValues(quant.Mul1, c.length)
		s := newSearch(values, c.bits, tile)
		states := make([]uint32, tile)
		var loss float64
		for i := range tiles {
			loss += s.tailBiting(states, x[i*tile:(i+1)*tile])
		}
		snr := 10 * math.Log10(energy/loss)
		t.Logf("%d bits, states of %d: %.2f dB", c.bits, c.length, snr)
		if c.want > 0 && !(math.Abs(snr-c.want) < 0.6) {
			t.Errorf("%d bits, states of %d: %.2f dB, want about %g", c.bits, c.length, snr, c.want)
		}
	}
}

// TestStored: what is stored decodes to what was chosen, whatever part is read, and
// comes back from its binary form; the ledger is bits of codes, a scale for each row
// and four bytes.
func TestStored(t *testing.T) {
	const n, k = 32, 48
	w, m := layer(n, k, 3)
	for _, q := range []Quantizer{{Bits: 4, Length: 8, Damping: .01},
		{Bits: 3, Length: 8, Code: quant.OneMAD, Damping: .01},
		{Bits: 2, Length: 7, Code: quant.ThreeInst, Damping: .01}} {
		out, err := q.Quantize(quant.Problem{Name: "w", Weights: w, Moments: m})
		if err != nil {
			t.Fatal(err)
		}
		if got, want := out.Ledger().Total(), int64(n*k*q.Bits/8+2*n+4); got != want {
			t.Errorf("%d bits: %d bytes, want %d", q.Bits, got, want)
		}
		whole := out.Dequantize()
		part := gemm.NewMatrix(7, 21)
		out.Load(part, 11, 19)
		for i := range part.Rows {
			for j, v := range part.Row(i) {
				if v != whole.Row(11 + i)[19+j] {
					t.Fatalf("%d bits: part [%d,%d] is %g, the whole has %g", q.Bits, i, j, v, whole.Row(11 + i)[19+j])
				}
			}
		}
		data, err := out.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		var back quant.Quantized
		if err := back.UnmarshalBinary(data); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(back.Dequantize().Data, whole.Data) {
			t.Errorf("%d bits: read back, weights are others", q.Bits)
		}
		lost := quant.OutputError(w, out, m) / quant.OutputEnergy(w, m)
		if limit := map[int]float64{4: .02, 3: .06, 2: .2}[q.Bits]; !(lost < limit) {
			t.Errorf("%d bits: output error %g", q.Bits, lost)
		}
	}
	for _, bad := range []Quantizer{{Bits: 5, Length: 12}, {Bits: 4, Length: 4}, {Bits: 4, Length: 17}} {
		if _, err := bad.Quantize(quant.Problem{Name: "w", Weights: w, Moments: m}); err == nil {
			t.Errorf("%+v passes", bad)
		}
	}
	small := quant.Problem{Name: "w", Weights: gemm.NewMatrix(8, 16), Moments: m}
	if _, err := (Quantizer{Bits: 4, Length: 8}).Quantize(small); err == nil {
		t.Error("a matrix that has no tiles passes")
	}
}

// layer returns weights, and moments of correlated inputs.
func layer(n, k int, seed uint64) (quant.Matrix, *quant.Moments) {
	draw := rand.New(rand.NewPCG(seed, 9))
	w, x := gemm.NewMatrix(n, k), gemm.NewMatrix(4*k, k)
	for i := range w.Data {
		w.Data[i] = float32(draw.NormFloat64())
	}
	for i := range x.Rows {
		common := draw.NormFloat64()
		for j := range k {
			x.Row(i)[j] = float32(draw.NormFloat64() + common)
		}
	}
	sums := quant.NewAccumulator(k)
	if err := sums.Add(x); err != nil {
		panic(err)
	}
	m, err := sums.Finish()
	if err != nil {
		panic(err)
	}
	return w, m
}

// TestLDLQ: every block of columns is chosen for the target of QTIP's LDLQ,
// W_j + Σ (W_i - Ŵ_i)·L_ij over the blocks i before it, with L of the block LDL
// factorization of H in that order, here by dense algebra; and the output error is
// below that of the same code without it.
func TestLDLQ(t *testing.T) {
	const n, k = 16, 64
	w, m := layer(n, k, 4)
	q := Quantizer{Bits: 2, Length: 8, Damping: .01}
	out, err := q.Quantize(quant.Problem{Name: "w", Weights: w, Moments: m})
	if err != nil {
		t.Fatal(err)
	}
	hat := out.Dequantize()
	h := mat.NewSymDense(k, slices.Clone(m.H))
	var mean float64
	for j := range k {
		mean += h.At(j, j) / k
	}
	for j := range k {
		h.SetSym(j, j, h.At(j, j)+.01*mean)
	}
	values := quant.TrellisValues(q.Code, q.Length)
	for j := side; j < k; j += side {
		// The best weights from column j on, given the errors before, are
		// W_B + E_A·H_AR·(H_RR)⁻¹ at the columns B of the rest R.
		var inverse, update mat.Dense
		if err := inverse.Inverse(h.SliceSym(j, k)); err != nil {
			t.Fatal(err)
		}
		e := mat.NewDense(n, j, nil)
		for i := range n {
			for c := range j {
				e.Set(i, c, float64(w.Row(i)[c]-hat.Row(i)[c]))
			}
		}
		full := mat.DenseCopyOf(h)
		update.Product(e, full.Slice(0, j, j, k), &inverse)
		target := make([]float32, tile)
		for i := range n {
			for c := range side {
				scale := half.FromF16(out.Base.Scales[i])
				target[i*side+c] = (w.Row(i)[j+c] + float32(update.At(i, c))) / scale
			}
		}
		s := newSearch(values, q.Bits, tile)
		states := make([]uint32, tile)
		want := s.tailBiting(states, target)
		var got float64
		for i := range n {
			for c := range side {
				d := float64(target[i*side+c] - hat.Row(i)[j+c]/half.FromF16(out.Base.Scales[i]))
				got += d * d
			}
		}
		if !(got < want*1.001+1e-6) {
			t.Errorf("columns from %d: error %g for their target, the code reaches %g", j, got, want)
		}
	}
	diagonal := *m
	diagonal.H = make([]float64, k*k)
	for j := range k {
		diagonal.H[j*k+j] = m.H[j*k+j]
	}
	plain, err := q.Quantize(quant.Problem{Name: "w", Weights: w, Moments: &diagonal})
	if err != nil {
		t.Fatal(err)
	}
	if a, b := quant.OutputError(w, out, m), quant.OutputError(w, plain, m); !(a < b) {
		t.Errorf("output error %g, %g without what columns tell each other", a, b)
	}
}
