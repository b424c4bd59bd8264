package figures

import (
	"strings"
	"testing"
)

// TestStyles draws known families as their styles say, in their order, and
// others by their name alone, whatever else is on the page.
func TestStyles(t *testing.T) {
	styles := Styles{{"rtn", "#56b4e9", "circle"}, {"gptq", "#0072b2", "square"}, {"mosaic on gptq", "#d55e00", "star"}}
	if err := styles.Check(); err != nil {
		t.Fatal(err)
	}
	if got := Hex(styles.Look("gptq").Color); got != "#0072b2" {
		t.Errorf("gptq is drawn in %s", got)
	}
	if a, b := styles.Look("new method"), (Styles{}).Look("new method"); a.Color != b.Color || a.symbol != b.symbol {
		t.Errorf("a family without a style is drawn as %v and %v", a, b)
	}
	seen := map[[2]string]bool{}
	for _, name := range []string{"quarot", "spinquant", "omniquant", "hqq", "aqlm", "quip", "flatquant", "any4"} {
		l := styles.Look(name)
		seen[[2]string{Hex(l.Color), l.symbol}] = true
	}
	if len(seen) < 6 {
		t.Errorf("eight families without a style have %d looks", len(seen))
	}
	for want, bad := range map[string]Style{
		"has no family":                         {"", "#000000", "circle"},
		`family "rtn" has two styles`:           {"rtn", "#000000", "circle"},
		`style of "x": colour "red"`:            {"x", "red", "circle"},
		`style of "x": colour "#-12345"`:        {"x", "#-12345", "circle"},
		`style of "x": marker "dot" is not one`: {"x", "#000000", "dot"},
	} {
		if err := append(Styles{{"rtn", "#56b4e9", "circle"}}, bad).Check(); err == nil ||
			!strings.Contains(err.Error(), want) {
			t.Errorf("%+v: error %v, want %q", bad, err, want)
		}
	}
}

// TestPalette wants every part of a ledger in a colour of its own, well apart from
// the others.
func TestPalette(t *testing.T) {
	if len(palette) < 15 {
		t.Errorf("%d colours for the 15 parts that a ledger may have", len(palette))
	}
	for i, a := range palette {
		for j, b := range palette[:i] {
			dr, dg, db := int(a.R)-int(b.R), int(a.G)-int(b.G), int(a.B)-int(b.B)
			if d := dr*dr + dg*dg + db*db; d < 45*45 {
				t.Errorf("colours %d and %d, %v and %v, are hard to tell apart", j, i, b, a)
			}
		}
	}
}

// TestShortRectangles writes rectangles alone in another way.
func TestShortRectangles(t *testing.T) {
	const square = `<path d="M308.69,418.57L312.44,418.57L312.44,426.55L308.69,426.55Z" style="fill:#440557" />`
	if got := shortRectangles(square); got != `<path d="M308.7 418.6h3.7v8h-3.7z" fill="#440557"/>` &&
		got != `<path d="M308.7 418.6h3.8v8h-3.8z" fill="#440557"/>` {
		t.Errorf("a rectangle became %s", got)
	}
	for _, other := range []string{
		`<path d="M308.69,418.57L312.44,419L312.44,426.55L308.69,426.55Z" style="fill:#440557" />`,
		`<path d="M1,1L2,1L2,2L1,2Z" style="fill:none;stroke:#440557" />`,
	} {
		if got := shortRectangles(other); got != other {
			t.Errorf("%s became %s", other, got)
		}
	}
}
