package reports

import (
	"bytes"
	"fmt"
	"html"
	"image/color"
	"math"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
	"gonum.org/v1/plot/vg/vgsvg"
)

// figure is one drawing of the report, drawn at any width.
type figure struct {
	Key     string // file name and anchor
	Title   string
	Caption string

	height func(width vg.Length) vg.Length
	draw   func(c draw.Canvas, st sheet)
	chart  []byte // the interactive version's options (JSON); nil without one
}

// nth gives the i-th figure of its kind on a page, from 0, a key of its own.
func (f *figure) nth(i int) {
	if i > 0 {
		f.Key = fmt.Sprintf("%s-%d", f.Key, i+1)
	}
}

// sheet is what a figure is drawn on: its font size and its ink.
type sheet struct {
	size vg.Length
	ink  color.Color
}

// Two sizes are drawn: a column of a paper, and the page.
const (
	columnWidth = 89 * vg.Millimeter
	columnFont  = vg.Length(7)
	columnDPI   = 300
	pageWidth   = 6.6 * vg.Inch
	pageFont    = vg.Length(9.5)
)

// pageInk stands for the page's text colour: inline figures replace it with
// currentColor, so that they follow the light and dark theme.
var (
	pageInk = color.RGBA{1, 2, 3, 0xff}
	fileInk = color.RGBA{0x1a, 0x1a, 0x1a, 0xff}
)

// png draws f at column width.
func (f *figure) png() ([]byte, error) {
	w := columnWidth
	c := vgimg.NewWith(vgimg.UseWH(w, f.height(w)), vgimg.UseDPI(columnDPI), vgimg.UseBackgroundColor(color.White))
	f.draw(draw.New(c), sheet{columnFont, fileInk})
	var b bytes.Buffer
	_, err := vgimg.PngCanvas{Canvas: c}.WriteTo(&b)
	return b.Bytes(), err
}

// svg draws f at column width, as a file of its own.
func (f *figure) svg() ([]byte, error) {
	c := vgsvg.New(columnWidth, f.height(columnWidth))
	f.draw(draw.New(c), sheet{columnFont, fileInk})
	var b bytes.Buffer
	_, err := c.WriteTo(&b)
	return bytes.ReplaceAll(b.Bytes(), []byte("font-family:Liberation Sans"), []byte("font-family:Liberation Sans,Arial,Helvetica,sans-serif")), err
}

// inline draws f for the page: an svg element that scales with its column.
func (f *figure) inline() (string, error) {
	w, h := pageWidth, f.height(pageWidth)
	c := vgsvg.New(w, h)
	f.draw(draw.New(c), sheet{pageFont, pageInk})
	var b bytes.Buffer
	if _, err := c.WriteTo(&b); err != nil {
		return "", err
	}
	_, body, ok := strings.Cut(b.String(), "<svg")
	if ok {
		_, body, ok = strings.Cut(body, ">\n")
	}
	if !ok {
		return "", fmt.Errorf("reports: figure %s: no svg element was drawn", f.Key)
	}
	body = strings.NewReplacer("#010203", "currentColor", "#000102", "currentColor", // the second where ink is faded: vgsvg rounds down
		";font-variant:normal;font-weight:normal;font-style:normal", "", "font-family:Liberation Sans;", "").Replace(body)
	return fmt.Sprintf("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %.5g %.5g\" role=\"img\" aria-label=\"%s\">\n%s",
		float64(w), float64(h), html.EscapeString(f.Title), body), nil
}

func ratio(r float64) func(vg.Length) vg.Length {
	return func(w vg.Length) vg.Length { return w * vg.Length(r) }
}

// faded is ink at a share of its strength.
func (st sheet) faded(alpha float64) color.Color {
	r, g, b, _ := st.ink.RGBA()
	return color.NRGBA{uint8(r >> 8), uint8(g >> 8), uint8(b >> 8), uint8(255 * alpha)}
}

func (st sheet) text(scale float64, x text.XAlignment, y text.YAlignment) text.Style {
	return text.Style{
		Color: st.ink, XAlign: x, YAlign: y, Handler: plot.DefaultTextHandler,
		Font: font.Font{Typeface: "Liberation", Variant: "Sans", Size: st.size * vg.Length(scale)},
	}
}

