package figures

import (
	"fmt"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"github.com/mosaicquant/mosaicquant/reports/format"
	"github.com/mosaicquant/mosaicquant/reports/stats"
)

func Ledger(g *stats.Group) *Figure {
	weights := func(e *stats.Entry) float64 {
		n := 0.0
		for _, l := range e.Layers {
			n += float64(l.N) * float64(l.K)
		}
		if n == 0 && e.HasBits && e.Bits > 0 {
			for _, i := range e.Ledger {
				n += float64(i.Bytes) * 8 / e.Bits
			}
		}
		return n
	}
	rows, total := chosen(g, 24, func(e *stats.Entry) bool { return len(e.Ledger) > 0 && weights(e) > 0 && !e.Reference })
	if len(rows) == 0 {
		return nil
	}
	var items []string
	widest := 0.0
	for _, e := range rows {
		total := 0.0
		for _, it := range e.Ledger {
			if it.Bytes > 0 && !slices.Contains(items, it.Name) {
				items = append(items, it.Name)
			}
			total += float64(it.Bytes) * 8 / weights(e)
		}
		widest = max(widest, total)
	}
	if widest == 0 {
		return nil
	}
	drawBars := func(c draw.Canvas, st sheet) {
		var entries []entry
		for i, name := range items {
			entries = append(entries,
				entry{name: format.Short(name, 32), width: 1, thumb: func(c draw.Canvas, at vg.Point, st sheet) {
					square(c, at, st.size*0.4, palette[i%len(palette)])
				}})
		}
		c = st.legend(c, entries)
		label, labels, left := st.rowLabels(c, rows)
		p := st.plot("bits per weight, as stored", "")
		p.HideY()
		p.X.Min, p.X.Max, p.X.Tick.Marker = 0, widest*1.16, linearTicks{}
		p.Y.Min, p.Y.Max = 0, float64(len(rows))
		p.X.Padding = 0
		p.Add(grid{st}, plotter(func(c draw.Canvas, p *plot.Plot) {
			tx, ty := p.Transforms(&c)
			for i, e := range rows {
				y := float64(len(rows)-1-i) + 0.5
				c.FillText(label, vg.Point{X: c.Min.X - st.size*0.4, Y: ty(y)}, labels[i])
				x := 0.0
				for j, name := range items {
					for _, it := range e.Ledger {
						if it.Name != name || it.Bytes <= 0 {
							continue
						}
						w := float64(it.Bytes) * 8 / weights(e)
						c.FillPolygon(palette[j%len(palette)], []vg.Point{
							{X: tx(x), Y: ty(y - 0.36)}, {X: tx(x + w), Y: ty(y - 0.36)}, {X: tx(x + w), Y: ty(y + 0.36)}, {X: tx(x),
								Y: ty(y + 0.36)}})
						x += w
					}
				}
				c.FillText(st.text(0.95, text.XLeft, -0.4), vg.Point{X: tx(x) + st.size*0.3, Y: ty(y)}, fmt.Sprintf("%.3f", x))
			}
		}))
		p.Draw(draw.Crop(c, left, -st.size*0.5, 0, 0))
	}
	return &Figure{
		Key: "ledger", Title: "Where the bits go",
		Caption: "Bits per weight of the quantized layers, from the bytes really stored, itemised." + chosenNote(len(rows),
			total),
		height: rowsHeight(len(rows), 8), draw: drawBars,
	}
}
