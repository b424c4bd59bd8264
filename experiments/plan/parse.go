package plan

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/mosaicquant/mosaicquant/experiments/kinds"
)

// maxBytes bounds a sweep file; no honest one comes near.
const maxBytes = 1 << 20

// maxErrors is how many errors of one file are reported at once.
const maxErrors = 20

// setting is a key with the values that a file sweeps it over.
type setting struct {
	key    *key
	values []any
	line   int
	path   string
}

// entry is a set of settings whose product is taken, with its filters.
type entry struct {
	line       int
	path       string
	settings   []*setting // in the order of keys
	zip        [][]*setting
	only, skip []*condition
	label      *title         // what the entry calls its trials; nil: what their settings say
	layers     *layerSettings // nil: all layers have the same
}

// condition holds for a trial if each of its settings has one of the values.
type condition struct {
	line     int
	path     string
	settings []*setting
}

// source is a sweep file as read, before lists are multiplied out.
type source struct {
	where   func(line int) string
	name    string
	opening string // the comment on top
	common  entry  // model, activations, protocol and calibration
	tasks   []string

	tasksLine int            // 0 without tasks
	lines     map[string]int // of the methods of trials, by their labels
	speed     *entry         // nil without one
	methods   []*entry
	baseline  *condition
}

// Parse reads a sweep file; name is the file's, for errors. Each error names
// file, line and field, and several are reported at once (errors.Join).
// Assignments "key=value" take the place of what the file says, see set. A file that
// includes others is an error; ParseWith reads these.
func Parse(name string, data []byte, assignments ...string) (*Sweep, error) {
	return ParseWith(nil, name, data, assignments...)
}

// ParseWith is Parse for a file that may include others, which read returns.
func ParseWith(read Files, name string, data []byte, assignments ...string) (*Sweep, error) {
	p := &parser{file: name, bad: map[string]bool{}, assigned: assignments, read: read}
	src := p.parse(data)
	if err := p.err(); err != nil {
		return nil, err
	}
	trials := p.expand(src)
	if err := p.err(); err != nil {
		return nil, err
	}
	src.where, src.opening = p.where, opening(data)
	return &Sweep{Name: src.name, Question: prose(src.opening), Trials: trials, source: src}, nil
}

type lineError struct {
	line int
	err  error
}

type parser struct {
	file string
	errs []lineError
	bad  map[string]bool // paths with errors

	assigned []string // see set
	read     Files    // of what the file includes; nil for none
	files    []string // that were read, see fileLines
}

func (p *parser) errorf(line int, path, format string, args ...any) {
	msg := fmt.Sprintf(format, args...)
	if path != "" {
		msg = path + ": " + msg
	}
	p.errs = append(p.errs, lineError{line, fmt.Errorf("%s: %s", p.where(line), msg)})
	p.bad[path] = true
}

// err joins the errors found so far, by line.
func (p *parser) err() error {
	slices.SortStableFunc(p.errs, func(a, b lineError) int { return cmp.Compare(a.line, b.line) })
	var errs []error
	for i, e := range p.errs {
		if i == maxErrors {
			errs = append(errs, fmt.Errorf("%s: and %d more errors", p.file, len(p.errs)-i))
			break
		}
		errs = append(errs, e.err)
	}
	return errors.Join(errs...)
}

func (p *parser) parse(data []byte) *source {
	root := p.root(data)
	if root == nil {
		return nil
	}
	src := &source{common: entry{line: root.Line}}
	fields := p.mapping(root, "", topNames())
	src.name = p.name(root, fields["name"])
	src.common.settings = p.settings(fields, root, "", section(""))
	for _, s := range []string{"protocol", "calibration", "stress"} {
		n := fields[s].value
		if n == nil && s == "stress" {
			continue
		}
		if n == nil {
			p.errorf(root.Line, s, "is missing")
			continue
		}
		ks := section(s)
		src.common.settings = append(src.common.settings, p.settings(p.mapping(n, s, names(ks)), n, s, ks)...)
	}
	slices.SortFunc(src.common.settings, func(a, b *setting) int {
		return cmp.Compare(slices.Index(keys, a.key), slices.Index(keys, b.key))
	})
	p.filters(&src.common, fields)
	if n := fields["tasks"].value; n != nil {
		src.tasksLine = n.Line
	}
	src.tasks = p.tasks(fields["tasks"].value)
	if n := fields["speed"].value; n != nil {
		src.speed = p.speed(n)
	}
	if n := fields["baseline"].value; n != nil {
		src.baseline = p.condition(n, "baseline")
	}
	src.methods = p.methods(root, fields["methods"].value)
	return src
}

