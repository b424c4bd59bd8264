package reports

import "strings"

// shortTitles names the groups of t by what differs between them.
func (t *Table) shortTitles() []string {
	parts := func(g *Group) []string { return []string{g.Model, g.Activations, g.Protocol} }
	out := make([]string, len(t.Groups))
	for i, g := range t.Groups {
		var own []string
		for j, p := range parts(g) {
			for _, o := range t.Groups {
				if parts(o)[j] != p {
					own = append(own, named(p))
					break
				}
			}
		}
		out[i] = strings.Join(own, " · ")
	}
	return out
}

// acrossNote explains acrossLines.
const acrossNote = "Change of mean KL when one setting is replaced, all else equal, as each group's own table of effects has it; * claimed after Holm's correction within the group. Side by side for reading: nothing is tested across groups."

// acrossLines puts the effects that several groups have side by side, head
// first; nil where there are none.
func (t *Table) acrossLines() [][]string {
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
			cells[k][i] = percentOf(f.Ratio.Value)
			if f.Holm < 1-Level {
				cells[k][i] += "*"
			}
			if b := f.bits(); b != "" {
				cells[k][i] += ", " + b
			}
			cells[k][i] += " " + interval(f.Ratio, percentOf)
			count[k]++
		}
	}
	lines := [][]string{append([]string{"method", "setting"}, t.shortTitles()...)}
	for _, k := range order {
		if count[k] > 1 {
			lines = append(lines, append([]string{k.method, k.axis + " " + named(k.to) + ", for " + named(k.from)}, cells[k]...))
		}
	}
	if len(lines) == 1 {
		return nil
	}
	return lines
}
