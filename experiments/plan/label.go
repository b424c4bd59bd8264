package plan

import (
	"slices"
	"strings"

	"github.com/mosaicquant/mosaicquant/experiments/kinds"
)

// title is what an entry of methods calls its trials, the value of its key label: a
// text in which {KEY} stands for the value of a setting.
type title struct {
	line  int
	path  string
	text  string
	parts []part
}

// part is some text of a title, or, with a key, the value of a setting.
type part struct {
	text string
	key  *key
}

// maxLabel is how many characters a label may have in a sweep file.
const maxLabel = 100

// title reads the field label of an entry; nil where there is none.
func (p *parser) title(f field, path string) *title {
	if f.value == nil {
		return nil
	}
	v, err := kinds.Text.Read(f.value)
	if err != nil {
		p.errorf(f.line, path, "%v", err)
		return nil
	}
	text := strings.Join(strings.Fields(v.(string)), " ")
	if n := len([]rune(text)); n > maxLabel {
		p.errorf(f.line, path, "has %d characters; a label has at most %d", n, maxLabel)
		return nil
	}
	t := &title{line: f.line, path: path, text: text}
	for rest := text; rest != ""; {
		i := strings.IndexAny(rest, "{}")
		if i < 0 {
			t.parts = append(t.parts, part{text: rest})
			break
		}
		end := strings.IndexAny(rest[i+1:], "{}")
		if rest[i] == '}' || end < 0 || rest[i+1+end] == '{' {
			p.errorf(f.line, path, "%q: braces hold the name of a key, such as {group}", text)
			return nil
		}
		name := rest[i+1 : i+1+end]
		k := byAxis(name)
		if k == nil {
			p.errorf(f.line, path, "{%s} is no key%s", name, kinds.DidYouMean(name, axes()))
			return nil
		}
		t.parts = append(t.parts, part{text: rest[:i]}, part{key: k})
		rest = rest[i+end+2:]
	}
	return t
}

// names reports whether the value of k is in the title.
func (t *title) names(k *key) bool {
	return slices.ContainsFunc(t.parts, func(p part) bool { return p.key == k })
}

// of writes the title of tr; missing is a key in it that has no meaning for tr.
func (t *title) of(tr *Trial) (text string, missing *key) {
	var b strings.Builder
	for _, p := range t.parts {
		switch {
		case p.key == nil:
			b.WriteString(p.text)
		case !p.key.matters(tr):
			return "", p.key
		default:
			b.WriteString(p.key.file(p.key.get(tr)))
		}
	}
	return b.String(), nil
}

// named returns the entry that names a trial which is of two entries: the one that
// has a label. Two labels are an error.
func (p *parser) named(first, second *entry) *entry {
	switch {
	case second.label == nil || first == second:
		return first
	case first.label == nil:
		return second
	case first.label.text != second.label.text && !p.bad[second.label.path]:
		p.errorf(second.label.line, second.label.path, "%q names a trial that %s calls %q",
			second.label.text, first.path, first.label.text)
	}
	return first
}

// setLabels gives each trial its label. from are the entries that trials are of.
// A trial of an entry with a title is called by it and by what it leaves open: the
// settings that vary among the trials of the entry, and those of the whole file that
// vary. Others are called by all settings that vary among the trials. Labels differ;
// titles that do not are an error.
func (p *parser) setLabels(trials []Trial, from []*entry) {
	all := varying(trials)
	within := map[*entry]map[*key]bool{}
	for _, e := range from {
		if e.label != nil && within[e] == nil {
			var own []Trial
			for i, t := range trials {
				if from[i] == e {
					own = append(own, t)
				}
			}
			within[e] = varying(own)
		}
	}
	at := map[string][]int{}
	for i := range trials {
		t := &trials[i]
		if e := from[i]; e.label != nil {
			p.titled(t, e, all, within[e])
		} else {
			t.Label = label(t, "", func(k *key) bool { return shows(k, t, all[k]) })
		}
		at[t.Label] = append(at[t.Label], i)
	}
	for _, same := range at {
		if len(same) > 1 {
			p.distinguish(trials, from, same, all)
		}
	}
}

