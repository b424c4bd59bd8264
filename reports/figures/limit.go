package figures

import (
	"image/color"
	"math"

	"github.com/mosaicquant/mosaicquant/reports/stats"
)

// scalarLoss is what a scalar code with ideal entropy coding loses at high rates, as a
// factor of squared error: πe/6, or 1.53 dB.
const scalarLoss = math.Pi * math.E / 6

// Limit draws output error against bits, with the bound of a Gaussian source and what
// entropy-coded scalar codes can reach. It returns nil without trials.
func Limit(l *stats.Limit, styles Styles) *Figure {
	if len(l.Trials) == 0 {
		return nil
	}
	s := &xy{xLabel: "bits per weight, as stored", yLabel: "output error on the evaluated text", yLog: true}
	low, high := math.Inf(1), math.Inf(-1)
	for _, t := range l.Trials {
		low, high = min(low, t.Bits), max(high, t.Bits)
	}
	var bound, scalar []point
	for _, c := range l.Curve {
		if c.Bits >= low-0.5 && c.Bits <= high+0.5 && c.Error > 0 {
			bound = append(bound, point{x: c.Bits, y: c.Error, name: "Gaussian bound"})
			scalar = append(scalar, point{x: c.Bits, y: scalarLoss * c.Error, name: "1.53 dB above it"})
		}
	}
	for i, line := range [][]point{bound, scalar} {
		shade := uint8(0x33 + 0x66*i)
		if len(line) > 1 {
			s.series = append(s.series,
				series{name: line[0].name, color: color.RGBA{shade, shade, shade, 255}, symbol: "none", points: line, line: true})
		}
	}
	at := map[string]int{}
	for _, t := range l.Trials {
		i, ok := at[t.Family]
		if !ok {
			look := styles.Look(t.Family)
			i = len(s.series)
			at[t.Family] = i
			s.series = append(s.series, series{name: t.Family, color: look.Color, marker: look.marker, symbol: look.symbol})
		}
		s.series[i].points = append(s.series[i].points, point{x: t.Bits, y: t.Error, name: t.Label})
	}
	return &Figure{Key: "limit", Title: "Output error against bits, and the least that is possible", height: ratio(0.8),
		draw: s.draw, Chart: s.chart(),
		Caption: l.Subject + ". Squared error of all layers' outputs over their squared outputs, under the inputs of the " +
			"evaluated text. Lines: the rate–distortion function of a Gaussian source (reverse water-filling over the " +
			"eigenvalues of each layer's H, variances of rows, independent weights, the same bits in each layer), and 1.53 dB " +
			"above it, where scalar codes with ideal entropy coding end. The bound is a yardstick and no law: weights that " +
			"depend on each other, and budgets that layers share, can go below it."}
}
