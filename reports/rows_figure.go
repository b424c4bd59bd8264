package reports

import (
	"cmp"
	"image/color"
	"math"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// rowsLimit bounds the rows of the figure that gives each a line of its own.
const rowsLimit = 48

// rowsFigure draws the divergence of each row on a line of its own, best
// first: over that of the group's baseline, in pairs, where there is one such.
func (g *Group) rowsFigure(l Styles) *figure {
	var base *Entry
	for _, e := range g.Entries {
		if e.Versus != nil && e.Versus.KLRatio != nil {
			if base != nil && e.Versus.Baseline != base {
				base = nil
				break
			}
			base = e.Versus.Baseline
		}
	}
	value := func(e *Entry) (Estimate, bool) {
		switch {
		case e.KL == nil || e.KL.Value <= 0 || e.Reference:
			return Estimate{}, false
		case base == nil:
			return *e.KL, true
		case e == base:
			return Estimate{Value: 1, Low: 1, High: 1}, true
		case e.Versus == nil || e.Versus.KLRatio == nil:
			return Estimate{}, false
		}
		return *e.Versus.KLRatio, true
	}
	rows, total := g.chosen(rowsLimit, func(e *Entry) bool { _, ok := value(e); return ok })
	if len(rows) < 2 {
		return nil
	}
	of := func(e *Entry) Estimate { est, _ := value(e); return est }
	slices.SortStableFunc(rows, func(a, b *Entry) int { return cmp.Compare(of(a).Value, of(b).Value) })
	lo, hi := math.Inf(1), math.Inf(-1)
	var families []string
	for _, e := range rows {
		v := of(e)
		lo, hi = min(lo, v.Value, max(v.Low, v.Value/2)), max(hi, v.Value, min(v.High, v.Value*2))
		if !slices.Contains(families, e.Family) {
			families = append(families, e.Family)
		}
	}
	slices.SortFunc(families, g.families.compare)
	f := &figure{Key: "rows", Title: "Divergence of each row", height: rowsHeight(len(rows), 8)}
	axis := "mean KL to 16 bits (nat/token)"
	f.Caption = "Mean divergence from the 16-bit model, lowest first, with bits per weight on the right. Bars: 95 % interval over windows, each row on its own. Rows share their windows, so overlapping bars do not mean that two rows are alike."
	if base != nil {
		axis = "mean KL / baseline's"
		f.Caption = "Mean divergence over that of the baseline (" + base.Name + "), lowest first, with bits per weight on the right. Bars: 95 % interval of the ratio, paired window by window, each row on its own; bars of two rows do not compare these with each other."
	}
	f.Caption += chosenNote(len(rows), total)
	f.draw = func(c draw.Canvas, st sheet) {
		var entries []entry
		for _, name := range families {
			entries = append(entries, entry{name: short(name, 48), width: 0.8, thumb: func(c draw.Canvas, at vg.Point, st sheet) {
				l.look(name).marker(c, at, st.size*0.32, l.look(name).color)
			}})
		}
		c = st.legend(c, entries)
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
				y, v, look := ty(float64(len(rows)-1-i)+0.5), of(e), l.look(e.Family)
				c.FillText(label, vg.Point{X: c.Min.X - st.size*0.5, Y: y}, labels[i])
				if e.HasBits {
					c.FillText(bits, vg.Point{X: c.Max.X + st.size*0.5, Y: y}, fixed(e.Bits, 3))
				}
				if v.High > v.Low {
					c.StrokeLine2(draw.LineStyle{Color: color.Color(look.color), Width: st.size / 10}, inside(v.Low), y, inside(v.High), y)
				}
				look.marker(c, vg.Point{X: tx(v.Value), Y: y}, st.size*0.32, look.color)
			}
		}))
		p.Draw(draw.Crop(c, left, -bits.Width("16.000")-st.size, 0, -st.size*0.4))
	}
	return f
}
