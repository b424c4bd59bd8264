package reports

import (
	"cmp"
	"fmt"
	"image/color"
	"math"
	"slices"

	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"github.com/mosaicquant/mosaicquant/internal/row"
)

// Study is how the criteria chose the blocks of every layer of a model, under
// one setting of base and block.
type Study struct {
	Label  string
	Layers []row.Criteria
	Names  []string // of the criteria
}

// studies groups the lines of experiments criteria.
func studies(lines []row.Criteria) []*Study {
	by := map[string]*Study{}
	var out []*Study
	for _, c := range lines {
		s := by[c.Study]
		if s == nil {
			s = &Study{Label: visible(c.Label, false)}
			by[c.Study] = s
			out = append(out, s)
		}
		c.Layer = visible(c.Layer, false)
		s.Layers = append(s.Layers, c)
		for _, r := range c.Criteria {
			if !slices.Contains(s.Names, r.Name) {
				s.Names = append(s.Names, r.Name)
			}
		}
	}
	slices.SortStableFunc(out, func(a, b *Study) int { return natural(a.Label, b.Label) })
	return out
}

// over returns the values of f over the layers that have one, sorted.
func (s *Study) over(name string, f func(row.Criteria, row.CriterionResult) (float64, bool)) []float64 {
	var all []float64
	for _, c := range s.Layers {
		for _, r := range c.Criteria {
			if r.Name != name {
				continue
			}
			if v, ok := f(c, r); ok && finite(v) {
				all = append(all, v)
			}
		}
	}
	slices.Sort(all)
	return all
}

// at returns the entry of a list by density, if the layer has that density.
func at(c row.Criteria, list []float64, density float64) (float64, bool) {
	i := slices.Index(c.Densities, density)
	if i < 0 || i >= len(list) {
		return 0, false
	}
	return list[i], true
}

// density is the one nearest to the paper's 10 %.
func (s *Study) density() float64 {
	best := math.NaN()
	for _, c := range s.Layers {
		for _, d := range c.Densities {
			if math.IsNaN(best) || math.Abs(math.Log(d/0.1)) < math.Abs(math.Log(best/0.1)) {
				best = d
			}
		}
	}
	return best
}

func mean(v []float64) float64 { return sum(v) / float64(len(v)) }

// lines is the study's table at one density, head first.
func (s *Study) lines() [][]string {
	d := s.density()
	out := [][]string{{"criterion", "layers", "recovered, calibration", "recovered, held out", "gap to oracle", "rank correlation with oracle", "blocks shared with oracle"}}
	percent := func(v []float64) string {
		if len(v) == 0 {
			return ""
		}
		return fixed(100*mean(v), 1) + "\u00a0%"
	}
	for _, name := range s.Names {
		held := s.over(name, func(c row.Criteria, r row.CriterionResult) (float64, bool) { return at(c, r.HeldOut, d) })
		gap := s.over(name, func(c row.Criteria, r row.CriterionResult) (float64, bool) {
			own, ok := at(c, r.HeldOut, d)
			for _, o := range c.Criteria {
				if o.Name == "oracle" && ok {
					best, has := at(c, o.HeldOut, d)
					return best - own, has
				}
			}
			return 0, false
		})
		line := []string{name, fmt.Sprint(len(held)),
			percent(s.over(name, func(c row.Criteria, r row.CriterionResult) (float64, bool) { return at(c, r.Recovered, d) })),
			percent(held), "", "", percent(s.over(name, func(c row.Criteria, r row.CriterionResult) (float64, bool) { return at(c, r.Overlap["oracle"], d) }))}
		if name != "oracle" && len(gap) > 0 {
			line[4] = signed(100*mean(gap), 1) + " points"
		}
		if v := s.over(name, func(_ row.Criteria, r row.CriterionResult) (float64, bool) {
			v, ok := r.Spearman["oracle"]
			return v, ok
		}); len(v) > 0 {
			line[5] = fixed(mean(v), 3)
		}
		out = append(out, line)
	}
	return withoutEmpty(out)
}

