// Package parquet reads Parquet files of rows as data sets of language models have them:
// columns of texts, numbers and truth values, lists of these, and structs. It reads
// UNCOMPRESSED, SNAPPY and GZIP pages of both versions, plain or with dictionaries, which is
// what pyarrow and the library datasets write by themselves. Anything else is an error
// that names the column and what it has. Work and memory are bounded by the size of the
// file, damaged or not. (The library parquet-go reads more, and does not end on some damaged
// files that fuzzing finds in seconds.)
package parquet

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"unicode/utf8"
)

const magic = "PAR1"

// Is reports whether data begins as a Parquet file does.
func Is(data []byte) bool { return bytes.HasPrefix(data, []byte(magic)) }

// leaf is a column that holds values.
type leaf struct {
	names  []string // of the structs around it and its own
	kind   int      // physical type
	list   bool     // it holds a list of values
	listed int      // definition level of the repeated node, where list is set

	repetition, definition int // greatest levels
}

func (l *leaf) String() string { return strings.Join(l.names, ".") }

// Rows returns the rows of a file as objects: texts, int64, float64, bool, nil, []any of
// these, and objects for structs.
func Rows(data []byte) ([]map[string]any, error) {
	rows, err := rows(data)
	if err != nil {
		return nil, fmt.Errorf("parquet: %w", err)
	}
	return rows, nil
}

// JSONLines returns the rows of a file as JSON lines. Numbers that JSON lacks are null.
func JSONLines(data []byte) ([]byte, error) {
	rows, err := Rows(data)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	for _, r := range rows {
		if err := e.Encode(r); err != nil {
			return nil, fmt.Errorf("parquet: %w", err)
		}
	}
	return b.Bytes(), nil
}

// Texts returns a column of texts. A row without one is an error.
func Texts(data []byte, column string) ([]string, error) {
	rows, err := Rows(data)
	if err != nil {
		return nil, err
	}
	texts := make([]string, len(rows))
	for i, r := range rows {
		var ok bool
		if texts[i], ok = r[column].(string); !ok {
			var names []string
			for name := range r {
				names = append(names, name)
			}
			return nil, fmt.Errorf("parquet: row %d has no text in a column %q; columns are %q", i, column, names)
		}
	}
	return texts, nil
}

func rows(data []byte) ([]map[string]any, error) {
	const tail = 8
	if !Is(data) || len(data) < len(magic)+tail || string(data[len(data)-4:]) != magic {
		return nil, errors.New("does not begin and end with PAR1: truncated, encrypted or no Parquet file")
	}
	size := uint64(binary.LittleEndian.Uint32(data[len(data)-tail:]))
	if size > uint64(len(data)-len(magic)-tail) {
		return nil, fmt.Errorf("metadata of %d bytes in a file of %d", size, len(data))
	}
	r := thriftReader{data[len(data)-tail-int(size) : len(data)-tail]}
	meta, err := r.structure(0)
	if err != nil {
		return nil, fmt.Errorf("metadata: %w", err)
	}
	elements, err := meta.structures(2, "schema")
	if err != nil {
		return nil, err
	}
	leaves, err := leavesOf(elements)
	if err != nil {
		return nil, err
	}
	total, err := meta.int(3, "num_rows", -1, maxValues)
	if err != nil {
		return nil, err
	}
	groups, err := meta.structures(4, "row_groups")
	if err != nil && total > 0 {
		return nil, err
	}
	var out []map[string]any
	for _, g := range groups {
		if out, err = readGroup(data, g, leaves, out); err != nil {
			return nil, err
		}
	}
	if len(out) != total {
		return nil, fmt.Errorf("num_rows is %d, and there are %d rows", total, len(out))
	}
	return out, nil
}

