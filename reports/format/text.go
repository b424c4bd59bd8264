package format

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Visible returns s with everything that could hide or reorder text spelled
// out: control characters, the bidirectional controls, zero-width characters
// and bytes that are not UTF-8. Line breaks and tabs stay where keepLines.
func Visible(s string, keepLines bool) string {
	plain := func(r rune) bool {
		if keepLines && (r == '\n' || r == '\t') {
			return true
		}
		return r != utf8.RuneError && !unicode.IsControl(r) && !unicode.Is(unicode.Cf, r) && r != '\u2028' && r != '\u2029'
	}
	if strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if plain(r) {
			b.WriteRune(r)
		} else {
			fmt.Fprintf(&b, "⟨U+%04X⟩", r)
		}
	}
	return b.String()
}

func Finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }

// Short cuts s to at most n characters, marking the cut.
func Short(s string, n int) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	return string([]rune(s)[:n-1]) + "…"
}

// Middle cuts s to at most n characters in the middle: names of rows begin
// alike, and differ at their ends.
func Middle(s string, n int) string {
	r := []rune(s)
	if len(r) <= n {
		return s
	}
	end := (n - 1) / 2
	return string(r[:n-1-end]) + "…" + string(r[len(r)-end:])
}

// Slug keeps what is safe in a file name and an anchor.
func Slug(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z', '0' <= r && r <= '9':
			return r
		case 'A' <= r && r <= 'Z':
			return r + 'a' - 'A'
		}
		return '-'
	}, Short(s, 24))
}

// List joins at most n names.
func List(names []string, n int) string {
	if len(names) > n {
		return strings.Join(names[:n], ", ") + fmt.Sprintf(" and %d more", len(names)-n)
	}
	return strings.Join(names, ", ")
}

func Named(v string) string {
	if v == "" {
		return "(none)"
	}
	return v
}

func Flat(v any) string {
	switch v := v.(type) {
	case map[string]any:
		var parts []string
		for _, k := range slices.Sorted(maps.Keys(v)) {
			parts = append(parts, k+" "+Flat(v[k]))
		}
		return strings.Join(parts, ", ")
	case []any:
		var parts []string
		for _, x := range v {
			parts = append(parts, Flat(x))
		}
		return strings.Join(parts, " ")
	case nil:
		return ""
	}
	return fmt.Sprint(v)
}

// Natural orders text with the numbers in it by value: "g32" before "g128".
func Natural(a, b string) int {
	for a != "" && b != "" {
		x, y := digits(a), digits(b)
		if x > 0 && y > 0 {
			u, v := strings.TrimLeft(a[:x], "0"), strings.TrimLeft(b[:y], "0")
			if c := cmp.Or(cmp.Compare(len(u), len(v)), cmp.Compare(u, v)); c != 0 {
				return c
			}
			a, b = a[x:], b[y:]
			continue
		}
		if a[0] != b[0] {
			return cmp.Compare(a[0], b[0])
		}
		a, b = a[1:], b[1:]
	}
	return cmp.Compare(len(a), len(b))
}

func digits(s string) int {
	n := 0
	for n < len(s) && '0' <= s[n] && s[n] <= '9' {
		n++
	}
	return n
}

func Percentage(v float64) string { return strconv.FormatFloat(100*v, 'g', 6, 64) + "\u00a0%" }

// Seconds writes a time in a unit of its size.
func Seconds(v float64) string {
	switch {
	case v < 1e-3:
		return Sig(v*1e6) + "\u00a0µs"
	case v < 1:
		return Sig(v*1e3) + "\u00a0ms"
	}
	return Sig(v) + "\u00a0s"
}

func BytesText(v float64) string {
	switch {
	case v < 1e6:
		return Fixed(v/1e3, 1) + "\u00a0kB"
	case v < 1e9:
		return Fixed(v/1e6, 1) + "\u00a0MB"
	}
	return Fixed(v/1e9, 2) + "\u00a0GB"
}

// Number reads "0.05" and "5%".
func Number(s string) (float64, bool) {
	body, percent := strings.CutSuffix(strings.TrimSpace(s), "%")
	v, err := strconv.ParseFloat(body, 64)
	if err != nil || !Finite(v) {
		return 0, false
	}
	if percent {
		v /= 100
	}
	return v, true
}

// Wrap breaks s between words into lines of at most n columns where words allow it,
// each but the first after the indent. It ends with a newline.
func Wrap(s string, n int, indent string) string {
	var b strings.Builder
	at := 0
	for _, w := range strings.Split(s, " ") {
		width := utf8.RuneCountInString(w)
		switch {
		case at == 0:
		case at+1+width > n:
			b.WriteString("\n" + indent)
			at = utf8.RuneCountInString(indent)
		default:
			b.WriteByte(' ')
			at++
		}
		b.WriteString(w)
		at += width
	}
	return b.String() + "\n"
}
