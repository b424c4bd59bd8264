package reports

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/mosaicquant/mosaicquant/reports/figures"
	"github.com/mosaicquant/mosaicquant/reports/format"
	"github.com/mosaicquant/mosaicquant/reports/stats"
)

// verdict is the outcome of the comparisons of several rows, each with the rival
// against which it stands worst.
type verdict struct {
	best          *stats.Entry // stands best of them
	ratio         stats.Estimate
	price         *stats.Estimate // time of best over that of its rival; nil at equal bits
	rival         string          // of best
	lower, higher int             // rows of claimed differences
	paid          int             // of lower: rows that clearly take more time than their rival
	rows          int
	where         string // the size or time of best
	residual      bool   // the rows are residuals, the rivals other methods
}

// claim counts one comparison; paid tells that the row takes more time than its rival.
func (v *verdict) claim(ratio stats.Estimate, holm float64, paid bool) {
	v.rows++
	switch {
	case holm < 1-stats.Level && ratio.Value < 1:
		v.lower++
		if paid {
			v.paid++
		}
	case holm < 1-stats.Level:
		v.higher++
	}
}

// residuals pairs residuals with other methods, and everything any row with any
// other method.
func residuals(e *stats.Entry, rival string) bool {
	return stats.IsResidual(e.Family) && !stats.IsResidual(rival)
}

func everything(*stats.Entry, string) bool { return true }

// atEqualBits is the group's answer at equal bits; nil without any comparison. Where
// residuals meet other methods it is of them, else of the row of lowest divergence
// among those that have a rival of their size.
func atEqualBits(g *stats.Group) *verdict {
	v := &verdict{residual: true}
	hardest := g.Hardest(residuals)
	if len(hardest) == 0 {
		v.residual, hardest = false, g.Hardest(everything)
	}
	for _, e := range g.Entries {
		iso, ok := hardest[e]
		if !ok {
			continue
		}
		v.claim(iso.Ratio, iso.Holm, false)
		if v.better(e, iso.Ratio) {
			v.best, v.ratio, v.rival = e, iso.Ratio, isoRival(iso)
			v.where = format.Fixed(e.Bits, 3) + " bits"
		}
	}
	if v.best == nil {
		return nil
	}
	return v
}

// isoRival names what stands behind the rival of iso.
func isoRival(iso stats.Iso) string {
	near := iso.Lower
	if iso.Upper != nil && iso.Weight > 0.5 {
		near = iso.Upper
	}
	switch apart := iso.Apart(); {
	case apart == 0:
		return briefly(near)
	case iso.Upper == nil && apart < -stats.Reach:
		return fmt.Sprintf("%s, which has fewer bits (%s)", briefly(near), format.Fixed(near.Bits, 3))
	}
	return "near " + briefly(near)
}

// atEqualTime is the group's answer at one number of tokens; nil without any.
func atEqualTime(g *stats.Group, tokens string) *verdict {
	v := &verdict{residual: true}
	hardest := g.HardestInTime(tokens, residuals)
	if len(hardest) == 0 {
		v.residual, hardest = false, g.HardestInTime(tokens, everything)
	}
	for _, e := range g.Entries {
		iso, ok := hardest[e]
		if !ok {
			continue
		}
		v.claim(iso.Ratio, iso.Holm, iso.Slower())
		if v.better(e, iso.Ratio) {
			v.best, v.ratio, v.price, v.rival = e, iso.Ratio, &iso.Price, briefly(iso.Rival)
			v.where = timeRatio(e.Speed(tokens).Over16.Value) + " of the time of 16-bit weights"
		}
	}
	if v.best == nil {
		return nil
	}
	return v
}

func timeRatio(v float64) string { return format.Fixed(v, 3) }

// better tells whether e with its ratio is to be named rather than the best so far.
func (v *verdict) better(e *stats.Entry, ratio stats.Estimate) bool {
	switch {
	case v.best == nil:
		return true
	case v.residual:
		return ratio.Value < v.ratio.Value
	}
	return e.KL.Value < v.best.KL.Value
}

