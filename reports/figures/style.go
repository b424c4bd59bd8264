package figures

import (
	"fmt"
	"hash/fnv"
	"image/color"
	"slices"
	"strconv"
	"strings"
)

func Hex(c color.Color) string {
	r, g, b, _ := c.RGBA()
	return fmt.Sprintf("#%02x%02x%02x", r>>8, g>>8, b>>8)
}

// Style is how a family of rows looks in every figure. A family is a method,
// for mosaic with its base: "gptq", "mosaic on gptq".
type Style struct {
	Family string
	Color  string // "#rrggbb"; take one that is told apart with any colour vision, as of Okabe and Ito (2008)
	Marker string // one of Markers, told apart without colour
}

// Styles are the styles of the known families, in the order in which legends
// and tables list them. Families without a style come after them, by name.
type Styles []Style

// Markers are the names of the markers a Style may have.
var Markers = []string{"circle", "square", "triangle", "diamond", "down", "star", "plus", "cross"}

// Check fails on a family named twice or not at all, and on a colour or marker
// that does not exist.
func (s Styles) Check() error {
	seen := map[string]bool{}
	for i, m := range s {
		_, err := parseColor(m.Color)
		switch {
		case m.Family == "":
			return fmt.Errorf("reports: style %d has no family", i)
		case seen[m.Family]:
			return fmt.Errorf("reports: family %q has two styles", m.Family)
		case err != nil:
			return fmt.Errorf("reports: style of %q: %w", m.Family, err)
		case !slices.Contains(Markers, m.Marker):
			return fmt.Errorf("reports: style of %q: marker %q is not one of %s", m.Family, m.Marker,
				strings.Join(Markers, ", "))
		}
		seen[m.Family] = true
	}
	return nil
}

// Families are the names in order.
func (s Styles) Families() []string {
	var out []string
	for _, m := range s {
		out = append(out, m.Family)
	}
	return out
}

// look is a style that can be drawn.
type look struct {
	Color  color.RGBA
	marker marker
	symbol string // the marker in an interactive chart
}

// Look returns the look of a family. One without a style gets a look that
// depends on its name alone, so that it is the same on every page. The styles
// are as Check wants them.
func (s Styles) Look(family string) look {
	if i := slices.IndexFunc(s, func(m Style) bool { return m.Family == family }); i >= 0 {
		c, err := parseColor(s[i].Color)
		if err != nil {
			panic("reports: " + err.Error()) // Check was not asked
		}
		m := slices.Index(Markers, s[i].Marker)
		return look{c, markers[m], symbols[m]}
	}
	h := fnv.New32a()
	h.Write([]byte(family))
	n := int(h.Sum32() % uint32(len(spare)*len(markers)))
	return look{spare[n%len(spare)], markers[n/len(spare)], symbols[n/len(spare)]}
}

// spare colours families without a style.
var spare = []color.RGBA{{0x00, 0x60, 0x60, 0xff}, {0x40, 0x40, 0x90, 0xff}, {0xb0, 0x80, 0x60, 0xff},
	{0x70, 0x90, 0x20, 0xff}}

// parseColor reads "#rrggbb".
func parseColor(s string) (color.RGBA, error) {
	v, err := strconv.ParseUint(strings.TrimPrefix(s, "#"), 16, 32)
	if err != nil || len(s) != 7 || s[0] != '#' {
		return color.RGBA{}, fmt.Errorf("colour %q is not #rrggbb", s)
	}
	return color.RGBA{uint8(v >> 16), uint8(v >> 8), uint8(v), 0xff}, nil
}

// palette colours series that are not methods: values of an axis, items of a
// ledger. Okabe-Ito without the yellow that white paper swallows, then darker and
// lighter hues: a ledger has up to fifteen kinds of parts.
var palette = []color.RGBA{
	{0x00, 0x72, 0xb2, 0xff}, {0xe6, 0x9f, 0x00, 0xff}, {0x00, 0x9e, 0x73, 0xff}, {0xcc, 0x79, 0xa7, 0xff},
	{0x56, 0xb4, 0xe9, 0xff}, {0xd5, 0x5e, 0x00, 0xff}, {0x80, 0x80, 0x80, 0xff}, {0x8c, 0x6d, 0x1f, 0xff},
	{0x33, 0x22, 0x88, 0xff}, {0xf0, 0xc9, 0x8a, 0xff}, {0x88, 0x22, 0x55, 0xff}, {0xb8, 0xd9, 0x6e, 0xff},
	{0x11, 0x33, 0x33, 0xff}, {0xff, 0x7a, 0x7a, 0xff}, {0xc4, 0xb5, 0xe8, 0xff},
}

// Symbols of ECharts for the markers; it lacks four of them. symbols and markers
// are in the order of Markers.
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

var symbols = []string{circleSymbol, squareSymbol, triangleSymbol, diamondSymbol, downSymbol, starSymbol, plusSymbol,
	crossSymbol}

var markers = []marker{circle, square, triangle, diamond, down, star, plus, cross}

// viridis maps 0..1 to the perceptually uniform palette of that name (van der
// Walt and Smith), read off at eleven places and interpolated.
func viridis(t float64) color.RGBA {
	anchors := [...]uint32{0x440154, 0x482475, 0x414487, 0x355f8d, 0x2a788e, 0x21918c, 0x22a884, 0x44bf70, 0x7ad151,
		0xbddf26, 0xfde725}
	x := min(max(t, 0), 1) * float64(len(anchors)-1)
	i := min(int(x), len(anchors)-2)
	f := x - float64(i)
	mix := func(shift uint) uint8 {
		a, b := float64(anchors[i]>>shift&0xff), float64(anchors[i+1]>>shift&0xff)
		return uint8(a + (b-a)*f + 0.5)
	}
	return color.RGBA{mix(16), mix(8), mix(0), 0xff}
}
