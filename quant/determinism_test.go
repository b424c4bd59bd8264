package quant

import (
	"bytes"
	"fmt"
	"runtime"
	"testing"
)

// The bits of a result must not depend on how many goroutines made it.
func TestSameBitsOnAnyNumberOfThreads(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	p := problem(t, 37, 264, 31)
	search := NewGPTQ(Format{Bits: 4, Affine: true, Group: 24})
	search.Scale = Scale{Rule: SearchHessian}
	dynamic := GPTQ{Format: Int4(88), Scale: Scale{Rule: AbsMax}, Damping: .01, DynamicGroups: true}
	joint := NewMosaic(NewGPTQ(Int4(132)), 4, 16, .2)
	joint.Joint = true
	relief := joint
	relief.Criterion, relief.Refine = Relief, 2
	methods := []Quantizer{RTN{Int4(66), Scale{Rule: SearchMSE, Norm: 2.4}}, NewGPTQ(Int4(0)), search, dynamic, NewSpQR(Int4(132), .02), joint, relief}
	for _, c := range []Criterion{Delta, Diag, Error, Weight, Random, Full, Greedy} {
		m := NewMosaic(RTN{Int4(132), Scale{Rule: AbsMax}}, 3, 16, .2)
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
				q := quantize(t, m, p)
				data, _ := q.MarshalBinary()
				d, _ := Distortion(p.Weights, q, p.Moments)
				if first == nil {
					first, lost = data, d
				} else if !bytes.Equal(data, first) || d != lost {
					t.Errorf("%T differs on %d threads", m, procs)
				}
			}
		})
	}
}
