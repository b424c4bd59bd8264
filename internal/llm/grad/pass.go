package grad

import (
	"context"
	"fmt"
	"math"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/llm"
	"github.com/mosaicquant/mosaicquant/internal/parallel"
)

// logitFloats bounds the logits that are held at once.
const logitFloats = 32 << 20

// Gradient returns the mean loss of the tokens after the first of each sequence, in
// nats, and its gradient at orthogonal r: for each rotation R a skew matrix K, such that
// a turn δR = Ω·R with a small skew Ω changes the loss by <K, Ω>. It is ½(G·Rᵀ - R·Gᵀ)
// of the matrix G of partial derivatives. Sequences run one after the other, each from
// position 0 after the prefix of the model. A token outside of the vocabulary, no token
// to predict, and a loss that is not finite are errors; ctx is looked at before each
// layer.
func (n *Net) Gradient(ctx context.Context, r Rotations, seqs [][]int32) (loss float64, g Rotations, err error) {
	if err := n.m.CheckIDs(seqs); err != nil {
		return 0, nil, err
	}
	predicted := 0
	for _, ids := range seqs {
		predicted += max(0, len(ids)-1)
	}
	if predicted == 0 {
		return 0, nil, fmt.Errorf("grad: %s: no token follows another", n.m.Name())
	}
	for _, m := range r {
		g = append(g, gemm.NewMatrix(m.Rows, m.Cols))
	}
	for _, ids := range seqs {
		if len(ids) < 2 {
			continue
		}
		n.prepare(len(ids))
		if err := n.forward(ctx, r, ids); err != nil {
			return 0, nil, err
		}
		loss += n.output(ids, 1/float32(predicted))
		if err := n.backward(ctx, g); err != nil {
			return 0, nil, err
		}
	}
	loss /= float64(predicted)
	if loss-loss != 0 {
		return 0, nil, fmt.Errorf("grad: %s: the loss is %v", n.m.Name(), loss)
	}
	for _, m := range g {
		skew(m)
	}
	return loss, g, nil
}

// skew replaces m by (m - mᵀ)/2.
func skew(m gemm.Matrix) {
	for i := range m.Rows {
		m.Row(i)[i] = 0
		for j := range i {
			v := (m.Row(i)[j] - m.Row(j)[i]) / 2
			m.Row(i)[j], m.Row(j)[i] = v, -v
		}
	}
}

// forward runs a sequence through all layers, and leaves the stream in scratch.
func (n *Net) forward(ctx context.Context, r Rotations, ids []int32) error {
	x := n.scratch.stream
	parallel.Each(len(ids), func(i int) { n.m.Embedding().Load(x.View(i, i+1, 0, n.dim), int(ids[i]), 0) })
	cs := n.m.Rotations(n.past + len(ids))[n.past*n.headDim:]
	for l := range n.layers {
		if err := ctx.Err(); err != nil {
			return err
		}
		n.attend(r[0], r[1+l], l, cs)
		n.mlp(r[0], l)
	}
	return nil
}

// attend adds the output of the attention of layer l to the stream.
func (n *Net) attend(residual, values gemm.Matrix, l int, cs []float32) {
	w, t, s := &n.layers[l], &n.tapes[l], &n.scratch
	copy(t.x.Data, s.stream.Data)
	n.norm(s.normed, s.stream)
	n.around(residual, s.normed, s.turned, t.xErr)
	w.qkv.times(t.qkv, s.normed)
	copyColumns(t.raw, t.qkv)
	rangesOf(t.qkv, func(i0, i1 int) {
		for i := i0; i < i1; i++ {
			n.place(w, t.qkv.Row(i)[:n.q+n.kv], cs[i*n.headDim:(i+1)*n.headDim])
		}
	})
	a := n.attention(l)
	a.forward(s.attn)
	n.around(values, s.attn, s.attnTurned, t.attnErr)
	w.o.times(s.turned, s.attn)
	add(s.stream, s.turned)
}