// change says how the divergence differs: "7.4 % less [..]".
func change(r stats.Estimate) string {
	interval := ""
	if r.Interval() {
		interval = " " + stats.Interval(r, format.Percent)
	}
	return format.Percent(r.Value) + interval
}

// sentence says v in full.
func (v *verdict) sentence(where string) finding {
	what, others := "the row of lowest divergence that has a rival there", "the next method, "
	if v.residual {
		what, others = "the best residual", "the strongest other method there, "
	}
	if v.price != nil && v.residual {
		others = "the strongest other method that is no slower, "
	}
	text := fmt.Sprintf("%s, %s is %s, %s: KL %s against %s%s", where, what, briefly(v.best), v.where,
		change(v.ratio), others, v.rival)
	if v.price != nil {
		text += ", for " + times(*v.price) + " its time"
	}
	text += "."
	if v.residual && v.rows > 1 {
		text += " Of " + v.count() + "."
	}
	return finding{text, []*stats.Entry{v.best}}
}

// times says a ratio of times: "1.73 [1.58, 1.92] times".
func times(r stats.Estimate) string {
	return stats.WithInterval(r, func(v float64) string { return format.Fixed(v, 2) }) + " times"
}

// count says how many of the compared rows do better and worse than their rivals.
func (v *verdict) count() string {
	text := format.Plural(v.rows, "residual", "residuals")
	if v.price == nil {
		text += fmt.Sprintf(" %d lower", v.lower)
	} else {
		text += fmt.Sprintf(" %d lower in no more time, %d lower for more time", v.lower-v.paid, v.paid)
	}
	text += fmt.Sprintf(", %d higher", v.higher)
	if n := v.rows - v.lower - v.higher; n > 0 {
		text += fmt.Sprintf(", %d not told apart", n)
	}
	return text
}

// answers says what the group's rows answer: which are on all fronts, and what
// residuals give at equal bits and in time.
func answers(g *stats.Group) []finding {
	timed := len(phasesOf(g)) > 0
	var out []finding
	if timed {
		out = append(out, onAllFronts(g))
	}
	if v := atEqualBits(g); v != nil {
		out = append(out, v.sentence("At equal bits"))
	} else {
		f := byBits(g)
		f.Text = "Over bits: " + f.Text + "."
		out = append(out, f)
	}
	for _, p := range phasesOf(g) {
		where := fmt.Sprintf("In %s (%s)", p.name, p.tokens)
		if v := atEqualTime(g, p.tokens); v != nil {
			out = append(out, v.sentence(where))
		} else {
			out = append(out, finding{Text: where + ": no row has a rival that is no slower."})
		}
	}
	if !timed {
		out = append(out, finding{Text: "Accurate and fast at once: these rows carry no times, so nothing is said of speed."})
	}
	return out
}

// byBits is the answer where no row has a rival of its size: the rows that diverge
// least for their bits.
func byBits(g *stats.Group) finding {
	const none = "no two methods have rows of one size over the same windows"
	if len(g.Front) == 0 {
		return finding{Text: none}
	}
	var list []string
	for _, e := range g.Front {
		list = append(list, fmt.Sprintf("%s (%s bits, KL %s)", e.Name, format.Fixed(e.Bits, 3), format.Sig(e.KL.Value)))
	}
	return finding{"less divergence for more bits, in steps: " + format.List(list, 6) + "; " + none, g.Front}
}

// phase is a use of the weights whose time was measured.
type phase struct{ tokens, name string }

func phasesOf(g *stats.Group) []phase {
	var out []phase
	decode, prefill := g.Phases()
	if decode != "" {
		out = append(out, phase{decode, "decoding time"})
	}
	if prefill != "" {
		out = append(out, phase{prefill, "prompt time"})
	}
	return out
}

// frontNames names the fronts of g: "bits, decoding time and prompt time".
func frontNames(g *stats.Group) string {
	text := "bits"
	phases := phasesOf(g)
	for i, p := range phases {
		if i < len(phases)-1 {
			text += ", " + p.name
		} else {
			text += " and " + p.name
		}
	}
	return text
}

