package stats

import (
	"math"
	"slices"

	"github.com/mosaicquant/mosaicquant/internal/row"
	"github.com/mosaicquant/mosaicquant/reports/format"
)

// Limit is how far the trials of one model and protocol are from the rate–distortion
// bound of a Gaussian source, on the evaluated text.
type Limit struct {
	Subject string
	Trials  []LimitTrial // by bits per weight
	// Curve is the bound on the whole model where all layers have the same bits per
	// weight: Error is the share of the summed squared outputs.
	Curve []LimitPoint
}

// LimitPoint is a squared error of layer outputs, as a share of the squared outputs.
type LimitPoint struct{ Bits, Error float64 }

// LimitTrial is one quantized model beside the bound.
type LimitTrial struct {
	LimitPoint
	Label, Family string
	DB            float64 // 10·log₁₀ of error over bound at the same bits, mean of layers
	Above         float64 // bits per weight beyond those of the bound at the same error, mean of layers
}

// Limits groups the lines of experiments limit. Layers without an error are left out of
// means of decibels.
func Limits(lines []row.Limit) []*Limit {
	type key struct{ subject, study string }
	by := map[string]*Limit{}
	studies := map[key][]row.Limit{}
	var order []key
	for _, l := range lines {
		r := row.Row{Axes: l.Axes}
		k := key{format.Visible(subject(&r)+", "+l.Axes["activations"], false), l.Study}
		if studies[k] == nil {
			order = append(order, k)
		}
		studies[k] = append(studies[k], l)
	}
	var out []*Limit
	for _, k := range order {
		l := by[k.subject]
		if l == nil {
			l = &Limit{Subject: k.subject, Curve: limitCurve(studies[k])}
			by[k.subject] = l
			out = append(out, l)
		}
		l.Trials = append(l.Trials, limitTrial(studies[k]))
	}
	for _, l := range out {
		slices.SortStableFunc(l.Trials, func(a, b LimitTrial) int {
			if a.Bits != b.Bits {
				return int(math.Copysign(1, a.Bits-b.Bits))
			}
			return format.Natural(a.Label, b.Label)
		})
	}
	return out
}

func limitTrial(layers []row.Limit) LimitTrial {
	first := row.Row{Axes: layers[0].Axes}
	t := LimitTrial{Label: format.Visible(layers[0].Label, false), Family: family(&first)}
	var weights, energy, n float64
	for _, l := range layers {
		size := float64(l.N) * float64(l.K)
		weights += size
		energy += l.Energy
		t.Bits += size * l.BitsPerWeight
		t.Error += l.Energy * l.Error
		t.Above += l.BitsPerWeight - l.BoundBits
		if l.Error > 0 && l.Bound > 0 {
			n++
			t.DB += 10 * math.Log10(l.Error/l.Bound)
		}
	}
	t.Bits, t.Error = t.Bits/weights, t.Error/energy
	t.Above, t.DB = t.Above/float64(len(layers)), t.DB/n
	return t
}

func limitCurve(layers []row.Limit) []LimitPoint {
	var out []LimitPoint
	for i, bits := range layers[0].CurveBits {
		var lost, energy float64
		for _, l := range layers {
			if i < len(l.Curve) {
				lost += l.Energy * l.Curve[i]
				energy += l.Energy
			}
		}
		out = append(out, LimitPoint{bits, lost / energy})
	}
	return out
}
