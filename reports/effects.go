package reports

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/mosaicquant/mosaicquant/reports/format"
	"github.com/mosaicquant/mosaicquant/reports/stats"
)

// effectFindings says for each setting what its values do.
func effectFindings(g *stats.Group) []finding {
	var out []finding
	for i := 0; i < len(g.Effects); {
		same := g.Effects[i:]
		for j, f := range same {
			if f.Method != same[0].Method || f.Axis != same[0].Axis {
				same = same[:j]
				break
			}
		}
		i += len(same)
		out = append(out, finding{settingFinding(same), nil})
	}
	return out
}

// settingFinding is the finding of the effects of one setting of one method.
func settingFinding(effects []stats.Effect) string {
	sorted := slices.Clone(effects)
	slices.SortStableFunc(sorted, func(a, b stats.Effect) int { return cmp.Compare(a.Ratio.Value, b.Ratio.Value) })
	pairs := sorted[0].Pairs
	var lower, higher, unclear, same []string
	for _, f := range sorted {
		if f.None() {
			same = append(same, format.Named(f.To))
			continue
		}
		text := format.Named(f.To) + " (" + f.Change()
		if b := f.Bits(); b != "" {
			text += ", " + b
		}
		if f.Pairs != pairs {
			text += fmt.Sprintf(", %s", format.Plural(f.Pairs, "pair", "pairs"))
		}
		switch claimed := f.Holm < 1-stats.Level; {
		case claimed && f.Ratio.Value < 1:
			if f.Lower < f.Pairs {
				text += fmt.Sprintf(", though not in %d of %d", f.Pairs-f.Lower, f.Pairs)
			}
			lower = append(lower, text+")")
		case claimed:
			if f.Lower > 0 {
				text += fmt.Sprintf(", though not in %d of %d", f.Lower, f.Pairs)
			}
			higher = append(higher, text+")")
		default:
			unclear = append(unclear, text+")")
		}
	}
	var parts []string
	for _, p := range []struct {
		says   string
		values []string
	}{{"lower with ", lower}, {"higher with ", higher}, {"not distinguishable with ", unclear}, {"the same with ", same}} {
		if len(p.values) > 0 {
			parts = append(parts, p.says+format.List(p.values, 10))
		}
	}
	f := sorted[0]
	return fmt.Sprintf("%s: %s against %s, all else equal (%s): divergence %s.", f.Method, f.Axis, format.Named(f.From),
		format.Plural(pairs, "matched pair", "matched pairs"), strings.Join(parts, "; "))
}

const effectsNote = "Geometric mean over pairs of rows that differ in this setting alone, paired by window. " +
	"The interval covers the windows, with the pairs as they are. Settings that change the bits per weight are not " +
	"compared at equal size here."

func effectLines(g *stats.Group) [][]string {
	lines := [][]string{{"method", "setting", "from", "to", "pairs", "KL lower in", "KL change", "95 % interval",
		"p, Holm", "bits / weight change"}}
	for _, f := range g.Effects {
		lines = append(lines,
			[]string{f.Method, f.Axis, format.Named(f.From), format.Named(f.To), fmt.Sprint(f.Pairs), fmt.Sprint(f.Lower),
				format.Percent(f.Ratio.Value), stats.Interval(f.Ratio,
					format.Percent), format.PValue(f.Holm), format.Signed(f.BitsChange, 3)})
	}
	return lines
}
