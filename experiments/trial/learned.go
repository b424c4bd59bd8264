package trial

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/llm"
	"github.com/mosaicquant/mosaicquant/internal/llm/grad"
	"github.com/mosaicquant/mosaicquant/internal/rotation"
	"github.com/mosaicquant/mosaicquant/internal/store"
	"github.com/mosaicquant/mosaicquant/quant"
)

// Changes of basis that are made from calibration activations.

const (
	learnTokens   = 1024 // of the calibration that DuQuant and KurTail see
	learnRows     = 64   // of these that KurTail takes at a site
	duquantSmooth = 0.6
	resqShare     = 8 // one channel of 8 belongs to the subspace of 8 bits
)

// plain returns the calibrator of the source without its change of basis, with a view
// of its model and the name of a change that made that view, "" for none.
func (c *calibrator) plain(model *llm.Model, name string) *calibrator {
	src := *c.source
	src.model, src.linears, src.basis = model, model.Linears(), &change{}
	src.changes = slices.Clone(src.changes[:len(src.changes)-1])
	if name != "" {
		src.changes = append(src.changes, name)
	}
	return &calibrator{source: &src, settings: c.settings, text: c.text, sequences: c.sequences}
}

// activations calls f with the inputs of every site of m on the first learnTokens
// calibration tokens, in order. x is read-only.
func (c *calibrator) activations(ctx context.Context, m *llm.Model, f func(site string, x gemm.Matrix)) error {
	var seqs [][]int32
	for _, seq := range c.sequences {
		left := learnTokens
		for _, other := range seqs {
			left -= len(other)
		}
		if left <= 0 {
			break
		}
		seqs = append(seqs, seq[:min(len(seq), left)])
	}
	_, err := m.Hidden(ctx, seqs, f)
	return err
}

// learned returns the matrices that compute gives for the change of basis, or gave
// in an earlier run.
func (c *calibrator) learned(ctx context.Context,
	compute func(context.Context) ([]gemm.Matrix, error)) ([]gemm.Matrix, error) {
	constants := fmt.Sprint(learnTokens, learnRows)
	if c.source.basis.name == "spinquant" {
		constants = fmt.Sprint(spinTokens, spinRate)
	}
	return store.Do(ctx, c.store(), c.key("transform", constants), matricesCodec, compute)
}

// matricesCodec stores matrices one after the other, each after its length.
var matricesCodec = store.Codec[[]gemm.Matrix]{
	Write: func(w io.Writer, list []gemm.Matrix) error {
		for _, m := range list {
			if err := binary.Write(w, binary.LittleEndian, int64(16+4*m.Rows*m.Cols)); err != nil {
				return err
			}
			if err := matrixCodec.Write(w, m); err != nil {
				return err
			}
		}
		return nil
	},
	Read: func(r io.Reader, size int64) (list []gemm.Matrix, err error) {
		for size > 0 {
			var n int64
			if err := binary.Read(r, binary.LittleEndian, &n); err != nil {
				return nil, err
			}
			if size -= 8 + n; n < 0 || size < 0 {
				return nil, fmt.Errorf("matrix of %d bytes beyond the end", n)
			}
			m, err := matrixCodec.Read(r, n)
			if err != nil {
				return nil, err
			}
			list = append(list, m)
		}
		return list, nil
	},
}

