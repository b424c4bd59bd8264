package row

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// difference names the first member in which the content of two rows, as JSON,
// differs, with both values; it is empty if none does. Members that this
// version does not know count too.
func difference(a, b []byte) (string, error) {
	var rows [2]map[string]any
	for i, line := range [][]byte{a, b} {
		if err := json.Unmarshal(line, &rows[i]); err != nil {
			return "", fmt.Errorf("not a row: %w", err)
		}
		for _, name := range []string{"label", "baseline", "env", "start"} {
			delete(rows[i], name)
		}
		for _, name := range []string{"values", "series"} {
			if list, ok := rows[i][name].([]any); ok {
				rows[i][name] = slices.DeleteFunc(list, timed)
			}
		}
	}
	return differ("", rows[0], rows[1]), nil
}

// timed tells whether a value or series was measured by a clock: it is in s or
// per s, or a ratio of such.
func timed(v any) bool {
	m, _ := v.(map[string]any)
	unit, _ := m["unit"].(string)
	name, _ := m["name"].(string)
	return unit == "s" || strings.HasSuffix(unit, "/s") ||
		strings.HasPrefix(name, TimeOver("")) || name == BandwidthShare || name == RateShare
}

// differ compares values of decoded JSON; path names them.
func differ(path string, a, b any) string {
	if reflect.DeepEqual(a, b) {
		return ""
	}
	switch a := a.(type) {
	case map[string]any:
		b, ok := b.(map[string]any)
		if !ok {
			break
		}
		if name, ok := a["name"].(string); ok && name == b["name"] {
			path += "[" + name + "]"
		}
		all := maps.Clone(a)
		maps.Copy(all, b)
		for _, k := range slices.Sorted(maps.Keys(all)) {
			if d := differ(strings.TrimPrefix(path+"."+k, "."), a[k], b[k]); d != "" {
				return d
			}
		}
	case []any:
		b, ok := b.([]any)
		if !ok {
			break
		}
		for i := range min(len(a), len(b)) {
			at := path
			if m, ok := a[i].(map[string]any); !ok || m["name"] == nil {
				at = fmt.Sprintf("%s[%d]", path, i)
			}
			if d := differ(at, a[i], b[i]); d != "" {
				return d
			}
		}
		return fmt.Sprintf("%s has %d and %d entries", path, len(a), len(b))
	}
	return fmt.Sprintf("%s is %s and %s", path, shown(a), shown(b))
}

// shown is v as short JSON.
func shown(v any) string {
	if v == nil {
		return "absent"
	}
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	if len(text) > 60 {
		return string(text[:57]) + "..."
	}
	return string(text)
}
