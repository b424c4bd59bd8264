package figures

import (
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

// point is one row in a scatter: an estimate over x. An interval whose ends are
// equal is not drawn.
type point struct {
	x, y, low, high float64
	left, right     float64 // interval of x
	name, says      string  // for its tooltip: the row, and what stands behind x
}

// series is a set of points of one look, joined by a line where line is set.
type series struct {
	name   string
	color  color.Color
	marker marker
	symbol string
	points []point
	line   bool
	bars   bool // draw low..high
}

// scatter is a plot.Plotter of one series. A line of the background under each
// marker would hide error bars, so bars go first and thin.
type scatter struct {
	series
	st sheet
}

func (s scatter) Plot(c draw.Canvas, p *plot.Plot) {
	tx, ty := p.Transforms(&c)
	if s.line && len(s.points) > 1 {
		var pts []vg.Point
		for _, q := range s.points {
			pts = append(pts, vg.Point{X: tx(q.x), Y: ty(q.y)})
		}
		c.StrokeLines(draw.LineStyle{Color: s.color, Width: s.st.size / 9}, pts)
	}
	bar := draw.LineStyle{Color: s.color, Width: s.st.size / 12}
	cap := s.st.size / 5
	for _, q := range s.points {
		if s.bars && q.high > q.low {
			x, lo, hi := tx(q.x), ty(q.low), ty(q.high)
			c.StrokeLine2(bar, x, lo, x, hi)
			c.StrokeLine2(bar, x-cap, lo, x+cap, lo)
			c.StrokeLine2(bar, x-cap, hi, x+cap, hi)
		}
		if s.bars && q.right > q.left {
			y, lo, hi := ty(q.y), tx(q.left), tx(q.right)
			c.StrokeLine2(bar, lo, y, hi, y)
			c.StrokeLine2(bar, lo, y-cap, lo, y+cap)
			c.StrokeLine2(bar, hi, y-cap, hi, y+cap)
		}
	}
	if s.marker == nil {
		return
	}
	for _, q := range s.points {
		s.marker(c, vg.Point{X: tx(q.x), Y: ty(q.y)}, s.st.size*0.3, s.color)
	}
}

// step joins the points of a Pareto front the way dominance works: right, then down.
type step struct {
	points []point
	st     sheet
}

func (s step) Plot(c draw.Canvas, p *plot.Plot) {
	tx, ty := p.Transforms(&c)
	var pts []vg.Point
	for i, q := range s.points {
		if i > 0 {
			pts = append(pts, vg.Point{X: tx(q.x), Y: ty(s.points[i-1].y)})
		}
		pts = append(pts, vg.Point{X: tx(q.x), Y: ty(q.y)})
	}
	c.StrokeLines(frontLine(s.st), pts)
}

func frontLine(st sheet) draw.LineStyle {
	return draw.LineStyle{Color: st.faded(0.55), Width: st.size / 12, Dashes: []vg.Length{st.size / 3, st.size / 4}}
}

// level marks a value that points are read against, such as "no difference".
type level struct {
	y  float64
	st sheet
}

func (l level) Plot(c draw.Canvas, p *plot.Plot) {
	_, ty := p.Transforms(&c)
	if l.y >= p.Y.Min && l.y <= p.Y.Max {
		c.StrokeLine2(draw.LineStyle{Color: l.st.faded(0.6), Width: l.st.size / 12}, c.Min.X, ty(l.y), c.Max.X, ty(l.y))
	}
}

// crowded is the number of points past which error bars would be a smear.
const crowded = 200

// xy is a scatter in the house style, ready for both a drawing and a chart.
type xy struct {
	xLabel, yLabel string
	xLog, yLog     bool
	series         []series
	front          []point
	level          *float64
}

// axes sets the axes of p to hold all points, their intervals and the level.
func (s *xy) axes(p *plot.Plot) {
	xlo, xhi, ylo, yhi := math.Inf(1), math.Inf(-1), math.Inf(1), math.Inf(-1)
	for _, r := range s.series {
		for _, q := range r.points {
			xlo, xhi = min(xlo, q.x), max(xhi, q.x)
			ylo, yhi = min(ylo, q.y), max(yhi, q.y)
			if r.bars && (!s.yLog || q.low > 0) {
				ylo, yhi = min(ylo, q.low), max(yhi, q.high)
			}
			if r.bars && q.right > q.left {
				xlo, xhi = min(xlo, q.left), max(xhi, q.right)
			}
		}
	}
	if s.level != nil {
		ylo, yhi = min(ylo, *s.level), max(yhi, *s.level)
	}
	span(&p.X, xlo, xhi, s.xLog)
	span(&p.Y, ylo, yhi, s.yLog)
}

func (s *xy) draw(c draw.Canvas, st sheet) {
	var entries []entry
	for _, r := range s.series {
		width := vg.Length(0.8)
		if r.line {
			width = 1.8
		}
		entries = append(entries,
			entry{name: format.Short(r.name, 48), width: width, thumb: func(c draw.Canvas, at vg.Point, st sheet) {
				if r.line {
					c.StrokeLine2(draw.LineStyle{Color: r.color, Width: st.size / 9}, at.X-st.size*0.9, at.Y, at.X+st.size*0.9, at.Y)
				}
				if r.marker != nil {
					r.marker(c, at, st.size*0.32, r.color)
				}
			}})
	}
	p := st.plot(s.xLabel, "")
	s.axes(p)
	p.Add(grid{st})
	if s.level != nil {
		p.Add(level{*s.level, st})
	}
	if len(s.front) > 0 {
		p.Add(step{s.front, st})
		entries = append(entries, entry{name: "Pareto front", width: 1.8, thumb: func(c draw.Canvas, at vg.Point, st sheet) {
			c.StrokeLine2(frontLine(st), at.X-st.size*0.9, at.Y, at.X+st.size*0.9, at.Y)
		}})
	}
	for _, r := range s.series {
		for i, q := range r.points {
			if s.yLog && q.low <= 0 { // an interval that reaches zero ends at the frame
				r.points = slices.Clone(r.points)
				r.points[i].low = p.Y.Min
			}
		}
		p.Add(scatter{r, st})
	}
	c = st.legend(c, entries)
	data := draw.Crop(c, st.size*1.5, 0, 0, 0)
	p.Draw(data)
	inner := p.DataCanvas(data)
	// by hand: on a logarithmic axis gonum makes room for the label at the
	// arithmetic middle of the range, which is near the top
	name := st.text(1, text.XCenter, text.YTop)
	name.Rotation = math.Pi / 2
	c.FillText(name, vg.Point{X: c.Min.X, Y: inner.Center().Y}, s.yLabel)
}

// byMethod makes one series per family out of the rows value accepts.
func byMethod(g *stats.Group, l Styles, value func(*stats.Entry) (stats.Estimate, bool)) (all []series, points int) {
	byName := map[string]int{}
	for _, e := range g.Entries {
		est, ok := value(e)
		if !ok || !e.HasBits || e.Reference {
			continue
		}
		i, seen := byName[e.Family]
		if !seen {
			i = len(all)
			byName[e.Family] = i
			all = append(all,
				series{name: e.Family, color: l.Look(e.Family).Color, marker: l.Look(e.Family).marker,
					symbol: l.Look(e.Family).symbol})
		}
		all[i].points = append(all[i].points,
			point{x: e.Bits, y: est.Value, low: est.Low, high: est.High, name: e.Name, says: bitsOf(e)})
		points++
	}
	slices.SortFunc(all, func(a, b series) int { return g.Families.Compare(a.name, b.name) })
	for i := range all {
		all[i].bars, all[i].name = points <= crowded, g.Legend(all[i].name)
	}
	return all, points
}
