package plan

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/mosaicquant/mosaicquant/experiments/kinds"
)

// Files returns the bytes of a file that another one includes.
type Files func(path string) ([]byte, error)

// Several files are one document, so the lines of the ith are counted from i·fileLines.
// No file has that many lines.
const fileLines = 2 * maxBytes

const (
	maxIncluded = 16      // files that one sweep file may include
	maxNodes    = 100_000 // values that references may make of a file
)

// includeKey names files whose keys hold where this one gives no others.
var includeKey = other{"include", "path of a YAML file, or a list of these", "none",
	"Files whose keys hold where this one gives none; later ones win over earlier ones. Paths are relative to this " +
		"file. " +
		"Sections (`protocol`, `calibration`, `stress`, `speed`) are joined key by key; lists, `methods` among them, " +
		"are replaced whole"}

// root returns the top mapping of the file, with what it includes, references written
// out, and keys set from the command line; nil after an error.
func (p *parser) root(data []byte) *yaml.Node {
	if len(data) > maxBytes {
		p.errorf(1, "", "%d bytes; a file has at most %d", len(data), maxBytes)
		return nil
	}
	root := p.included(data, []string{p.file})
	if root == nil {
		return nil
	}
	p.set(root, p.assigned)
	return root
}

// included returns the top mapping of the last file of chain, each of which includes the
// next.
func (p *parser) included(data []byte, chain []string) *yaml.Node {
	p.files = append(p.files, chain[len(chain)-1])
	offset := (len(p.files) - 1) * fileLines
	root, err := p.document(data, offset)
	if err != nil || root == nil {
		return nil
	}
	moveLines(root, offset, map[*yaml.Node]bool{})
	left := maxNodes
	if root = p.flat(root, "", map[*yaml.Node]bool{}, &left); root == nil {
		return nil
	}
	i := slices.IndexFunc(root.Content, func(n *yaml.Node) bool { return n.Value == includeKey.name })
	if i < 0 || i%2 == 1 {
		return root
	}
	list := root.Content[i+1]
	root.Content = slices.Delete(root.Content, i, i+2)
	if list.Kind == yaml.ScalarNode {
		list = &yaml.Node{Kind: yaml.SequenceNode, Content: []*yaml.Node{list}, Line: list.Line}
	}
	if list.Kind != yaml.SequenceNode || len(list.Content) == 0 {
		p.errorf(list.Line, includeKey.name, "%s is neither the path of a file nor a list of these", kinds.Show(list))
		return nil
	}
	base := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Line: root.Line}
	for _, n := range list.Content {
		more := p.include(n, chain)
		if more == nil {
			return nil
		}
		over(base, more)
	}
	over(base, root)
	return base
}

// include reads the file that n names.
func (p *parser) include(n *yaml.Node, chain []string) *yaml.Node {
	path := n.Value
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!str" || path == "" {
		p.errorf(n.Line, includeKey.name, "%s is not the path of a file", kinds.Show(n))
		return nil
	}
	if p.read == nil {
		p.errorf(n.Line, includeKey.name, "%s: this file stands for itself and includes no other", path)
		return nil
	}
	if !filepath.IsAbs(path) {
		path = filepath.Join(filepath.Dir(chain[len(chain)-1]), filepath.FromSlash(path))
	}
	switch i := slices.IndexFunc(chain, func(c string) bool { return filepath.Clean(c) == path }); {
	case i >= 0:
		loop := strings.Join(append(slices.Clip(chain[i:]), path), " > ")
		p.errorf(n.Line, includeKey.name, "%s includes itself: %s", path, loop)
		return nil
	case len(p.files) > maxIncluded:
		p.errorf(n.Line, includeKey.name, "more than %d files", maxIncluded)
		return nil
	}
	data, err := p.read(path)
	if err == nil && len(data) > maxBytes {
		err = fmt.Errorf("%s: %d bytes; a file has at most %d", path, len(data), maxBytes)
	}
	if err != nil {
		p.errorf(n.Line, includeKey.name, "%v", err)
		return nil
	}
	return p.included(data, append(slices.Clip(chain), path))
}

