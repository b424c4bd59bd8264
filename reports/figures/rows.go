package figures

import (
	"cmp"
	"fmt"
	"image/color"
	"math"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"github.com/mosaicquant/mosaicquant/reports/format"
	"github.com/mosaicquant/mosaicquant/reports/stats"
)

// chosen returns at most n rows for a figure that gives each row a line:
// all of them if they fit; else the baselines, the front, and then rows at even
// steps of bits.
func chosen(g *stats.Group, n int, has func(*stats.Entry) bool) (rows []*stats.Entry, total int) {
	var all []*stats.Entry
	for _, e := range g.Entries {
		if has(e) {
			all = append(all, e)
		}
	}
	if len(all) <= n {
		return all, len(all)
	}
	take := map[*stats.Entry]bool{}
	for _, e := range all {
		if len(take) < n && slices.Contains(g.Baseline, e.Label) {
			take[e] = true
		}
	}
	for _, e := range g.Front {
		if len(take) < n && has(e) {
			take[e] = true
		}
	}
	for i := 0; i < n && len(take) < n; i++ {
		take[all[i*(len(all)-1)/(n-1)]] = true
	}
	for _, e := range all {
		if take[e] {
			rows = append(rows, e)
		}
	}
	return rows, len(all)
}

func chosenNote(n, total int) string {
	if n == total {
		return ""
	}
	return fmt.Sprintf(" %d of %d rows: baselines, the Pareto front, then even steps of bits.", n, total)
}

// rowsHeight fits n lines, whatever the width: a line per row stays legible.
func rowsHeight(n int, fixed vg.Length) func(vg.Length) vg.Length {
	return func(w vg.Length) vg.Length {
		size := columnFont
		if w > columnWidth {
			size = pageFont
		}
		return size * (vg.Length(n)*1.6 + fixed)
	}
}

// rowLabels returns the names of rows to write left of them, their style and
// the width they need: smaller where one is long, and cut in the middle where
// that is not enough.
func (st sheet) rowLabels(c draw.Canvas, rows []*stats.Entry) (style text.Style, labels []string, width vg.Length) {
	names := make([]string, len(rows))
	for i, e := range rows {
		names[i] = e.Name
	}
	style, labels = st.fit(names, (c.Max.X-c.Min.X)*0.45)
	for _, s := range labels {
		width = max(width, style.Width(s))
	}
	return style, labels, width + st.size
}

// fit returns names as they fit into width, and the style to write them in,
// which ends at the right.
func (st sheet) fit(names []string, width vg.Length) (text.Style, []string) {
	style := st.text(0.95, text.XRight, -0.4)
	if slices.ContainsFunc(names, func(s string) bool { return style.Width(s) > width }) {
		style, width = st.text(0.8, text.XRight, -0.4), width*1.1
	}
	out := make([]string, len(names))
	for i, s := range names {
		out[i] = format.Middle(s, 80)
		for n := 79; n > 1 && style.Width(out[i]) > width; n-- {
			out[i] = format.Middle(s, n)
		}
	}
	return style, out
}

// onlyBaseline is the baseline of all comparisons of g; nil where there are several.
func onlyBaseline(g *stats.Group) (base *stats.Entry) {
	for _, e := range g.Entries {
		if e.Versus != nil && e.Versus.KLRatio != nil {
			if base != nil && e.Versus.Baseline != base {
				return nil
			}
			base = e.Versus.Baseline
		}
	}
	return base
}

// entries are the families' lines of a legend.
func (l Styles) entries(g *stats.Group, families []string) (out []entry) {
	for _, name := range families {
		look := l.Look(name)
		out = append(out, entry{name: format.Short(g.Legend(name), 48), width: 0.8,
			thumb: func(c draw.Canvas, at vg.Point, st sheet) { look.marker(c, at, st.size*0.32, look.Color) }})
	}
	return out
}

// rowsLimit bounds the rows of the figure that gives each a line of its own.
const rowsLimit = 48

