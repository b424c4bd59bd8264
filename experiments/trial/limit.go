package trial

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"github.com/mosaicquant/mosaicquant/experiments/plan"
	"github.com/mosaicquant/mosaicquant/internal/row"
	"github.com/mosaicquant/mosaicquant/quant"
	"github.com/mosaicquant/mosaicquant/quant/rate"
)

// limitBits are the bits per weight at which studies of limits tell the bound.
var limitBits = []float64{2, 2.5, 3, 3.5, 4, 4.25, 4.5, 4.75, 5, 5.5, 6, 7, 8}

// limitDamp is added to the eigenvalues of H, as a share of the mean of its diagonal:
// GPTQ's damping.
const limitDamp = 0.01

// LimitStudy compares trials of one subject with the rate–distortion bound.
type LimitStudy struct {
	*Subject
	eigenvalues map[string][]float64 // by what H depends on
}

// LimitStudy returns a study of limits on the evaluated text.
func (s *Subject) LimitStudy() *LimitStudy {
	return &LimitStudy{Subject: s, eigenvalues: map[string][]float64{}}
}

// ID identifies the study of t by all that it depends on.
func (s *LimitStudy) ID(t plan.Trial) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "limit 1 %s %v %v", s.Subject.ID(t), limitBits, limitDamp))
	return hex.EncodeToString(sum[:8])
}

// Run quantizes the layers of the trial t and compares each with the bound at its bits.
// The rows lack label and environment. It is an error if the evaluated text has fewer
// than rate.TokensEach tokens for each column of a layer.
func (s *LimitStudy) Run(ctx context.Context, t plan.Trial) ([]row.Limit, error) {
	if err := s.ready(ctx); err != nil {
		return nil, err
	}
	q, err := s.quantization(ctx, t)
	if err != nil {
		return nil, err
	}
	if t.Method.Word("budget") != "" {
		if q.chosen, err = q.share(ctx); err != nil {
			return nil, err
		}
	}
	var rows []row.Limit
	k := newKeeper(q.store())
	for p, err := range q.problems(ctx, true) {
		if err != nil {
			return nil, err
		}
		l, err := q.layer(ctx, p, k)
		if err != nil {
			return nil, err
		}
		if l.Quantized == nil { // in 16 bits
			continue
		}
		r, err := s.compare(t, p, l)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.Name, err)
		}
		r.Schema, r.Study, r.Axes = row.Schema, s.ID(t), t.Axes()
		rows = append(rows, *r)
	}
	q.drop()
	return rows, nil
}

// compare compares one layer with its bound.
func (s *LimitStudy) compare(t plan.Trial, p *problem, l *layer) (*row.Limit, error) {
	h, w := p.HeldOut, p.whole().Weights
	key := fmt.Sprint(l.linear.Site, t.Method.Float("smoothing"), t.Method.Word("smoothing_search"),
		t.Method.Word("smoothing_sites"))
	values := s.eigenvalues[key]
	if values == nil {
		var err error
		if values, err = rate.Eigenvalues(h, limitDamp); err != nil {
			return nil, err
		}
		s.eigenvalues[key] = values
	}
	source, err := rate.New(w, values)
	if err != nil {
		return nil, err
	}
	lost, energy := quant.Distortion(w, l, h)
	r := &row.Limit{
		Layer: l.linear.Name, N: l.linear.N, K: l.linear.K, Tokens: h.Tokens, Energy: energy,
		BitsPerWeight: l.BitsPerWeight(), Error: relative(lost, energy),
		Bound: source.Distortion(l.BitsPerWeight()) / energy, BoundBits: source.Bits(lost), CurveBits: limitBits,
	}
	for _, b := range limitBits {
		r.Curve = append(r.Curve, source.Distortion(b)/energy)
	}
	return r, nil
}