// sections are the mappings of a file that are joined key by key.
var sections = []string{"protocol", "calibration", "stress", "speed"}

// over gives base the keys of top.
func over(base, top *yaml.Node) {
	for i := 0; i+1 < len(top.Content); i += 2 {
		k, v := top.Content[i], top.Content[i+1]
		at := slices.IndexFunc(base.Content, func(n *yaml.Node) bool { return n.Value == k.Value })
		for at >= 0 && at%2 == 1 { // a value, no key
			next := slices.IndexFunc(base.Content[at+1:], func(n *yaml.Node) bool { return n.Value == k.Value })
			if at += 1 + next; next < 0 {
				at = -1
			}
		}
		switch {
		case at < 0:
			base.Content = append(base.Content, k, v)
		case slices.Contains(sections, k.Value) && v.Kind == yaml.MappingNode && base.Content[at+1].Kind == yaml.MappingNode:
			joined := *base.Content[at+1]
			joined.Content, joined.Line = slices.Clone(joined.Content), v.Line
			over(&joined, v)
			base.Content[at+1] = &joined
		default:
			base.Content[at], base.Content[at+1] = k, v
		}
	}
	base.Line = top.Line
}

// moveLines adds offset to the lines of n and all below it.
func moveLines(n *yaml.Node, offset int, done map[*yaml.Node]bool) {
	if n == nil || offset == 0 || done[n] {
		return
	}
	done[n] = true
	n.Line += offset
	for _, c := range n.Content {
		moveLines(c, offset, done)
	}
}

// flat returns n with YAML references (*name) and merges (<<: *name) written out; nil
// after an error. open are the nodes around n. No more than left values are made.
func (p *parser) flat(n *yaml.Node, path string, open map[*yaml.Node]bool, left *int) *yaml.Node {
	for n.Kind == yaml.AliasNode {
		if open[n.Alias] {
			p.errorf(n.Line, path, "*%s refers to what it stands in", n.Value)
			return nil
		}
		n = n.Alias
	}
	if *left--; *left < 0 {
		p.errorf(n.Line, path, "YAML references make more than %d values", maxNodes)
		return nil
	}
	out := *n
	out.Anchor, out.Alias, out.Content = "", nil, nil
	open[n] = true
	defer delete(open, n)
	if n.Kind != yaml.MappingNode {
		for _, c := range n.Content {
			f := p.flat(c, path, open, left)
			if f == nil {
				return nil
			}
			out.Content = append(out.Content, f)
		}
		return &out
	}
	var merged []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		at := join(path, n.Content[i].Value)
		k, v := p.flat(n.Content[i], path, open, left), p.flat(n.Content[i+1], at, open, left)
		switch {
		case k == nil || v == nil:
			return nil
		case k.Kind != yaml.ScalarNode || k.ShortTag() != "!!merge":
			out.Content = append(out.Content, k, v)
		case v.Kind == yaml.MappingNode:
			merged = append(merged, v)
		case v.Kind == yaml.SequenceNode:
			merged = append(merged, v.Content...)
		default:
			p.errorf(k.Line, at, "%s is neither a mapping nor a list of these", kinds.Show(v))
			return nil
		}
	}
	return p.merge(&out, merged, path)
}

// merge adds to out the keys of each of merged that it does not have.
func (p *parser) merge(out *yaml.Node, merged []*yaml.Node, path string) *yaml.Node {
	for _, m := range merged {
		if m.Kind != yaml.MappingNode {
			p.errorf(m.Line, join(path, "<<"), "%s is not a mapping of keys to values", kinds.Show(m))
			return nil
		}
		for i := 0; i+1 < len(m.Content); i += 2 {
			if child(out, m.Content[i].Value) == nil {
				out.Content = append(out.Content, m.Content[i], m.Content[i+1])
			}
		}
	}
	return out
}
