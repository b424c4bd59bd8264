package stats

import (
	"slices"
	"strings"
)

// setNames gives each row of g its name inside the group: its label without
// the words that say what all of the group share, the model and the
// activation format. Where that would leave two rows one name, or a row none,
// all keep their labels.
func (g *Group) setNames() {
	g.drop = g.shared()
	seen := map[string]string{}
	for _, e := range g.Entries {
		name := g.name(e.Label)
		if was, ok := seen[name]; name == "" || ok && was != e.Label {
			g.drop = nil
			break
		}
		seen[name] = e.Label
	}
	for _, e := range g.Entries {
		e.Name = g.name(e.Label)
	}
}

// shared returns the words of the group's model, basis and activations that every
// label has.
func (g *Group) shared() []string {
	var out []string
	for i, word := range strings.Fields(g.Entries[0].Label) {
		if !slices.Contains(out, word) && (i == 0 && names(word, g.Entries[0]) || word == g.Activations || word == g.Entries[0].Axes["basis"]) &&
			!slices.ContainsFunc(g.Entries, func(e *Entry) bool { return !hasWord(e.Label, word) }) {
			out = append(out, word)
		}
	}
	return out
}

// names tells whether word, the first of e's label, is the last part of e's
// model: "tiny-llama3" of "builtin:tiny-llama3".
func names(word string, e *Entry) bool {
	model := strings.ReplaceAll(Setting(&e.Row, "model"), `\`, "/")
	rest, ok := strings.CutSuffix(model, word)
	return ok && strings.HasPrefix(e.Label, word+" ") &&
		(rest == "" || strings.HasSuffix(rest, ":") || strings.HasSuffix(rest, "/"))
}

func hasWord(label, word string) bool {
	return strings.Contains(" "+label+" ", " "+word+" ")
}

// name is label without each word that the group drops: a model where the label begins
// with it, and else the last of that word, since a grid may have the name of the inputs.
func (g *Group) name(label string) string {
	for _, word := range g.drop {
		if rest, ok := strings.CutPrefix(label, word+" "); ok {
			label = rest
		} else if before, after, ok := CutLast(" "+label+" ", " "+word+" "); ok {
			label = strings.TrimSpace(before + " " + after)
		}
	}
	return label
}

// Baselines are the names of the group's baselines.
func (g *Group) Baselines() []string {
	var names []string
	for _, label := range g.Baseline {
		names = append(names, g.name(label))
	}
	return names
}

// Legend is the name of a family in legends: the title that the sweep file gives to all
// of its rows in the group, or else the family's own.
func (g *Group) Legend(family string) string {
	titles := map[string]string{} // of families: "" where rows differ
	for _, e := range g.Entries {
		if title, ok := titles[e.Family]; ok && title != e.Title {
			titles[e.Family] = ""
		} else {
			titles[e.Family] = e.Title
		}
	}
	title := titles[family]
	for other, t := range titles { // one name for two families would tell nothing
		if title == "" || other != family && (t == title || other == title) {
			return family
		}
	}
	return title
}
