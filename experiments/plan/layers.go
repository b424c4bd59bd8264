package plan

import (
	"fmt"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/mosaicquant/mosaicquant/experiments/kinds"
	"github.com/mosaicquant/mosaicquant/experiments/method"
)

// layerSettings are the settings of an entry of methods that hold for some layers.
// They are not swept.
type layerSettings struct {
	ignore     []string
	ignoreLine int
	ignorePath string
	overrides  []override
}

// override is an entry of layers as read.
type override struct {
	method.Override
	line int
	path string
}

// layerKeys are the keys of a method that hold for some layers.
var layerKeys = []other{
	{"ignore", "list of patterns", "none", "Layers that stay in 16 bits: `ignore: [\"*.o_proj\"]`"},
	{"layers", "list of mappings", "none", "Other values of the method's keys for the layers that `match` fits: " +
		"`layers: [{match: \"*.down_proj\", group: 32}]`; later entries win. " +
		"Smoothing and a shared budget are the whole model's"},
}

// modelKeys are keys of methods that hold for all layers or none.
var modelKeys = []string{"smoothing", "smoothing_search", "smoothing_sites", "budget", method.LMHead}

// layerSettings reads ignore and layers of the entry e; nil where it has neither.
func (p *parser) layerSettings(e *entry, fields map[string]field) *layerSettings {
	ignore, layers := fields["ignore"], fields["layers"]
	if ignore.value == nil && layers.value == nil {
		return nil
	}
	s := &layerSettings{ignoreLine: ignore.line, ignorePath: join(e.path, "ignore")}
	if n := ignore.value; n != nil {
		if n.Kind != yaml.SequenceNode || len(n.Content) == 0 {
			p.errorf(n.Line, s.ignorePath, `%s is not a list of patterns, such as ["*.o_proj"]`, kinds.Show(n))
			return nil
		}
		for i, c := range n.Content {
			if text, ok := p.pattern(c, fmt.Sprintf("%s[%d]", s.ignorePath, i)); ok {
				s.ignore = append(s.ignore, text)
			}
		}
	}
	path := join(e.path, "layers")
	if n := layers.value; n != nil {
		if n.Kind != yaml.SequenceNode || len(n.Content) == 0 {
			p.errorf(n.Line, path, `%s is not a list of mappings, such as [{match: "*.down_proj", group: 32}]`, kinds.Show(n))
			return nil
		}
		for i, c := range n.Content {
			if o, ok := p.override(e, c, fmt.Sprintf("%s[%d]", path, i)); ok {
				s.overrides = append(s.overrides, o)
			}
		}
	}
	for _, v := range e.settings[0].values {
		if m := method.Find(v.(string)); m.Build == nil {
			p.errorf(max(ignore.line, layers.line), e.path, "settings by layer have no meaning for method %s", m.Name)
		}
	}
	return s
}

// pattern reads a pattern of layer names.
func (p *parser) pattern(n *yaml.Node, path string) (string, bool) {
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!str" {
		p.errorf(n.Line, path, `%s is not a pattern of layer names, such as "*.o_proj"`, kinds.Show(n))
		return "", false
	}
	if err := method.CheckPattern(n.Value); err != nil {
		p.errorf(n.Line, path, "%v", err)
		return "", false
	}
	return n.Value, true
}

// override reads an entry of layers.
func (p *parser) override(e *entry, n *yaml.Node, path string) (override, bool) {
	before := len(p.errs)
	ks := section("method")
	fields := p.mapping(n, path, append(names(ks), "match"))
	o := override{line: n.Line, path: path, Override: method.Override{Values: map[string]any{}}}
	if len(p.errs) > before {
		return o, false
	}
	if f := fields["match"]; f.value == nil {
		p.errorf(n.Line, join(path, "match"), "is missing")
	} else {
		o.Match, _ = p.pattern(f.value, join(path, "match"))
	}
	for _, k := range ks {
		f, at := fields[k.name], join(path, k.name)
		if f.value == nil {
			continue
		}
		lacks := func(v any) bool { return !k.has(v.(string)) }
		switch {
		case k.name == "method":
			p.errorf(f.line, at, "layers have the method of their entry; ignore leaves some in 16 bits")
		case slices.Contains(modelKeys, k.name):
			p.errorf(f.line, at, "is a setting of the whole model")
		case slices.ContainsFunc(e.settings[0].values, lacks):
			p.errorf(f.line, at, "method %s has no such setting", written(e.settings[0]))
		case f.value.Kind == yaml.SequenceNode:
			p.errorf(f.line, at, "is a list; settings by layer are not swept")
		default:
			if s := p.setting(k, f, at); s != nil {
				o.Values[k.name] = s.values[0]
			}
		}
	}
	if len(o.Values) == 0 && len(p.errs) == before {
		p.errorf(n.Line, path, "changes nothing: it needs a key beside match")
	}
	return o, len(p.errs) == before
}

