package reports

import (
	"cmp"
	"fmt"
	"image/color"
	"math"
	"slices"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

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
		entries = append(entries, entry{name: short(r.name, 48), width: width, thumb: func(c draw.Canvas, at vg.Point, st sheet) {
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
func (g *Group) byMethod(l Styles, value func(*Entry) (Estimate, bool)) (all []series, points int) {
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
			all = append(all, series{name: e.Family, color: l.look(e.Family).color, marker: l.look(e.Family).marker, symbol: l.look(e.Family).symbol})
		}
		all[i].points = append(all[i].points, point{e.Bits, est.Value, est.Low, est.High, e.Name})
		points++
	}
	slices.SortFunc(all, func(a, b series) int { return g.families.compare(a.name, b.name) })
	for i := range all {
		all[i].bars = points <= crowded
	}
	return all, points
}

func (g *Group) divergenceFigure(l Styles) *figure {
	s := &xy{xLabel: "bits per weight, as stored", yLabel: "mean KL to 16 bits (nat/token)", yLog: true}
	var n int
	s.series, n = g.byMethod(l, func(e *Entry) (Estimate, bool) {
		if e.KL == nil || e.KL.Value <= 0 {
			return Estimate{}, false
		}
		return *e.KL, true
	})
	if n == 0 {
		return nil
	}
	for _, e := range g.Front {
		if e.KL.Value > 0 {
			s.front = append(s.front, point{x: e.Bits, y: e.KL.Value})
		}
	}
	caption := "Mean Kullback-Leibler divergence of the next-token distribution from that of the 16-bit model, over stored bits per weight of the quantized layers. Lower left is better. "
	if n <= crowded {
		caption += "Bars: 95 % interval over windows, each row on its own. Rows share their windows, so overlapping bars do not mean that two rows are alike: the tables compare in pairs."
	} else {
		caption += "Intervals are in the tables: this many bars would cover the points."
	}
	return &figure{Key: "kl-bits", Title: "Divergence against bits per weight", Caption: caption, height: ratio(0.72), draw: s.draw, chart: s.chart()}
}

func (g *Group) perplexityFigure(l Styles) *figure {
	one := 1.0
	s := &xy{xLabel: "bits per weight, as stored", yLabel: "perplexity / baseline's", level: &one}
	var n int
	s.series, n = g.byMethod(l, func(e *Entry) (Estimate, bool) {
		if e.Versus == nil {
			return Estimate{}, false
		}
		return e.Versus.PPL, true
	})
	if n == 0 {
		return nil
	}
	caption := "Perplexity over that of the row's baseline (" + list(g.baselines(), 3) + "), paired window by window. Below the line is better than the baseline."
	if n <= crowded {
		caption += " Bars: 95 % interval of the paired ratio, each row on its own."
	}
	return &figure{Key: "ppl-ratio", Title: "Perplexity against the baseline, in pairs", Caption: caption, height: ratio(0.72), draw: s.draw, chart: s.chart()}
}

// measure is a quantity drawn over the residual's density.
type measure struct {
	key, title, label, caption string
	log                        bool
	of                         func(*Entry) (value, low, high float64, ok bool)
}

var divergence = measure{
	key: "density", title: "Divergence against residual density", label: "mean KL to 16 bits (nat/token)", log: true,
	caption: "MosaicQuant, divergence over the share of blocks that carry a residual. Bars: 95 % interval over windows, each row on its own; the effects below compare the same rows in pairs.",
	of: func(e *Entry) (float64, float64, float64, bool) {
		if e.KL == nil || e.KL.Value <= 0 {
			return 0, 0, 0, false
		}
		return e.KL.Value, e.KL.Low, e.KL.High, true
	},
}

var recovery = measure{
	key: "recovered", title: "Output distortion recovered against residual density", label: "distortion of the base recovered (%)",
	caption: "Share of the base's output distortion tr(E·H·Eᵀ) on the calibration tokens that the residual takes away: the median over the linear layers; bars: its quartiles, not an interval. " +
		"Below zero the residual does harm. The paper reports 55 to 63 % at a density of 10 % (from reading notes, not checked against the PDF). Rows whose base and residual were quantized together have no base of their own and are not drawn.",
	of: func(e *Entry) (float64, float64, float64, bool) {
		var shares []float64
		for _, l := range e.Layers {
			if l.BaseOutputError != nil && *l.BaseOutputError > 0 {
				shares = append(shares, 100*(1-l.OutputError/(*l.BaseOutputError)))
			}
		}
		if len(shares) == 0 || setting(&e.Row, "joint") == "true" {
			return 0, 0, 0, false
		}
		slices.Sort(shares)
		return quantileOf(shares, 0.5), quantileOf(shares, 0.25), quantileOf(shares, 0.75), true
	},
}

// quantileOf interpolates linearly between sorted values.
func quantileOf(sorted []float64, q float64) float64 {
	at := q * float64(len(sorted)-1)
	i := min(int(at), len(sorted)-2)
	if i < 0 {
		return sorted[0]
	}
	return sorted[i] + (at-float64(i))*(sorted[i+1]-sorted[i])
}

// densityFigures draws m over density, one figure for each other axis of mosaic
// along which two curves exist, with the remaining axes held at the setting
// that shows the most rows; or one plain curve where none does.
func (g *Group) densityFigures(m measure) []*figure {
	var rows []*Entry
	for _, e := range g.Entries {
		if _, _, _, ok := m.of(e); ok && setting(&e.Row, "method") == "mosaic" {
			rows = append(rows, e)
		}
	}
	axes, values := varying(rows)
	if !slices.Contains(axes, "density") {
		return nil
	}
	var out []*figure
	for _, axis := range axes {
		if axis == "density" {
			continue
		}
		var with []*Entry
		for _, e := range rows {
			if _, ok := e.Axes[axis]; ok {
				with = append(with, e)
			}
		}
		shared := sharedAxes(with, axis, "density")
		panel := largest(with, func(e *Entry) string { return spell(e, shared) })
		var lines []series
		for i, v := range values[axis] {
			var of []*Entry
			for _, e := range panel {
				if e.Axes[axis] == v {
					of = append(of, e)
				}
			}
			if r, ok := m.curve(of); ok {
				r.name, r.color, r.marker, r.symbol = axis+" "+named(v), palette[i%len(palette)], markers[i%len(markers)], symbols[i%len(symbols)]
				lines = append(lines, r)
			}
		}
		if len(lines) < 2 {
			continue
		}
		var held []string
		for _, a := range axes {
			if slices.Contains(shared, a) {
				held = append(held, a+" "+panel[0].Axes[a])
			}
		}
		out = append(out, m.figure("-"+slug(axis), " by "+axis, held, lines))
	}
	if len(out) == 0 {
		if r, ok := m.curve(rows); ok {
			r.name, r.color, r.marker, r.symbol = "mosaic", palette[0], markers[0], symbols[0]
			out = append(out, m.figure("", "", nil, []series{r}))
		}
	}
	return out
}

// curve is the longest series of rows that differ in density alone.
func (m measure) curve(rows []*Entry) (series, bool) {
	r := series{line: true, bars: true}
	for _, e := range largest(rows, func(e *Entry) string { return spell(e, sharedAxes([]*Entry{e}, "density")) }) {
		if d, ok := number(e.Axes["density"]); ok && d > 0 {
			v, low, high, _ := m.of(e)
			r.points = append(r.points, point{d, v, low, high, e.Name})
		}
	}
	slices.SortFunc(r.points, func(a, b point) int { return cmp.Compare(a.x, b.x) })
	return r, len(r.points) > 1
}

// largest returns the rows of the key that most have; the first such key in
// order where several do.
func largest(rows []*Entry, key func(*Entry) string) []*Entry {
	by := map[string][]*Entry{}
	best := ""
	for _, e := range rows {
		k := key(e)
		by[k] = append(by[k], e)
	}
	for k, es := range by {
		if n := len(by[best]); len(es) > n || len(es) == n && k < best {
			best = k
		}
	}
	return by[best]
}

func (m measure) figure(key, title string, held []string, lines []series) *figure {
	s := &xy{xLabel: "density ρ, share of blocks kept", yLabel: m.label, xLog: true, yLog: m.log, series: lines}
	caption := m.caption
	if len(held) > 0 {
		caption += " Held: " + strings.Join(held, ", ") + "."
	}
	return &figure{Key: m.key + key, Title: m.title + title, Caption: caption, height: ratio(0.72), draw: s.draw, chart: s.chart()}
}

// effectsFigure draws the paired effects of the settings as a forest plot.
func (g *Group) effectsFigure() *figure {
	effects := slices.DeleteFunc(slices.Clone(g.Effects), Effect.none)
	total := len(effects)
	effects = effects[:min(total, 40)]
	if len(effects) == 0 {
		return nil
	}
	lo, hi := 1.0, 1.0
	for _, f := range effects {
		lo, hi = min(lo, f.Ratio.Low), max(hi, f.Ratio.High)
	}
	drawForest := func(c draw.Canvas, st sheet) {
		several := effects[0].Method != effects[len(effects)-1].Method
		names := make([]string, len(effects))
		for i, f := range effects {
			if names[i] = fmt.Sprintf("%s %s, for %s", f.Axis, named(f.To), named(f.From)); several {
				names[i] = f.Method + ": " + names[i]
			}
		}
		label, labels := st.fit(names, (c.Max.X-c.Min.X)*0.46)
		left := st.size
		for _, s := range labels {
			left = max(left, label.Width(s)+st.size)
		}
		bits, right := st.text(0.9, text.XLeft, -0.4), vg.Length(0)
		for _, f := range effects {
			right = max(right, bits.Width(f.bits()))
		}
		p := st.plot("KL, ratio to the setting it replaces", "")
		p.HideY()
		span(&p.X, lo, hi, true)
		p.X.Padding = 0
		p.Y.Min, p.Y.Max = 0, float64(len(effects))
		p.Add(grid{st}, plotter(func(c draw.Canvas, p *plot.Plot) {
			tx, ty := p.Transforms(&c)
			c.StrokeLine2(draw.LineStyle{Color: st.faded(0.6), Width: st.size / 12}, tx(1), c.Min.Y, tx(1), c.Max.Y)
			bar := draw.LineStyle{Color: st.ink, Width: st.size / 9}
			for i, f := range effects {
				y := ty(float64(len(effects)-1-i) + 0.5)
				c.FillText(label, vg.Point{X: c.Min.X - st.size*0.5, Y: y}, labels[i])
				c.StrokeLine2(bar, tx(f.Ratio.Low), y, tx(f.Ratio.High), y)
				col := color.Color(color.RGBA{0x80, 0x80, 0x80, 0xff})
				switch {
				case f.Holm < 1-Level && f.Ratio.Value < 1:
					col = palette[0]
				case f.Holm < 1-Level:
					col = palette[5]
				}
				circle(c, vg.Point{X: tx(f.Ratio.Value), Y: y}, st.size*0.36, col)
				c.FillText(bits, vg.Point{X: c.Max.X + st.size*0.5, Y: y}, f.bits())
			}
		}))
		p.Draw(draw.Crop(c, left, -right-st.size*0.8, 0, -st.size*0.4))
	}
	return &figure{
		Key: "effects", Title: "Effect of each setting",
		Caption: "Ratio of mean KL with the named setting to that with the one it replaces, all else equal: geometric mean over matched pairs, 95 % interval paired by window. Left of the line is better; what it costs in bits per weight is on the right. Blue: lower, orange: higher after Holm's correction; grey: not distinguishable." + chosenOf(len(effects), total),
		height:  rowsHeight(len(effects), 4.5), draw: drawForest,
	}
}

// chosen returns at most n rows for a figure that gives each row a line:
// all of them if they fit; else the baselines, the front, and then rows at even
// steps of bits.
func (g *Group) chosen(n int, has func(*Entry) bool) (rows []*Entry, total int) {
	var all []*Entry
	for _, e := range g.Entries {
		if has(e) {
			all = append(all, e)
		}
	}
	if len(all) <= n {
		return all, len(all)
	}
	take := map[*Entry]bool{}
	for _, e := range all {
		if len(take) < n && slices.Contains(g.Baseline, e.Label) {
			take[e] = true
		}
	}
	for _, e := range g.Front {
		if len(take) < n && has(e) {
			take[e] = true
		}
	}
	for i := 0; i < n && len(take) < n; i++ {
		take[all[i*(len(all)-1)/(n-1)]] = true
	}
	for _, e := range all {
		if take[e] {
			rows = append(rows, e)
		}
	}
	return rows, len(all)
}

// chosenOf says that only the first n of total are drawn, where that is so.
func chosenOf(n, total int) string {
	if n == total {
		return ""
	}
	return fmt.Sprintf(" The first %d of %d; the table has all.", n, total)
}

func chosenNote(n, total int) string {
	if n == total {
		return ""
	}
	return fmt.Sprintf(" %d of %d rows: baselines, the Pareto front, then even steps of bits.", n, total)
}

// rowsHeight fits n lines, whatever the width: a line per row stays legible.
func rowsHeight(n int, fixed vg.Length) func(vg.Length) vg.Length {
	return func(w vg.Length) vg.Length {
		size := columnFont
		if w > columnWidth {
			size = pageFont
		}
		return size * (vg.Length(n)*1.6 + fixed)
	}
}

// rowLabels returns the names of rows to write left of them, their style and
// the width they need: smaller where one is long, and cut in the middle where
// that is not enough.
func (st sheet) rowLabels(c draw.Canvas, rows []*Entry) (style text.Style, labels []string, width vg.Length) {
	names := make([]string, len(rows))
	for i, e := range rows {
		names[i] = e.Name
	}
	style, labels = st.fit(names, (c.Max.X-c.Min.X)*0.45)
	for _, s := range labels {
		width = max(width, style.Width(s))
	}
	return style, labels, width + st.size
}

// fit returns names as they fit into width, and the style to write them in,
// which ends at the right.
func (st sheet) fit(names []string, width vg.Length) (text.Style, []string) {
	style := st.text(0.95, text.XRight, -0.4)
	if slices.ContainsFunc(names, func(s string) bool { return style.Width(s) > width }) {
		style, width = st.text(0.8, text.XRight, -0.4), width*1.1
	}
	out := make([]string, len(names))
	for i, s := range names {
		out[i] = middle(s, 80)
		for n := 79; n > 1 && style.Width(out[i]) > width; n-- {
			out[i] = middle(s, n)
		}
	}
	return style, out
}

func (g *Group) layerFigure() *figure {
	rows, total := g.chosen(24, func(e *Entry) bool { return len(e.Layers) > 0 && !e.Reference })
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
	return &figure{
		Key: "layers", Title: "Output error by layer",
		Caption: "Relative output error tr(E·H·Eᵀ)/tr(W·H·Wᵀ) of each linear layer, in the order of the model; a missing cell is a layer without error or without a measurement." + chosenNote(len(rows), total),
		height:  rowsHeight(len(rows), 7), draw: drawMap,
	}
}

// layerTicks names the columns: each run of one block ("layers.3") once.
func (st sheet) layerTicks(c draw.Canvas, names []string, x0, w, bottom vg.Length) {
	style := st.text(0.95, text.XCenter, text.YTop)
	block := func(n string) string {
		parts := strings.Split(n, ".")
		for i, p := range parts {
			if _, ok := number(p); ok && i > 0 {
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
		name := short(block(names[i]), 12)
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

// tile fills a rectangle of a heat map, and a hair to its right and below,
// where the next tile covers it: no background shines through the seams.
func (st sheet) tile(c draw.Canvas, x, y, w, h vg.Length, t float64) {
	hair := st.size / 25
	c.FillPolygon(viridis(t), []vg.Point{{X: x, Y: y - hair}, {X: x + w + hair, Y: y - hair}, {X: x + w + hair, Y: y + h}, {X: x, Y: y + h}})
}

// colorBar draws the scale of a heat map along the top.
func (st sheet) colorBar(c draw.Canvas, x0, x1 vg.Length, lo, hi float64, name string) {
	const steps = 48
	y, h := c.Max.Y-st.size*1.3, st.size*0.8
	x0 = x0 + (x1-x0)*0.35
	w := (x1 - x0) / steps
	for i := range steps {
		x := x0 + vg.Length(i)*w
		st.tile(c, x, y, w, h, (float64(i)+0.5)/steps)
	}
	c.FillText(st.text(0.9, text.XRight, -0.4), vg.Point{X: x0 - st.size*0.5, Y: y + h/2}, name)
	tick := st.text(0.9, text.XCenter, text.YTop)
	for _, t := range (linearTicks{}).Ticks(lo, hi) {
		if hi > lo {
			c.FillText(tick, vg.Point{X: x0 + vg.Length((t.Value-lo)/(hi-lo))*(x1-x0), Y: y - st.size*0.1}, t.Label)
		}
	}
}

func (g *Group) ledgerFigure() *figure {
	weights := func(e *Entry) float64 {
		n := 0.0
		for _, l := range e.Layers {
			n += float64(l.N) * float64(l.K)
		}
		if n == 0 && e.HasBits && e.Bits > 0 {
			for _, i := range e.Ledger {
				n += float64(i.Bytes) * 8 / e.Bits
			}
		}
		return n
	}
	rows, total := g.chosen(24, func(e *Entry) bool { return len(e.Ledger) > 0 && weights(e) > 0 && !e.Reference })
	if len(rows) == 0 {
		return nil
	}
	var items []string
	widest := 0.0
	for _, e := range rows {
		total := 0.0
		for _, it := range e.Ledger {
			if it.Bytes > 0 && !slices.Contains(items, it.Name) {
				items = append(items, it.Name)
			}
			total += float64(it.Bytes) * 8 / weights(e)
		}
		widest = max(widest, total)
	}
	if widest == 0 {
		return nil
	}
	drawBars := func(c draw.Canvas, st sheet) {
		var entries []entry
		for i, name := range items {
			entries = append(entries, entry{name: short(name, 32), width: 1, thumb: func(c draw.Canvas, at vg.Point, st sheet) {
				square(c, at, st.size*0.4, palette[i%len(palette)])
			}})
		}
		c = st.legend(c, entries)
		label, labels, left := st.rowLabels(c, rows)
		p := st.plot("bits per weight, as stored", "")
		p.HideY()
		p.X.Min, p.X.Max, p.X.Tick.Marker = 0, widest*1.16, linearTicks{}
		p.Y.Min, p.Y.Max = 0, float64(len(rows))
		p.X.Padding = 0
		p.Add(grid{st}, plotter(func(c draw.Canvas, p *plot.Plot) {
			tx, ty := p.Transforms(&c)
			for i, e := range rows {
				y := float64(len(rows)-1-i) + 0.5
				c.FillText(label, vg.Point{X: c.Min.X - st.size*0.4, Y: ty(y)}, labels[i])
				x := 0.0
				for j, name := range items {
					for _, it := range e.Ledger {
						if it.Name != name || it.Bytes <= 0 {
							continue
						}
						w := float64(it.Bytes) * 8 / weights(e)
						c.FillPolygon(palette[j%len(palette)], []vg.Point{
							{X: tx(x), Y: ty(y - 0.36)}, {X: tx(x + w), Y: ty(y - 0.36)}, {X: tx(x + w), Y: ty(y + 0.36)}, {X: tx(x), Y: ty(y + 0.36)}})
						x += w
					}
				}
				c.FillText(st.text(0.95, text.XLeft, -0.4), vg.Point{X: tx(x) + st.size*0.3, Y: ty(y)}, fmt.Sprintf("%.3f", x))
			}
		}))
		p.Draw(draw.Crop(c, left, -st.size*0.5, 0, 0))
	}
	return &figure{
		Key: "ledger", Title: "Where the bits go",
		Caption: "Bits per weight of the quantized layers, from the bytes really stored, itemised." + chosenNote(len(rows), total),
		height:  rowsHeight(len(rows), 8), draw: drawBars,
	}
}

// plotter makes a plot.Plotter of a function.
type plotter func(c draw.Canvas, p *plot.Plot)

func (b plotter) Plot(c draw.Canvas, p *plot.Plot) { b(c, p) }

// slug keeps what is safe in a file name and an anchor.
func slug(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z', '0' <= r && r <= '9':
			return r
		case 'A' <= r && r <= 'Z':
			return r + 'a' - 'A'
		}
		return '-'
	}, short(s, 24))
}

// list joins at most n names.
func list(names []string, n int) string {
	if len(names) > n {
		return strings.Join(names[:n], ", ") + fmt.Sprintf(" and %d more", len(names)-n)
	}
	return strings.Join(names, ", ")
}