// plot returns an empty plot in the house style: thin axes, a faint grid.
func (st sheet) plot(x, y string) *plot.Plot {
	p := plot.New()
	p.BackgroundColor = nil
	for _, a := range []*plot.Axis{&p.X, &p.Y} {
		a.Color, a.LineStyle.Color, a.Tick.Color = st.ink, st.ink, st.ink
		a.LineStyle.Width, a.Tick.LineStyle.Width = st.size/14, st.size/14
		a.Tick.Length = st.size / 3
		a.Padding = st.size / 4
		a.Label.TextStyle = st.text(1, text.XCenter, text.YBottom)
		a.Tick.Label = st.text(0.9, text.XCenter, text.YTop)
	}
	p.X.Tick.Label.YAlign = text.YTop
	p.Y.Tick.Label.XAlign, p.Y.Tick.Label.YAlign = text.XRight, text.YCenter
	p.X.Label.Text, p.Y.Label.Text = x, y
	return p
}

// entry is one line of a legend.
type entry struct {
	name  string
	thumb func(c draw.Canvas, at vg.Point, st sheet)
	width vg.Length // of the thumbnail, in font sizes
}

// legend writes the entries above the drawing, wrapping, and returns the rest
// of the canvas: data never hides under it.
func (st sheet) legend(c draw.Canvas, entries []entry) draw.Canvas {
	style := st.text(0.95, text.XLeft, -0.4)
	x, y := c.Min.X+st.size, c.Max.Y-st.size
	for _, e := range entries {
		w := e.width * st.size
		total := w + st.size*0.5 + style.Width(e.name)
		if x > c.Min.X+st.size && x+total > c.Max.X {
			x, y = c.Min.X+st.size, y-st.size*1.5
		}
		e.thumb(c, vg.Point{X: x + w/2, Y: y}, st)
		c.FillText(style, vg.Point{X: x + w + st.size*0.5, Y: y}, e.name)
		x += total + st.size*1.4
	}
	return draw.Crop(c, 0, -st.size*0.8, 0, y-st.size*1.2-c.Max.Y)
}

// marker is the shape of a point of radius r.
type marker func(c draw.Canvas, at vg.Point, r vg.Length, col color.Color)

func polygon(n int, turn float64, radius ...float64) marker {
	return func(c draw.Canvas, at vg.Point, r vg.Length, col color.Color) {
		var pts []vg.Point
		for i := range n {
			sin, cos := math.Sincos(turn + 2*math.Pi*float64(i)/float64(n))
			s := r * vg.Length(radius[i%len(radius)])
			pts = append(pts, vg.Point{X: at.X + s*vg.Length(cos), Y: at.Y + s*vg.Length(sin)})
		}
		c.FillPolygon(col, pts)
	}
}

var (
	square   = polygon(4, math.Pi/4, 1.25)
	diamond  = polygon(4, 0, 1.3)
	triangle = polygon(3, math.Pi/2, 1.35)
	down     = polygon(3, -math.Pi/2, 1.35)
	star     = polygon(10, math.Pi/2, 1.5, 0.65)
	plus     = polygon(12, math.Pi/12, 1.35, 1.35, 0.5)
	cross    = polygon(12, math.Pi/3, 1.35, 1.35, 0.5)
)

func circle(c draw.Canvas, at vg.Point, r vg.Length, col color.Color) {
	c.SetColor(col)
	var p vg.Path
	p.Move(vg.Point{X: at.X + r, Y: at.Y})
	p.Arc(at, r, 0, 2*math.Pi)
	p.Close()
	c.Fill(p)
}

