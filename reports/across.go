package reports

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/mosaicquant/mosaicquant/reports/format"
	"github.com/mosaicquant/mosaicquant/reports/stats"
)

// parenthesis is a remark of a title.
var parenthesis = regexp.MustCompile(` \([^()]*\)`)

// shortTitles names the groups of t by what differs between them, without remarks in
// parentheses where these tell no groups apart.
func shortTitles(t *stats.Table) []string {
	long := differing(t)
	short := make([]string, len(long))
	seen := map[string]bool{}
	for i, s := range long {
		short[i] = parenthesis.ReplaceAllString(s, "")
		if short[i] == "" || seen[short[i]] {
			return long
		}
		seen[short[i]] = true
	}
	return short
}

func differing(t *stats.Table) []string {
	parts := func(g *stats.Group) []string { return []string{g.Model, g.Activations, g.Protocol} }
	out := make([]string, len(t.Groups))
	for i, g := range t.Groups {
		var own []string
		for j, p := range parts(g) {
			for _, o := range t.Groups {
				if parts(o)[j] != p {
					own = append(own, format.Named(p))
					break
				}
			}
		}
		out[i] = strings.Join(own, " · ")
	}
	return out
}

// acrossIso counts, for each pair of families, the comparisons at equal bits.
func acrossIso(t *stats.Table) [][]string {
	cells := map[[2]string][]string{}
	count := map[[2]string]int{}
	var order [][2]string
	for i, g := range t.Groups {
		pairs, sums := g.IsoPairs()
		for _, p := range pairs {
			if cells[p] == nil {
				cells[p] = make([]string, len(t.Groups))
				order = append(order, p)
			}
			won, lost := stats.Tally(sums[p])
			cells[p][i] = fmt.Sprintf("lower in %d, higher in %d of %d", len(won), len(lost), len(sums[p]))
			count[p]++
		}
	}
	var lines [][]string
	for _, p := range order {
		if count[p] > 1 {
			lines = append(lines, append([]string{p[0] + ": against " + p[1] + " at equal bits"}, cells[p]...))
		}
	}
	return lines
}

// acrossNote explains acrossLines.
const acrossNote = "At equal bits: in how many comparisons the divergence is lower and higher after Holm's " +
	"correction. Settings: change of mean KL when one setting is replaced, all else equal, as each group's own table " +
	"of effects has it; * claimed after Holm's correction within the group. Side by side for reading: nothing is " +
	"tested across groups."

// acrossLines puts the effects that several groups have side by side, head
// first; nil where there are none.
func acrossLines(t *stats.Table) [][]string {
	type key struct{ method, axis, from, to string }
	cells := map[key][]string{}
	count := map[key]int{}
	var order []key
	for i, g := range t.Groups {
		for _, f := range g.Effects {
			k := key{f.Method, f.Axis, f.From, f.To}
			if cells[k] == nil {
				cells[k] = make([]string, len(t.Groups))
				order = append(order, k)
			}
			text, low, _ := strings.Cut(f.Change(), " [")
			if f.Holm < 1-stats.Level {
				text += "*"
			}
			if b := f.Bits(); b != "" {
				text += ", " + b
			}
			if low != "" {
				text += " [" + low
			}
			cells[k][i] = text
			count[k]++
		}
	}
	lines := [][]string{append([]string{"setting"}, shortTitles(t)...)}
	lines = append(lines, acrossIso(t)...)
	for _, k := range order {
		if count[k] > 1 {
			lines = append(lines,
				append([]string{k.method + ": " + k.axis + " " + format.Named(k.to) + ", for " + format.Named(k.from)},
					cells[k]...))
		}
	}
	if len(lines) == 1 {
		return nil
	}
	return lines
}

// sideBySide is how many groups a table of effects has room for.
const sideBySide = 5

// acrossTables are acrossLines as tables of at most sideBySide groups, each without the
// lines that none of its groups has.
func acrossTables(lines [][]string) []block {
	var out []block
	for from := 1; from < len(lines[0]); from += sideBySide {
		to := min(from+sideBySide, len(lines[0]))
		var part [][]string
		for i, l := range lines {
			if cells := l[from:to]; i == 0 || strings.Join(cells, "") != "" {
				part = append(part, append([]string{l[0]}, cells...))
			}
		}
		if len(part) > 1 {
			out = append(out, tableOf("Effects by group", part, ofNames))
		}
	}
	return out
}
