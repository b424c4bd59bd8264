package figures

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/mosaicquant/mosaicquant/reports/format"
	"github.com/mosaicquant/mosaicquant/reports/stats"
)

func Divergence(g *stats.Group, l Styles) *Figure {
	s := &xy{xLabel: "bits per weight, as stored", yLabel: "mean KL to 16 bits (nat/token)", yLog: true}
	var n int
	s.series, n = byMethod(g, l, func(e *stats.Entry) (stats.Estimate, bool) {
		if e.KL == nil || e.KL.Value <= 0 {
			return stats.Estimate{}, false
		}
		return *e.KL, true
	})
	if n == 0 {
		return nil
	}
	for _, e := range g.Front {
		if e.KL.Value > 0 {
			s.front = append(s.front, point{x: e.Bits, y: e.KL.Value})
		}
	}
	caption := "Mean Kullback-Leibler divergence of the next-token distribution from that of the 16-bit model, over " +
		"stored bits per weight of the quantized layers. Lower left is better. "
	if n <= crowded {
		caption += "Bars: 95 % interval over windows, each row on its own. Rows share their windows, so overlapping bars " +
			"do not mean that two rows are alike: the tables compare in pairs."
	} else {
		caption += "Intervals are in the tables: this many bars would cover the points."
	}
	return &Figure{Key: "kl-bits", Title: "Divergence against bits per weight", Caption: caption, height: ratio(0.72),
		draw: s.draw, Chart: s.chart()}
}

func Perplexity(g *stats.Group, l Styles) *Figure {
	one := 1.0
	s := &xy{xLabel: "bits per weight, as stored", yLabel: "perplexity / baseline's", level: &one}
	var n int
	s.series, n = byMethod(g, l, func(e *stats.Entry) (stats.Estimate, bool) {
		if e.Versus == nil {
			return stats.Estimate{}, false
		}
		return e.Versus.PPL, true
	})
	if n == 0 {
		return nil
	}
	caption := "Perplexity over that of the row's baseline (" + format.List(g.Baselines(), 3) +
		"), paired window by window. Below the line is better than the baseline."
	if n <= crowded {
		caption += " Bars: 95 % interval of the paired ratio, each row on its own."
	}
	return &Figure{Key: "ppl-ratio", Title: "Perplexity against the baseline, in pairs", Caption: caption,
		height: ratio(0.72), draw: s.draw, Chart: s.chart()}
}

// AtEqualBits draws the rows of mosaic over the strongest other method at their
// bits: the rival against which each row stands worst.
func AtEqualBits(g *stats.Group, l Styles) *Figure {
	rivals := map[string]bool{}
	worst := g.Hardest(func(e *stats.Entry, rival string) bool {
		ok := stats.IsResidual(e.Family) && !stats.IsResidual(rival)
		rivals[rival] = rivals[rival] || ok
		return ok
	})
	maps.DeleteFunc(rivals, func(_ string, ok bool) bool { return !ok })
	if len(worst) < 2 {
		return nil
	}
	one := 1.0
	s := &xy{xLabel: "bits per weight, as stored", yLabel: "mean KL / strongest rival's", yLog: true, level: &one}
	s.series, _ = byMethod(g, l, func(e *stats.Entry) (stats.Estimate, bool) {
		iso, ok := worst[e]
		return iso.Ratio, ok
	})
	return &Figure{Key: "iso-bits", Title: "At equal bits, against the strongest other method", height: ratio(0.72),
		draw: s.draw, Chart: s.chart(),
		Caption: "Divergence of each row of mosaic over that of another method at exactly its bits per weight (the table " +
			"of comparisons at equal bits says how), namely " + format.List(slices.SortedFunc(maps.Keys(rivals),
			g.Families.Compare), 8) +
			": for each row the one with the lowest divergence. Below the line mosaic is better. Bars: 95 % interval, paired " +
			"by window, each row on its own; the choice of the strongest favours the rivals a little. Rows without a rival " +
			"of their size are not drawn."}
}

// phase says what a number of tokens stands for.
func phase(g *stats.Group, tokens string) string {
	decode, prefill := g.Phases()
	switch tokens {
	case decode:
		return "decoding, " + tokens
	case prefill:
		return "reading a prompt, " + tokens
	}
	return tokens
}

// DivergenceOverTime draws divergence over time at one number of tokens.
func DivergenceOverTime(g *stats.Group, l Styles, tokens string) *Figure {
	s := &xy{xLabel: "time / 16-bit weights, " + tokens, yLabel: "mean KL to 16 bits (nat/token)", xLog: true, yLog: true}
	byName := map[string]int{}
	points, layers := 0, 0
	for _, e := range g.Entries {
		v := e.Speed(tokens)
		if v == nil || e.KL == nil || e.KL.Value <= 0 {
			continue
		}
		i, seen := byName[e.Family]
		if !seen {
			i = len(s.series)
			byName[e.Family] = i
			s.series = append(s.series,
				series{name: e.Family, color: l.Look(e.Family).Color, marker: l.Look(e.Family).marker,
					symbol: l.Look(e.Family).symbol})
		}
		s.series[i].points = append(s.series[i].points,
			point{x: v.Over16.Value, y: e.KL.Value, low: e.KL.Low, high: e.KL.High,
				left: v.Over16.Low, right: v.Over16.High, name: e.Name, says: bitsOf(e)})
		points++
		layers = v.Layers
	}
	if points < 2 {
		return nil
	}
	slices.SortFunc(s.series, func(a, b series) int { return g.Families.Compare(a.name, b.name) })
	for i := range s.series {
		s.series[i].bars, s.series[i].name = points <= crowded, g.Legend(s.series[i].name)
	}
	for _, e := range g.FrontInTime(tokens) {
		s.front = append(s.front, point{x: e.Speed(tokens).Over16.Value, y: e.KL.Value})
	}
	return &Figure{Key: "kl-time-" + format.Slug(strings.ReplaceAll(tokens, "=", "")), Title: "Divergence against time, " +
		phase(g, tokens), height: ratio(0.72), draw: s.draw, Chart: s.chart(),
		Caption: fmt.Sprintf("Mean divergence from the 16-bit model over the time of %s, executed in the form of each "+
			"row's weights on random numbers, as a ratio to 16-bit weights measured in the same turns (geometric mean over "+
			"the layers). Lower left is better. Bars: 95 %% intervals, of the divergence over windows and of the time over "+
			"repeats. The front joins medians.", format.Plural(layers, "layer", "layers"))}
}