// point is one row in a scatter: an estimate over x.
type point struct {
	x, y, low, high float64
	name            string
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
	for _, q := range s.points {
		if !s.bars || !(q.high > q.low) {
			continue
		}
		x, lo, hi, cap := tx(q.x), ty(q.low), ty(q.high), s.st.size/5
		c.StrokeLine2(bar, x, lo, x, hi)
		c.StrokeLine2(bar, x-cap, lo, x+cap, lo)
		c.StrokeLine2(bar, x-cap, hi, x+cap, hi)
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

// grid draws a faint line at each labelled tick.
type grid struct{ st sheet }

func (g grid) Plot(c draw.Canvas, p *plot.Plot) {
	tx, ty := p.Transforms(&c)
	line := draw.LineStyle{Color: g.st.faded(0.12), Width: g.st.size / 16}
	for _, t := range p.X.Tick.Marker.Ticks(p.X.Min, p.X.Max) {
		if x := tx(t.Value); t.Label != "" {
			c.StrokeLine2(line, x, c.Min.Y, x, c.Max.Y)
		}
	}
	for _, t := range p.Y.Tick.Marker.Ticks(p.Y.Min, p.Y.Max) {
		if y := ty(t.Value); t.Label != "" {
			c.StrokeLine2(line, c.Min.X, y, c.Max.X, y)
		}
	}
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

// span sets the range of an axis to lo..hi with room around it, on a
// logarithmic scale where log is set, with as many ticks as are legible.
func span(a *plot.Axis, lo, hi float64, log bool) {
	if log {
		u, v := math.Log(lo), math.Log(hi)
		pad := max(0.06*(v-u), 0.05)
		a.Min, a.Max = math.Exp(u-pad), math.Exp(v+pad)
		a.Scale, a.Tick.Marker = plot.LogScale{}, logTicks{}
		return
	}
	pad := 0.06 * (hi - lo)
	if pad == 0 {
		pad = max(math.Abs(lo)*0.05, 1e-6)
	}
	a.Min, a.Max = lo-pad, hi+pad
	a.Tick.Marker = linearTicks{}
}

// linearTicks puts ticks on 1, 2 or 5 times a power of ten.
type linearTicks struct{}

func (linearTicks) Ticks(lo, hi float64) []plot.Tick {
	if !(hi > lo) {
		return []plot.Tick{{Value: lo, Label: fmt.Sprintf("%.4g", lo)}}
	}
	raw := (hi - lo) / 6
	exp := math.Floor(math.Log10(raw))
	unit := 10.0
	for _, m := range []float64{1, 2, 5} {
		if m*math.Pow(10, exp) >= raw {
			unit = m
			break
		}
	}
	if unit == 10 {
		unit, exp = 1, exp+1
	}
	stepSize := unit * math.Pow(10, exp)
	var out []plot.Tick
	for i := math.Ceil(lo / stepSize); i*stepSize <= hi; i++ {
		out = append(out, plot.Tick{Value: i * stepSize, Label: fixed(i*stepSize, max(0, -int(exp)))})
	}
	return out
}

// logTicks labels the sparsest of three sets of mantissas that still gives
// three labels, and leaves the other whole mantissas as minor ticks.
type logTicks struct{}

func (logTicks) Ticks(lo, hi float64) []plot.Tick {
	if !(lo > 0 && hi > lo) {
		return nil
	}
	sets := [][]float64{{1}, {1, 3}, {1, 2, 5}, {1, 1.5, 2, 3, 4, 5, 6, 8}}
	from, to := int(math.Floor(math.Log10(lo))), int(math.Ceil(math.Log10(hi)))
	for _, set := range sets {
		var out []plot.Tick
		labels := 0
		for e := from; e <= to; e++ {
			for _, m := range []float64{1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9} {
				v := m * math.Pow(10, float64(e))
				if v < lo || v > hi {
					continue
				}
				t := plot.Tick{Value: v}
				for _, s := range set {
					if s == m {
						t.Label = logLabel(v)
						labels++
					}
				}
				if t.Label != "" || m == math.Trunc(m) {
					out = append(out, t)
				}
			}
		}
		if labels >= 3 {
			return out
		}
	}
	// less than a factor of about 1.6: logarithmic and linear look the same
	return linearTicks{}.Ticks(lo, hi)
}

func logLabel(v float64) string {
	if v >= 1e-4 && v < 1e5 {
		return fmt.Sprintf("%.6g", v)
	}
	return fmt.Sprintf("%.0e", v)
}
