//go:build cuda && linux && cgo

package cuda

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/variants"
	"github.com/mosaicquant/mosaicquant/quant"
	"github.com/mosaicquant/mosaicquant/zipper/cuda/driver"
)

// bench is a few buffers of a test, filled with ones (NaN) beyond what is put there.
type bench struct {
	t   *testing.T
	w   *Work
	all []*driver.Buffer
}

// onDevice runs f with buffers that are freed when it ends. f may not call t.Fatal.
func onDevice(t *testing.T, d *Device, f func(b *bench) error) {
	t.Helper()
	err := d.Do(func(w *Work) (err error) {
		b := &bench{t: t, w: w}
		defer func() {
			err = errors.Join(err, w.Stream().Synchronize())
			for _, x := range b.all {
				err = errors.Join(err, w.Free(x))
			}
		}()
		return f(b)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// put allocates a buffer with a copy of data; room allocates one of NaN.
func (b *bench) put(data []byte) driver.Buffer {
	x := new(driver.Buffer)
	if err := b.w.Fill(x, data); err != nil {
		panic(err)
	}
	b.all = append(b.all, x)
	return *x
}

func (b *bench) room(size int) driver.Buffer {
	data := make([]byte, size)
	for i := range data {
		data[i] = 0xff
	}
	return b.put(data)
}

func (b *bench) floats(x gemm.Matrix, t Type) driver.Buffer { return b.put(encode(x, x.Cols, t)) }

func (b *bench) vector(v []float32) driver.Buffer {
	if v == nil {
		return driver.Buffer{}
	}
	return b.floats(gemm.Matrix{Rows: 1, Cols: len(v), Stride: len(v), Data: v}, Float32)
}

func (b *bench) words(v []uint32) driver.Buffer {
	var data []byte
	for _, x := range v {
		data = binary.LittleEndian.AppendUint32(data, x)
	}
	return b.put(data)
}

func (b *bench) get(x driver.Buffer) []byte {
	data := make([]byte, x.Size())
	if err := errors.Join(b.w.Stream().Synchronize(), b.w.Download(data, x, 0)); err != nil {
		panic(err)
	}
	return data
}

// row returns a place for m rows of k columns.
func (b *bench) row(t RowType, round, m, k int) Row {
	r := Row{Type: t, Round: round, To: b.room(m * t.Stride(k))}
	if n := t.ScaleBytes(k); n > 0 {
		r.Scales = b.room(m * n)
	}
	if t == SplitBF16 {
		r.Rest = b.room(m * t.Stride(k))
	}
	return r
}

// values returns what a row stands for, and an error where padding is not zero.
func (b *bench) values(r Row, m, k int) (gemm.Matrix, error) {
	data, stride := b.get(r.To), r.Type.Stride(k)
	var scales, rest []byte
	if r.Scales.Size() > 0 {
		scales = b.get(r.Scales)
	}
	if r.Type == SplitBF16 {
		rest = b.get(r.Rest)
	}
	columns := tileCols * ceilDiv(k, tileCols)
	if r.Type == RowFloat32 {
		return decode(data, m, k, Float32), nil
	}
	y := gemm.NewMatrix(m, columns)
	for i := range m {
		at := data[i*stride:]
		for c := range columns {
			v := &y.Row(i)[c]
			switch r.Type {
			case RowInt8:
				*v = float32(int8(at[c])) * math.Float32frombits(le32(scales[4*i:]))
			case RowInt4:
				s, q, in := c/16%4, c/4%4, c%4
				word := le32(at[c/64*32+4*(4*(s/2)+q):])
				code := int32(word<<(28-4*(in+4*(s%2)))) >> 28
				*v = float32(code) * math.Float32frombits(le32(scales[i*r.Type.ScaleBytes(k)+c/a4Group*4:]))
			case RowHalf:
				*v = decode(at[2*c:2*c+2], 1, 1, Half).Data[0]
			default:
				*v = decode(at[2*c:2*c+2], 1, 1, BFloat16).Data[0]
				if r.Type == SplitBF16 {
					*v += decode(rest[i*stride+2*c:][:2], 1, 1, BFloat16).Data[0]
				}
			}
			if c >= k && *v != 0 {
				return y, fmt.Errorf("type %d: padding column %d of row %d is %g", r.Type, c, i, *v)
			}
		}
	}
	return y.View(0, m, 0, k), nil
}

// same compares rows that a kernel made with want [m,k], float64, as rounding allows.
func (b *bench) same(what string, r Row, want [][]float64) {
	b.t.Helper()
	m, k := len(want), len(want[0])
	got, err := b.values(r, m, k)
	if err != nil {
		b.t.Errorf("%s: %v", what, err)
		return
	}
	relative := map[RowType]float64{RowFloat32: 4e-6, RowHalf: 0x1p-11, RowBFloat16: 0x1p-8,
		SplitBF16: 0x1p-15}[r.Type]
	for i, row := range want {
		in := gemm.NewMatrix(1, k)
		for j, v := range row {
			in.Data[j] = float32(v)
		}
		act := map[int]quant.Activations{8: quant.A8, 4: quant.A4}[r.Round]
		rounded := in.Clone()
		act.Apply(rounded)
		for j, v := range rounded.Data {
			g, w := float64(got.Row(i)[j]), float64(v)
			bound := relative*math.Abs(w) + 1e-5
			if r.Round > 0 {
				// A value between two codes may become the other of them.
				largest := 0.0
				for c, x := range in.Data {
					if r.Round == 8 || c/a4Group == j/a4Group {
						largest = max(largest, math.Abs(float64(x)))
					}
				}
				step := largest / float64(int(1)<<(r.Round-1)-1)
				if off := math.Abs(math.Abs(math.Remainder(float64(in.Data[j]), step)) - step/2); off < 1e-3*step {
					bound += 1.01 * step
				}
			}
			if bad := math.Abs(g - w); !(bad <= bound) && !(math.IsNaN(g) && math.IsNaN(w)) {
				b.t.Errorf("%s, type %d, rounded %d: [%d,%d] = %g, want %g within %g", what, r.Type, r.Round, i, j, g, w, bound)
				return
			}
		}
	}
}

var rowKinds = []struct {
	t     RowType
	round int
}{{RowFloat32, 0}, {RowHalf, 0}, {RowBFloat16, 0}, {SplitBF16, 0}, {RowInt8, 8}, {RowInt4, 4}, {SplitBF16, 8},
	{SplitBF16, 4}, {RowFloat32, 8}}

func wide(x gemm.Matrix) [][]float64 {
	y := make([][]float64, x.Rows)
	for i := range y {
		for _, v := range x.Row(i) {
			y[i] = append(y[i], float64(v))
		}
	}
	return y
}

func normal(rng *rand.Rand, m, k int) gemm.Matrix {
	x := gemm.NewMatrix(m, k)
	for i := range x.Data {
		x.Data[i] = float32(rng.NormFloat64())
	}
	return x
}

// as rounds x to a type.
func as(x gemm.Matrix, t Type) gemm.Matrix { return decode(encode(x, x.Cols, t), x.Rows, x.Cols, t) }

// TestNorm: the residual addition, RMSNorm and every way to round its result.
func TestNorm(t *testing.T) {
	d := openDevice(t)
	rng := rand.New(rand.NewPCG(1, 1))
	for n, kind := range rowKinds {
		m, k := 1+n%3, []int{8, 72, 576, 256}[n%4]
		types := []Type{Float32, BFloat16}
		x, h, gain, bias := normal(rng, m+2, k), as(normal(rng, m+2, k), types[n%2]), normal(rng, 1, k), normal(rng, 1, k)
		withH, withBias, picked := n%4 != 1, n%3 == 0, n%2 == 1
		onDevice(t, d, func(b *bench) error {
			out := b.row(kind.t, kind.round, m, k)
			v := Norm{X: b.floats(x, Float32), Gain: b.vector(gain.Data), Eps: 1e-5, M: m, K: k, Stage: 3, Out: out,
				Bad: b.put(make([]byte, 8))}
			if withH {
				v.H = Values{At: b.floats(h, types[n%2]), Type: types[n%2], Stride: k}
				if withBias {
					v.H.Bias = b.vector(bias.Data)
				}
			}
			rows := make([]uint32, m)
			for i := range rows {
				rows[i] = uint32(i)
			}
			if picked {
				for i := range rows {
					rows[i] = uint32(m + 1 - i)
				}
				v.Rows = b.words(rows)
			}
			if err := b.w.Norm(v); err != nil {
				return err
			}
			sum := wide(x)
			want := make([][]float64, m)
			for i, r := range rows {
				square := 0.0
				for j := range sum[r] {
					if withH {
						sum[r][j] += float64(h.Row(int(r))[j])
						if withBias {
							sum[r][j] += float64(bias.Data[j])
						}
					}
					square += sum[r][j] * sum[r][j]
				}
				for j, g := range gain.Data {
					want[i] = append(want[i], float64(g)*sum[r][j]/math.Sqrt(square/float64(k)+1e-5))
				}
			}
			b.same(fmt.Sprintf("norm %dx%d", m, k), out, want)
			b.same("residual stream", Row{To: v.X, Type: RowFloat32}, sum)
			if _, _, bad, err := b.w.Bad(v.Bad); bad || err != nil {
				t.Errorf("finite rows are noted: %v", err)
			}
			return nil
		})
	}
}

// TestNormNotFinite: the first stage with a bad row is noted, and codes say NaN.
func TestNormNotFinite(t *testing.T) {
	d := openDevice(t)
	x := normal(rand.New(rand.NewPCG(2, 1)), 4, 64)
	x.Row(2)[5] = float32(math.Inf(1))
	onDevice(t, d, func(b *bench) error {
		out := b.row(RowInt8, 8, 4, 64)
		v := Norm{X: b.floats(x, Float32), Gain: b.vector(make([]float32, 64)), Eps: 1e-5, M: 4, K: 64, Stage: 7,
			Out: out, Bad: b.put(make([]byte, 8))}
		if err := b.w.Norm(v); err != nil {
			return err
		}
		v.Stage = 8
		if err := errors.Join(b.w.Norm(v), b.w.Stream().Synchronize()); err != nil {
			return err
		}
		if stage, row, bad, err := b.w.Bad(v.Bad); stage != 7 || row != 2 || !bad || err != nil {
			t.Errorf("noted stage %d, row %d, %v, %v", stage, row, bad, err)
		}
		if s := math.Float32frombits(le32(b.get(out.Scales)[8:])); s == s {
			t.Errorf("scale %g of a row that is not finite", s)
		}
		return nil
	})
}

func TestSwiGLU(t *testing.T) {
	d := openDevice(t)
	rng := rand.New(rand.NewPCG(3, 1))
	for n, kind := range rowKinds {
		m, k, typ := 1+n%2, []int{768, 40, 128}[n%3], []Type{Float32, BFloat16}[n%2]
		both, gb, ub := as(normal(rng, m, 2*k), typ), normal(rng, 1, k), normal(rng, 1, k)
		onDevice(t, d, func(b *bench) error {
			out := b.row(kind.t, kind.round, m, k)
			at := b.floats(both, typ)
			gate, up := Values{At: at, Stride: 2 * k, Type: typ}, Values{At: at, Offset: k, Stride: 2 * k, Type: typ}
			biased := n%2 == 0
			if biased {
				gate.Bias, up.Bias = b.vector(gb.Data), b.vector(ub.Data)
			}
			if err := b.w.SwiGLU(gate, up, m, k, out); err != nil {
				return err
			}
			want := make([][]float64, m)
			for i := range want {
				for j := range k {
					g, u := float64(both.Row(i)[j]), float64(both.Row(i)[k+j])
					if biased {
						g, u = g+float64(gb.Data[j]), u+float64(ub.Data[j])
					}
					want[i] = append(want[i], g/(1+math.Exp(-g))*u)
				}
			}
			b.same(fmt.Sprintf("swiglu %dx%d", m, k), out, want)
			return nil
		})
	}
}

// scene is attention over sequences of which some tokens are in the cache.
type scene struct {
	heads, kvHeads, dim, window int
	lengths, fresh              []int // tokens of each sequence, and how many of them are new
	splits                      int
	cache, values               Type
	norm, bias, tiled           bool
}

// TestAttention: rotation, cache and attention against float64, as prefill in tiles and as decode in splits.
func TestAttention(t *testing.T) {
	d := openDevice(t)
	for _, s := range []scene{
		{heads: 4, kvHeads: 2, dim: 16, lengths: []int{9, 1, 40}, fresh: []int{9, 1, 40}, splits: 1, tiled: true},
		{heads: 8, kvHeads: 2, dim: 64, lengths: []int{40}, fresh: []int{7}, splits: 1, tiled: true, norm: true,
			cache: Half, values: BFloat16},
		{heads: 4, kvHeads: 1, dim: 136, lengths: []int{70, 3}, fresh: []int{1, 1}, splits: 3, bias: true},
		{heads: 2, kvHeads: 2, dim: 256, lengths: []int{33, 64}, fresh: []int{1, 1}, splits: 2, cache: Half, window: 20},
		{heads: 6, kvHeads: 2, dim: 32, lengths: []int{50, 20}, fresh: []int{30, 20}, splits: 2, tiled: true, window: 12,
			norm: true, bias: true},
		{heads: 8, kvHeads: 2, dim: 128, lengths: []int{150, 70}, fresh: []int{150, 30}, splits: 1, tiled: true, cache: Half},
		{heads: 3, kvHeads: 1, dim: 64, lengths: []int{190}, fresh: []int{100}, splits: 3, tiled: true, cache: Half,
			window: 50},
		{heads: 3, kvHeads: 3, dim: 8, lengths: []int{1}, fresh: []int{1}, splits: 5, values: BFloat16},
	} {
		s.run(t, d)
	}
}

func (s scene) run(t *testing.T, d *Device) {
	rng := rand.New(rand.NewPCG(4, uint64(s.dim)))
	h := Heads{Heads: s.heads, KVHeads: s.kvHeads, Dim: s.dim, Room: 200, Window: s.window, Type: s.cache}
	Q, KV := s.heads*s.dim, s.kvHeads*s.dim
	var slot, pos, tiles []uint32
	rows := 0
	for i, n := range s.lengths {
		first := n - s.fresh[i]
		for p := first; p < n; p++ {
			slot, pos = append(slot, uint32(len(s.lengths)-1-i)), append(pos, uint32(p))
		}
		for p := 0; p < s.fresh[i]; p += h.TokensOfTile() {
			tiles = append(tiles, uint32(rows+p), uint32(min(h.TokensOfTile(), s.fresh[i]-p)))
		}
		rows += s.fresh[i]
	}
	qkv := as(normal(rng, rows, Q+2*KV), s.values)
	bias, gains, table := normal(rng, 1, Q+2*KV), normal(rng, 2, s.dim), normal(rng, h.Room, s.dim)
	cached := len(s.lengths) * s.kvHeads * h.Room
	keys, values := as(normal(rng, cached, s.dim), s.cache), as(normal(rng, cached, s.dim), s.cache)
	onDevice(t, d, func(b *bench) error {
		h.K, h.V, h.Slot, h.Pos = b.floats(keys, s.cache), b.floats(values, s.cache), b.words(slot), b.words(pos)
		at := b.floats(qkv, s.values)
		part := func(offset int) Values { return Values{At: at, Offset: offset, Stride: Q + 2*KV, Type: s.values} }
		r := Rope{Query: part(0), Key: part(Q), Value: part(Q + KV), Eps: 1e-6, M: rows, Table: b.floats(table, Float32),
			Q: b.room(rows * Q * s.cache.bytes())}
		if s.bias {
			r.Query.Bias, r.Key.Bias = b.vector(bias.Data[:Q]), b.vector(bias.Data[Q:Q+KV])
			r.Value.Bias = b.vector(bias.Data[Q+KV:])
		}
		if s.norm {
			r.QGain, r.KGain = b.vector(gains.Row(0)), b.vector(gains.Row(1))
		}
		out := b.row(RowFloat32, 0, rows, Q)
		var cut driver.Buffer
		if s.tiled {
			cut = b.words(tiles)
		}
		if err := errors.Join(h.Check(), b.w.Rope(r, &h)); err != nil {
			return err
		}
		sums, stats := b.room(4*s.splits*rows*Q), b.room(8*s.splits*rows*s.heads)
		if err := b.w.Attend(&h, r.Q, rows, cut, len(tiles)/2, s.splits, sums, stats, out); err != nil {
			return err
		}
		got, err := b.values(out, rows, Q)
		if err != nil {
			return err
		}
		want := s.reference(qkv, bias, gains, table, keys, values, slot, pos, h.Room)
		tolerance := map[Type]float64{Float32: 2e-5, Half: 3e-3}[s.cache]
		for i, w := range want {
			for j := range w {
				if g := float64(got.Row(i)[j]); !(math.Abs(g-w[j]) <= tolerance*(1+math.Abs(w[j]))) {
					t.Errorf("%+v: token %d: [%d] = %g, want %g", s, i, j, g, w[j])
					return nil
				}
			}
		}
		return nil
	})
}

// reference is attention in float64.
func (s scene) reference(qkv, bias, gains, table, keys, values gemm.Matrix, slot, pos []uint32,
	room int) [][]float64 {
	Q, KV := s.heads*s.dim, s.kvHeads*s.dim
	head := func(row, offset int, gain []float32, turn bool) []float64 {
		x := make([]float64, s.dim)
		square := 0.0
		for j := range x {
			x[j] = float64(qkv.Row(row)[offset+j])
			if s.bias {
				x[j] += float64(bias.Data[offset+j])
			}
			square += x[j] * x[j]
		}
		if s.norm && gain != nil {
			for j := range x {
				x[j] *= float64(gain[j]) / math.Sqrt(square/float64(s.dim)+1e-6)
			}
		}
		if turn {
			cs := table.Row(int(pos[row]))
			for j := range s.dim / 2 {
				c, n, u, v := float64(cs[j]), float64(cs[s.dim/2+j]), x[j], x[s.dim/2+j]
				x[j], x[s.dim/2+j] = u*c-v*n, v*c+u*n
			}
		}
		return x
	}
	k, v := wide(keys), wide(values)
	for i := range slot {
		for e := range s.kvHeads {
			at := (int(slot[i])*s.kvHeads+e)*room + int(pos[i])
			k[at], v[at] = head(i, Q+e*s.dim, gains.Row(1), true), head(i, Q+KV+e*s.dim, nil, false)
		}
	}
	out := make([][]float64, len(slot))
	for i := range out {
		for e := range s.heads {
			q := head(i, e*s.dim, gains.Row(0), true)
			base, first := (int(slot[i])*s.kvHeads+e/(s.heads/s.kvHeads))*room, 0
			if s.window > 0 {
				first = max(0, int(pos[i])+1-s.window)
			}
			sum, o := 0.0, make([]float64, s.dim)
			for p := first; p <= int(pos[i]); p++ {
				score := 0.0
				for j := range q {
					score += q[j] * k[base+p][j]
				}
				e := math.Exp(score / math.Sqrt(float64(s.dim)))
				sum += e
				for j := range o {
					o[j] += e * v[base+p][j]
				}
			}
			for _, x := range o {
				out[i] = append(out[i], x/sum)
			}
		}
	}
	return out
}

func TestEmbedAndGreedy(t *testing.T) {
	d := openDevice(t)
	rng := rand.New(rand.NewPCG(5, 1))
	table := as(normal(rng, 50, 72), BFloat16)
	logits := normal(rng, 3, 1500)
	for _, i := range []int{70, 1030, 1499} {
		logits.Row(0)[i] = 9 // the first of them, though the second is in the first warp
	}
	for i := range logits.Row(1) {
		logits.Row(1)[i] = -5 - float32(i)
	}
	onDevice(t, d, func(b *bench) error {
		x, ids, pos := b.room(3*72*4), b.words([]uint32{49, 0, 7}), b.words([]uint32{4, 5, 6})
		out, bad := b.put(make([]byte, 10*3*4)), b.put(make([]byte, 8))
		if err := b.w.Embed(x, b.floats(table, BFloat16), BFloat16, ids, 3, 72); err != nil {
			return err
		}
		b.same("embedding", Row{To: x, Type: RowFloat32}, [][]float64{wide(table)[49], wide(table)[0], wide(table)[7]})
		if err := b.w.Greedy(ids, pos, out, b.floats(logits, Float32), 3, 1500, bad, 9); err != nil {
			return err
		}
		best := 0
		for i, v := range logits.Row(2) {
			if v > logits.Row(2)[best] {
				best = i
			}
		}
		for i, want := range []int{70, 0, best} {
			token, place, kept := le32(b.get(ids)[4*i:]), le32(b.get(pos)[4*i:]), le32(b.get(out)[4*((5+i)*3+i):])
			if int(token) != want || int(place) != 5+i || kept != token {
				t.Errorf("row %d: token %d (kept %d) at %d, want %d at %d", i, token, kept, place, want, 5+i)
			}
		}
		if _, _, noted, err := b.w.Bad(bad); noted || err != nil {
			t.Errorf("finite logits are noted: %v", err)
		}
		logits.Row(1)[1000] = float32(math.NaN())
		if err := b.w.Greedy(ids, pos, out, b.floats(logits, Float32), 3, 1500, bad, 9); err != nil {
			return err
		}
		b.get(ids)
		if stage, row, noted, _ := b.w.Bad(bad); !noted || stage != 9 || row != 1 {
			t.Errorf("NaN among logits: stage %d, row %d, %v", stage, row, noted)
		}
		return nil
	})
}

// TestMultiply: products of codes in buffers of the caller, and those of what bfloat16 leaves.
func TestMultiply(t *testing.T) {
	d := openDevice(t)
	q := shape{n: 96, k: 256, group: 64, r: 16, c: 16, bits: 4, density: 0.3}.random(1)
	rng := rand.New(rand.NewPCG(6, 1))
	for _, c := range []struct {
		scheme Scheme
		row    RowType
		round  int
	}{{W4A8, RowInt8, 8}, {W4A4, RowInt4, 4}, {W4A16BF16, SplitBF16, 0}, {W4A16Half, RowHalf, 0}} {
		l, err := NewLayout(q, c.scheme)
		if err != nil {
			t.Fatal(err)
		}
		for _, variant := range []string{variants.Zipper, variants.Separate, variants.Dense4} {
			layer, err := d.NewLayer(l, variant, Options{})
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range []int{1, 5, 1} {
				x, ones := normal(rng, m, l.K), make([]float32, l.K)
				for i := range ones {
					ones[i] = 1
				}
				onDevice(t, d, func(b *bench) error {
					out := b.row(c.row, c.round, m, l.K)
					if c.row == SplitBF16 { // hi and rest in one buffer, as one product of 2m tokens
						both := b.room(2 * m * c.row.Stride(l.K))
						out.To, out.Rest = both, both.Part(int64(m*c.row.Stride(l.K)), int64(m*c.row.Stride(l.K)))
					}
					v := Norm{X: b.floats(x, Float32), Gain: b.vector(ones), M: m, K: l.K, Out: out, Bad: b.put(make([]byte, 8))}
					n, y := m, b.room(8*m*l.N)
					if c.row == SplitBF16 {
						n = 2 * m
					}
					if err := errors.Join(b.w.Norm(v), b.w.Multiply(layer, y, out.To, out.Scales, n)); err != nil {
						return err
					}
					if c.row == SplitBF16 {
						if err := b.w.Accumulate(y, m*l.N); err != nil {
							return err
						}
					}
					in, err := b.values(out, m, l.K)
					if err != nil {
						return err
					}
					got := decode(b.get(y), m, l.N, Float32)
					w := of(q, variant).Dequantize()
					for i := range m {
						for j := range l.N {
							want, size := 0.0, 0.0
							for e := range l.K {
								p := float64(in.Row(i)[e]) * float64(w.Row(j)[e])
								want, size = want+p, size+math.Abs(p)
							}
							if g := float64(got.Row(i)[j]); !(math.Abs(g-want) <= 3e-5*size) {
								t.Errorf("%s %s, %d tokens: [%d,%d] = %g, want %g", c.scheme, variant, m, i, j, g, want)
								return nil
							}
						}
					}
					return nil
				})
			}
			if err := layer.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestGEMM32: products in float32, rows apart, added.
func TestGEMM32(t *testing.T) {
	d := openDevice(t)
	if _, err := d.CuBLAS(); err != nil {
		t.Skip(err)
	}
	rng := rand.New(rand.NewPCG(7, 1))
	const m, n, k, ldx = 3, 8, 24, 64
	x, w := as(normal(rng, m, ldx), BFloat16), as(normal(rng, n, k), BFloat16)
	onDevice(t, d, func(b *bench) error {
		blas, err := b.w.BLAS()
		if err != nil {
			return err
		}
		y, xb, wb := b.room(4*m*n), b.floats(x, BFloat16), b.floats(w, BFloat16)
		for _, more := range []bool{false, true} {
			if err := blas.GEMM32(y, xb, wb, m, n, k, ldx, more); err != nil {
				return err
			}
		}
		got := decode(b.get(y), m, n, Float32)
		for i := range m {
			for j := range n {
				want := 0.0
				for e := range k {
					want += 2 * float64(x.Row(i)[e]) * float64(w.Row(j)[e])
				}
				if g := float64(got.Row(i)[j]); !(math.Abs(g-want) <= 1e-4) {
					t.Errorf("[%d,%d] = %g, want %g", i, j, g, want)
				}
			}
		}
		return nil
	})
}
