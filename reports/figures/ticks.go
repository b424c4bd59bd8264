package figures

import (
	"fmt"
	"math"

	"gonum.org/v1/plot"

	"github.com/mosaicquant/mosaicquant/reports/format"
)

// span sets the range of an axis to lo..hi with room around it, on a
// logarithmic scale where log is set, with as many ticks as are legible.
func span(a *plot.Axis, lo, hi float64, log bool) {
	if log {
		u, v := math.Log(lo), math.Log(hi)
		pad := max(0.06*(v-u), 0.05)
		a.Min, a.Max = math.Exp(u-pad), math.Exp(v+pad)
		a.Scale, a.Tick.Marker = plot.LogScale{}, logTicks{}
		return
	}
	pad := 0.06 * (hi - lo)
	if pad == 0 {
		pad = max(math.Abs(lo)*0.05, 1e-6)
	}
	a.Min, a.Max = lo-pad, hi+pad
	a.Tick.Marker = linearTicks{}
}

// linearTicks puts ticks on 1, 2 or 5 times a power of ten.
type linearTicks struct{}

func (linearTicks) Ticks(lo, hi float64) []plot.Tick {
	if !(hi > lo) {
		return []plot.Tick{{Value: lo, Label: fmt.Sprintf("%.4g", lo)}}
	}
	raw := (hi - lo) / 6
	exp := math.Floor(math.Log10(raw))
	unit := 10.0
	for _, m := range []float64{1, 2, 5} {
		if m*math.Pow(10, exp) >= raw {
			unit = m
			break
		}
	}
	if unit == 10 {
		unit, exp = 1, exp+1
	}
	stepSize := unit * math.Pow(10, exp)
	var out []plot.Tick
	for i := math.Ceil(lo / stepSize); i*stepSize <= hi; i++ {
		out = append(out, plot.Tick{Value: i * stepSize, Label: format.Fixed(i*stepSize, max(0, -int(exp)))})
	}
	return out
}

// logTicks labels the sparsest of three sets of mantissas that still gives
// three labels, and leaves the other whole mantissas as minor ticks.
type logTicks struct{}

func (logTicks) Ticks(lo, hi float64) []plot.Tick {
	if !(lo > 0 && hi > lo) {
		return nil
	}
	sets := [][]float64{{1}, {1, 3}, {1, 2, 5}, {1, 1.5, 2, 3, 4, 5, 6, 8}}
	from, to := int(math.Floor(math.Log10(lo))), int(math.Ceil(math.Log10(hi)))
	for _, set := range sets {
		var out []plot.Tick
		labels := 0
		for e := from; e <= to; e++ {
			for _, m := range []float64{1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9} {
				v := m * math.Pow(10, float64(e))
				if v < lo || v > hi {
					continue
				}
				t := plot.Tick{Value: v}
				for _, s := range set {
					if s == m {
						t.Label = logLabel(v)
						labels++
					}
				}
				if t.Label != "" || m == math.Trunc(m) {
					out = append(out, t)
				}
			}
		}
		if labels >= 3 {
			return out
		}
	}
	// less than a factor of about 1.6: logarithmic and linear look the same
	return linearTicks{}.Ticks(lo, hi)
}

func logLabel(v float64) string {
	if v >= 1e-4 && v < 1e5 {
		return fmt.Sprintf("%.6g", v)
	}
	return fmt.Sprintf("%.0e", v)
}
