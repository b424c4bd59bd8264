package reports

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/mosaicquant/mosaicquant/internal/row"
)

// visible returns s with everything that could hide or reorder text spelled
// out: control characters, the bidirectional controls, zero-width characters
// and bytes that are not UTF-8. Line breaks and tabs stay where keepLines.
func visible(s string, keepLines bool) string {
	plain := func(r rune) bool {
		if keepLines && (r == '\n' || r == '\t') {
			return true
		}
		return r != utf8.RuneError && !unicode.IsControl(r) && !unicode.Is(unicode.Cf, r) && r != '\u2028' && r != '\u2029'
	}
	if strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if plain(r) {
			b.WriteRune(r)
		} else {
			fmt.Fprintf(&b, "⟨U+%04X⟩", r)
		}
	}
	return b.String()
}

// clean returns a copy of r that every output can show: text made visible,
// and numbers that are not finite left out, each with a warning on the row.
func clean(r row.Row) row.Row {
	r.Trial, r.Label, r.Baseline = visible(r.Trial, false), visible(r.Label, false), visible(r.Baseline, false)
	r.Error, r.Env, r.Start = visible(r.Error, true), visible(r.Env, false), visible(r.Start, false)
	axes := make(map[string]string, len(r.Axes))
	for _, k := range slices.Sorted(maps.Keys(r.Axes)) {
		axes[visible(k, false)] = visible(r.Axes[k], false)
	}
	r.Axes = axes
	warnings := make([]string, len(r.Warnings))
	for i, w := range r.Warnings {
		warnings[i] = visible(w, true)
	}
	var values []row.Value
	for _, v := range r.Values {
		v.Name, v.Unit = visible(v.Name, false), visible(v.Unit, false)
		if !finite(v.Value) {
			warnings = append(warnings, fmt.Sprintf("value %s is %v and was left out", v.Name, v.Value))
			continue
		}
		if v.SE != nil && !finite(*v.SE) {
			v.SE = nil
		}
		values = append(values, v)
	}
	var series []row.Series
	for _, s := range r.Series {
		if i := slices.IndexFunc(s.Values, func(v float64) bool { return !finite(v) }); i >= 0 {
			warnings = append(warnings, fmt.Sprintf("series %s holds %v in window %d and was left out", visible(s.Name, false), s.Values[i], i))
			continue
		}
		series = append(series, s)
	}
	var layers []row.Layer
	for _, l := range r.Layers {
		l.Name = visible(l.Name, false)
		if !finite(l.OutputError) || !finite(l.WeightError) || !finite(l.BitsPerWeight) {
			warnings = append(warnings, fmt.Sprintf("layer %s has a number that is not finite and was left out", l.Name))
			continue
		}
		layers = append(layers, l)
	}
	ledger := slices.Clone(r.Ledger)
	for i := range ledger {
		ledger[i].Name = visible(ledger[i].Name, false)
	}
	r.Values, r.Series, r.Layers, r.Ledger, r.Warnings = values, series, layers, ledger, warnings
	return r
}

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }

// short cuts s to at most n characters, marking the cut.
func short(s string, n int) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	return string([]rune(s)[:n-1]) + "…"
}

// middle cuts s to at most n characters in the middle: names of rows begin
// alike, and differ at their ends.
func middle(s string, n int) string {
	r := []rune(s)
	if len(r) <= n {
		return s
	}
	end := (n - 1) / 2
	return string(r[:n-1-end]) + "…" + string(r[len(r)-end:])
}
