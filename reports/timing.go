package reports

import (
	"bytes"
	"cmp"
	"encoding/csv"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/mosaicquant/mosaicquant/internal/row"
)

// Timing holds the rows of experiments bench that may stand beside each other:
// one engine on one device, one scheme, one state of the cache.
type Timing struct {
	Engine, Device, Scheme, Cache string
	Predicted                     bool // computed from a model of the device, not measured

	Products  []*Product
	Generated []*Product // prompts read and tokens generated end to end
}

// Product is a product, or a generation, in the variants that ran in turns.
type Product struct {
	Name     string // layer, shape, group, density, block and tokens, as they vary
	N, K     int    // 0 of a generation
	Tokens   int    // M; of a generation, the generated ones
	Density  float64
	Variants []*Entry // in the order of variantOrder
}

// variantOrder is the order in which variants are listed and coloured.
var variantOrder = []string{"dense4", "zipper", "separate", "outlier16", "w16a16"}

// variantNames says what they are, for captions.
const variantNames = "dense4: the 4-bit base alone, a lower bound that computes something else. zipper: base and residual in one stream. separate: the residual in a pass of its own. " +
	"outlier16: as many bytes of half-precision outliers. w16a16: 16-bit weights."

// isTiming reports whether e is a row of experiments bench.
func (e *Entry) isTiming() bool { return e.Axes["bench"] != "" && e.Status != row.Failed }

// timings sorts the timed rows into what may be compared.
func (t *Table) timings(entries []*Entry) {
	type home struct {
		t *Timing
		p map[string]*Product
	}
	by := map[[5]string]*home{}
	for _, e := range entries {
		key := [5]string{e.Axes["engine"], "", e.Axes["scheme"], e.Axes["cache"], string(e.Status)}
		if x := e.Execution; x != nil {
			key[1] = x.Device
		}
		h := by[key]
		if h == nil {
			h = &home{&Timing{Engine: key[0], Device: key[1], Scheme: key[2], Cache: key[3], Predicted: e.predicted()}, map[string]*Product{}}
			by[key] = h
			t.Timings = append(t.Timings, h.t)
		}
		var axes []string
		for k := range e.Axes {
			if k != "variant" {
				axes = append(axes, k)
			}
		}
		slices.Sort(axes)
		id := spell(e, axes)
		p := h.p[id]
		if p == nil {
			p = &Product{Name: productName(e)}
			n, k, _ := strings.Cut(e.Axes["shape"], "x")
			p.N, _ = strconv.Atoi(n)
			p.K, _ = strconv.Atoi(k)
			p.Tokens, _ = strconv.Atoi(e.Axes["tokens"])
			p.Density, _ = number(e.Axes["density"])
			h.p[id] = p
			if e.Axes["bench"] == "generate" {
				h.t.Generated = append(h.t.Generated, p)
			} else {
				h.t.Products = append(h.t.Products, p)
			}
		}
		p.Variants = append(p.Variants, e)
	}
	slices.SortFunc(t.Timings, func(a, b *Timing) int {
		// the scheme that was looked at most comes first
		return cmp.Or(cmp.Compare(len(b.Products), len(a.Products)), natural(a.Engine, b.Engine), natural(a.Device, b.Device), natural(a.Scheme, b.Scheme), natural(a.Cache, b.Cache), natural(fmt.Sprint(a.Predicted), fmt.Sprint(b.Predicted)))
	})
	for _, m := range t.Timings {
		for _, list := range [][]*Product{m.Products, m.Generated} {
			slices.SortStableFunc(list, func(a, b *Product) int { return natural(a.Name, b.Name) })
			for _, p := range list {
				slices.SortStableFunc(p.Variants, func(a, b *Entry) int { return cmp.Compare(variantRank(a), variantRank(b)) })
				if m.Predicted {
					p.predict()
				}
			}
		}
	}
}

// timed returns the rows of all timings, in the order of the page.
func (t *Table) timed() []*Entry {
	var all []*Entry
	for _, m := range t.Timings {
		for _, list := range [][]*Product{m.Products, m.Generated} {
			for _, p := range list {
				all = append(all, p.Variants...)
			}
		}
	}
	return all
}

func variantRank(e *Entry) int {
	if i := slices.Index(variantOrder, e.Axes["variant"]); i >= 0 {
		return i
	}
	return len(variantOrder)
}