// apply gives t the settings by layer, and reports those that contradict its others.
func (s *layerSettings) apply(p *parser, t *Trial) bool {
	if s == nil {
		return true
	}
	ok := true
	report := func(line int, path, format string, args ...any) {
		ok = false
		if !p.bad[path] { // once, not for every trial
			p.errorf(line, path, format, args...)
		}
	}
	m, plain := t.Method.Method(), t.Method
	if plain.Word("budget") != "" {
		line, path := s.ignoreLine, s.ignorePath
		if len(s.overrides) > 0 {
			line, path = s.overrides[0].line, s.overrides[0].path
		}
		report(line, path, "does not go with budget: %s, which layers share", plain.Word("budget"))
		return false
	}
	var list []method.Override
	for _, o := range s.overrides {
		list = append(list, o.Override)
		got := plain.Override(o.Override)
		for _, k := range m.Keys {
			if _, given := o.Values[k.Name]; given && k.Applies != nil && !k.Applies(got) {
				report(o.line, join(o.path, k.Name), "has no effect here: it needs %s", k.Needs)
			}
		}
		for _, r := range m.Rules {
			if r.Fails(got) {
				k := byAxis(r.Key)
				of := *t
				of.Method = got
				report(o.line, join(o.path, r.Key), "%s %s", k.file(k.get(&of)), r.Says)
			}
		}
	}
	for i, pattern := range s.ignore {
		if plain.Bool(method.LMHead) && method.Matches(pattern, method.LMHead, 1) {
			report(s.ignoreLine, fmt.Sprintf("%s[%d]", s.ignorePath, i), "%q leaves the output layer in 16 bits,"+
				" but lm_head is true: drop lm_head", pattern)
		}
	}
	t.Method = plain.WithLayers(s.ignore, list)
	return ok
}

// node adds the settings by layer to m, the mapping of an entry.
func (s *layerSettings) node(m *yaml.Node) {
	if s == nil {
		return
	}
	if len(s.ignore) > 0 {
		list := &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}
		for _, text := range s.ignore {
			list.Content = append(list.Content, scalar("!!str", text))
		}
		add(m, "ignore", list)
	}
	if len(s.overrides) > 0 {
		list := &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}
		for _, o := range s.overrides {
			n := &yaml.Node{Kind: yaml.MappingNode, Style: yaml.FlowStyle}
			add(n, "match", scalar("!!str", o.Match))
			for _, k := range section("method") {
				if v, ok := o.Values[k.name]; ok {
					add(n, k.name, (&setting{key: k, values: []any{v}}).node())
				}
			}
			list.Content = append(list.Content, n)
		}
		add(m, "layers", list)
	}
}

// layerAxes adds the settings by layer of t to its axes.
func layerAxes(t *Trial, axes map[string]string) {
	if list := t.Method.Ignore(); len(list) > 0 {
		axes["ignore"] = strings.Join(list, ", ")
	}
	if text := t.Method.LayerText(); text != "" {
		axes["layers"] = text
	}
}

// documentPatterns explains patterns of layer names.
const documentPatterns = "\nA pattern of `ignore` and `match` is the name of a linear layer, " +
	"such as `model.layers.0.mlp.down_proj`, with or without `model.`, in which `*` stands for any text. " +
	"One that ends in a dot stands for all below it: `layers.0.`. " +
	"`first` and `last` are the first and last decoder layer, alone or as an index: `layers.last.mlp.*`. " +
	"What begins with `re:` is a regular expression for the begin of the name. " +
	"With `lm_head: true`, `lm_head` is a layer, too. " +
	"A pattern that fits no layer of the model is an error.\n"
