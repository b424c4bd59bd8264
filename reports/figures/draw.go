package figures

import (
	"bytes"
	"fmt"
	"html"
	"image/color"
	"math"
	"regexp"
	"strconv"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
	"gonum.org/v1/plot/vg/vgsvg"
)

// Figure is one drawing of the report, drawn at any width.
type Figure struct {
	Key     string // file name and anchor
	Title   string
	Caption string

	height func(width vg.Length) vg.Length
	draw   func(c draw.Canvas, st sheet)
	Chart  []byte // the interactive version's options (JSON); nil without one
	Panel  bool   // on the page beside others: narrower
}

// Nth gives the i-th figure of its kind on a page, from 0, a key of its own.
func (f *Figure) Nth(i int) {
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
	panelWidth  = 4 * vg.Inch
	panelFont   = vg.Length(9)
)

// pageInk stands for the page's text colour: inline figures replace it with
// currentColor, so that they follow the light and dark theme.
var (
	pageInk = color.RGBA{1, 2, 3, 0xff}
	fileInk = color.RGBA{0x1a, 0x1a, 0x1a, 0xff}
)

// PNG draws f at column width.
func (f *Figure) PNG() ([]byte, error) {
	w := columnWidth
	c := vgimg.NewWith(vgimg.UseWH(w, f.height(w)), vgimg.UseDPI(columnDPI), vgimg.UseBackgroundColor(color.White))
	f.draw(draw.New(c), sheet{columnFont, fileInk})
	var b bytes.Buffer
	_, err := vgimg.PngCanvas{Canvas: c}.WriteTo(&b)
	return b.Bytes(), err
}

// SVG draws f at column width, as a file of its own.
func (f *Figure) SVG() ([]byte, error) {
	c := vgsvg.New(columnWidth, f.height(columnWidth))
	f.draw(draw.New(c), sheet{columnFont, fileInk})
	var b bytes.Buffer
	_, err := c.WriteTo(&b)
	return bytes.ReplaceAll(b.Bytes(), []byte("font-family:Liberation Sans"),
		[]byte("font-family:Liberation Sans,Arial,Helvetica,sans-serif")), err
}

// Inline draws f for the page: an svg element that scales with its column.
func (f *Figure) Inline() (string, error) {
	w, font := pageWidth, pageFont
	if f.Panel {
		w, font = panelWidth, panelFont
	}
	h := f.height(w)
	c := vgsvg.New(w, h)
	f.draw(draw.New(c), sheet{font, pageInk})
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
	// the second where ink is faded: vgsvg rounds down
	body = strings.NewReplacer("#010203", "currentColor", "#000102", "currentColor",
		";font-variant:normal;font-weight:normal;font-style:normal", "", "font-family:Liberation Sans;", "").Replace(body)
	body = shortRectangles(body)
	return fmt.Sprintf("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %.5g %.5g\" role=\"img\" "+
		"aria-label=\"%s\">\n%s",
		float64(w), float64(h), html.EscapeString(f.Title), body), nil
}

// rectangle is a filled one as vgsvg writes it: a heat map is made of thousands.
var rectangle = regexp.MustCompile(`<path d="M([-0-9.]+),([-0-9.]+)L([-0-9.]+),([-0-9.]+)L([-0-9.]+),([-0-9.]+)` +
	`L([-0-9.]+),([-0-9.]+)Z" style="fill:(#[0-9A-F]{6})" />`)

// shortRectangles writes filled rectangles in half the bytes, to a tenth of a point.
func shortRectangles(body string) string {
	return rectangle.ReplaceAllStringFunc(body, func(path string) string {
		m := rectangle.FindStringSubmatch(path)
		var v [8]float64
		for i := range v {
			var err error
			if v[i], err = strconv.ParseFloat(m[i+1], 64); err != nil {
				return path
			}
		}
		left, low, right, high := v[0], v[1], v[4], v[5]
		if v != [8]float64{left, low, right, low, right, high, left, high} {
			return path
		}
		short := func(v float64) string { return strconv.FormatFloat(math.Round(10*v)/10, 'f', -1, 64) }
		return "<path d=\"M" + short(left) + " " + short(low) + "h" + short(right-left) + "v" + short(high-low) +
			"h" + short(left-right) + "z\" fill=\"" + m[9] + "\"/>"
	})
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

// plotter makes a plot.Plotter of a function.
type plotter func(c draw.Canvas, p *plot.Plot)

func (b plotter) Plot(c draw.Canvas, p *plot.Plot) { b(c, p) }