// productName says what is multiplied, without the variant; with axes, only as
// far as these go.
func productName(e *Entry, axes ...string) string {
	get := func(axis string) string {
		if len(axes) > 0 && !slices.Contains(axes, axis) {
			return ""
		}
		return e.Axes[axis]
	}
	var parts []string
	add := func(format, value string) {
		if value != "" {
			parts = append(parts, fmt.Sprintf(format, value))
		}
	}
	place := get("shape")
	if get("layer") != "" {
		place = get("model") + " " + get("layer") + " " + place
	} else if place == "" {
		place = get("model")
	}
	add("%s", place)
	if d, ok := number(get("density")); ok {
		add("%s", "density "+percentage(d))
	}
	add("block %s", get("block"))
	add("g%s", strings.TrimPrefix(get("group"), "g"))
	if e.Axes["prompt"] != "" {
		add("%s", e.Axes["prompt"]+" + "+e.Axes["tokens"]+" tokens")
	} else {
		add("M=%s", get("tokens"))
	}
	return strings.Join(parts, ", ")
}

// usualAxes returns, for each of the axes, the value that more than half of the
// rows have, where there is one.
func usualAxes(rows []*Entry, axes ...string) map[string]string {
	usual := map[string]string{}
	for _, a := range axes {
		count := map[string]int{}
		for _, e := range rows {
			v := e.Axes[a]
			if count[v]++; v != "" && 2*count[v] > len(rows) {
				usual[a] = v
			}
		}
	}
	return usual
}

func spellUsual(usual map[string]string) string {
	var parts []string
	for _, a := range slices.Sorted(maps.Keys(usual)) {
		v := usual[a]
		if d, ok := number(v); ok && a == "density" {
			v = percentage(d)
		}
		if a == "tokens" {
			a, v = "M", "= "+v
		}
		parts = append(parts, a+" "+v)
	}
	return strings.Join(parts, ", ")
}

func percentage(v float64) string { return strconv.FormatFloat(100*v, 'g', 6, 64) + "\u00a0%" }

// variant returns the row of the named variant, or nil.
func (p *Product) variant(name string) *Entry {
	for _, e := range p.Variants {
		if e.Axes["variant"] == name {
			return e
		}
	}
	return nil
}

// timed returns the named value with the interval that the bench gave it.
func (e *Entry) timed(name string) (Estimate, bool) {
	v, ok := e.Row.Value(name)
	if !ok {
		return Estimate{}, false
	}
	est := Estimate{Value: v.Value, Low: v.Value, High: v.Value, P: 1}
	if v.Low != nil && v.High != nil {
		est.Low, est.High, est.N = *v.Low, *v.High, 2 // enough for an interval
	}
	return est, true
}

// predicted reports whether e was computed from a model of a device, not
// measured.
func (e *Entry) predicted() bool { return e.Status == row.Predicted }

// predict gives the predicted rows of p, which hold a time alone, what rows of
// measurements hold: the time under its name, and the ratios between variants.
func (p *Product) predict() {
	for _, e := range p.Variants {
		own, ok := e.Value(row.PredictedTime)
		if !ok {
			continue
		}
		e.Values = append(e.Values, row.Value{Name: row.Time, Value: own, Unit: "s"})
		for _, o := range p.Variants {
			if t, ok := o.Value(row.PredictedTime); ok && o != e && t > 0 {
				e.Values = append(e.Values, row.Value{Name: row.Over(row.Time, o.Axes["variant"]), Value: own / t})
			}
		}
	}
}

// Title names the group of timings.
func (m *Timing) Title() string {
	var parts []string
	for _, s := range []string{m.Engine, m.Device, m.Scheme} {
		if s != "" {
			parts = append(parts, s)
		}
	}
	if m.Cache != "" {
		parts = append(parts, "cache "+m.Cache)
	}
	if m.Predicted {
		parts = append(parts, "PREDICTED, not measured")
	}
	return strings.Join(parts, " · ")
}

// lines is the table of the products, head first.
func (m *Timing) lines() [][]string {
	if len(m.Products) == 0 {
		return nil
	}
	out := [][]string{{"row", "product", "variant", "time", "time / dense4", "weights read", "share of read bandwidth", "share of peak rate", "kernel"}}
	for _, p := range m.Products {
		for _, e := range p.Variants {
			line := []string{e.ID, p.Name, e.variantLabel(), "", "", "", "", "", ""}
			if v, ok := e.timed(row.Time); ok {
				line[3] = withInterval(v, seconds)
			}
			if v, ok := e.timed(row.TimeOver("dense4")); ok {
				line[4] = withInterval(v, func(x float64) string { return fixed(x, 3) })
			} else if e.Axes["variant"] == "dense4" {
				line[4] = "1"
			}
			if v, ok := e.timed(row.WeightBytes); ok {
				line[5] = bytesText(v.Value)
			}
			for i, name := range []string{row.BandwidthShare, row.RateShare} {
				if v, ok := e.timed(name); ok {
					line[6+i] = fixed(100*v.Value, 1) + "\u00a0%"
				}
			}
			if e.Execution != nil {
				line[8] = e.Execution.Kernel
			}
			out = append(out, line)
		}
	}
	return withoutEmpty(out)
}

