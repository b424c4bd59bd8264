package figures

import (
	"fmt"
	"image/color"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"github.com/mosaicquant/mosaicquant/reports/format"
	"github.com/mosaicquant/mosaicquant/reports/stats"
)

// Effects draws the paired effects of the settings as a forest plot.
func Effects(g *stats.Group) *Figure {
	effects := slices.DeleteFunc(slices.Clone(g.Effects), stats.Effect.None)
	total := len(effects)
	effects = effects[:min(total, 40)]
	if len(effects) == 0 {
		return nil
	}
	lo, hi := 1.0, 1.0
	for _, f := range effects {
		lo, hi = min(lo, f.Ratio.Low), max(hi, f.Ratio.High)
	}
	drawForest := func(c draw.Canvas, st sheet) {
		several := effects[0].Method != effects[len(effects)-1].Method
		names := make([]string, len(effects))
		for i, f := range effects {
			if names[i] = fmt.Sprintf("%s %s, for %s", f.Axis, format.Named(f.To), format.Named(f.From)); several {
				names[i] = f.Method + ": " + names[i]
			}
		}
		label, labels := st.fit(names, (c.Max.X-c.Min.X)*0.46)
		left := st.size
		for _, s := range labels {
			left = max(left, label.Width(s)+st.size)
		}
		bits, right := st.text(0.9, text.XLeft, -0.4), vg.Length(0)
		for _, f := range effects {
			right = max(right, bits.Width(f.Bits()))
		}
		p := st.plot("KL, ratio to the setting it replaces", "")
		p.HideY()
		span(&p.X, lo, hi, true)
		p.X.Padding = 0
		p.Y.Min, p.Y.Max = 0, float64(len(effects))
		p.Add(grid{st}, plotter(func(c draw.Canvas, p *plot.Plot) {
			tx, ty := p.Transforms(&c)
			c.StrokeLine2(draw.LineStyle{Color: st.faded(0.6), Width: st.size / 12}, tx(1), c.Min.Y, tx(1), c.Max.Y)
			bar := draw.LineStyle{Color: st.ink, Width: st.size / 9}
			for i, f := range effects {
				y := ty(float64(len(effects)-1-i) + 0.5)
				c.FillText(label, vg.Point{X: c.Min.X - st.size*0.5, Y: y}, labels[i])
				c.StrokeLine2(bar, tx(f.Ratio.Low), y, tx(f.Ratio.High), y)
				col := color.Color(color.RGBA{0x80, 0x80, 0x80, 0xff})
				switch {
				case f.Holm < 1-stats.Level && f.Ratio.Value < 1:
					col = palette[0]
				case f.Holm < 1-stats.Level:
					col = palette[5]
				}
				circle(c, vg.Point{X: tx(f.Ratio.Value), Y: y}, st.size*0.36, col)
				c.FillText(bits, vg.Point{X: c.Max.X + st.size*0.5, Y: y}, f.Bits())
			}
		}))
		p.Draw(draw.Crop(c, left, -right-st.size*0.8, 0, -st.size*0.4))
	}
	return &Figure{
		Key: "effects", Title: "Effect of each setting",
		Caption: "Ratio of mean KL with the named setting to that with the one it replaces, all else equal: geometric " +
			"mean over matched pairs, 95 % interval paired by window. Left of the line is better; what it costs in bits per " +
			"weight is on the right. Blue: lower, orange: higher after Holm's correction; grey: not " +
			"distinguishable." + chosenOf(len(effects), total),
		height: rowsHeight(len(effects), 4.5), draw: drawForest,
	}
}

// chosenOf says that only the first n of total are drawn, where that is so.
func chosenOf(n, total int) string {
	if n == total {
		return ""
	}
	return fmt.Sprintf(" The first %d of %d; the table has all.", n, total)
}
