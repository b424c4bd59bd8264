package hf

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Tokenizers made from sentencepiece's BPE (LLaMA 2, TinyLlama, Mistral) merge
// characters, not bytes: a space is the character ▁, and a character that has no token
// is spelled by tokens of its bytes, <0x00> to <0xFF> ("byte_fallback").

// space is what stands for a space in their vocabulary.
const metaspace = "▁"

// byteToken is the name of the token of a byte.
func byteToken(b int) string { return fmt.Sprintf("<0x%02X>", b) }

// readFallback fills t.bpe from a vocabulary of characters and bytes.
func (t *Tokenizer) readFallback(m *modelJSON) error {
	t.bpe = bpe{vocab: make(map[string]int32, len(m.Vocab)), whole: m.IgnoreMerges, runes: true}
	for b := range t.bpe.bytes {
		id, ok := m.Vocab[byteToken(b)]
		if !ok {
			return fmt.Errorf("vocab: byte_fallback is true, but there is no token %s", byteToken(b))
		}
		t.bpe.bytes[b] = id
	}
	for token, id := range m.Vocab {
		text := strings.ReplaceAll(token, metaspace, " ")
		if id >= 0 && isByteToken(token) {
			text = string([]byte{hexByte(token)})
		}
		if err := t.set(id, text); err != nil {
			return fmt.Errorf("vocab: token %q: %w", token, err)
		}
		t.bpe.vocab[token] = id
	}
	return t.bpe.readMerges(m.Merges, m.Vocab)
}

func isByteToken(token string) bool {
	return len(token) == 6 && byteToken(int(hexByte(token))) == token
}

// hexByte is the byte of a token <0x00>; anything for other tokens.
func hexByte(token string) (b byte) {
	if len(token) != 6 {
		return 0
	}
	fmt.Sscanf(token[3:5], "%02X", &b)
	return b
}

// Schemes of the pre-tokenizer Metaspace: which stretches of text get a space in front.
const (
	prependNever  = "never"
	prependFirst  = "first"
	prependAlways = "always"
)

// readMetaspace takes the pre-tokenizer of a vocabulary with byte_fallback: none, or
// Metaspace.
func (t *Tokenizer) readMetaspace(c *component) error {
	if c == nil {
		t.prepend = ""
		return nil
	}
	if c.Type != "Metaspace" {
		return fmt.Errorf("type %q is not Metaspace: with byte_fallback there is none, or that", c.Type)
	}
	t.prepend = c.PrependScheme
	if t.prepend == "" && c.AddPrefixSpace { // how files before tokenizers 0.15 say it
		t.prepend = prependAlways
	}
	if t.prepend == "" {
		t.prepend = prependNever
	}
	if c.Replacement != metaspace {
		return fmt.Errorf("Metaspace: replacement %q is not %s", c.Replacement, metaspace)
	}
	switch t.prepend {
	case prependNever, prependFirst, prependAlways:
	default:
		return fmt.Errorf("Metaspace: prepend_scheme %q is not never, first or always", t.prepend)
	}
	if c.Split == nil || *c.Split {
		t.split = []splitter{splitMetaspace}
	}
	return nil
}

// spaced returns what Metaspace makes of a stretch of text, which may be the first.
func (t *Tokenizer) spaced(s string, first bool) string {
	if t.prepend == "" {
		return s
	}
	s = strings.ReplaceAll(s, " ", metaspace)
	if (t.prepend == prependAlways || t.prepend == prependFirst && first) && !strings.HasPrefix(s, metaspace) {
		s = metaspace + s
	}
	return s
}

// splitMetaspace cuts before every ▁.
func splitMetaspace(s string) int {
	_, w := utf8.DecodeRuneInString(s)
	if i := strings.Index(s[w:], metaspace); i >= 0 {
		return w + i
	}
	return len(s)
}

// readDecoder takes the decoder of a vocabulary with byte_fallback: ▁ to a space, bytes,
// and perhaps the first space off.
func (t *Tokenizer) readDecoder(c *component) error {
	if c == nil || c.Type != "Sequence" {
		return fmt.Errorf("%s is not a Sequence of Replace, ByteFallback, Fuse and Strip", typeOf(c))
	}
	want := []string{"Replace", "ByteFallback", "Fuse", "Strip"}
	for i := range c.Decoders {
		d := &c.Decoders[i]
		if i >= len(want) || d.Type != want[i] {
			return fmt.Errorf("Sequence: step %d is %s; Replace, ByteFallback, Fuse and Strip are read", i+1, typeOf(d))
		}
		switch d.Type {
		case "Replace":
			if p := d.Pattern.String; p == nil || *p != metaspace || d.Content != " " {
				return fmt.Errorf("Replace: replaces something other than %s by a space", metaspace)
			}
		case "Strip":
			if d.Content != " " || d.Start < 0 || d.Start > 1 || d.Stop != 0 {
				return fmt.Errorf("Strip: %q %d and %d is not the first space", d.Content, d.Start, d.Stop)
			}
			t.strip = d.Start == 1
		}
	}
	if len(c.Decoders) < 3 {
		return fmt.Errorf("Sequence: %d steps; Replace, ByteFallback and Fuse are needed", len(c.Decoders))
	}
	return nil
}
