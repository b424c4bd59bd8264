package kinds

import (
	"path"
	"strings"
)

// Labels of values.

// Printed is a value as sweep files write it.
func Printed(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case float64:
		return Share(0, 0).Write(v)
	case uint64:
		return Seed.Write(v)
	case Block:
		return v.String()
	}
	return Integer(0, 0).Write(v)
}

// Prefix writes p before what next writes of a value, nil: the value itself.
func Prefix(p string, next func(any) string) func(any) string {
	if next == nil {
		next = Printed
	}
	return func(v any) string { return p + next(v) }
}

// Suffix writes s after a value.
func Suffix(s string) func(any) string { return func(v any) string { return Printed(v) + s } }

// Either writes one of two words for a boolean.
func Either(yes, no string) func(any) string {
	return func(v any) string {
		if v.(bool) {
			return yes
		}
		return no
	}
}

// AsPercent writes a share in percent.
func AsPercent(v any) string { return Percentage(v.(float64)) }

// Base is the last part of a reference: builtin:tiny-llama3 is tiny-llama3.
func Base(v any) string {
	s := v.(string)
	return path.Base(strings.ReplaceAll(s[strings.Index(s, ":")+1:], `\`, "/"))
}

// GroupLabel writes a group size: "g128", "per-row".
func GroupLabel(v any) string {
	if v == 0 {
		return "per-row"
	}
	return "g" + Printed(v)
}
