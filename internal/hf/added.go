package hf

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// addedToken is a string that is one token wherever it stands in the text.
type addedToken struct {
	ID         int32  `json:"id"`
	Content    string `json:"content"`
	SingleWord bool   `json:"single_word"` // only between non-word characters
	LStrip     bool   `json:"lstrip"`      // swallows the white space before it
	RStrip     bool   `json:"rstrip"`      // and after it
	Normalized bool   `json:"normalized"`  // is looked for after normalization
	Special    bool   `json:"special"`
}

// addedSet finds added tokens, the leftmost and then the longest first.
type addedSet [256][]addedToken // by first byte, longest first

func newAddedSet(tokens []addedToken) *addedSet {
	if len(tokens) == 0 {
		return nil
	}
	s := &addedSet{}
	for _, t := range tokens {
		s[t.Content[0]] = append(s[t.Content[0]], t)
	}
	for _, list := range s {
		slices.SortFunc(list, func(a, b addedToken) int { return len(b.Content) - len(a.Content) })
	}
	return s
}

// split calls text for the stretches of s between added tokens and token for
// each of those, in order. As in Hugging Face tokenizers, a match that is
// rejected by SingleWord is skipped whole.
func (set *addedSet) split(s string, text func(string), token func(id int32)) {
	done := 0 // s[:done] has been handed on
	for i := 0; set != nil && i < len(s); {
		t := set.match(s[i:])
		if t == nil {
			i++
			continue
		}
		start, stop := i, i+len(t.Content)
		i = stop
		if t.SingleWord && (endsWithWord(s[:start]) || startsWithWord(s[stop:])) {
			continue
		}
		if t.LStrip {
			start = max(len(strings.TrimRightFunc(s[:start], unicode.IsSpace)), done)
		}
		if t.RStrip {
			stop = len(s) - len(strings.TrimLeftFunc(s[stop:], unicode.IsSpace))
		}
		if done < start {
			text(s[done:start])
		}
		token(t.ID)
		done = stop
	}
	if done < len(s) {
		text(s[done:])
	}
}

func (set *addedSet) match(s string) *addedToken {
	list := set[s[0]]
	for i := range list {
		if strings.HasPrefix(s, list[i].Content) {
			return &list[i]
		}
	}
	return nil
}

func startsWithWord(s string) bool {
	r, n := utf8.DecodeRuneInString(s)
	return n > 0 && isWord(r)
}

func endsWithWord(s string) bool {
	r, n := utf8.DecodeLastRuneInString(s)
	return n > 0 && isWord(r)
}

// isWord is \w of UTS #18.
func isWord(r rune) bool {
	return unicode.In(r, unicode.L, unicode.Nl, unicode.Other_Alphabetic, unicode.M,
		unicode.Nd, unicode.Pc, unicode.Join_Control)
}
