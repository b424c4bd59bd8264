package stats

import (
	"fmt"
	"maps"
	"slices"

	"github.com/mosaicquant/mosaicquant/internal/row"
	"github.com/mosaicquant/mosaicquant/reports/format"
)

// clean returns a copy of r that every output can show: text made visible,
// and numbers that are not finite left out, each with a warning on the row.
func clean(r row.Row) row.Row {
	r.Title = format.Visible(r.Title, false)
	r.Trial, r.Label, r.Baseline = format.Visible(r.Trial, false), format.Visible(r.Label, false),
		format.Visible(r.Baseline, false)
	r.Error, r.Env, r.Start = format.Visible(r.Error, true), format.Visible(r.Env, false), format.Visible(r.Start, false)
	axes := make(map[string]string, len(r.Axes))
	for _, k := range slices.Sorted(maps.Keys(r.Axes)) {
		axes[format.Visible(k, false)] = format.Visible(r.Axes[k], false)
	}
	r.Axes = axes
	warnings := make([]string, len(r.Warnings))
	for i, w := range r.Warnings {
		warnings[i] = format.Visible(w, true)
	}
	var values []row.Value
	for _, v := range r.Values {
		v.Name, v.Unit = format.Visible(v.Name, false), format.Visible(v.Unit, false)
		if !format.Finite(v.Value) {
			warnings = append(warnings, fmt.Sprintf("value %s is %v and was left out", v.Name, v.Value))
			continue
		}
		if v.SE != nil && !format.Finite(*v.SE) {
			v.SE = nil
		}
		values = append(values, v)
	}
	var series []row.Series
	for _, s := range r.Series {
		if i := slices.IndexFunc(s.Values, func(v float64) bool { return !format.Finite(v) }); i >= 0 {
			warnings = append(warnings,
				fmt.Sprintf("series %s holds %v in window %d and was left out", format.Visible(s.Name, false), s.Values[i], i))
			continue
		}
		series = append(series, s)
	}
	var layers []row.Layer
	for _, l := range r.Layers {
		l.Name = format.Visible(l.Name, false)
		if !format.Finite(l.OutputError) || !format.Finite(l.WeightError) || !format.Finite(l.BitsPerWeight) {
			warnings = append(warnings, fmt.Sprintf("layer %s has a number that is not finite and was left out", l.Name))
			continue
		}
		layers = append(layers, l)
	}
	ledger := slices.Clone(r.Ledger)
	for i := range ledger {
		ledger[i].Name = format.Visible(ledger[i].Name, false)
	}
	r.Values, r.Series, r.Layers, r.Ledger, r.Warnings = values, series, layers, ledger, warnings
	return r
}