// topNames are the keys and sections of a sweep file, at its top.
func topNames() []string {
	list := []string{"protocol", "calibration", "stress"}
	for _, o := range append(slices.Clip(topKeys), filterKeys...) {
		list = append(list, o.name)
	}
	return append(list, names(section(""))...)
}

var yamlLine = regexp.MustCompile(`^line ([0-9]+): `)

// document returns the top mapping of the single YAML document in data, whose lines are
// counted from offset in errors.
func (p *parser) document(data []byte, offset int) (root *yaml.Node, err error) {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc, more yaml.Node
	err = dec.Decode(&doc)
	if err == io.EOF {
		p.errorf(offset+1, "", "is empty")
		return nil, err
	}
	if err == nil {
		switch err2 := dec.Decode(&more); err2 {
		case io.EOF:
		case nil:
			p.errorf(offset+more.Line, "", "a second document begins; a sweep file holds one")
			return nil, errors.New("two documents")
		default:
			err = err2
		}
	}
	if err != nil {
		msg, line := strings.TrimPrefix(err.Error(), "yaml: "), 1
		if m := yamlLine.FindStringSubmatch(msg); m != nil {
			line, _ = strconv.Atoi(m[1]) // digits only
			msg = msg[len(m[0]):]
		}
		if i, ok := tab(data); ok {
			line, msg = i, "is indented with a tab; YAML wants spaces"
		}
		p.errorf(offset+line, "", "%s", msg)
		return nil, err
	}
	if len(doc.Content) != 1 || doc.Content[0].Kind != yaml.MappingNode {
		p.errorf(offset+max(1, doc.Line), "", "is not a mapping of keys to values")
		return nil, errors.New("no mapping")
	}
	return doc.Content[0], nil
}

// tab finds the first line that is indented with a tab.
func tab(data []byte) (line int, ok bool) {
	line = 1
	for l := range bytes.Lines(data) {
		if indent := l[:len(l)-len(bytes.TrimLeft(l, " \t"))]; bytes.ContainsRune(indent, '\t') {
			return line, true
		}
		line++
	}
	return 0, false
}

// field is an entry of a mapping.
type field struct {
	line  int
	value *yaml.Node // nil = absent
}

