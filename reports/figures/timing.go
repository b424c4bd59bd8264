package figures

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"github.com/mosaicquant/mosaicquant/internal/row"
	"github.com/mosaicquant/mosaicquant/internal/variants"
	"github.com/mosaicquant/mosaicquant/reports/format"
	"github.com/mosaicquant/mosaicquant/reports/stats"
)

// Timings draws the timings of products.
func Timings(m *stats.Timing) []*Figure {
	var out []*Figure
	add := func(f *Figure) {
		if f != nil {
			if m.Predicted {
				f.Title += " (predicted)"
				f.Caption = "A prediction from a model of the device, not a measurement. " + f.Caption
			}
			out = append(out, f)
		}
	}
	add(overheadFigure(m))
	add(ratioFigure(m))
	add(rooflineFigure(m))
	return out
}

// variantSeries is an empty series in the look of a variant.
func variantSeries(name string) series {
	i := max(0, slices.Index(stats.VariantOrder, name))
	return series{name: name, color: palette[i%len(palette)], marker: markers[i%len(markers)],
		symbol: symbols[i%len(symbols)]}
}

// overheadFigure draws time over dense4 against density, for the shape and
// number of tokens that most densities were measured with: a line per variant,
// and the bytes alone.
func overheadFigure(m *stats.Timing) *Figure {
	best, products := mostDensities(m)
	if len(products) < 2 {
		return nil
	}
	one := 1.0
	s := &xy{xLabel: "density ρ, share of blocks with a residual", yLabel: "time / time of dense4", xLog: true,
		level: &one}
	var lines []series
	bytesLine := series{name: "bytes alone", line: true, color: palette[6], marker: circle, symbol: circleSymbol}
	for _, name := range stats.VariantOrder[1:] {
		r := variantSeries(name)
		r.line, r.bars = true, true
		for d, p := range products {
			if e := p.Variant(name); e != nil && name != variants.W16A16 {
				if v, ok := e.Timed(row.TimeOver(variants.Dense4)); ok {
					r.points = append(r.points, point{x: d, y: v.Value, low: v.Low, high: v.High, name: p.Name + " " + name})
				}
			}
		}
		if len(r.points) > 0 {
			lines = append(lines, r)
		}
	}
	for d, p := range products {
		if z := p.Variant(variants.Zipper); z != nil {
			a, ok1 := z.Timed(row.WeightBytes)
			b, ok2 := p.Variant(variants.Dense4).Timed(row.WeightBytes)
			if ok1 && ok2 && b.Value > 0 {
				y := a.Value / b.Value
				bytesLine.points = append(bytesLine.points,
					point{x: d, y: y, low: y, high: y, name: "bytes of zipper over those of dense4"})
			}
		}
	}
	if len(lines) == 0 {
		return nil
	}
	// an interval that spans the figure would hide what the medians say
	top := 1.0
	for _, r := range lines {
		for _, q := range r.points {
			top = max(top, q.y)
		}
	}
	for _, r := range lines {
		for i, q := range r.points {
			r.points[i].low, r.points[i].high = max(q.low, min(q.y, 0.8)), min(q.high, max(q.y, 1.15*top))
		}
	}
	if len(bytesLine.points) > 1 {
		lines = append(lines, bytesLine)
	}
	for i := range lines {
		slices.SortFunc(lines[i].points, func(a, b point) int { return cmp.Compare(a.x, b.x) })
	}
	s.series = lines
	return &Figure{Key: "overhead", Title: "Cost of the residual against its density", height: ratio(0.72), draw: s.draw,
		Chart: s.chart(),
		Caption: fmt.Sprintf("Time over that of the dense 4-bit base, %dx%d at M=%d. Bars: 95 %% bootstrap interval of "+
			"the median ratio, cut at the frame. “Bytes alone” is what the zipped stream is longer than the dense one: the "+
			"cost if memory were the only limit.", best.n, best.k, best.tokens)}
}

// place is a product but for its density.
type place struct {
	n, k, tokens int
	rest         string // group and block
}