// duquant returns the model in the basis of DuQuant (Lin et al. 2024,
// arXiv:2406.01721): smoothed with alpha 0.6, then rotated in blocks, permuted and
// rotated again at every site while it runs. All layers of a site share what is
// stored. The authors clip weights and inputs too, which are settings of their own
// here.
func (c *calibrator) duquant(ctx context.Context) (*llm.Model, error) {
	s, change := c.source, c.source.basis
	if err := s.checkTransform(); err != nil {
		return nil, err
	}
	scales, err := c.plain(s.model, "").smoothScales(ctx, duquantSmooth, false)
	if err != nil {
		return nil, err
	}
	smoothed, err := s.model.Scale(scales)
	if err != nil {
		return nil, err
	}
	var sites []string
	for _, l := range s.linears {
		if len(sites) == 0 || sites[len(sites)-1] != l.Site {
			sites = append(sites, l.Site)
		}
	}
	list, err := c.learned(ctx, func(ctx context.Context) (list []gemm.Matrix, err error) {
		failed := c.activations(ctx, smoothed, func(site string, x gemm.Matrix) {
			if err != nil {
				return
			}
			var chain rotation.Chain
			if chain, err = rotation.DuQuant(x.Clone(), change.block, change.steps, change.seed); err == nil {
				list = append(list, chain.Matrices()...)
			}
		})
		if failed != nil {
			err = failed
		}
		return list, err
	})
	if err != nil {
		return nil, err
	}
	online := map[string]rotation.Transform{}
	for i, site := range sites {
		if 3*i+3 > len(list) {
			return nil, fmt.Errorf("%d matrices for %d sites", len(list), len(sites))
		}
		if online[site], err = rotation.ReadDuQuant(list[3*i:3*i+3], s.width(site)); err != nil {
			return nil, err
		}
	}
	return smoothed.Transform(llm.Transforms{Online: func(site string) rotation.Transform { return online[site] }}), nil
}

// kurtail returns the transforms of KurTail (Akhondzadeh et al. 2025,
// arXiv:2503.01483): a rotation of the residual stream and one of the heads of the
// values of each layer, learned from a Hadamard transform with random signs so that
// the inputs of layers get the kurtosis of a uniform distribution, and a Hadamard
// transform before down_proj while the model runs.
func (c *calibrator) kurtail(ctx context.Context) (llm.Transforms, error) {
	s, change, cfg := c.source, c.source.basis, c.source.model.Config()
	list, err := c.learned(ctx, func(ctx context.Context) ([]gemm.Matrix, error) {
		var stream []gemm.Matrix
		heads := make([]gemm.Matrix, 0, cfg.Layers)
		err := c.activations(ctx, s.model.Fold(), func(site string, x gemm.Matrix) {
			switch {
			case strings.HasSuffix(site, ".attn_in") || strings.HasSuffix(site, ".mlp_in"):
				stream = append(stream, evenRows(x, learnRows))
			case strings.HasSuffix(site, ".attn_out"):
				heads = append(heads, asHeads(evenRows(x, learnRows), cfg.HeadDim))
			}
		})
		if err != nil {
			return nil, err
		}
		start := c.hadamards()
		list := []gemm.Matrix{rotation.KurTail(stream, start[0], change.steps)}
		for l, x := range heads {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			list = append(list, rotation.KurTail([]gemm.Matrix{x}, start[1+l], change.steps))
		}
		return list, nil
	})
	return c.residualAndValues(list), err
}

// hadamards returns what learning starts from: Hadamard transforms with random signs of
// the residual stream and of the heads of the values of each layer.
func (c *calibrator) hadamards() (list []gemm.Matrix) {
	draw := c.source.basis.seed
	cfg := c.source.model.Config()
	start := func(n int, seed uint64) gemm.Matrix {
		m := gemm.NewMatrix(n, n)
		for i := range n {
			m.Row(i)[i] = 1
		}
		rotation.NewHadamard(n, seed).Signed(seed).Inputs(m)
		return m
	}
	list = append(list, start(cfg.HiddenSize, draw))
	for l := range cfg.Layers {
		list = append(list, start(cfg.HeadDim, seed(draw, l)))
	}
	return list
}

// What SpinQuant learns with. Its authors' steps see 16384 tokens each.
const (
	spinTokens = 1024 // of each step
	spinRate   = 1.5  // of the first step
)

// spinquant returns the transforms of SpinQuant (Liu et al. 2024, arXiv:2405.16406): a
// rotation of the residual stream and one of the heads of the values of each layer,
// learned from Hadamard transforms with random signs by the gradient of the model's
// loss on calibration sequences, its inputs rounded and its weights in 16 bits, and a
// Hadamard transform before down_proj while the model runs.
func (c *calibrator) spinquant(ctx context.Context) (llm.Transforms, error) {
	change := c.source.basis
	list, err := c.learned(ctx, func(ctx context.Context) ([]gemm.Matrix, error) {
		net, err := grad.New(c.source.model, c.hadamardDown(), grad.Rounding(change.inputs))
		if err != nil {
			return nil, err
		}
		return grad.Learn(ctx, net, c.hadamards(), c.sequences, grad.Settings{Steps: change.steps, Tokens: spinTokens,
			Rate: spinRate, Seed: change.seed,
			Done: func(steps int, _ float64) { step(ctx, Learning, steps, change.steps) }})
	})
	return c.residualAndValues(list), err
}