// mapping returns the fields of n, all of whose keys must be among known.
func (p *parser) mapping(n *yaml.Node, path string, known []string) map[string]field {
	fields := map[string]field{}
	if n.Kind != yaml.MappingNode {
		p.errorf(n.Line, path, "%s is not a mapping of keys to values", kinds.Show(n))
		return fields
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		at := join(path, k.Value)
		switch _, twice := fields[k.Value]; {
		case k.Kind != yaml.ScalarNode || k.ShortTag() != "!!str":
			p.errorf(k.Line, path, "%s is not a key", kinds.Show(k))
		case !slices.Contains(known, k.Value):
			p.errorf(k.Line, path, "unknown key %s%s", kinds.Show(k), kinds.DidYouMean(k.Value, known))
		case twice:
			p.errorf(k.Line, at, "is given twice, first in line %d", fields[k.Value].line)
		default:
			fields[k.Value] = field{k.Line, v}
		}
	}
	return fields
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

func names(ks []*key) []string {
	var s []string
	for _, k := range ks {
		s = append(s, k.name)
	}
	return s
}

var folder = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$`)

// name reads the name of the sweep, which becomes that of its results folder.
func (p *parser) name(root *yaml.Node, f field) string {
	switch n := f.value; {
	case n == nil:
		p.errorf(root.Line, "name", "is missing")
	case n.Kind != yaml.ScalarNode || n.ShortTag() != "!!str" || !folder.MatchString(n.Value):
		p.errorf(n.Line, "name", "%s is not a name of letters, digits, '.', '_' and '-' that begins "+
			"with a letter or digit; it names the results folder",
			kinds.Show(n))
	default:
		return n.Value
	}
	return ""
}

var taskName = regexp.MustCompile(`^[a-z_]+$`)

// tasks reads the list of tasks. It is not swept: every trial has all of them.
func (p *parser) tasks(n *yaml.Node) []string {
	if n == nil {
		return nil
	}
	if n.Kind != yaml.SequenceNode || len(n.Content) == 0 {
		p.errorf(n.Line, "tasks", "%s is not a list of tasks, such as [builtin:choice, piqa=valid.jsonl, arc_easy]",
			kinds.Show(n))
		return nil
	}
	var list []string
	seen := map[string]bool{}
	for i, c := range n.Content {
		at := fmt.Sprintf("tasks[%d]", i)
		name, file, ok := strings.Cut(c.Value, "=")
		if !ok {
			name, ok = strings.CutPrefix(c.Value, "builtin:")
			if file = name; !ok && taskName.MatchString(name) { // of Hugging Face's cache
				ok = true
			}
		}
		switch {
		case c.Kind != yaml.ScalarNode || !ok || name == "" || file == "" || strings.Contains(c.Value, ","):
			p.errorf(c.Line, at, "%s is neither builtin:NAME nor TASK=FILE (without commas) nor TASK", kinds.Show(c))
		case seen[name]:
			p.errorf(c.Line, at, "task %s is given twice", name)
		default:
			list = append(list, c.Value)
		}
		seen[name] = true
	}
	return list
}

// settings reads the fields that are among ks, in their order.
func (p *parser) settings(fields map[string]field, parent *yaml.Node, path string, ks []*key) []*setting {
	var list []*setting
	for _, k := range ks {
		f := fields[k.name]
		at := join(path, k.name)
		if f.value != nil {
			if s := p.setting(k, f, at); s != nil {
				list = append(list, s)
			}
		} else if k.variants == nil && k.fallback == nil && !p.bad[at] {
			p.errorf(parent.Line, at, "is missing")
		}
	}
	return list
}

// setting reads a scalar or a list of them.
func (p *parser) setting(k *key, f field, path string) *setting {
	s := &setting{key: k, line: f.line, path: path}
	nodes := []*yaml.Node{f.value}
	if f.value.Kind == yaml.SequenceNode {
		nodes = f.value.Content
		if len(nodes) == 0 {
			p.errorf(f.line, path, "is an empty list")
			return nil
		}
	}
	for i, n := range nodes {
		at := path
		if f.value.Kind == yaml.SequenceNode {
			at = fmt.Sprintf("%s[%d]", path, i)
		}
		v, err := any(nil), fmt.Errorf("%s is not a single value", kinds.Show(n))
		if n.Kind == yaml.ScalarNode {
			v, err = k.kind.Read(n)
		}
		if err != nil {
			p.errorf(n.Line, at, "%v", err)
			return nil
		}
		if slices.Contains(s.values, v) {
			p.errorf(n.Line, at, "%s is given twice", k.file(v))
			return nil
		}
		s.values = append(s.values, v)
	}
	return s
}

func (p *parser) methods(root, n *yaml.Node) []*entry {
	switch {
	case n == nil:
		if !p.bad["methods"] {
			p.errorf(root.Line, "methods", "is missing")
		}
		return nil
	case n.Kind == yaml.SequenceNode && len(n.Content) == 0:
		p.errorf(n.Line, "methods", "is an empty list")
		return nil
	case n.Kind != yaml.SequenceNode:
		p.errorf(n.Line, "methods", "%s is not a list of methods, such as [{method: rtn, group: 128}]", kinds.Show(n))
		return nil
	}
	var list []*entry
	for i, m := range n.Content {
		if e := p.method(m, fmt.Sprintf("methods[%d]", i)); e != nil {
			list = append(list, e)
		}
	}
	return list
}

// method reads one entry of methods. The key method itself may be a list; the
// entry then has the keys that any of them has.
func (p *parser) method(n *yaml.Node, path string) *entry {
	ks := section("method")
	fields := p.mapping(n, path, append(names(ks), methodNames()...))
	if n.Kind != yaml.MappingNode {
		return nil
	}
	e := &entry{line: n.Line, path: path, settings: p.settings(fields, n, path, ks)}
	if len(e.settings) == 0 || e.settings[0].key.name != "method" {
		return e // reported by settings
	}
	any := func(holds func(method string) bool) bool { // of the methods of the entry
		return slices.ContainsFunc(e.settings[0].values, func(v interface{}) bool { return holds(v.(string)) })
	}
	for _, k := range ks {
		switch f := fields[k.name]; {
		case f.value != nil && !any(k.has):
			p.errorf(f.line, join(path, k.name), "method %s has no such setting", written(e.settings[0]))
		case f.value == nil && k.variants != nil && any(k.required) && !p.bad[join(path, k.name)] &&
			fields[k.instead].value == nil:
			p.errorf(n.Line, join(path, k.name), "is missing")
		}
	}
	p.filters(e, fields)
	e.label = p.title(fields["label"], join(path, "label"))
	e.layers = p.layerSettings(e, fields)
	return e
}

// methodNames are the keys of an entry of methods that are no settings.
func methodNames() []string {
	list := []string{labelKey.name}
	for _, o := range slices.Concat(layerKeys, filterKeys) {
		list = append(list, o.name)
	}
	return list
}

// written lists the values of s.
func written(s *setting) string {
	var list []string
	for _, v := range s.values {
		list = append(list, s.key.file(v))
	}
	return strings.Join(list, ", ")
}

// filters reads only, skip and zip of e.
func (p *parser) filters(e *entry, fields map[string]field) {
	e.only = p.conditions(fields["only"].value, join(e.path, "only"))
	e.skip = p.conditions(fields["skip"].value, join(e.path, "skip"))
	n := fields["zip"].value
	if n == nil {
		return
	}
	path := join(e.path, "zip")
	if n.Kind != yaml.SequenceNode {
		p.errorf(n.Line, path, "%s is not a list of keys, such as [base, density]", kinds.Show(n))
		return
	}
	if len(n.Content) > 0 && n.Content[0].Kind == yaml.SequenceNode {
		for i, group := range n.Content {
			p.zip(e, group, fmt.Sprintf("%s[%d]", path, i))
		}
		return
	}
	p.zip(e, n, path)
}

// zip reads one group of keys that advance together.
func (p *parser) zip(e *entry, n *yaml.Node, path string) {
	if n.Kind != yaml.SequenceNode || len(n.Content) < 2 {
		p.errorf(n.Line, path, "is not a list of at least two keys, such as [base, density]")
		return
	}
	var group []*setting
	for _, name := range n.Content {
		i := slices.IndexFunc(e.settings, func(s *setting) bool { return s.key.axis() == name.Value })
		if name.Kind != yaml.ScalarNode || i < 0 {
			p.errorf(name.Line, path, "%s is not a key that is given here", kinds.Show(name))
			return
		}
		s := e.settings[i]
		if slices.Contains(group, s) || slices.ContainsFunc(e.zip, func(g []*setting) bool { return slices.Contains(g, s) }) {
			p.errorf(name.Line, path, "%s is zipped twice", name.Value)
			return
		}
		if len(group) > 0 && len(s.values) != len(group[0].values) {
			p.errorf(name.Line, path, "%s has %d values and %s has %d; zipped keys need as many",
				group[0].key.axis(), len(group[0].values), name.Value, len(s.values))
			return
		}
		group = append(group, s)
	}
	e.zip = append(e.zip, group)
}

// conditions reads a condition or a list of them.
func (p *parser) conditions(n *yaml.Node, path string) []*condition {
	if n == nil {
		return nil
	}
	if n.Kind != yaml.SequenceNode {
		return []*condition{p.condition(n, path)}
	}
	var list []*condition
	for i, c := range n.Content {
		list = append(list, p.condition(c, fmt.Sprintf("%s[%d]", path, i)))
	}
	if len(list) == 0 {
		p.errorf(n.Line, path, "is an empty list")
	}
	return list
}

func (p *parser) condition(n *yaml.Node, path string) *condition {
	c := &condition{line: n.Line, path: path}
	fields := p.mapping(n, path, axes())
	for _, k := range keys {
		if f := fields[k.axis()]; f.value != nil {
			if s := p.setting(k, f, join(path, k.axis())); s != nil {
				c.settings = append(c.settings, s)
			}
		}
	}
	if n.Kind == yaml.MappingNode && len(n.Content) == 0 {
		p.errorf(n.Line, path, "is empty")
	}
	return c
}