// mostDensities is the place with products of most densities, and these.
func mostDensities(m *stats.Timing) (best place, products map[float64]*stats.Product) {
	densities := map[place]map[float64]*stats.Product{}
	for _, p := range m.Products {
		e := p.Variant(variants.Dense4)
		if e == nil || p.Density == 0 {
			continue
		}
		at := place{p.N, p.K, p.Tokens, e.Axes["group"] + " " + e.Axes["block"]}
		if densities[at] == nil {
			densities[at] = map[float64]*stats.Product{}
		}
		densities[at][p.Density] = p
	}
	for at, found := range densities {
		d := cmp.Or(len(found)-len(densities[best]), at.n*at.k-best.n*best.k, at.n-best.n, best.tokens-at.tokens,
			cmp.Compare(best.rest, at.rest))
		if d > 0 {
			best = at
		}
	}
	return best, densities[best]
}

// ratioLimit bounds the products of the ratio figure.
const ratioLimit = 36

// ratioFigure draws time over dense4 of every variant, a line per product.
func ratioFigure(m *stats.Timing) *Figure {
	var products []*stats.Product
	for _, p := range m.Products {
		if p.Variant(variants.Dense4) == nil || p.Density == 0 {
			continue
		}
		for _, e := range p.Variants {
			if _, ok := e.Timed(row.TimeOver(variants.Dense4)); ok {
				products = append(products, p)
				break
			}
		}
	}
	total := len(products)
	if total == 0 {
		return nil
	}
	if total > ratioLimit { // at even steps
		var some []*stats.Product
		for i := range ratioLimit {
			some = append(some, products[i*(total-1)/(ratioLimit-1)])
		}
		products = some
	}
	lo, hi := 1.0, 1.0
	var shown []series
	for _, name := range stats.VariantOrder[1:] {
		r := variantSeries(name)
		for j, p := range products {
			if e := p.Variant(name); e != nil {
				if v, ok := e.Timed(row.TimeOver(variants.Dense4)); ok && v.Value > 0 {
					r.points = append(r.points, point{x: v.Value, y: float64(j), low: v.Low, high: v.High, name: p.Name})
					lo, hi = min(lo, v.Value), max(hi, v.Value)
				}
			}
		}
		if len(r.points) > 0 {
			shown = append(shown, r)
		}
	}
	var first []*stats.Entry
	for _, p := range products {
		first = append(first, p.Variant(variants.Dense4))
	}
	usual := stats.UsualAxes(first, "scheme", "group", "density", "block", "tokens")
	names := make([]string, len(products))
	for i, e := range first {
		says := []string{"model", "shape", "layer"}
		for a, v := range e.Axes {
			if usual[a] != v {
				says = append(says, a)
			}
		}
		names[i] = stats.ProductName(e, says...)
	}
	note := ""
	if u := stats.SpellUsual(usual); u != "" {
		note = " Unless a line says otherwise: " + u + "."
	}
	if total > len(products) {
		note += fmt.Sprintf(" %d of %d products, at even steps.", len(products), total)
	}
	return &Figure{
		Key: "variants", Title: "Time of each variant over the dense 4-bit base",
		Caption: "Median of the ratio within each repeat; lines: its 95 % bootstrap interval, cut at the " +
			"frame." + note + " " + stats.VariantNames,
		height: rowsHeight(len(products), 8),
		draw: func(c draw.Canvas, st sheet) {
			drawRatios(c, st, names, shown, lo, hi)
		},
	}
}

