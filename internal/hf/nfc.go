package hf

import (
	"slices"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// nfc returns s in normalization form C. Unlike norm.NFC it never inserts a
// combining grapheme joiner into a long run of marks (the stream-safe format),
// which other implementations do not do.
func nfc(s string) string {
	if isASCII(s) {
		return s
	}
	var b strings.Builder
	b.Grow(len(s))
	for len(s) > 0 {
		// An ASCII character combines with what follows it, never with what
		// stands before.
		n := 1
		for n < len(s) && s[n] >= utf8.RuneSelf {
			n++
		}
		if seg := s[:n]; n == 1 || norm.NFC.IsNormalString(seg) {
			b.WriteString(seg)
		} else {
			b.WriteString(compose(seg))
		}
		s = s[n:]
	}
	return b.String()
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// compose is NFC by its definition (Unicode Standard, section 3.11): decompose,
// order the marks, compose. Invalid bytes stay as they are.
func compose(s string) string {
	if !utf8.ValidString(s) {
		return norm.NFC.String(s)
	}
	type char struct {
		r   rune
		ccc uint8
	}
	var chars []char
	for _, r := range s {
		for _, d := range norm.NFD.String(string(r)) {
			chars = append(chars, char{d, norm.NFD.PropertiesString(string(d)).CCC()})
		}
	}
	for i := 0; i < len(chars); {
		j := i
		for j < len(chars) && chars[j].ccc != 0 {
			j++
		}
		slices.SortStableFunc(chars[i:j], func(a, b char) int { return int(a.ccc) - int(b.ccc) })
		i = j + 1
	}
	out := chars[:0]
	starter := -1 // in out
	for _, c := range chars {
		if starter >= 0 {
			// Blocked: something stands between that the mark does not pass.
			last := len(out) - 1
			if last == starter || out[last].ccc < c.ccc && out[last].ccc != 0 {
				if r, ok := composite(out[starter].r, c.r); ok {
					out[starter].r = r
					continue
				}
			}
		}
		if c.ccc == 0 {
			starter = len(out)
		}
		out = append(out, c)
	}
	var b strings.Builder
	for _, c := range out {
		b.WriteRune(c.r)
	}
	return b.String()
}

// composite returns the primary composite of two characters, if there is one.
func composite(a, b rune) (rune, bool) {
	if a > 0xffff || b > 0xffff { // x/text looks pairs up by their lower 16 bits
		r, ok := highComposites()[[2]rune{a, b}]
		return r, ok
	}
	s := norm.NFC.String(string(a) + string(b))
	r, n := utf8.DecodeRuneInString(s)
	return r, n == len(s)
}

// highComposites maps pairs to their composites beyond U+FFFF: characters that
// decompose into two and are themselves allowed in form C.
var highComposites = sync.OnceValue(func() map[[2]rune]rune {
	m := map[[2]rune]rune{}
	for r := rune(0x10000); r <= unicode.MaxRune; r++ {
		p := norm.NFD.PropertiesString(string(r))
		if d := []rune(string(p.Decomposition())); len(d) == 2 && norm.NFC.QuickSpanString(string(r)) == utf8.RuneLen(r) {
			m[[2]rune{d[0], d[1]}] = r
		}
	}
	return m
})
