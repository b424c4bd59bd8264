package figures

import (
	"fmt"
	"image/color"
	"math"

	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"github.com/mosaicquant/mosaicquant/reports/format"
)

// tile fills a rectangle of a heat map, and a hair to its right and below,
// where the next tile covers it: no background shines through the seams.
func (st sheet) tile(c draw.Canvas, x, y, w, h vg.Length, t float64) {
	hair := st.size / 25
	c.FillPolygon(viridis(t),
		[]vg.Point{{X: x, Y: y - hair}, {X: x + w + hair, Y: y - hair}, {X: x + w + hair, Y: y + h}, {X: x, Y: y + h}})
}

// colorBar draws the scale of a heat map along the top.
func (st sheet) colorBar(c draw.Canvas, x0, x1 vg.Length, lo, hi float64, name string) {
	const steps = 48
	y, h := c.Max.Y-st.size*1.3, st.size*0.8
	x0 = x0 + (x1-x0)*0.35
	w := (x1 - x0) / steps
	for i := range steps {
		x := x0 + vg.Length(i)*w
		st.tile(c, x, y, w, h, (float64(i)+0.5)/steps)
	}
	c.FillText(st.text(0.9, text.XRight, -0.4), vg.Point{X: x0 - st.size*0.5, Y: y + h/2}, name)
	tick := st.text(0.9, text.XCenter, text.YTop)
	for _, t := range (linearTicks{}).Ticks(lo, hi) {
		if hi > lo {
			c.FillText(tick, vg.Point{X: x0 + vg.Length((t.Value-lo)/(hi-lo))*(x1-x0), Y: y - st.size*0.1}, t.Label)
		}
	}
}

// HeatMap is a table of numbers drawn as colours, in the style of a report's
// figures.
type HeatMap struct {
	Quantity string // what the numbers are
	Axis     string // what the columns are
	Rows     []string
	Columns  []string
	Values   [][]float64 // [row][column]; NaN and Inf stay blank
	Log      bool        // colours by logarithm; what is not positive stays blank
}

// Empty tells whether h has no number to show.
func (h HeatMap) Empty() bool {
	for _, row := range h.Values {
		for _, v := range row {
			if format.Finite(v) && (v > 0 || !h.Log) {
				return false
			}
		}
	}
	return true
}

func (h HeatMap) Figure() *Figure {
	lo, hi := math.Inf(1), math.Inf(-1)
	scaled := make([][]float64, len(h.Rows))
	for i, row := range h.Values {
		for _, v := range row {
			if h.Log {
				v = math.Log10(v)
			}
			scaled[i] = append(scaled[i], v)
			if format.Finite(v) {
				lo, hi = min(lo, v), max(hi, v)
			}
		}
	}
	quantity := h.Quantity
	if h.Log {
		quantity += ", log10"
	}
	return &Figure{
		height: rowsHeight(len(h.Rows), 6.5),
		draw: func(c draw.Canvas, st sheet) {
			label := st.text(0.95, text.XRight, -0.4)
			var left vg.Length
			for _, r := range h.Rows {
				left = max(left, label.Width(r)+st.size)
			}
			x0, x1 := c.Min.X+left, c.Max.X-st.size*0.5
			top, height := c.Max.Y-st.size*3, st.size*1.6
			w := (x1 - x0) / vg.Length(max(1, len(h.Columns)))
			st.colorBar(c, x0, x1, lo, hi, quantity)
			for i, name := range h.Rows {
				y := top - vg.Length(i+1)*height
				c.FillText(label, vg.Point{X: x0 - st.size*0.4, Y: y + height/2}, name)
				for j, v := range scaled[i] {
					if !format.Finite(v) {
						continue
					}
					x, t := x0+vg.Length(j)*w, (v-lo)/max(hi-lo, 1e-12)
					st.tile(c, x, y, w, height, t)
					number := st.text(0.85, text.XCenter, -0.4)
					number.Color = color.White
					if t > 0.6 {
						number.Color = color.Black
					}
					if s := fmt.Sprintf("%.3g", h.Values[i][j]); number.Width(s) < w*0.9 {
						c.FillText(number, vg.Point{X: x + w/2, Y: y + height/2}, s)
					}
				}
			}
			h.columns(c, st, x0, w, top-vg.Length(len(h.Rows))*height)
		},
	}
}

// columns writes the names of the columns under the map, as many as fit.
func (h HeatMap) columns(c draw.Canvas, st sheet, x0, w, bottom vg.Length) {
	style := st.text(0.95, text.XCenter, text.YTop)
	end := c.Min.X
	for j, name := range h.Columns {
		mid := x0 + (vg.Length(j)+0.5)*w
		if half := style.Width(name) / 2; mid-half > end {
			c.FillText(style, vg.Point{X: mid, Y: bottom - st.size*0.4}, name)
			end = mid + half + st.size*0.3
		}
	}
	c.FillText(st.text(1, text.XCenter, text.YTop),
		vg.Point{X: x0 + vg.Length(len(h.Columns))*w/2, Y: bottom - st.size*1.7}, h.Axis)
}