// distinguish gives the trials with the indices same, which have one label, labels that
// differ, such as for two texts of one file name. A title is not changed: it is an
// error.
func (p *parser) distinguish(trials []Trial, from []*entry, same []int, all map[*key]bool) {
	for _, i := range slices.Backward(same) {
		e, first := from[i], from[same[0]]
		if e.label == nil {
			continue
		}
		if !p.bad[e.label.path] {
			whose := ""
			if first != e {
				whose = " of " + first.path + " and " + e.path
			}
			p.errorf(e.label.line, e.label.path, "%q names %d trials%s%s",
				trials[i].Label, len(same), whose, differ(trials, same))
		}
		return
	}
	for _, i := range same {
		t := &trials[i]
		var full []string
		for _, k := range keys {
			if all[k] && k.matters(t) {
				full = append(full, k.axis()+"="+k.kind.Write(k.get(t)))
			}
		}
		t.Label += " (" + strings.Join(full, " ") + ")"
	}
}

// titled labels t by the title of its entry e.
func (p *parser) titled(t *Trial, e *entry, all, within map[*key]bool) {
	text, missing := e.label.of(t)
	if missing != nil {
		if !p.bad[e.label.path] {
			p.errorf(e.label.line, e.label.path, "{%s} has no value for %s; it needs %s", missing.axis(),
				t.Method.Name(), missing.needed())
		}
		return
	}
	if text == e.label.text {
		t.Title = text
	}
	t.Label = label(t, text, func(k *key) bool {
		switch {
		case e.label.names(k) || k.name == "method" && !within[k]:
			return false
		case k.section == "method":
			return shows(k, t, within[k])
		}
		return shows(k, t, all[k])
	})
}

// needed says in words what it takes for k to have a value.
func (k *key) needed() string {
	if k.needs != "" {
		return k.needs
	}
	return "a method that has this key"
}

// differ tells what the first two of the trials with the indices same differ in.
func differ(trials []Trial, same []int) string {
	a, b := &trials[same[0]], &trials[same[1]]
	for _, k := range keys {
		if k.matters(a) && k.matters(b) && k.get(a) != k.get(b) {
			return "; they differ in " + k.axis() + ": write {" + k.axis() + "}, or choose another"
		}
	}
	return "; choose another"
}

// varying returns the keys that have two or more values among the trials.
func varying(trials []Trial) map[*key]bool {
	varies := map[*key]bool{}
	for _, k := range keys {
		var first any
		for i := range trials {
			if t := &trials[i]; k.matters(t) {
				if first == nil {
					first = k.get(t)
				}
				varies[k] = varies[k] || k.get(t) != first
			}
		}
	}
	return varies
}

// shows reports whether k is part of t's label. Synthetic outliers always are.
func shows(k *key, t *Trial, varies bool) bool {
	if k.section == "stress" && !k.quiet {
		return stressed(t)
	}
	if k.name == "method" {
		return true
	}
	fallback, _ := k.defaultOf(t)
	return varies && !(k.quiet && k.get(t) == fallback)
}

// label joins the title, where there is one, and the values of the keys to show:
// model and method first, then how it runs and is measured.
func label(t *Trial, title string, shown func(*key) bool) string {
	var head, method, rest []string
	if title != "" {
		method = append(method, title)
	}
	for _, k := range keys {
		if !k.matters(t) || !shown(k) {
			continue
		}
		word := k.label(k.get(t))
		if k.name == "method" && !t.Method.Method().Quantizes() && t.Activations != "a16" {
			word += " weights" // their inputs have fewer bits
		}
		switch {
		case k.name == "model":
			head = append(head, word)
		case k.section == "method":
			method = append(method, word)
		default:
			rest = append(rest, word)
		}
	}
	if words := t.Method.LayerLabel(); words != "" && title == "" {
		method = append(method, words)
	}
	return strings.Join(slices.Concat(head, method, rest), " ")
}
