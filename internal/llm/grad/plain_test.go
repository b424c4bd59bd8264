package grad

import (
	"math"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/llm"
	"github.com/mosaicquant/mosaicquant/internal/rotation"
)

// plain computes the loss of a model in float64, with loops, the way SpinQuant writes it
// down: rotations are folded into every weight, and the stream is in their channels.
type plain struct {
	m           *llm.Model // folded
	blocks      []llm.Block
	embed, head table
	down        table // [I,I]
	d, q, kv    int
	eps         float64
	keys, vals  []gemm.Matrix
}

type table [][]float64

func newPlain(m *llm.Model, down rotation.Transform) *plain {
	m = m.Fold()
	c := m.Config()
	p := &plain{m: m, blocks: m.Blocks(), embed: load(m.Embedding()), head: load(m.Output()), d: c.HeadDim,
		q: c.Heads * c.HeadDim, kv: c.KVHeads * c.HeadDim, eps: float64(float32(c.RMSNormEps))}
	one := gemm.NewMatrix(c.MLPSize, c.MLPSize)
	for i := range one.Rows {
		one.Row(i)[i] = 1
	}
	if down != nil {
		down.Inputs(one)
	}
	p.down = load(one)
	var err error
	if p.keys, p.vals, err = m.PrefixKeys(); err != nil {
		panic(err)
	}
	return p
}

func load(w gemm.Source) table {
	m := gemm.NewMatrix(w.Dims())
	w.Load(m, 0, 0)
	t := make(table, m.Rows)
	for i := range t {
		for _, v := range m.Row(i) {
			t[i] = append(t[i], float64(v))
		}
	}
	return t
}

// times returns a·b, or a·bᵀ.
func (a table) times(b table, transposed bool) table {
	out := make(table, len(a))
	for i, row := range a {
		if transposed {
			for _, other := range b {
				var sum float64
				for k, v := range row {
					sum += v * other[k]
				}
				out[i] = append(out[i], sum)
			}
			continue
		}
		out[i] = make([]float64, len(b[0]))
		for k, v := range row {
			for j, u := range b[k] {
				out[i][j] += v * u
			}
		}
	}
	return out
}

func (a table) transpose() table {
	out := make(table, len(a[0]))
	for j := range out {
		for _, row := range a {
			out[j] = append(out[j], row[j])
		}
	}
	return out
}

// repeated is r on the diagonal, n times.
func repeated(r table, n int) table {
	d := len(r)
	out := make(table, n*d)
	for i := range out {
		out[i] = make([]float64, n*d)
		copy(out[i][i/d*d:], r[i%d])
	}
	return out
}

// linear returns x·Wᵀ + b with the columns of W turned by in and its rows by out; nil
// turns nothing.
func linear(x table, p llm.Part, in, out table) table {
	w, b := load(p.Weights), make([]float64, len(load(p.Weights)))
	for i, v := range p.Bias {
		b[i] = float64(v)
	}
	if in != nil {
		w = w.times(in, false)
	}
	if out != nil {
		w, b = out.transpose().times(w, false), table{b}.times(out, false)[0]
	}
	y := x.times(w, true)
	for i := range y {
		for j := range y[i] {
			y[i][j] += b[j]
		}
	}
	return y
}

func (p *plain) normed(x table, gain []float32) table {
	out := make(table, len(x))
	for i, row := range x {
		var sum float64
		for _, v := range row {
			sum += v * v
		}
		s := 1 / math.Sqrt(sum/float64(len(row))+p.eps)
		for j, v := range row {
			v *= s
			if gain != nil {
				v *= float64(gain[j])
			}
			out[i] = append(out[i], v)
		}
	}
	return out
}

// loss is the summed loss of a sequence; round is called for each site in order.
func (p *plain) loss(r1 table, r2 []table, ids []int32, round func(x table)) (sum float64) {
	x := make(table, len(ids))
	for i, id := range ids {
		x[i] = table{p.embed[id]}.times(r1, false)[0]
	}
	for l, b := range p.blocks {
		n := p.normed(x, nil)
		round(n)
		q, k := linear(n, b.Linears[0], r1, nil), linear(n, b.Linears[1], r1, nil)
		v := linear(n, b.Linears[2], r1, repeated(r2[l], p.kv/p.d))
		o := p.attention(l, q, k, v, r2[l])
		round(o)
		x.add(linear(o, b.Linears[3], repeated(r2[l], p.q/p.d), r1))
		n = p.normed(x, nil)
		round(n)
		gate, up := linear(n, b.Linears[4], r1, nil), linear(n, b.Linears[5], r1, nil)
		for i := range gate {
			for j, g := range gate[i] {
				gate[i][j] = g / (1 + math.Exp(-g)) * up[i][j]
			}
		}
		gate = gate.times(p.down, false)
		round(gate)
		x.add(linear(gate, b.Linears[6], p.down, r1))
	}
	logits := p.normed(x, nil).times(p.head.times(r1, false), true)
	for i, next := range ids[1:] {
		var total float64
		for _, v := range logits[i] {
			total += math.Exp(v)
		}
		sum += math.Log(total) - logits[i][next]
	}
	return sum
}

func (a table) add(b table) {
	for i := range a {
		for j, v := range b[i] {
			a[i][j] += v
		}
	}
}

// attention returns that of layer l for queries, keys and values without positions.
func (p *plain) attention(l int, q, k, v, r2 table) table {
	past := len(p.m.Prefix())
	p.place(q, p.blocks[l].QNorm, past)
	p.place(k, p.blocks[l].KNorm, past)
	if past > 0 {
		k = append(load(p.keys[l])[:past:past], k...)
		v = append(load(p.vals[l])[:past:past].times(repeated(r2, p.kv/p.d), false), v...)
	}
	out := make(table, len(q))
	for i := range q {
		out[i] = make([]float64, p.q)
		for at := 0; at < p.q; at += p.d {
			from := at / p.d / (p.q / p.kv) * p.d
			weights, total := make([]float64, past+i+1), 0.0
			for t := range weights {
				if w := p.blocks[l].Window; w > 0 && t <= past+i-w {
					continue
				}
				var score float64
				for j := range p.d {
					score += q[i][at+j] * k[t][from+j]
				}
				weights[t] = math.Exp(score / math.Sqrt(float64(p.d)))
				total += weights[t]
			}
			for t, w := range weights {
				for j := range p.d {
					out[i][at+j] += w / total * v[t][from+j]
				}
			}
		}
	}
	return out
}

// place gives heads their norm and their position.
func (p *plain) place(x table, gain []float32, past int) {
	half := p.d / 2
	cs := p.m.Rotations(past + len(x))
	for i, row := range x {
		at := cs[(past+i)*p.d:]
		for h := 0; h < len(row); h += p.d {
			head := row[h : h+p.d]
			if gain != nil {
				copy(head, p.normed(table{head}, gain)[0])
			}
			for j := range half {
				u, v, c, s := head[j], head[half+j], float64(at[j]), float64(at[half+j])
				head[j], head[half+j] = u*c-v*s, v*c+u*s
			}
		}
	}
}