func (s *Study) note() string {
	return fmt.Sprintf("Means over the linear layers at a density of %s. Recovered: share of the base's output distortion tr(E·H·Eᵀ) that a residual on the chosen blocks takes away, under the H of the calibration and under that of the evaluated text. "+
		"The oracle takes, one after another, the blocks that measure best on the evaluated text: a bound to compare with, not a method. The paper reports 55 to 63 %% recovered at 10 %% (from reading notes, not checked against the PDF).", percentage(s.density()))
}

func (s *Study) figures() []*figure {
	var out []*figure
	for _, f := range []*figure{s.recoveredFigure(), s.overlapFigure()} {
		if f != nil {
			out = append(out, f)
		}
	}
	return out
}

func (s *Study) recoveredFigure() *figure {
	x := &xy{xLabel: "density ρ, share of blocks kept", yLabel: "distortion recovered, held out (%)", xLog: true}
	for i, name := range s.Names {
		r := series{name: name, color: palette[i%len(palette)], marker: markers[i%len(markers)], symbol: symbols[i%len(symbols)], line: true}
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
			if v := s.over(name, func(c row.Criteria, r row.CriterionResult) (float64, bool) { return at(c, r.HeldOut, d) }); len(v) > 0 {
				m := 100 * mean(v)
				r.points = append(r.points, point{d, m, 100 * quantileOf(v, 0.25), 100 * quantileOf(v, 0.75), name})
			}
		}
		if len(r.points) > 1 {
			x.series = append(x.series, r)
		}
	}
	if len(x.series) == 0 {
		return nil
	}
	return &figure{Key: "criteria-recovered", Title: "Distortion recovered by criterion", height: ratio(0.8), draw: x.draw, chart: x.chart(),
		Caption: s.Label + ". Share of the base's output distortion on the evaluated text that the chosen blocks recover: mean over the linear layers."}
}

// overlapFigure draws a matrix of the criteria: above the diagonal the share of
// blocks they choose in common, below it their rank correlation.
func (s *Study) overlapFigure() *figure {
	n := len(s.Names)
	if n < 2 {
		return nil
	}
	d := s.density()
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
				v = s.over(p[0], func(c row.Criteria, r row.CriterionResult) (float64, bool) {
					if j > i {
						return at(c, r.Overlap[p[1]], d)
					}
					rho, ok := r.Spearman[p[1]]
					return rho, ok
				})
			}
			if len(v) > 0 {
				cells[i][j] = mean(v)
				found++
			}
		}
	}
	if found == 0 {
		return nil
	}
	return &figure{
		Key: "criteria-overlap", Title: "How alike the criteria choose", height: rowsHeight(n, 6),
		Caption: fmt.Sprintf("%s. Above the diagonal: share of the chosen blocks that two criteria have in common at a density of %s (chance gives as much as the density). Below: Spearman's rank correlation of their scores over all blocks. Means over the linear layers; greedy has no scores.", s.Label, percentage(d)),
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
						c.FillText(ink, vg.Point{X: x + w/2, Y: y + h/2}, fixed(v, 2))
					}
				}
			}
			for j, name := range s.Names {
				c.FillText(head, vg.Point{X: x0 + (vg.Length(j)+0.5)*w, Y: top - vg.Length(n)*h - st.size*0.3}, name)
			}
		},
	}
}

// finding says what the means carry.
func (s *Study) finding() string {
	type result struct {
		name string
		v    float64
	}
	var all []result
	d := s.density()
	for _, name := range s.Names {
		if v := s.over(name, func(c row.Criteria, r row.CriterionResult) (float64, bool) { return at(c, r.HeldOut, d) }); len(v) == len(s.Layers) {
			all = append(all, result{name, mean(v)})
		}
	}
	if len(all) < 2 {
		return ""
	}
	slices.SortStableFunc(all, func(a, b result) int { return cmp.Compare(b.v, a.v) })
	out := fmt.Sprintf("Held-out distortion recovered at a density of %s, mean of %d layers:", percentage(d), len(s.Layers))
	for i, r := range all {
		if i > 0 {
			out += ","
		}
		out += " " + r.name + " " + fixed(100*r.v, 1) + "\u00a0%"
	}
	return out + "."
}
