package figures

import (
	"fmt"
	"image/color"
	"math"
	"slices"

	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"github.com/mosaicquant/mosaicquant/internal/row"
	"github.com/mosaicquant/mosaicquant/reports/format"
	"github.com/mosaicquant/mosaicquant/reports/stats"
)

func Criteria(s *stats.Study) []*Figure {
	var out []*Figure
	for _, f := range []*Figure{recoveredFigure(s), overlapFigure(s)} {
		if f != nil {
			out = append(out, f)
		}
	}
	return out
}

func recoveredFigure(s *stats.Study) *Figure {
	x := &xy{xLabel: "density ρ, share of blocks kept", yLabel: "distortion recovered, held out (%)", xLog: true}
	for i, name := range s.Names {
		r := series{name: name, color: palette[i%len(palette)], marker: markers[i%len(markers)],
			symbol: symbols[i%len(symbols)], line: true}
		var densities []float64
		for _, c := range s.Layers {
			for _, d := range c.Densities {
				if d > 0 && !slices.Contains(densities, d) {
					densities = append(densities, d)
				}
			}
		}
		slices.Sort(densities)
		for _, d := range densities {
			if v := s.Over(name,
				func(c row.Criteria, r row.CriterionResult) (float64, bool) { return stats.At(c, r.HeldOut, d) }); len(v) > 0 {
				m := 100 * stats.Average(v)
				r.points = append(r.points,
					point{x: d, y: m, low: 100 * stats.Quantile(v, 0.25), high: 100 * stats.Quantile(v, 0.75), name: name})
			}
		}
		if len(r.points) > 1 {
			x.series = append(x.series, r)
		}
	}
	if len(x.series) == 0 {
		return nil
	}
	return &Figure{Key: "criteria-recovered", Title: "Distortion recovered by criterion", height: ratio(0.8), draw: x.draw,
		Chart: x.chart(),
		Caption: s.Label + ". Share of the base's output distortion on the evaluated text that the chosen blocks recover: " +
			"mean over the linear layers."}
}

// overlapFigure draws a matrix of the criteria: above the diagonal the share of
// blocks they choose in common, below it their rank correlation.
func overlapFigure(s *stats.Study) *Figure {
	n := len(s.Names)
	if n < 2 {
		return nil
	}
	d := s.Density()
	cells := make([][]float64, n)
	found := 0
	for i, a := range s.Names {
		cells[i] = make([]float64, n)
		for j, b := range s.Names {
			cells[i][j] = math.NaN()
			// a pair is stored under either name
			var v []float64
			for _, p := range [][2]string{{a, b}, {b, a}} {
				if len(v) > 0 || i == j {
					break
				}
				v = s.Over(p[0], func(c row.Criteria, r row.CriterionResult) (float64, bool) {
					if j > i {
						return stats.At(c, r.Overlap[p[1]], d)
					}
					rho, ok := r.Spearman[p[1]]
					return rho, ok
				})
			}
			if len(v) > 0 {
				cells[i][j] = stats.Average(v)
				found++
			}
		}
	}
	if found == 0 {
		return nil
	}
	return &Figure{
		Key: "criteria-overlap", Title: "How alike the criteria choose", height: rowsHeight(n, 6),
		Caption: fmt.Sprintf("%s. Above the diagonal: share of the chosen blocks that two criteria have in common at a "+
			"density of %s (chance gives as much as the density). Below: Spearman's rank correlation of their scores over "+
			"all blocks. Means over the linear layers; greedy has no scores.", s.Label, format.Percentage(d)),
		draw: func(c draw.Canvas, st sheet) {
			label := st.text(0.95, text.XRight, -0.4)
			left := vg.Length(0)
			for _, name := range s.Names {
				left = max(left, label.Width(name))
			}
			x0, x1 := c.Min.X+left+st.size, c.Max.X-st.size*1.2
			top := c.Max.Y - st.size*3
			st.colorBar(c, x0, x1, 0, 1, "0 to 1")
			w, h := (x1-x0)/vg.Length(n), st.size*1.6
			head, value := st.text(0.9, text.XCenter, text.YTop), st.text(0.85, text.XCenter, -0.4)
			for i, name := range s.Names {
				y := top - vg.Length(i+1)*h
				c.FillText(label, vg.Point{X: x0 - st.size*0.4, Y: y + h/2}, name)
				for j := range n {
					if v := cells[i][j]; !math.IsNaN(v) {
						x := x0 + vg.Length(j)*w
						st.tile(c, x, y, w, h, v)
						ink := value
						if ink.Color = color.Color(color.White); v > 0.6 { // the light end of the scale
							ink.Color = color.Black
						}
						c.FillText(ink, vg.Point{X: x + w/2, Y: y + h/2}, format.Fixed(v, 2))
					}
				}
			}
			for j, name := range s.Names {
				c.FillText(head, vg.Point{X: x0 + (vg.Length(j)+0.5)*w, Y: top - vg.Length(n)*h - st.size*0.3}, name)
			}
		},
	}
}
