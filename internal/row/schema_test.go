package row

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

const schemaFile = "../../docs/rows.schema.json"

// schemaNode is what of JSON Schema the file uses; any other keyword is an error.
type schemaNode struct {
	Version     string                 `json:"$schema"`
	Title       string                 `json:"title"`
	Description string                 `json:"description"`
	Type        any                    `json:"type"` // a string or a list of them
	Enum        []any                  `json:"enum"`
	Required    []string               `json:"required"`
	Properties  map[string]*schemaNode `json:"properties"`
	Additional  *schemaNode            `json:"additionalProperties"`
	Items       *schemaNode            `json:"items"`
	Minimum     *float64               `json:"minimum"`
	Maximum     *float64               `json:"maximum"`
	MinLength   int                    `json:"minLength"`
	Ref         string                 `json:"$ref"`
	Defs        map[string]*schemaNode `json:"$defs"`
}

func readSchema(t *testing.T) *schemaNode {
	t.Helper()
	data, err := os.ReadFile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	var s schemaNode
	d := json.NewDecoder(strings.NewReader(string(data)))
	d.DisallowUnknownFields()
	if err := d.Decode(&s); err != nil {
		t.Fatalf("%s: %v", schemaFile, err)
	}
	return &s
}

// at is the node that s refers to.
func (s *schemaNode) at(root *schemaNode) *schemaNode {
	if name, ok := strings.CutPrefix(s.Ref, "#/$defs/"); ok {
		return root.Defs[name]
	}
	return s
}

// check tells where v, decoded JSON, is not what s wants.
func (s *schemaNode) check(root *schemaNode, path string, v any) error {
	s = s.at(root)
	if s == nil {
		return fmt.Errorf("%s: a reference leads nowhere", path)
	}
	if types := s.types(); len(types) > 0 && !slices.ContainsFunc(types, func(t string) bool { return isType(t, v) }) {
		return fmt.Errorf("%s is %.60v, want %v", path, v, types)
	}
	if s.Enum != nil && !slices.Contains(s.Enum, v) {
		return fmt.Errorf("%s is %.60v, want one of %v", path, v, s.Enum)
	}
	switch v := v.(type) {
	case string:
		if len(v) < s.MinLength {
			return fmt.Errorf("%s is %q: too short", path, v)
		}
	case float64:
		if s.Minimum != nil && v < *s.Minimum || s.Maximum != nil && v > *s.Maximum {
			return fmt.Errorf("%s is %v: out of range", path, v)
		}
	case []any:
		for i, x := range v {
			if s.Items != nil {
				if err := s.Items.check(root, fmt.Sprintf("%s[%d]", path, i), x); err != nil {
					return err
				}
			}
		}
	case map[string]any:
		for _, name := range s.Required {
			if _, ok := v[name]; !ok {
				return fmt.Errorf("%s has no %s", path, name)
			}
		}
		for name, x := range v {
			next := s.Properties[name]
			if next == nil {
				next = s.Additional
			}
			if next != nil {
				if err := next.check(root, path+"."+name, x); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (s *schemaNode) types() []string {
	switch t := s.Type.(type) {
	case string:
		return []string{t}
	case []any:
		var out []string
		for _, x := range t {
			out = append(out, x.(string))
		}
		return out
	}
	return nil
}

func isType(name string, v any) bool {
	switch v := v.(type) {
	case nil:
		return name == "null"
	case string:
		return name == "string"
	case bool:
		return name == "boolean"
	case float64:
		return name == "number" || name == "integer" && v == math.Trunc(v)
	case []any:
		return name == "array"
	case map[string]any:
		return name == "object"
	}
	return false
}

// TestSchema holds every committed row against the published schema.
func TestSchema(t *testing.T) {
	root := readSchema(t)
	files, err := filepath.Glob("../../results/reference/*/rows.jsonl*")
	if err != nil || len(files) < 10 {
		t.Fatalf("%d files of committed rows, %v", len(files), err)
	}
	checked := 0
	for _, file := range files {
		f, err := open(strings.TrimSuffix(file, Packed))
		if err != nil {
			t.Fatal(err)
		}
		r := bufio.NewReader(f)
		for n := 1; ; n++ {
			line, err := r.ReadBytes('\n')
			if err == io.EOF && len(line) == 0 {
				break
			}
			if err != nil && err != io.EOF {
				t.Fatal(err)
			}
			var v any
			if err := json.Unmarshal(line, &v); err != nil {
				t.Fatalf("%s:%d: %v", file, n, err)
			}
			if err := root.check(root, "row", v); err != nil {
				t.Errorf("%s:%d: %v", file, n, err)
			}
			checked++
		}
		f.Close()
	}
	t.Logf("%d rows of %d files", checked, len(files))
}

// TestSchemaRefuses changes a good row into bad ones.
func TestSchemaRefuses(t *testing.T) {
	root := readSchema(t)
	const good = `{"schema":1,"trial":"a","label":"b","axes":{"method":"rtn"},"config":{},"env":"e","status":"ok","start":"","values":[{"name":"v","value":1.5}],"layers":[{"name":"l","n":2,"k":3,"bits_per_weight":4,"weight_error":0.1,"output_error":0.1}],"ledger":[{"name":"codes","bytes":3}]}`
	check := func(text string) error {
		var v any
		if err := json.Unmarshal([]byte(text), &v); err != nil {
			t.Fatal(err)
		}
		return root.check(root, "row", v)
	}
	if err := check(good); err != nil {
		t.Error(err)
	}
	for _, c := range [][2]string{{`"schema":1`, `"schema":2`}, {`"trial":"a",`, ``}, {`"rtn"`, `1`}, {`"ok"`, `"fine"`}, {`1.5`, `"1.5"`}, {`"n":2`, `"n":2.5`}, {`"bytes":3`, `"bytes":-3`}, {`"name":"codes",`, ``}} {
		if err := check(strings.Replace(good, c[0], c[1], 1)); err == nil {
			t.Errorf("%s in place of %s passes", c[1], c[0])
		}
	}
}

// TestSchemaWhole wants each field of a row in the schema, as required as it is.
func TestSchemaWhole(t *testing.T) {
	root := readSchema(t)
	for name, typ := range map[string]reflect.Type{"": reflect.TypeFor[Row](), "value": reflect.TypeFor[Value](), "series": reflect.TypeFor[Series](),
		"layer": reflect.TypeFor[Layer](), "item": reflect.TypeFor[Item](), "execution": reflect.TypeFor[Execution]()} {
		s := root
		if name != "" {
			s = root.Defs[name]
		}
		var fields, required []string
		for i := range typ.NumField() {
			field, options, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ",")
			fields = append(fields, field)
			if options == "" {
				required = append(required, field)
			}
		}
		slices.Sort(fields)
		slices.Sort(required)
		if got := slices.Sorted(maps.Keys(s.Properties)); !slices.Equal(got, fields) {
			t.Errorf("%s: %s describes %v; a row has %v", typ, schemaFile, got, fields)
		}
		if got := slices.Sorted(slices.Values(s.Required)); !slices.Equal(got, required) {
			t.Errorf("%s: %s requires %v; a row always has %v", typ, schemaFile, got, required)
		}
	}
}