// hadamardDown is the Hadamard transform before down_proj.
func (c *calibrator) hadamardDown() rotation.Transform {
	return rotation.NewHadamard(c.source.model.Config().MLPSize, c.source.basis.seed)
}

// resq returns the transforms of ResQ (Saxena et al. 2024, arXiv:2412.14363): the
// residual stream turned to the eigenvectors of the second moments of what norms make
// in all layers, the heads of the values of each layer to those of their own, the
// eighth of largest variance last, and a Hadamard transform before down_proj while
// the model runs. That the last eighth is kept in 8 bits is for the method to do:
// atom with columns: 12.5%.
func (c *calibrator) resq(ctx context.Context) (llm.Transforms, error) {
	s, change, cfg := c.source, c.source.basis, c.source.model.Config()
	list, err := c.learned(ctx, func(ctx context.Context) ([]gemm.Matrix, error) {
		calibrated := c.plain(s.model.Fold(), "folded").begin()
		sum := make([]float64, cfg.HiddenSize*cfg.HiddenSize)
		list := make([]gemm.Matrix, 1, 1+cfg.Layers)
		for i, l := range calibrated.source.linears {
			if i > 0 && calibrated.source.linears[i-1].Site == l.Site || strings.HasSuffix(l.Site, ".mlp_mid") {
				continue
			}
			st, err := calibrated.statistics(ctx, l.Site)
			if err != nil {
				return nil, err
			}
			if !strings.HasSuffix(l.Site, ".attn_out") {
				for j, v := range st.moments.H {
					sum[j] += v
				}
				continue
			}
			d := cfg.HeadDim
			r, err := rotation.Principal(headMoments(st.moments, d), d, d/resqShare, seed(change.seed, l.Layer+1))
			if err != nil {
				return nil, err
			}
			list = append(list, r)
		}
		var err error
		list[0], err = rotation.Principal(sum, cfg.HiddenSize, cfg.HiddenSize/resqShare, change.seed)
		return list, err
	})
	return c.residualAndValues(list), err
}

// residualAndValues returns the transforms with the matrix of the residual stream
// and those of the values of each layer, and a Hadamard transform before down_proj.
func (c *calibrator) residualAndValues(list []gemm.Matrix) llm.Transforms {
	if len(list) == 0 {
		return llm.Transforms{}
	}
	down := c.hadamardDown()
	return llm.Transforms{
		Residual: rotation.NewDense(list[0]),
		Values:   func(layer int) rotation.Transform { return rotation.NewDense(list[1+layer]) },
		Online: func(site string) rotation.Transform {
			if strings.HasSuffix(site, ".mlp_mid") {
				return down
			}
			return nil
		},
	}
}

// headMoments returns the sum of the blocks of H on its diagonal, of d channels each.
func headMoments(m *quant.Moments, d int) []float64 {
	h := make([]float64, d*d)
	for at := 0; at < m.K; at += d {
		for i := range d {
			for j := range d {
				h[i*d+j] += m.H[(at+i)*m.K+at+j]
			}
		}
	}
	return h
}

// evenRows returns up to n rows of x, evenly spaced.
func evenRows(x gemm.Matrix, n int) gemm.Matrix {
	n = min(n, x.Rows)
	out := gemm.NewMatrix(n, x.Cols)
	for i := range n {
		copy(out.Row(i), x.Row(i*x.Rows/n))
	}
	return out
}

// asHeads returns the heads of d channels of x as rows.
func asHeads(x gemm.Matrix, d int) gemm.Matrix {
	out := gemm.NewMatrix(x.Rows*x.Cols/d, d)
	for i := range x.Rows {
		copy(out.Data[i*x.Cols:], x.Row(i))
	}
	return out
}
