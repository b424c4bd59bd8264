package figures

import (
	"math"
	"slices"
	"strings"

	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"github.com/mosaicquant/mosaicquant/reports/format"
	"github.com/mosaicquant/mosaicquant/reports/stats"
)

func Layers(g *stats.Group) *Figure {
	rows, total := chosen(g, 24, func(e *stats.Entry) bool { return len(e.Layers) > 0 && !e.Reference })
	if len(rows) == 0 {
		return nil
	}
	var names []string
	lo, hi := math.Inf(1), math.Inf(-1)
	cells := make([]map[string]float64, len(rows))
	for i, e := range rows {
		cells[i] = map[string]float64{}
		for _, l := range e.Layers {
			if !slices.Contains(names, l.Name) {
				names = append(names, l.Name)
			}
			if l.OutputError > 0 {
				cells[i][l.Name] = math.Log10(l.OutputError)
				lo, hi = min(lo, math.Log10(l.OutputError)), max(hi, math.Log10(l.OutputError))
			}
		}
	}
	if lo > hi {
		return nil
	}
	drawMap := func(c draw.Canvas, st sheet) {
		label, labels, left := st.rowLabels(c, rows)
		x0, x1 := c.Min.X+left, c.Max.X-st.size*0.5
		top := c.Max.Y - st.size*3
		h := st.size * 1.6
		w := (x1 - x0) / vg.Length(len(names))
		st.colorBar(c, x0, x1, lo, hi, "relative output error, log10")
		for i := range rows {
			y := top - vg.Length(i+1)*h
			c.FillText(label, vg.Point{X: x0 - st.size*0.4, Y: y + h/2}, labels[i])
			for j, n := range names {
				if v, ok := cells[i][n]; ok {
					x := x0 + vg.Length(j)*w
					st.tile(c, x, y, w, h, (v-lo)/max(hi-lo, 1e-12))
				}
			}
		}
		bottom := top - vg.Length(len(rows))*h
		st.layerTicks(c, names, x0, w, bottom)
	}
	return &Figure{
		Key: "layers", Title: "Output error by layer",
		Caption: "Relative output error tr(E·H·Eᵀ)/tr(W·H·Wᵀ) of each linear layer, in the order of the model. " +
			"" + g.Calibration() + " A missing cell is a layer without error or without a measurement." + chosenNote(len(rows),
			total),
		height: rowsHeight(len(rows), 7), draw: drawMap,
	}
}

// layerTicks names the columns: each run of one block ("layers.3") once.
func (st sheet) layerTicks(c draw.Canvas, names []string, x0, w, bottom vg.Length) {
	style := st.text(0.95, text.XCenter, text.YTop)
	block := func(n string) string {
		parts := strings.Split(n, ".")
		for i, p := range parts {
			if _, ok := format.Number(p); ok && i > 0 {
				return p
			}
		}
		return n
	}
	end := c.Min.X
	for i := 0; i < len(names); {
		j := i
		for j < len(names) && block(names[j]) == block(names[i]) {
			j++
		}
		x := x0 + vg.Length(i)*w
		c.StrokeLine2(draw.LineStyle{Color: st.faded(0.5), Width: st.size / 14}, x, bottom, x, bottom-st.size*0.5)
		name := format.Short(block(names[i]), 12)
		mid := x + vg.Length(j-i)*w/2
		if half := style.Width(name) / 2; mid-half > end {
			c.FillText(style, vg.Point{X: mid, Y: bottom - st.size*0.4}, name)
			end = mid + half + st.size*0.3
		}
		i = j
	}
	axis, says := st.text(1, text.XCenter, text.YTop), "block of the model, with its linear layers in order"
	middle := min(x0+vg.Length(len(names))*w/2, c.Max.X-axis.Width(says)/2)
	c.FillText(axis, vg.Point{X: middle, Y: bottom - st.size*1.7}, says)
}