// allFronts are the rows that are on all fronts of g: those of which the intervals of
// times tell it, and those that are there by estimate.
func allFronts(g *stats.Group) (clear, estimated []*stats.Entry) {
	for _, e := range g.OnAllFronts() {
		tied := slices.ContainsFunc(phasesOf(g), func(p phase) bool { return g.TiedInTime(e, p.tokens) != nil })
		if tied {
			estimated = append(estimated, e)
		} else {
			clear = append(clear, e)
		}
	}
	return clear, estimated
}

// onAllFronts answers whether rows are accurate and fast at once.
func onAllFronts(g *stats.Group) finding {
	clear, estimated := allFronts(g)
	describe := func(rows []*stats.Entry) string {
		var list []string
		for _, e := range rows {
			text := fmt.Sprintf("%s: %s bits, KL %s", briefly(e), format.Fixed(e.Bits, 3), format.Sig(e.KL.Value))
			for _, p := range phasesOf(g) {
				text += fmt.Sprintf(", %s %s", p.name, timeRatio(e.Speed(p.tokens).Over16.Value))
			}
			list = append(list, text)
		}
		return strings.Join(list[:min(len(list), 6)], "; ") + more(len(list)-6)
	}
	where := "Accurate and fast at once, on the fronts of " + frontNames(g) + ": "
	tied := "by estimate alone, as the times of rows that diverge less are not told apart from theirs: "
	switch {
	case len(clear) > 0 && len(estimated) > 0:
		return finding{where + describe(clear) + "; " + tied + describe(estimated) + ".", slices.Concat(clear, estimated)}
	case len(clear) > 0:
		return finding{where + describe(clear) + ".", clear}
	case len(estimated) > 0:
		return finding{where + tied + describe(estimated) + ".", estimated}
	}
	return finding{Text: where + "no row."}
}

// briefAnswer is the group's answer in a sentence or two: which rows are accurate and
// fast, and what the best residual gives for its bits and its time.
func briefAnswer(g *stats.Group) string {
	var parts []string
	if len(phasesOf(g)) > 0 {
		clear, estimated := allFronts(g)
		text := "accurate and fast, on the fronts of " + frontNames(g) + ": "
		switch {
		case len(clear) > 0 && len(estimated) > 0:
			text += placed(g, clear) + "; by estimate " + markedAll(estimated, 3)
		case len(clear) > 0:
			text += placed(g, clear)
		case len(estimated) > 0:
			text += "by estimate " + placed(g, estimated)
		default:
			text += "no row"
		}
		parts = append(parts, text)
	}
	v := atEqualBits(g)
	if v == nil {
		return strings.Join(append(parts, byBits(g).Text), ". ")
	}
	what := "KL of " + marked(v.best) + " against the next method: "
	if v.residual {
		what = "KL of the best residual against the strongest other method: "
	}
	text := what + change(v.ratio) + " at equal bits"
	for _, p := range phasesOf(g) {
		if t := atEqualTime(g, p.tokens); t != nil {
			text += ", " + format.Percent(t.ratio.Value) + " for " + format.Fixed(t.price.Value, 2) + " times its " + p.name
		}
	}
	return strings.Join(append(parts, text), ". ")
}

