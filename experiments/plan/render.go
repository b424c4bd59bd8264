package plan

import (
	"bytes"

	"gopkg.in/yaml.v3"
)

// YAML returns the sweep with every default written out, under its question. Reading it again
// gives the same trials, also under a later version with other defaults.
func (s *Sweep) YAML() ([]byte, error) {
	src := s.source
	root := &yaml.Node{Kind: yaml.MappingNode}
	add(root, "name", scalar("!!str", src.name))
	sections := map[string]*yaml.Node{"": root}
	for _, st := range src.common.resolved(src.common.defaults()) {
		m := sections[st.key.section]
		if m == nil {
			m = &yaml.Node{Kind: yaml.MappingNode, Style: yaml.FlowStyle}
			sections[st.key.section] = m
			add(root, st.key.section, m)
		}
		add(m, st.key.name, st.node())
	}
	if len(src.tasks) > 0 {
		list := &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}
		for _, t := range src.tasks {
			list.Content = append(list.Content, scalar("!!str", t))
		}
		add(root, "tasks", list)
	}
	if src.speed != nil {
		m := &yaml.Node{Kind: yaml.MappingNode, Style: yaml.FlowStyle}
		for _, st := range src.speed.settings {
			add(m, st.key.name, st.node())
		}
		add(root, "speed", m)
	}
	addFilters(root, &src.common)
	if src.baseline != nil {
		add(root, "baseline", src.baseline.node())
	}
	methods := &yaml.Node{Kind: yaml.SequenceNode}
	for _, e := range src.methods {
		m := &yaml.Node{Kind: yaml.MappingNode, Style: yaml.FlowStyle}
		for _, st := range e.resolved(e.defaults()) {
			add(m, st.key.name, st.node())
		}
		if e.label != nil {
			add(m, "label", scalar("!!str", e.label.text))
		}
		e.layers.node(m)
		addFilters(m, e)
		methods.Content = append(methods.Content, m)
	}
	add(root, "methods", methods)
	var b bytes.Buffer
	b.WriteString(comment(src.opening))
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := enc.Encode(root); err != nil {
		return nil, err
	}
	return b.Bytes(), enc.Close()
}

// defaults returns, for each key that the file leaves open in e, its value,
// where that is the same for all combinations.
func (e *entry) defaults() map[*key]any {
	values := map[*key][]any{}
	e.each(func(c []chosen) {
		t := resolve(c, usage{})
		for _, k := range keys {
			if v := values[k]; k.matters(&t) && (len(v) == 0 || v[0] != k.get(&t)) {
				values[k] = append(v, k.get(&t))
			}
		}
	})
	same := map[*key]any{}
	for k, v := range values {
		if len(v) == 1 {
			same[k] = v[0]
		}
	}
	return same
}

// resolved returns the settings of e and its section's defaults, in the order
// of keys.
func (e *entry) resolved(defaults map[*key]any) []*setting {
	method := e.settings[0].key.section == "method"
	var list []*setting
	for _, k := range keys {
		given := false
		for _, s := range e.settings {
			if s.key == k {
				list, given = append(list, s), true
			}
		}
		if v, ok := defaults[k]; ok && !given && (k.section == "method") == method {
			list = append(list, &setting{key: k, values: []any{v}})
		}
	}
	return list
}

func scalar(tag, value string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: tag, Value: value}
}

func add(m *yaml.Node, name string, v *yaml.Node) {
	m.Content = append(m.Content, scalar("!!str", name), v)
}

func (s *setting) node() *yaml.Node {
	list := &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}
	for _, v := range s.values {
		n := scalar("", s.key.file(v)) // bare, so that numbers stay numbers
		if s.key.kind.Quote {
			n.Tag = "!!str"
		}
		list.Content = append(list.Content, n)
	}
	if len(list.Content) == 1 {
		return list.Content[0]
	}
	return list
}

func (c *condition) node() *yaml.Node {
	m := &yaml.Node{Kind: yaml.MappingNode, Style: yaml.FlowStyle}
	for _, s := range c.settings {
		add(m, s.key.axis(), s.node())
	}
	return m
}

func addFilters(m *yaml.Node, e *entry) {
	for _, f := range []struct {
		name string
		list []*condition
	}{{"only", e.only}, {"skip", e.skip}} {
		if len(f.list) > 0 {
			n := &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}
			for _, c := range f.list {
				n.Content = append(n.Content, c.node())
			}
			add(m, f.name, n)
		}
	}
	if len(e.zip) > 0 {
		n := &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}
		for _, g := range e.zip {
			names := &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}
			for _, s := range g {
				names.Content = append(names.Content, scalar("!!str", s.key.axis()))
			}
			n.Content = append(n.Content, names)
		}
		add(m, "zip", n)
	}
}
