package hf

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// splitter returns the length in bytes of the first piece of s, at least 1, for
// a non-empty s. A pre-tokenizer is a list of them: each cuts the pieces of the
// one before. An invalid byte counts as one symbol of its own.
type splitter func(s string) int

// The patterns below match every text from end to end, so that splitting by
// them needs no search. They are written out by hand because Go's regexp has no
// lookahead, and because this is many times faster than a backtracking engine.
//
// Character classes are those of Go's unicode.Version. Hugging Face tokenizers
// 0.21 knows Unicode 16, so that with Go 1.26 (Unicode 15) digits of the seven
// scripts added since split differently.
const (
	patternGPT2   = `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
	patternLlama3 = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|` +
		` ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
	patternQwen2 = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|` +
		` ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
)

// patternSplitter returns the splitter of a regular expression.
func patternSplitter(pattern string) (splitter, error) {
	switch pattern {
	case patternGPT2:
		return splitGPT2, nil
	case patternLlama3:
		return func(s string) int { return splitLlama3(s, 3) }, nil
	case patternQwen2:
		return func(s string) int { return splitLlama3(s, 1) }, nil
	}
	return nil, fmt.Errorf("pattern %q is not that of GPT-2, Llama 3 or Qwen 2", pattern)
}

type class uint8

const (
	other  class = iota // [^\s\p{L}\p{N}]
	letter              // \p{L}
	number              // \p{N}
	space               // \s
)

var asciiClass = func() (t [utf8.RuneSelf]class) {
	for r := range t {
		t[r] = classOf(rune(r))
	}
	return t
}()

func classOf(r rune) class {
	switch {
	case unicode.IsLetter(r):
		return letter
	case unicode.IsNumber(r):
		return number
	case unicode.IsSpace(r):
		return space
	}
	return other
}

// first returns the class and width of the first symbol of s; width 0 at the
// end.
func first(s string) (c class, width int) {
	if s == "" {
		return other, 0
	}
	if b := s[0]; b < utf8.RuneSelf {
		return asciiClass[b], 1
	}
	r, width := utf8.DecodeRuneInString(s)
	return classOf(r), width
}

// span returns the length of the leading run of class c, at most max symbols.
func span(s string, c class, max int) (n int) {
	for range max {
		d, w := first(s[n:])
		if w == 0 || d != c {
			break
		}
		n += w
	}
	return n
}

// splitLlama3 tries the alternatives of patternLlama3 in order; a number has at
// most digits symbols.
func splitLlama3(s string, digits int) int {
	if n := contraction(s, true); n > 0 {
		return n
	}
	c, w := first(s)
	if c == letter {
		return w + span(s[w:], letter, len(s))
	}
	if c == number {
		return span(s, number, digits)
	}
	if s[0] != '\r' && s[0] != '\n' {
		if n := span(s[w:], letter, len(s)); n > 0 {
			return w + n
		}
	}
	if n := symbols(s); n > 0 {
		return n + newlines(s[n:])
	}
	run := span(s, space, len(s))
	if i := strings.LastIndexAny(s[:run], "\r\n"); i >= 0 {
		return i + 1
	}
	return spaces(s, run)
}

// splitGPT2 tries the alternatives of patternGPT2 in order.
func splitGPT2(s string) int {
	if n := contraction(s, false); n > 0 {
		return n
	}
	skip := 0
	if s[0] == ' ' {
		skip = 1
	}
	for _, c := range []class{letter, number, other} {
		if n := span(s[skip:], c, len(s)); n > 0 {
			return skip + n
		}
	}
	return spaces(s, span(s, space, len(s)))
}

// contraction matches 's|'t|'re|'ve|'m|'ll|'d, in either case if fold is set.
func contraction(s string, fold bool) int {
	if len(s) < 2 || s[0] != '\'' {
		return 0
	}
	lower := func(i int) byte {
		b := s[i]
		if fold && 'A' <= b && b <= 'Z' {
			b += 'a' - 'A'
		}
		return b
	}
	switch lower(1) {
	case 's', 't', 'm', 'd':
		return 2
	case 'r', 'v':
		if len(s) > 2 && lower(2) == 'e' {
			return 3
		}
	case 'l':
		if len(s) > 2 && lower(2) == 'l' {
			return 3
		}
	}
	if fold && strings.HasPrefix(s[1:], "ſ") { // the long s folds to s
		return 1 + len("ſ")
	}
	return 0
}

// symbols matches ` ?[^\s\p{L}\p{N}]+`.
func symbols(s string) int {
	skip := 0
	if s[0] == ' ' {
		skip = 1
	}
	if n := span(s[skip:], other, len(s)); n > 0 {
		return skip + n
	}
	return 0
}

func newlines(s string) (n int) {
	for n < len(s) && (s[n] == '\r' || s[n] == '\n') {
		n++
	}
	return n
}

// spaces matches `\s+(?!\S)|\s+` given the length of the run of spaces: all of
// it at the end of the text, else all but the last, which may belong to the
// next word.
func spaces(s string, run int) int {
	if run == len(s) {
		return run
	}
	_, last := utf8.DecodeLastRuneInString(s[:run])
	if run > last {
		return run - last
	}
	return run
}

// splitDigits cuts numbers off the text around them, symbol by symbol or run by
// run.
func splitDigits(individual bool) splitter {
	return func(s string) int {
		if c, w := first(s); c == number {
			if individual {
				return w
			}
			return span(s, number, len(s))
		}
		n := 0
		for {
			c, w := first(s[n:])
			if w == 0 || c == number {
				return n
			}
			n += w
		}
	}
}
