package plan

import (
	"fmt"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/mosaicquant/mosaicquant/experiments/kinds"
)

// setLine is the line of what set puts into a file: none of it.
const setLine = 0

// set gives keys of root other values, as assignments "key=value" say: a key of the whole
// file, or "section.key". The value is YAML, so a list is swept. Later ones win.
func (p *parser) set(root *yaml.Node, assignments []string) {
	for _, a := range assignments {
		key, text, ok := strings.Cut(a, "=")
		if !ok || key == "" {
			p.errorf(setLine, "", "%q is no assignment, such as activations=a8 or calibration.seed=2", a)
			continue
		}
		if key == includeKey.name {
			p.errorf(setLine, key, "is what a file says of itself; give the other file by -c")
			continue
		}
		var doc yaml.Node
		if err := yaml.Unmarshal([]byte(text), &doc); err != nil {
			p.errorf(setLine, key, "%v", err)
			continue
		}
		if len(doc.Content) != 1 {
			p.errorf(setLine, key, "has no value")
			continue
		}
		left := maxNodes
		value := p.flat(doc.Content[0], key, map[*yaml.Node]bool{}, &left)
		if value == nil {
			continue
		}
		unnumber(value)
		at, name := root, key
		if section, rest, ok := strings.Cut(key, "."); ok {
			at, name = child(root, section), rest
			if at == nil {
				at = &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Line: setLine}
				root.Content = append(root.Content, keyNode(section), at)
			}
			if at.Kind != yaml.MappingNode {
				p.errorf(setLine, key, "%s is %s in the file, no section", section, kinds.Show(at))
				continue
			}
		}
		if old := child(at, name); old != nil {
			*old = *value
			continue
		}
		at.Content = append(at.Content, keyNode(name), value)
	}
}

// child is the value of a key in a mapping, nil without one.
func child(n *yaml.Node, key string) *yaml.Node {
	for i := 0; i+1 < len(n.Content) && n.Kind == yaml.MappingNode; i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

func keyNode(name string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: name, Line: setLine}
}

// unnumber makes the lines of n and all below it that of no file.
func unnumber(n *yaml.Node) {
	n.Line = setLine
	for _, c := range n.Content {
		unnumber(c)
	}
}

// where names the line of a file in errors, or the command line.
func (p *parser) where(line int) string {
	if line == setLine && len(p.assigned) > 0 {
		return "--set"
	}
	file := p.file
	if i := line / fileLines; i < len(p.files) { // else it was not read
		file = p.files[i]
	}
	return fmt.Sprintf("%s:%d", file, line%fileLines)
}