// rooflineFigure draws achieved rates over FLOP per byte of weights, under the
// ceilings that were measured in the same run.
func rooflineFigure(m *stats.Timing) *Figure {
	var bandwidths, peaks []float64
	s := &xy{xLabel: "FLOP per byte of weights read", yLabel: "GFLOP/s", xLog: true, yLog: true}
	for _, name := range stats.VariantOrder {
		r := variantSeries(name)
		for _, p := range m.Products {
			e := p.Variant(name)
			if e == nil {
				continue
			}
			rate, ok1 := e.Timed(row.Rate)
			size, ok2 := e.Timed(row.WeightBytes)
			if !ok1 || !ok2 || !(size.Value > 0) || !(rate.Value > 0) {
				continue
			}
			x := 2 * float64(p.Tokens) * float64(p.N) * float64(p.K) / size.Value
			r.points = append(r.points,
				point{x: x, y: rate.Value / 1e9, low: rate.Low / 1e9, high: rate.High / 1e9, name: p.Name + " " + name})
			if b, ok := e.Timed(row.ReadBandwidth); ok {
				bandwidths = append(bandwidths, b.Value)
			}
			if b, ok := e.Timed(row.PeakRate); ok {
				peaks = append(peaks, b.Value)
			}
		}
		if len(r.points) > 0 {
			s.series = append(s.series, r)
		}
	}
	if len(s.series) == 0 || len(bandwidths) == 0 {
		return nil
	}
	slices.Sort(bandwidths)
	slices.Sort(peaks)
	lo, hi := math.Inf(1), 0.0
	for _, r := range s.series {
		for _, q := range r.points {
			lo, hi = min(lo, q.x), max(hi, q.x)
		}
	}
	bandwidth := stats.Quantile(bandwidths, 0.5)
	ceiling := series{name: "read bandwidth", line: true, color: palette[6], symbol: "none"}
	knee := hi
	if len(peaks) > 0 {
		knee = min(hi, max(lo, stats.Quantile(peaks, 0.5)/bandwidth))
	}
	for i := range 9 {
		x := lo * math.Pow(knee/lo, float64(i)/8)
		y := x * bandwidth / 1e9
		ceiling.points = append(ceiling.points, point{x: x, y: y, low: y, high: y, name: "read bandwidth"})
	}
	s.series = append(s.series, ceiling)
	caption := "Rate of every product over its arithmetic intensity. The slope is the read bandwidth measured in the " +
		"same run (median " + format.Sig(bandwidth/1e9) + " GB/s)"
	if len(peaks) > 0 && knee < hi {
		peak := stats.Quantile(peaks, 0.5) / 1e9
		s.series = append(s.series, series{name: "peak rate yardstick", line: true, color: palette[7], symbol: "none",
			points: []point{{x: knee, y: peak, name: "peak"}, {x: hi, y: peak, name: "peak"}}})
		caption += fmt.Sprintf(", the level the peak yardstick (median %s GFLOP/s)", format.Sig(peak))
	}
	caption += ". A point above the slope had part of its weights in a cache, or the machine was faster then."
	if p := m.Products[0].Variants[0].Execution; p != nil {
		for _, name := range []string{row.ReadBandwidth, row.PeakRate} {
			if w := p.Yardsticks[name]; w != "" {
				caption += " " + map[string]string{row.ReadBandwidth: "Read bandwidth", row.PeakRate: "Peak rate"}[name] + ": " +
					w + "."
			}
		}
	}
	return &Figure{Key: "roofline", Title: "Roofline", Caption: caption, height: ratio(0.72), draw: s.draw,
		Chart: s.chart()}
}

// drawRatios draws one line per name: ratios to one, by variant.
func drawRatios(c draw.Canvas, st sheet, names []string, shown []series, lo, hi float64) {
	var entries []entry
	for _, r := range shown {
		entries = append(entries, entry{name: r.name, width: 0.8, thumb: func(c draw.Canvas, at vg.Point, st sheet) {
			r.marker(c, at, st.size*0.32, r.color)
		}})
	}
	c = st.legend(c, entries)
	label, texts := st.fit(names, (c.Max.X-c.Min.X)*0.46)
	left := vg.Length(0)
	for _, s := range texts {
		left = max(left, label.Width(s))
	}
	p := st.plot("time / time of dense4", "")
	p.HideY()
	span(&p.X, lo, hi, true)
	p.X.Padding = 0
	p.Y.Min, p.Y.Max = 0, float64(len(names))
	p.Add(grid{st}, plotter(func(c draw.Canvas, p *plot.Plot) {
		tx, ty := p.Transforms(&c)
		c.StrokeLine2(draw.LineStyle{Color: st.faded(0.6), Width: st.size / 12}, tx(1), c.Min.Y, tx(1), c.Max.Y)
		row := func(j float64) vg.Length { return ty(float64(len(names)-1) - j + 0.5) }
		for i, name := range texts {
			c.FillText(label, vg.Point{X: c.Min.X - st.size*0.5, Y: row(float64(i))}, name)
		}
		inside := func(v float64) vg.Length { return tx(min(max(v, p.X.Min), p.X.Max)) }
		for i, r := range shown {
			bar := draw.LineStyle{Color: r.color, Width: st.size / 10}
			shift := st.size * 0.28 * vg.Length(float64(len(shown)-1)/2-float64(i)) // no interval hides another
			for _, q := range r.points {
				y := row(q.y) + shift
				if q.high > q.low && q.low > 0 {
					c.StrokeLine2(bar, inside(q.low), y, inside(q.high), y)
				}
				r.marker(c, vg.Point{X: tx(q.x), Y: y}, st.size*0.3, r.color)
			}
		}
	}))
	p.Draw(draw.Crop(c, left+st.size, -st.size*0.8, 0, -st.size*0.4))
}