// readGroup appends the rows of a row group.
func readGroup(data []byte, g thriftStruct, leaves []*leaf, out []map[string]any) ([]map[string]any, error) {
	n, err := g.int(3, "num_rows of a row group", -1, maxValues)
	if err != nil {
		return nil, err
	}
	columns, err := g.structures(1, "columns of a row group")
	if err != nil {
		return nil, err
	}
	if len(columns) != len(leaves) {
		return nil, fmt.Errorf("a row group has %d columns, the schema %d", len(columns), len(leaves))
	}
	first := len(out)
	for i, l := range leaves {
		values, err := readColumn(data, columns[i].structure(3), l)
		if err == nil && len(values) != n {
			err = fmt.Errorf("%d rows, and the row group has %d", len(values), n)
		}
		if err != nil {
			return nil, fmt.Errorf("column %s: %w", l, err)
		}
		for j, v := range values {
			if i == 0 {
				out = append(out, map[string]any{})
			}
			put(out[first+j], l.names, v)
		}
	}
	return out, nil
}

// put sets the value at the end of names, in structs that it makes.
func put(row map[string]any, names []string, v any) {
	for _, name := range names[:len(names)-1] {
		inner, ok := row[name].(map[string]any)
		if !ok {
			inner = map[string]any{}
			row[name] = inner
		}
		row = inner
	}
	row[names[len(names)-1]] = v
}

// readColumn returns the values of a column of a row group, one a row.
func readColumn(data []byte, m thriftStruct, l *leaf) ([]any, error) {
	var f [5]int // codec, values, bytes, offsets of data and of a dictionary
	for i, x := range []struct {
		id      int
		name    string
		missing int64
		limit   int64
	}{{4, "codec", -1, math.MaxInt32}, {5, "num_values", -1, maxValues},
		{7, "total_compressed_size", -1, int64(len(data))}, {9, "data_page_offset", -1, int64(len(data))},
		{11, "dictionary_page_offset", 0, int64(len(data))}} {
		var err error
		if f[i], err = m.int(x.id, x.name, x.missing, x.limit); err != nil {
			return nil, err
		}
	}
	begin := f[3]
	if f[4] > 0 && f[4] < begin { // some writers say 0 for none
		begin = f[4]
	}
	if begin+f[2] > len(data) {
		return nil, fmt.Errorf("%d bytes from byte %d of a file of %d", f[2], begin, len(data))
	}
	c := &chunk{leaf: l, codec: f[0]}
	for rest := data[begin : begin+f[2]]; len(c.definition) < f[1]; {
		if len(rest) == 0 {
			return nil, fmt.Errorf("%d of %d values: %w", len(c.definition), f[1], errShort)
		}
		var err error
		if rest, err = c.page(rest); err != nil {
			return nil, err
		}
	}
	return c.rows()
}

// rows puts the entries of a chunk together to one value a row.
func (c *chunk) rows() ([]any, error) {
	var out []any
	next := 0
	for i, d := range c.definition {
		var v any
		if int(d) == c.leaf.definition {
			v = c.values[next]
			next++
		}
		if s, ok := v.(string); ok && !utf8.ValidString(s) {
			return nil, fmt.Errorf("row %d: %.20q is not UTF-8", len(out), s)
		}
		if x, ok := v.(float64); ok && (math.IsNaN(x) || math.IsInf(x, 0)) {
			v = nil
		}
		if !c.leaf.list {
			out = append(out, v)
			continue
		}
		if c.repetition[i] == 0 {
			switch {
			case int(d) >= c.leaf.listed:
				out = append(out, []any{v})
			case int(d) == c.leaf.listed-1:
				out = append(out, []any{})
			default:
				out = append(out, nil)
			}
			continue
		}
		if len(out) == 0 {
			return nil, errors.New("begins within a row")
		}
		list, ok := out[len(out)-1].([]any)
		if !ok || int(d) < c.leaf.listed {
			return nil, fmt.Errorf("row %d: levels contradict each other", len(out)-1)
		}
		out[len(out)-1] = append(list, v)
	}
	return out, nil
}
