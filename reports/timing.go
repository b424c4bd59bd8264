package reports

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"slices"

	"github.com/mosaicquant/mosaicquant/internal/row"
	"github.com/mosaicquant/mosaicquant/internal/variants"
	"github.com/mosaicquant/mosaicquant/reports/figures"
	"github.com/mosaicquant/mosaicquant/reports/format"
	"github.com/mosaicquant/mosaicquant/reports/stats"
)

// timingSection is that of the findings and tables of m, the i-th set of timings.
func timingSection(m *stats.Timing, i int) section {
	s := section{Key: fmt.Sprintf("timing-%d", i+1), Title: "Kernel timing", Where: m.Title()}
	if m.Predicted {
		s.Title = "Predicted times"
	}
	if f := timingFindings(m); len(f) > 0 {
		b := bulleted(f)
		for i := range b.Items {
			b.Items[i] = b.Items[i][:1] // the table below has the rows
		}
		s.Blocks = append(s.Blocks, b)
	}
	for _, part := range []struct {
		title string
		lines [][]string
	}{{"Timed products", productLines(m)}, {"End to end", generatedLines(m)}} {
		if part.lines == nil {
			continue
		}
		t := tableOf(part.title, part.lines, ofRows, ofNames)
		t.Home = true
		s.Blocks = append(s.Blocks, t)
	}
	s.Blocks = append(s.Blocks, plain("small", timingNote+" Every value at full precision is in tables/timings.csv."))
	return s
}

// timingSections are section and those of its figures.
func timingSections(m *stats.Timing, i int) []section {
	out := []section{timingSection(m, i)}
	for _, f := range figures.Timings(m) {
		f.Nth(i)
		out = append(out, figureSection(f, m.Title()))
	}
	return out
}

// productLines is the table of the products, head first.
func productLines(m *stats.Timing) [][]string {
	if len(m.Products) == 0 {
		return nil
	}
	out := [][]string{{"row", "product", "variant", "time", "time / dense4", "weights read", "share of read bandwidth",
		"share of peak rate", "kernel"}}
	for _, p := range m.Products {
		for _, e := range p.Variants {
			line := []string{e.ID, p.Name, variantLabel(e), "", "", "", "", "", ""}
			if v, ok := e.Timed(row.Time); ok {
				line[3] = stats.WithInterval(v, format.Seconds)
			}
			if v, ok := e.Timed(row.TimeOver(variants.Dense4)); ok {
				line[4] = stats.WithInterval(v, func(x float64) string { return format.Fixed(x, 3) })
			} else if e.Axes["variant"] == variants.Dense4 {
				line[4] = "1"
			}
			if v, ok := e.Timed(row.WeightBytes); ok {
				line[5] = format.BytesText(v.Value)
			}
			for i, name := range []string{row.BandwidthShare, row.RateShare} {
				if v, ok := e.Timed(name); ok {
					line[6+i] = format.Fixed(100*v.Value, 1) + "\u00a0%"
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
func generatedLines(m *stats.Timing) [][]string {
	if len(m.Generated) == 0 {
		return nil
	}
	out := [][]string{{"row", "model", "variant", "prompt, token/s", "prompt time / dense4", "generation, token/s",
		"generation time / dense4", "weights"}}
	for _, p := range m.Generated {
		for _, e := range p.Variants {
			line := []string{e.ID, p.Name, variantLabel(e), "", "", "", "", ""}
			for i, name := range []string{row.PrefillRate, "prefill_time_over/dense4", row.DecodeRate,
				"decode_time_over/dense4"} {
				if v, ok := e.Timed(name); ok {
					line[3+i] = stats.WithInterval(v, format.Sig)
				}
			}
			if v, ok := e.Timed(row.WeightBytes); ok {
				line[7] = format.BytesText(v.Value)
			}
			out = append(out, line)
		}
	}
	return withoutEmpty(out)
}

func variantLabel(e *stats.Entry) string {
	v := e.Axes["variant"]
	if e.Predicted() {
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

const timingNote = "Medians over the repeats with 95 % bootstrap intervals; the variants of a product ran in turns, " +
	"and ratios are medians of the ratios within each repeat. " + stats.VariantNames

// timingFindings says what the ratios carry: for each variant, in how many
// products its whole interval lies on one side of dense4 or of zipper.
func timingFindings(m *stats.Timing) []finding {
	var out []finding
	type contrast struct{ name, base, unit string }
	for _, c := range []contrast{{variants.Zipper, variants.Dense4, "costs"},
		{variants.Separate, variants.Zipper, "takes"}, {variants.Outlier16, variants.Zipper, "takes"}, {variants.W16A16,
			variants.Zipper, "takes"}} {
		var ratios []float64
		slower, faster := 0, 0
		var at []*stats.Entry
		for _, p := range m.Products {
			e := p.Variant(c.name)
			if e == nil || p.Density == 0 {
				continue
			}
			r, ok := e.Timed(row.TimeOver(c.base))
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
		text := fmt.Sprintf("Time of %s over %s: median %s over %s, from %s to %s; whole interval above one in %d, below "+
			"in %d.", c.name, c.base,
			format.Fixed(stats.Quantile(ratios, 0.5), 3), format.Plural(len(ratios), "product with a residual",
				"products with a residual"), format.Fixed(ratios[0], 3), format.Fixed(ratios[len(ratios)-1], 3), slower, faster)
		if m.Predicted {
			text = "Predicted, not measured: " + text
		}
		out = append(out, finding{text, at})
	}
	return out
}

// timingCSV has a line for each value of each timed row, at full precision.
func timingCSV(t *stats.Table) []byte {
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	axes := []string{"bench", "source", "engine", "model", "layer", "shape", "scheme", "variant", "group", "density",
		"block", "residual_scale", "index", "outliers", "tokens", "prompt", "batch", "cache"}
	w.Write(slices.Concat([]string{"row", "trial", "label"}, axes,
		[]string{"device", "requested", "kernel", "value", "unit", "median", "low", "high"}))
	for _, e := range t.Timed() {
		head := []string{e.ID, e.Trial, e.Label}
		for _, a := range axes {
			head = append(head, e.Axes[a])
		}
		x := row.Execution{}
		if e.Execution != nil {
			x = *e.Execution
		}
		head = formulaFree(append(head, x.Device, x.Requested, x.Kernel))
		for _, v := range e.Values {
			rec := append(slices.Clone(head), formulaFree([]string{v.Name, v.Unit})...)
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
