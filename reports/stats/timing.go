package stats

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/mosaicquant/mosaicquant/internal/row"
	"github.com/mosaicquant/mosaicquant/internal/variants"
	"github.com/mosaicquant/mosaicquant/reports/format"
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

// VariantOrder is the order in which variants are listed and coloured.
var VariantOrder = []string{variants.Dense4, variants.Zipper, variants.Separate, variants.Outlier16, variants.W16A16}

// VariantNames says what they are, for captions.
const VariantNames = "dense4: the 4-bit base alone, a lower bound that computes something else. zipper: base and " +
	"residual in one stream. separate: the residual in a pass of its own. " +
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
			h = &home{&Timing{Engine: key[0], Device: key[1], Scheme: key[2], Cache: key[3], Predicted: e.Predicted()},
				map[string]*Product{}}
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
		id := Spell(e, axes)
		p := h.p[id]
		if p == nil {
			p = &Product{Name: ProductName(e)}
			n, k, _ := strings.Cut(e.Axes["shape"], "x")
			p.N, _ = strconv.Atoi(n)
			p.K, _ = strconv.Atoi(k)
			p.Tokens, _ = strconv.Atoi(e.Axes["tokens"])
			p.Density, _ = format.Number(e.Axes["density"])
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
		return cmp.Or(cmp.Compare(len(b.Products), len(a.Products)), format.Natural(a.Engine, b.Engine),
			format.Natural(a.Device, b.Device), format.Natural(a.Scheme, b.Scheme), format.Natural(a.Cache,
				b.Cache), format.Natural(fmt.Sprint(a.Predicted), fmt.Sprint(b.Predicted)))
	})
	for _, m := range t.Timings {
		for _, list := range [][]*Product{m.Products, m.Generated} {
			slices.SortStableFunc(list, func(a, b *Product) int { return format.Natural(a.Name, b.Name) })
			for _, p := range list {
				slices.SortStableFunc(p.Variants, func(a, b *Entry) int { return cmp.Compare(variantRank(a), variantRank(b)) })
				if m.Predicted {
					p.predict()
				}
			}
		}
	}
}

// Timed returns the rows of all timings, in the order of the page.
func (t *Table) Timed() []*Entry {
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
	if i := slices.Index(VariantOrder, e.Axes["variant"]); i >= 0 {
		return i
	}
	return len(VariantOrder)
}

// ProductName says what is multiplied, without the variant; with axes, only as
// far as these go.
func ProductName(e *Entry, axes ...string) string {
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
	if d, ok := format.Number(get("density")); ok {
		add("%s", "density "+format.Percentage(d))
	}
	add("block %s", get("block"))
	add("g%s", strings.TrimPrefix(get("group"), "g"))
	if e.Axes["prompt"] != "" {
		add("%s", e.Axes["prompt"]+" + "+e.Axes["tokens"]+" tokens")
		if e.Axes["batch"] != "" {
			add("batch %s", e.Axes["batch"])
		}
	} else {
		add("M=%s", get("tokens"))
	}
	return strings.Join(parts, ", ")
}

// UsualAxes returns, for each of the axes, the value that more than half of the
// rows have, where there is one.
func UsualAxes(rows []*Entry, axes ...string) map[string]string {
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

func SpellUsual(usual map[string]string) string {
	var parts []string
	for _, a := range slices.Sorted(maps.Keys(usual)) {
		v := usual[a]
		if d, ok := format.Number(v); ok && a == "density" {
			v = format.Percentage(d)
		}
		if a == "tokens" {
			a, v = "M", "= "+v
		}
		parts = append(parts, a+" "+v)
	}
	return strings.Join(parts, ", ")
}

// Variant returns the row of the named variant, or nil.
func (p *Product) Variant(name string) *Entry {
	for _, e := range p.Variants {
		if e.Axes["variant"] == name {
			return e
		}
	}
	return nil
}

// Timed returns the named value with the interval that the bench gave it.
func (e *Entry) Timed(name string) (Estimate, bool) {
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

// Predicted reports whether e was computed from a model of a device, not
// measured.
func (e *Entry) Predicted() bool { return e.Status == row.Predicted }

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
