package figures

import (
	"cmp"
	"slices"
	"strings"

	"github.com/mosaicquant/mosaicquant/reports/format"
	"github.com/mosaicquant/mosaicquant/reports/stats"
)

// measure is a quantity drawn over the residual's density.
type measure struct {
	key, title, label, caption string
	log                        bool
	of                         func(*stats.Entry) (value, low, high float64, ok bool)
}

var divergence = measure{
	key: "density", title: "Divergence against residual density", label: "mean KL to 16 bits (nat/token)", log: true,
	caption: "MosaicQuant, divergence over the share of blocks that carry a residual. Bars: 95 % interval over " +
		"windows, each row on its own; the effects below compare the same rows in pairs.",
	of: func(e *stats.Entry) (float64, float64, float64, bool) {
		if e.KL == nil || e.KL.Value <= 0 {
			return 0, 0, 0, false
		}
		return e.KL.Value, e.KL.Low, e.KL.High, true
	},
}

var recovery = measure{
	key: "recovered", title: "Output distortion recovered against residual density", label: "distortion of the base " +
		"recovered (%)",
	caption: "Share of the base's output distortion tr(E·H·Eᵀ) on the calibration tokens that the residual takes away: " +
		"the median over the linear layers; bars: its quartiles, not an interval. " +
		"Below zero the residual does harm. The paper reports 55 to 63 % at a density of 10 % (from reading notes, not " +
		"checked against the PDF). Rows whose base and residual were quantized together have no base of their own and " +
		"are not drawn.",
	of: func(e *stats.Entry) (float64, float64, float64, bool) {
		var shares []float64
		for _, l := range e.Layers {
			if l.BaseOutputError != nil && *l.BaseOutputError > 0 {
				shares = append(shares, 100*(1-l.OutputError/(*l.BaseOutputError)))
			}
		}
		if len(shares) == 0 || stats.Setting(&e.Row, "joint") == "true" {
			return 0, 0, 0, false
		}
		slices.Sort(shares)
		return stats.Quantile(shares, 0.5), stats.Quantile(shares, 0.25), stats.Quantile(shares, 0.75), true
	},
}

// Density draws divergence and recovered distortion over density.
func Density(g *stats.Group) []*Figure {
	return append(densityFigures(g, divergence), densityFigures(g, recovery)...)
}

// densityFigures draws m over density, one figure for each other axis of mosaic
// along which two curves exist, with the remaining axes held at the setting
// that shows the most rows; or one plain curve where none does.
func densityFigures(g *stats.Group, m measure) []*Figure {
	var rows []*stats.Entry
	for _, e := range g.Entries {
		if _, _, _, ok := m.of(e); ok && stats.Setting(&e.Row, "method") == "mosaic" {
			rows = append(rows, e)
		}
	}
	axes, values := stats.Varying(rows)
	if !slices.Contains(axes, "density") {
		return nil
	}
	var out []*Figure
	for _, axis := range axes {
		if axis == "density" {
			continue
		}
		var with []*stats.Entry
		for _, e := range rows {
			if _, ok := e.Axes[axis]; ok {
				with = append(with, e)
			}
		}
		shared := stats.SharedAxes(with, axis, "density")
		panel := largest(with, func(e *stats.Entry) string { return stats.Spell(e, shared) })
		var lines []series
		for i, v := range values[axis] {
			var of []*stats.Entry
			for _, e := range panel {
				if e.Axes[axis] == v {
					of = append(of, e)
				}
			}
			if r, ok := m.curve(of); ok {
				r.name, r.color, r.marker, r.symbol = axis+" "+format.Named(v), palette[i%len(palette)], markers[i%len(markers)],
					symbols[i%len(symbols)]
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
		out = append(out, m.figure("-"+format.Slug(axis), " by "+axis, held, lines))
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
func (m measure) curve(rows []*stats.Entry) (series, bool) {
	r := series{line: true, bars: true}
	for _, e := range largest(rows,
		func(e *stats.Entry) string { return stats.Spell(e, stats.SharedAxes([]*stats.Entry{e}, "density")) }) {
		if d, ok := format.Number(e.Axes["density"]); ok && d > 0 {
			v, low, high, _ := m.of(e)
			r.points = append(r.points, point{x: d, y: v, low: low, high: high, name: e.Name, says: bitsOf(e)})
		}
	}
	slices.SortFunc(r.points, func(a, b point) int { return cmp.Compare(a.x, b.x) })
	return r, len(r.points) > 1
}

// largest returns the rows of the key that most have; the first such key in
// order where several do.
func largest(rows []*stats.Entry, key func(*stats.Entry) string) []*stats.Entry {
	by := map[string][]*stats.Entry{}
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

func (m measure) figure(key, title string, held []string, lines []series) *Figure {
	s := &xy{xLabel: "density ρ, share of blocks kept", yLabel: m.label, xLog: true, yLog: m.log, series: lines}
	caption := m.caption
	if len(held) > 0 {
		caption += " Held: " + strings.Join(held, ", ") + "."
	}
	return &Figure{Key: m.key + key, Title: m.title + title, Caption: caption, height: ratio(0.72), draw: s.draw,
		Chart: s.chart()}
}
