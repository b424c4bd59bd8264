package reports

import (
	"fmt"

	"github.com/mosaicquant/mosaicquant/reports/figures"
	"github.com/mosaicquant/mosaicquant/reports/format"
	"github.com/mosaicquant/mosaicquant/reports/stats"
)

const limitNote = "Means over layers, on the evaluated text: decibels of output error above the Gaussian bound at " +
	"the layer's bits, and bits per weight beyond those of the bound at the layer's error. A scalar code with ideal " +
	"entropy coding is at least 1.53\u00a0dB, or a quarter of a bit, away."

// limitSections are those of the i-th comparison with the bound.
func limitSections(l *stats.Limit, i int, styles figures.Styles) []section {
	lines := [][]string{{"method", "bits / weight", "output error", "above the bound, dB", "bits above the bound"}}
	for _, t := range l.Trials {
		lines = append(lines,
			[]string{t.Label, format.Fixed(t.Bits, 3), format.Sig(t.Error), format.Fixed(t.DB, 2), format.Fixed(t.Above, 3)})
	}
	out := []section{{Key: fmt.Sprintf("limit-%d", i+1), Title: "How far from the limit", Where: l.Subject,
		Blocks: []block{tableOf("Distance from the Gaussian bound", lines, ofNames), plain("small", limitNote)}}}
	if f := figures.Limit(l, styles); f != nil {
		f.Nth(i)
		out = append(out, figureSection(f, ""))
	}
	return out
}
