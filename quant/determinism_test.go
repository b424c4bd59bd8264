package quant_test

import (
	"bytes"
	"fmt"
	"runtime"
	"testing"

	"github.com/mosaicquant/mosaicquant/quant"
	"github.com/mosaicquant/mosaicquant/quant/grid"
	"github.com/mosaicquant/mosaicquant/quant/mosaic"
	"github.com/mosaicquant/mosaicquant/quant/quanttest"
	"github.com/mosaicquant/mosaicquant/quant/solve"
)

// The bits of a result must not depend on how many goroutines made it.
func TestSameBitsOnAnyNumberOfThreads(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	p := quanttest.Problem(t, 37, 264, 31)
	search := solve.NewGPTQ(quant.Format{Bits: 4, Affine: true, Group: 24})
	search.Scale = grid.Scale{Rule: grid.SearchHessian}
	dynamic := solve.GPTQ{Format: quant.Int4(88), Scale: grid.Scale{Rule: grid.AbsMax}, Damping: .01, DynamicGroups: true}
	delta := joint(quant.Int4(132), 4, 16, .2)
	relief := delta
	relief.Criterion, relief.Refine = mosaic.CriterionRelief, 2
	methods := []quant.Quantizer{solve.RTN{Format: quant.Int4(66), Scale: grid.Scale{Rule: grid.SearchMSE, Norm: 2.4}}, solve.NewGPTQ(quant.Int4(0)), search, dynamic, spqr(quant.Int4(132), .02), delta, relief}
	for _, c := range []mosaic.Criterion{mosaic.CriterionDelta, mosaic.CriterionDiag, mosaic.CriterionError, mosaic.CriterionWeight, mosaic.CriterionRandom, mosaic.CriterionFull, mosaic.CriterionGreedy} {
		m := laid(solve.RTN{Format: quant.Int4(132), Scale: grid.Scale{Rule: grid.AbsMax}}, 3, 16, .2)
		m.Criterion = c
		methods = append(methods, m)
	}
	for i, m := range methods {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			var first []byte
			var lost float64
			for procs := 1; procs <= 3; procs++ {
				runtime.GOMAXPROCS(procs)
				p := p
				fresh := *p.Moments
				p.Moments = &fresh
				q := quanttest.Quantize(t, m, p)
				data, _ := q.MarshalBinary()
				d, _ := quant.Distortion(p.Weights, q, p.Moments)
				if first == nil {
					first, lost = data, d
				} else if !bytes.Equal(data, first) || d != lost {
					t.Errorf("%T differs on %d threads", m, procs)
				}
			}
		})
	}
}
