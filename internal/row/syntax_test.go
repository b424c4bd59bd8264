package row

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

func TestDeep(t *testing.T) {
	for _, depth := range []int{100, 9999, 10000, 10001, 1000000} {
		line := []byte(`{"a":` + strings.Repeat("[", depth) + strings.Repeat("]", depth) + `}`)
		if got, want := members(line, func(_, _ []byte) {}), json.Valid(line); got != want {
			t.Errorf("depth %d is taken for valid: %v, encoding/json: %v", depth, got, want)
		}
	}
}

// FuzzMembers compares with encoding/json.
func FuzzMembers(f *testing.F) {
	for _, s := range []string{
		`{}`, ` { "a" : 1 , "b":[ ] } `, `{"a":[1,-0,0.5,1e5,-1E+5,2e-07,true,false,null,"x",{"y":{}}]}`, `{"ä\n\"\\\/\u00fF":"\ud800"}`,
		``, `{`, `{"a"`, `{"a":`, `{"a":1`, `{"a":1,`, `{"a":1,}`, `{"a" 1}`, `{"a":01}`, `{"a":-}`, `{"a":1.}`, `{"a":.5}`, `{"a":1e}`, `{"a":+1}`,
		`{"a":[1,]}`, `{"a":[,1]}`, `{"a":[1 2]}`, `{"a":"\x"}`, `{"a":"\u00g0"}`, `{"a":"` + "\t" + `"}`, `{"a":tru}`, `{"a":nulls}`, `{a:1}`, `{"a":1}x`, `{"a":1}{}`,
		`[]`, `1`, `"a"`, `null`, "\ufeff{}", `{"a":"` + "\x80\xff" + `"}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		last := map[string][]byte{}
		got := members(line, func(name, value []byte) {
			var s string
			if err := json.Unmarshal(append(append([]byte{'"'}, name...), '"'), &s); err != nil {
				t.Fatalf("%q: name %q: %v", line, name, err)
			}
			last[s] = value
		})
		var want map[string]json.RawMessage
		err := json.Unmarshal(line, &want)
		if valid := err == nil && bytes.HasPrefix(bytes.TrimLeft(line, " \t\r\n"), []byte("{")); got != valid {
			t.Fatalf("%q is taken for valid: %v, encoding/json: %v", line, got, err)
		}
		if !got {
			return
		}
		if len(last) != len(want) {
			t.Fatalf("%q has %d members, want %d", line, len(last), len(want))
		}
		for name, v := range want {
			if !bytes.Equal(last[name], v) {
				t.Fatalf("%q: member %q is %q, want %q", line, name, last[name], v)
			}
		}
	})
}
