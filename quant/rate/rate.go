// Package rate says how far a quantized layer is from what is possible at its bits: the
// rate–distortion function of a Gaussian source under the layer's own measure of error.
//
// The source is a matrix W [N,K] of independent weights, normal with the variance of
// their row. The error of a row e is e·H·eᵀ, H being the second moments of the layer's
// inputs; the error of the layer is the sum over rows. In the eigenbasis of H the
// components of a row are independent too, component i with variance σ² and weight λi.
// Reverse water-filling (Cover and Thomas, Elements of Information Theory, 2nd ed.,
// theorem 10.3.3) then gives the least error at R bits for each weight:
//
//	D(θ) = Σ min(θ, λi·σn²),   R(θ) = 1/(N·K) Σ max(0, ½ log₂(λi·σn²/θ))
//
// It is a reference, not a limit for real layers: weights that depend on each other, and
// budgets that layers share, can do better.
package rate

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"gonum.org/v1/gonum/mat"

	"github.com/mosaicquant/mosaicquant/quant"
)

// ScalarLoss is what a scalar quantizer with ideal entropy coding lacks at high rates, in
// dB of distortion: 10·log₁₀(πe/6) = 1.53 (Gish and Pierce, 1968).
var ScalarLoss = 10 * math.Log10(math.Pi*math.E/6)

// TokensEach is how many tokens H needs for each of its columns. With fewer, its small
// eigenvalues depend on the sample more than on the text.
const TokensEach = 10

// Source is a layer as the bound sees it.
type Source struct {
	n, k int
	// Of the eigenvalues that are not 0, in descending order: the sums of the logarithms
	// (base 2) of the first i, and of the eigenvalues from the i-th on.
	values    []float64
	logs      []float64
	rest      []float64
	variances []float64 // [N]
}

// Eigenvalues returns those of H with GPTQ's damping: damp times the mean of the diagonal
// is added to each. It is an error if m has fewer than TokensEach tokens for each column.
// It takes a time that grows like K³, some ten seconds for K of 1536.
func Eigenvalues(m *quant.Moments, damp float64) ([]float64, error) {
	if m.Tokens < TokensEach*m.K {
		return nil, fmt.Errorf("H of %d columns from %d tokens: the bound needs %d", m.K, m.Tokens, TokensEach*m.K)
	}
	var e mat.EigenSym
	if !e.Factorize(mat.NewSymDense(m.K, slices.Clone(m.H)), false) {
		return nil, errors.New("the eigenvalues of H were not found")
	}
	var mean float64
	for _, d := range m.Diag() {
		mean += d / float64(m.K)
	}
	values := e.Values(nil)
	for i, v := range values {
		values[i] = max(0, v) + damp*mean
	}
	return values, nil
}

// New returns the source of the weights w [N,K] under an H with the given eigenvalues [K].
// It is an error if nothing can be lost: no weights, or none that matter.
func New(w quant.Matrix, eigenvalues []float64) (*Source, error) {
	if w.Cols != len(eigenvalues) {
		return nil, fmt.Errorf("%d eigenvalues for %d columns", len(eigenvalues), w.Cols)
	}
	s := &Source{n: w.Rows, k: w.Cols}
	for i := range w.Rows {
		var sum float64
		for _, v := range w.Row(i) {
			sum += float64(v) * float64(v)
		}
		if sum > 0 {
			s.variances = append(s.variances, sum/float64(w.Cols))
		}
	}
	for _, v := range eigenvalues {
		if v > 0 {
			s.values = append(s.values, v)
		}
	}
	if len(s.variances) == 0 || len(s.values) == 0 {
		return nil, errors.New("weights or inputs are all zero")
	}
	slices.SortFunc(s.values, func(a, b float64) int { return -compare(a, b) })
	s.logs, s.rest = make([]float64, len(s.values)+1), make([]float64, len(s.values)+1)
	for i, v := range s.values {
		s.logs[i+1] = s.logs[i] + math.Log2(v)
	}
	for i := len(s.values) - 1; i >= 0; i-- {
		s.rest[i] = s.rest[i+1] + s.values[i]
	}
	return s, nil
}

func compare(a, b float64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// at returns R in bits per weight and D at the water level theta.
func (s *Source) at(theta float64) (bits, distortion float64) {
	for _, v := range s.variances {
		// The first count components are above the water.
		count, _ := slices.BinarySearchFunc(s.values, theta/v, func(value, level float64) int {
			return -compare(value, level) // descending
		})
		above := float64(count)
		bits += (s.logs[count] + above*math.Log2(v/theta)) / 2
		distortion += above*theta + v*s.rest[count]
	}
	return bits / (float64(s.n) * float64(s.k)), distortion
}

// Distortion returns the least error at the given bits per weight, at least 0. At 0 bits
// it is the error of a layer that is all zero, Σ λi·σn².
func (s *Source) Distortion(bits float64) float64 {
	_, d := s.at(s.level(func(b, _ float64) bool { return b > bits }))
	return d
}

// Bits returns the bits per weight below which no error as small as distortion, above 0,
// can be had; 0 for Distortion(0) and more.
func (s *Source) Bits(distortion float64) float64 {
	b, _ := s.at(s.level(func(_, d float64) bool { return d < distortion }))
	return b
}

// level returns the least water level at which low does not hold; low holds up to some
// level and never above.
func (s *Source) level(low func(bits, distortion float64) bool) float64 {
	to := math.Log2(s.values[0] * slices.Max(s.variances))
	from := to
	for from > to-400 && !low(s.at(math.Exp2(from))) {
		from--
	}
	for range 100 {
		middle := from + (to-from)/2
		if low(s.at(math.Exp2(middle))) {
			from = middle
		} else {
			to = middle
		}
	}
	return math.Exp2(to)
}
