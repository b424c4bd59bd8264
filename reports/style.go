package reports

import (
	"image/color"
	"slices"
)

// method is how a family looks in every figure: a colour of Okabe and Ito's
// palette (2008), told apart with any colour vision, and a marker, told apart
// without colour.
type method struct {
	name   string
	color  color.RGBA
	marker marker
	symbol string // the marker in an interactive chart
}

// methods fixes order and look of the families we know; others take what
// remains, in order of name.
var methods = []method{
	{"none", color.RGBA{0x59, 0x59, 0x59, 0xff}, cross, crossSymbol},
	{"rtn", color.RGBA{0x56, 0xb4, 0xe9, 0xff}, circle, circleSymbol},
	{"gptq", color.RGBA{0x00, 0x72, 0xb2, 0xff}, square, squareSymbol},
	{"spqr", color.RGBA{0x00, 0x9e, 0x73, 0xff}, triangle, triangleSymbol},
	{"llmint8", color.RGBA{0x80, 0x80, 0x80, 0xff}, square, squareSymbol},
	{"quik", color.RGBA{0x8c, 0x6d, 0x1f, 0xff}, plus, plusSymbol},
	{"atom", color.RGBA{0xcc, 0x79, 0xa7, 0xff}, down, downSymbol},
	{"svdquant", color.RGBA{0x99, 0x33, 0x66, 0xff}, circle, circleSymbol},
	{"mosaic", color.RGBA{0xd5, 0x5e, 0x00, 0xff}, diamond, diamondSymbol},
	{"mosaic on rtn", color.RGBA{0xe6, 0x9f, 0x00, 0xff}, diamond, diamondSymbol},
	{"mosaic on gptq", color.RGBA{0xd5, 0x5e, 0x00, 0xff}, star, starSymbol},
}

var spare = []method{
	{"", color.RGBA{0x00, 0x60, 0x60, 0xff}, down, downSymbol},
	{"", color.RGBA{0x40, 0x40, 0x90, 0xff}, plus, plusSymbol},
	{"", color.RGBA{0xb0, 0x80, 0x60, 0xff}, cross, crossSymbol},
	{"", color.RGBA{0x70, 0x90, 0x20, 0xff}, triangle, triangleSymbol},
}

func rankOf(name string) int {
	if i := slices.IndexFunc(methods, func(m method) bool { return m.name == name }); i >= 0 {
		return i
	}
	return len(methods)
}

func byFamily(a, b string) int {
	if c := rankOf(a) - rankOf(b); c != 0 {
		return c
	}
	return natural(a, b)
}

// looks gives each family of the table its look, the same in all figures.
type looks map[string]method

func (t *Table) looks() looks {
	var names []string
	for _, g := range t.Groups {
		for _, e := range g.Entries {
			if !slices.Contains(names, e.Family) {
				names = append(names, e.Family)
			}
		}
	}
	slices.SortFunc(names, byFamily)
	l, next := looks{}, 0
	for _, n := range names {
		m := spare[next%len(spare)]
		if i := rankOf(n); i < len(methods) {
			m = methods[i]
		} else {
			next++
		}
		m.name = n
		l[n] = m
	}
	return l
}

// palette colours series that are not methods: values of an axis, items of a
// ledger. Okabe-Ito without the yellow that white paper swallows.
var palette = []color.RGBA{
	{0x00, 0x72, 0xb2, 0xff}, {0xe6, 0x9f, 0x00, 0xff}, {0x00, 0x9e, 0x73, 0xff}, {0xcc, 0x79, 0xa7, 0xff},
	{0x56, 0xb4, 0xe9, 0xff}, {0xd5, 0x5e, 0x00, 0xff}, {0x80, 0x80, 0x80, 0xff}, {0x8c, 0x6d, 0x1f, 0xff},
}

// Symbols of ECharts for the markers; it lacks four of them.
const (
	circleSymbol   = "circle"
	squareSymbol   = "rect"
	triangleSymbol = "triangle"
	diamondSymbol  = "diamond"
	downSymbol     = "path://M0,0L10,0L5,9Z"
	starSymbol     = "path://M5,0L6.5,3.4L10,3.8L7.4,6.2L8.1,9.8L5,8L1.9,9.8L2.6,6.2L0,3.8L3.5,3.4Z"
	plusSymbol     = "path://M3.5,0L6.5,0L6.5,3.5L10,3.5L10,6.5L6.5,6.5L6.5,10L3.5,10L3.5,6.5L0,6.5L0,3.5L3.5,3.5Z"
	crossSymbol    = "path://M2,0L5,3L8,0L10,2L7,5L10,8L8,10L5,7L2,10L0,8L3,5L0,2Z"
)

var symbols = []string{circleSymbol, squareSymbol, triangleSymbol, diamondSymbol, downSymbol, starSymbol, plusSymbol, crossSymbol}

var markers = []marker{circle, square, triangle, diamond, down, star, plus, cross}

// viridis maps 0..1 to the perceptually uniform palette of that name (van der
// Walt and Smith), read off at eleven places and interpolated.
func viridis(t float64) color.RGBA {
	anchors := [...]uint32{0x440154, 0x482475, 0x414487, 0x355f8d, 0x2a788e, 0x21918c, 0x22a884, 0x44bf70, 0x7ad151, 0xbddf26, 0xfde725}
	x := min(max(t, 0), 1) * float64(len(anchors)-1)
	i := min(int(x), len(anchors)-2)
	f := x - float64(i)
	mix := func(shift uint) uint8 {
		a, b := float64(anchors[i]>>shift&0xff), float64(anchors[i+1]>>shift&0xff)
		return uint8(a + (b-a)*f + 0.5)
	}
	return color.RGBA{mix(16), mix(8), mix(0), 0xff}
}