// generatedLines is the table of end-to-end generation, head first.
func (m *Timing) generatedLines() [][]string {
	if len(m.Generated) == 0 {
		return nil
	}
	out := [][]string{{"row", "model", "variant", "prompt, token/s", "prompt time / dense4", "generation, token/s", "generation time / dense4", "weights"}}
	for _, p := range m.Generated {
		for _, e := range p.Variants {
			line := []string{e.ID, p.Name, e.variantLabel(), "", "", "", "", ""}
			for i, name := range []string{row.PrefillRate, "prefill_time_over/dense4", row.DecodeRate, "decode_time_over/dense4"} {
				if v, ok := e.timed(name); ok {
					line[3+i] = withInterval(v, sig)
				}
			}
			if v, ok := e.timed(row.WeightBytes); ok {
				line[7] = bytesText(v.Value)
			}
			out = append(out, line)
		}
	}
	return withoutEmpty(out)
}

func (e *Entry) variantLabel() string {
	v := e.Axes["variant"]
	if e.predicted() {
		v += " (predicted)"
	}
	return v
}

// withoutEmpty drops the columns that only the head fills.
func withoutEmpty(lines [][]string) [][]string {
	for j := len(lines[0]) - 1; j >= 0; j-- {
		if !slices.ContainsFunc(lines[1:], func(l []string) bool { return l[j] != "" }) {
			for i := range lines {
				lines[i] = slices.Delete(lines[i], j, j+1)
			}
		}
	}
	return lines
}

// seconds writes a time in a unit of its size.
func seconds(v float64) string {
	switch {
	case v < 1e-3:
		return sig(v*1e6) + "\u00a0µs"
	case v < 1:
		return sig(v*1e3) + "\u00a0ms"
	}
	return sig(v) + "\u00a0s"
}

func bytesText(v float64) string {
	switch {
	case v < 1e6:
		return fixed(v/1e3, 1) + "\u00a0kB"
	case v < 1e9:
		return fixed(v/1e6, 1) + "\u00a0MB"
	}
	return fixed(v/1e9, 2) + "\u00a0GB"
}

const timingNote = "Medians over the repeats with 95 % bootstrap intervals; the variants of a product ran in turns, and ratios are medians of the ratios within each repeat. " + variantNames

// timingFindings says what the ratios carry: for each variant, in how many
// products its whole interval lies on one side of dense4 or of zipper.
func (m *Timing) findings() []finding {
	var out []finding
	type contrast struct{ name, base, unit string }
	for _, c := range []contrast{{"zipper", "dense4", "costs"}, {"separate", "zipper", "takes"}, {"outlier16", "zipper", "takes"}, {"w16a16", "zipper", "takes"}} {
		var ratios []float64
		slower, faster := 0, 0
		var at []*Entry
		for _, p := range m.Products {
			e := p.variant(c.name)
			if e == nil || p.Density == 0 {
				continue
			}
			r, ok := e.timed(row.TimeOver(c.base))
			if !ok {
				continue
			}
			ratios = append(ratios, r.Value)
			if r.Interval() && r.Low > 1 {
				slower++
			} else if r.Interval() && r.High < 1 {
				faster++
			}
			at = append(at, e)
		}
		if len(ratios) == 0 {
			continue
		}
		slices.Sort(ratios)
		text := fmt.Sprintf("Time of %s over %s: median %s over %s, from %s to %s; whole interval above one in %d, below in %d.", c.name, c.base,
			fixed(quantileOf(ratios, 0.5), 3), plural(len(ratios), "product with a residual", "products with a residual"), fixed(ratios[0], 3), fixed(ratios[len(ratios)-1], 3), slower, faster)
		if m.Predicted {
			text = "Predicted, not measured: " + text
		}
		out = append(out, finding{text, at})
	}
	return out
}

// timingCSV has a line for each value of each timed row, at full precision.
func (t *Table) timingCSV() []byte {
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	axes := []string{"bench", "source", "engine", "model", "layer", "shape", "scheme", "variant", "group", "density", "block", "tokens", "prompt", "cache"}
	w.Write(slices.Concat([]string{"row", "trial", "label"}, axes, []string{"device", "requested", "kernel", "value", "unit", "median", "low", "high"}))
	for _, e := range t.timed() {
		head := []string{e.ID, e.Trial, e.Label}
		for _, a := range axes {
			head = append(head, e.Axes[a])
		}
		x := row.Execution{}
		if e.Execution != nil {
			x = *e.Execution
		}
		head = cells(append(head, x.Device, x.Requested, x.Kernel))
		for _, v := range e.Values {
			rec := append(slices.Clone(head), cells([]string{v.Name, v.Unit})...)
			rec = append(rec, full(v.Value), "", "")
			if v.Low != nil && v.High != nil {
				rec[len(rec)-2], rec[len(rec)-1] = full(*v.Low), full(*v.High)
			}
			w.Write(rec)
		}
	}
	w.Flush()
	return b.Bytes()
}
