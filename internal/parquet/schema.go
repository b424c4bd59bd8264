package parquet

import (
	"errors"
	"fmt"
	"math"
)

// Repetition of a node of the schema, and the mark of a list.
const (
	required = 0
	optional = 1
	repeated = 2

	convertedList = 3
	logicalList   = 3
)

// node is an element of the schema with what is below it.
type node struct {
	name       string
	repetition int
	kind       int // physical type of a leaf
	list       bool
	children   []*node
}

// leavesOf returns the columns of a schema, which is a tree in depth-first order.
func leavesOf(elements []thriftStruct) ([]*leaf, error) {
	root, rest, err := nodeOf(elements, 0)
	if err != nil {
		return nil, fmt.Errorf("schema: %w", err)
	}
	if len(rest) > 0 {
		return nil, errors.New("schema: elements are left over")
	}
	var leaves []*leaf
	seen := map[string]bool{}
	for _, n := range root.children {
		if err := n.leaves(leaf{}, &leaves); err != nil {
			return nil, err
		}
	}
	for _, l := range leaves {
		if seen[l.String()] {
			return nil, fmt.Errorf("schema: two columns %s", l)
		}
		seen[l.String()] = true
	}
	if len(leaves) == 0 {
		return nil, errors.New("schema: there are no columns")
	}
	return leaves, nil
}

// nodeOf reads the node that elements begin with, and returns what follows it.
func nodeOf(elements []thriftStruct, depth int) (*node, []thriftStruct, error) {
	if len(elements) == 0 || depth > maxDepth {
		return nil, nil, errors.New("has too few elements, or too many levels")
	}
	e, rest := elements[0], elements[1:]
	name, _ := e[4].([]byte)
	n := &node{name: string(name)}
	children, err := e.int(5, "num_children", 0, int64(len(rest)))
	if err == nil {
		n.repetition, err = e.int(3, "repetition_type", required, repeated)
	}
	var kind, converted int
	if err == nil {
		kind, err = e.int(1, "type", 0, math.MaxInt32)
	}
	if err == nil {
		converted, err = e.int(6, "converted_type", math.MaxInt32, math.MaxInt32)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("%.80q: %w", name, err)
	}
	n.kind = kind
	_, logical := e.structure(10)[logicalList]
	n.list = converted == convertedList || logical
	for range children {
		var child *node
		if child, rest, err = nodeOf(rest, depth+1); err != nil {
			return nil, nil, err
		}
		n.children = append(n.children, child)
	}
	if _, typed := e[1]; !typed && children == 0 && depth > 0 {
		return nil, nil, fmt.Errorf("%.80q: has neither type nor children", name)
	}
	return n, rest, nil
}

// leaves appends the columns of n, where at is what stands above it.
func (n *node) leaves(at leaf, out *[]*leaf) error {
	at.names = append(append([]string{}, at.names...), n.name)
	return n.below(at, out)
}

// below is leaves for a node whose name is in the path already, or is not part of it.
func (n *node) below(at leaf, out *[]*leaf) error {
	if n.repetition != required {
		at.definition++
	}
	if n.repetition == repeated {
		if at.list {
			return fmt.Errorf("column %s: lists of lists are not read", &at)
		}
		at.repetition, at.list, at.listed = 1, true, at.definition
	}
	if len(n.children) == 0 {
		switch n.kind {
		case typeBoolean, typeInt32, typeInt64, typeFloat, typeDouble, typeByteArray:
		default:
			return fmt.Errorf("column %s: type %s is not read", &at, nameOf(typeNames, n.kind))
		}
		at.kind = n.kind
		*out = append(*out, &at)
		return nil
	}
	// A list is a group of one repeated group of one element, whose names say nothing.
	if n.list && len(n.children) == 1 || n.repetition == repeated && len(n.children) == 1 && at.list {
		return n.children[0].below(at, out)
	}
	if at.list {
		return fmt.Errorf("column %s: lists of structs are not read", &at)
	}
	for _, c := range n.children {
		if err := c.leaves(at, out); err != nil {
			return err
		}
	}
	return nil
}