// attention returns that of layer l on its tape.
func (n *Net) attention(l int) *attention {
	w, t := &n.layers[l], &n.tapes[l]
	rows := t.qkv.Rows
	k, v := t.qkv.View(0, rows, n.q, n.q+n.kv), t.qkv.View(0, rows, n.q+n.kv, n.q+2*n.kv)
	if n.past > 0 {
		copy(t.keys.Data, w.pastKeys.Data[:n.past*n.kv])
		copy(t.values.Data, w.pastValues.Data[:n.past*n.kv])
		copyColumns(t.keys.View(n.past, n.past+rows, 0, n.kv), k)
		copyColumns(t.values.View(n.past, n.past+rows, 0, n.kv), v)
		k, v = t.keys, t.values
	}
	return &attention{q: t.qkv.View(0, rows, 0, n.q), keys: k, values: v, d: n.headDim, window: w.window}
}

// mlp adds the output of the MLP of layer l to the stream.
func (n *Net) mlp(residual gemm.Matrix, l int) {
	w, t, s := &n.layers[l], &n.tapes[l], &n.scratch
	copy(t.mid.Data, s.stream.Data)
	n.norm(s.normed, s.stream)
	n.around(residual, s.normed, s.turned, t.midErr)
	w.gateUp.times(t.gateUp, s.normed)
	rangesOf(s.mid, func(i0, i1 int) {
		for i := i0; i < i1; i++ {
			gate, up := t.gateUp.Row(i)[:n.inter], t.gateUp.Row(i)[n.inter:]
			m := s.mid.Row(i)
			sigmoid(m, gate)
			for j, v := range gate {
				m[j] *= v * up[j]
			}
		}
	})
	if n.down != nil {
		parallelRows(s.mid, n.down.Inputs)
	}
	n.round(s.mid)
	matrix{w.turned, w.downBias}.times(s.turned, s.mid)
	add(s.stream, s.turned)
}

// around rounds the rows of x [T,m·n] in the channels that r [n,n] gives each of their m
// parts, and keeps in lost what that takes away. z is scratch space.
func (n *Net) around(r, x, z, lost gemm.Matrix) {
	copy(lost.Data, x.Data)
	gemm.Gemm(false, false, 1, parts(x, r.Rows), r, 0, parts(z, r.Rows))
	n.round(z)
	gemm.Gemm(false, true, 1, parts(z, r.Rows), r, 0, parts(x, r.Rows))
	rangesOf(x, func(i0, i1 int) {
		for i := i0; i < i1; i++ {
			gemm.Axpy(-1, x.Row(i), lost.Row(i))
		}
	})
}

// parts returns the parts of n elements of compact rows as rows.
func parts(x gemm.Matrix, n int) gemm.Matrix { return of(x.Data, x.Rows*x.Cols/n, n) }

// output returns the summed loss of the sequence, and replaces the stream by the
// gradient of that sum times weight.
func (n *Net) output(ids []int32, weight float32) (loss float64) {
	x, h, dh := n.scratch.stream, n.scratch.normed, n.scratch.turned
	n.norm(h, x)
	clear(dh.Data) // nothing follows the last token
	rows := len(ids) - 1
	step := max(1, min(rows, logitFloats/n.head.Rows))
	logits := gemm.NewMatrix(step, n.head.Rows)
	losses := make([]float64, rows)
	for i0 := 0; i0 < rows; i0 += step {
		i1 := min(rows, i0+step)
		y := logits.View(0, i1-i0, 0, logits.Cols)
		gemm.MulNT(y, h.View(i0, i1, 0, n.dim), n.head)
		rangesOf(y, func(a, b int) {
			for i := a; i < b; i++ {
				losses[i0+i] = crossEntropy(y.Row(i), ids[i0+i+1], weight)
			}
		})
		gemm.Gemm(false, false, 1, y, n.head, 0, dh.View(i0, i1, 0, n.dim))
	}
	for _, v := range losses {
		loss += v
	}
	n.addNorm(h, x, dh, true)
	copy(x.Data, h.Data)
	return loss
}