// Rows draws the divergence of each row on a line of its own, best
// first: over that of the group's baseline, in pairs, where there is one such.
func Rows(g *stats.Group, l Styles) *Figure {
	base := onlyBaseline(g)
	value := func(e *stats.Entry) (stats.Estimate, bool) {
		switch {
		case e.KL == nil || e.KL.Value <= 0 || e.Reference:
			return stats.Estimate{}, false
		case base == nil:
			return *e.KL, true
		case e == base:
			return stats.Estimate{Value: 1, Low: 1, High: 1}, true
		case e.Versus == nil || e.Versus.KLRatio == nil:
			return stats.Estimate{}, false
		}
		return *e.Versus.KLRatio, true
	}
	rows, total := chosen(g, rowsLimit, func(e *stats.Entry) bool { _, ok := value(e); return ok })
	if len(rows) < 2 {
		return nil
	}
	of := func(e *stats.Entry) stats.Estimate { est, _ := value(e); return est }
	slices.SortStableFunc(rows, func(a, b *stats.Entry) int { return cmp.Compare(of(a).Value, of(b).Value) })
	lo, hi := math.Inf(1), math.Inf(-1)
	var families []string
	for _, e := range rows {
		v := of(e)
		lo, hi = min(lo, v.Value, max(v.Low, v.Value/2)), max(hi, v.Value, min(v.High, v.Value*2))
		if !slices.Contains(families, e.Family) {
			families = append(families, e.Family)
		}
	}
	slices.SortFunc(families, g.Families.Compare)
	f := &Figure{Key: "rows", Title: "Divergence of each row", height: rowsHeight(len(rows), 8)}
	axis := "mean KL to 16 bits (nat/token)"
	f.Caption = "Mean divergence from the 16-bit model, lowest first, with bits per weight on the right. Bars: 95 % " +
		"interval over windows, each row on its own. Rows share their windows, so overlapping bars do not mean that two " +
		"rows are alike."
	if base != nil {
		axis = "mean KL / baseline's"
		f.Caption = "Mean divergence over that of the baseline (" + base.Name +
			"), lowest first, with bits per weight on the right. Bars: 95 % interval of the ratio, paired window by window, " +
			"each row on its own; bars of two rows do not compare these with each other."
	}
	f.Caption += chosenNote(len(rows), total)
	f.draw = func(c draw.Canvas, st sheet) {
		c = st.legend(c, l.entries(g, families))
		label, labels, left := st.rowLabels(c, rows)
		bits := st.text(0.9, text.XLeft, -0.4)
		p := st.plot(axis, "")
		p.HideY()
		span(&p.X, lo, hi, true)
		p.X.Padding = 0
		p.Y.Min, p.Y.Max = 0, float64(len(rows))
		p.Add(grid{st}, plotter(func(c draw.Canvas, p *plot.Plot) {
			tx, ty := p.Transforms(&c)
			if base != nil {
				c.StrokeLine2(draw.LineStyle{Color: st.faded(0.6), Width: st.size / 12}, tx(1), c.Min.Y, tx(1), c.Max.Y)
			}
			inside := func(v float64) vg.Length { return tx(min(max(v, p.X.Min), p.X.Max)) }
			for i, e := range rows {
				y, v, look := ty(float64(len(rows)-1-i)+0.5), of(e), l.Look(e.Family)
				c.FillText(label, vg.Point{X: c.Min.X - st.size*0.5, Y: y}, labels[i])
				if e.HasBits {
					c.FillText(bits, vg.Point{X: c.Max.X + st.size*0.5, Y: y}, format.Fixed(e.Bits, 3))
				}
				if v.High > v.Low {
					c.StrokeLine2(draw.LineStyle{Color: color.Color(look.Color), Width: st.size / 10}, inside(v.Low), y,
						inside(v.High), y)
				}
				look.marker(c, vg.Point{X: tx(v.Value), Y: y}, st.size*0.32, look.Color)
			}
		}))
		p.Draw(draw.Crop(c, left, -bits.Width("16.000")-st.size, 0, -st.size*0.4))
	}
	return f
}