// Answers writes for a terminal what the rows of each group answer, in lines of at most
// so many columns where words allow it.
func Answers(w io.Writer, t *stats.Table, columns int) error {
	var b strings.Builder
	for i, title := range shortTitles(t) {
		text := briefAnswer(t.Groups[i]) + "."
		if title != "" {
			text = title + ": " + text
		}
		b.WriteString(format.Wrap(text, columns, "  "))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// placed names rows with their divergence and times.
func placed(g *stats.Group, rows []*stats.Entry) string {
	var list []string
	for _, e := range rows {
		text := marked(e) + ": KL " + format.Sig(e.KL.Value)
		for i, p := range phasesOf(g) {
			text += fmt.Sprintf(", %s %s", p.name, format.Fixed(e.Speed(p.tokens).Over16.Value, 2))
			if i == 0 {
				text += " of 16 bits"
			}
		}
		list = append(list, text)
	}
	return strings.Join(list[:min(len(list), 3)], "; ") + more(len(list)-3)
}

// more tells how many of a list were left out.
func more(n int) string {
	if n <= 0 {
		return ""
	}
	return fmt.Sprintf("; and %d more", n)
}

// pictures are the group's first figures: divergence over time, decoding and reading
// a prompt, and over bits.
func pictures(g *stats.Group, i int, l figures.Styles) strip {
	var out strip
	add := func(f *figures.Figure) {
		if f != nil {
			f.Nth(i)
			out = append(out, drawing{f})
		}
	}
	decode, prefill := g.Phases()
	for _, tokens := range []string{decode, prefill} {
		if tokens != "" {
			add(figures.DivergenceOverTime(g, l, tokens))
		}
	}
	add(figures.Divergence(g, l))
	if len(out) > 1 {
		for _, d := range out {
			d.Panel = true
		}
	}
	return out
}

// frontTable lists the rows on any front, by bits.
func frontTable(g *stats.Group, l figures.Styles) (table, bool) {
	decode, prefill := g.Phases()
	on := map[*stats.Entry]string{}
	mark := func(rows []*stats.Entry, name, tokens string) {
		for _, e := range rows {
			if on[e] != "" {
				on[e] += ", "
			}
			on[e] += name
			if tokens != "" && g.TiedInTime(e, tokens) != nil {
				on[e] += " (n.s.)"
			}
		}
	}
	mark(g.Front, "bits", "")
	if decode != "" {
		mark(g.FrontInTime(decode), "decoding", decode)
	}
	if prefill != "" {
		mark(g.FrontInTime(prefill), "prompt", prefill)
	}
	rows := slices.SortedFunc(maps.Keys(on), func(a, b *stats.Entry) int {
		return slices.Index(g.Entries, a) - slices.Index(g.Entries, b)
	})
	if len(rows) == 0 {
		return table{}, false
	}
	measures := []column{
		{name: "front of", is: ofWords, cell: func(e *stats.Entry) string { return on[e] }},
		named("bits/weight"), named("KL mean, nat/token"), named("KL over draws"), named("KL vs baseline"),
		timeColumn(decode, "decoding time / 16-bit"), timeColumn(prefill, "prompt time / 16-bit"),
	}
	t := rowTable("On a front", rows, append(settingColumns(g), measures...), l)
	return t, true
}

// briefly names e for a sentence: its method, grid and kept blocks, and what its model
// went through; or by its name, where that is of few words.
func briefly(e *stats.Entry) string {
	method, block, group := setting(e, "method"), setting(e, "block"), setting(e, "group")
	const few = 5
	if len(strings.Fields(e.Name)) <= few || e.Reference || e.Title != "" || stats.Setting(&e.Row, "method") == "" {
		return e.Name
	}
	if _, ok := format.Number(group); ok {
		group = "g" + group
	}
	words := []string{method}
	if block != "" {
		words = []string{method, setting(e, "density"), "of", block, "on", setting(e, "base")}
	}
	words = append(words, setting(e, "format"), group)
	for _, axis := range []string{"basis", "transform"} {
		if v := setting(e, axis); slices.Contains(strings.Fields(e.Name), v) {
			words = append(words, v)
		}
	}
	for _, w := range []struct{ axis, word string }{{"smoothing", "smoothed"}, {"refine", "refined"}} {
		if v, ok := format.Number(setting(e, w.axis)); ok && v > 0 {
			words = append(words, w.word)
		}
	}
	return strings.Join(slices.DeleteFunc(words, func(w string) bool { return w == "" }), " ")
}

// marked names e briefly, and by its ID, which leads to its whole label.
func marked(e *stats.Entry) string { return briefly(e) + " (" + e.ID + ")" }

func markedAll(rows []*stats.Entry, n int) string {
	var names []string
	for _, e := range rows {
		names = append(names, marked(e))
	}
	return format.List(names, n)
}

// timeColumn is the time of a row at the number of tokens over that of 16-bit weights.
func timeColumn(tokens, name string) column {
	return column{name: name, cell: func(e *stats.Entry) string {
		s := e.Speed(tokens)
		if s == nil {
			return ""
		}
		return stats.WithInterval(s.Over16, timeRatio)
	}}
}