// crossEntropy returns that of the logits and the token, and replaces the logits by its
// gradient times weight.
func crossEntropy(logits []float32, token int32, weight float32) float64 {
	right, top := logits[token], gemm.Largest(logits)
	sum := llm.Exp(logits, top)
	for j := range logits {
		logits[j] *= weight / sum
	}
	logits[token] -= weight
	return math.Log(float64(sum)) + float64(top) - float64(right)
}

// backward takes the gradient of the stream in scratch back through all layers, and
// adds to g what is lost by rounding times the gradient of what it leaves.
func (n *Net) backward(ctx context.Context, g Rotations) error {
	cs := n.m.Rotations(n.past + n.tokens)[n.past*n.headDim:]
	for l := len(n.layers) - 1; l >= 0; l-- {
		if err := ctx.Err(); err != nil {
			return err
		}
		n.mlpBack(g[0], l)
		n.attendBack(g[0], g[1+l], l, cs)
	}
	return nil
}

func (n *Net) mlpBack(g gemm.Matrix, l int) {
	w, t, s := &n.layers[l], &n.tapes[l], &n.scratch
	gemm.Gemm(false, false, 1, s.stream, w.down, 0, s.mid)
	rangesOf(s.mid, func(i0, i1 int) {
		sigma := make([]float32, n.inter)
		for i := i0; i < i1; i++ {
			gate, up := t.gateUp.Row(i)[:n.inter], t.gateUp.Row(i)[n.inter:]
			dgate, dup := s.gateUp.Row(i)[:n.inter], s.gateUp.Row(i)[n.inter:]
			sigmoid(sigma, gate)
			for j, d := range s.mid.Row(i) {
				silu := gate[j] * sigma[j]
				dup[j] = d * silu
				dgate[j] = d * up[j] * (sigma[j] + silu*(1-sigma[j]))
			}
		}
	})
	gemm.Gemm(false, false, 1, s.gateUp, w.gateUp.weights, 0, s.normed)
	gemm.Gemm(true, false, 1, t.midErr, s.normed, 1, g)
	n.addNorm(s.stream, t.mid, s.normed, false)
}

func (n *Net) attendBack(g, values gemm.Matrix, l int, cs []float32) {
	w, t, s := &n.layers[l], &n.tapes[l], &n.scratch
	rows := n.tokens
	gemm.Gemm(false, false, 1, s.stream, w.o.weights, 0, s.attn)
	gemm.Gemm(true, false, 1, parts(t.attnErr, n.headDim), parts(s.attn, n.headDim), 1, values)
	dk, dv := s.qkv.View(0, rows, n.q, n.q+n.kv), s.qkv.View(0, rows, n.q+n.kv, n.q+2*n.kv)
	a := n.attention(l)
	if n.past == 0 {
		a.backward(s.attn, s.qkv.View(0, rows, 0, n.q), dk, dv)
	} else {
		k, v := gemm.NewMatrix(n.past+rows, n.kv), gemm.NewMatrix(n.past+rows, n.kv)
		a.backward(s.attn, s.qkv.View(0, rows, 0, n.q), k, v)
		copyColumns(dk, k.View(n.past, n.past+rows, 0, n.kv))
		copyColumns(dv, v.View(n.past, n.past+rows, 0, n.kv))
	}
	rangesOf(s.qkv, func(i0, i1 int) {
		for i := i0; i < i1; i++ {
			var raw []float32
			if w.qNorm != nil {
				raw = t.raw.Row(i)
			}
			n.placeBack(w, s.qkv.Row(i)[:n.q+n.kv], raw, cs[i*n.headDim:(i+1)*n.headDim])
		}
	})
	gemm.Gemm(false, false, 1, s.qkv, w.qkv.weights, 0, s.normed)
	gemm.Gemm(true, false, 1, t.xErr, s.normed, 1, g)
	n.addNorm(s.stream, t.x, s.normed, false)
}
