package hf

import "strings"

// Tokenizer is a BPE of bytes, or of characters with byte_fallback, as a
// tokenizer.json describes it, equal token for token to Hugging Face tokenizers. It is
// safe for concurrent use.
type Tokenizer struct {
	raw        *addedSet // looked for in the text as given
	normalized *addedSet // looked for after normalization
	normalize  func(string) string
	split      []splitter
	bpe        bpe
	tokens     []string // bytes of each id, "" where there is none
	known      []bool   // which ids are tokens
	bos        int32    // -1: none

	// Of a vocabulary with byte_fallback.
	prepend string // scheme of Metaspace, "" without one
	strip   bool   // Decode takes the first space off
}

// VocabSize is one more than the largest token id.
func (t *Tokenizer) VocabSize() int { return len(t.tokens) }

// BOS returns the token that marks the beginning of a text: the one that the
// post-processor puts first, or else bos_token of tokenizer_config.json. Encode
// never adds it; whether a text begins with it is for the protocol to say.
func (t *Tokenizer) BOS() (id int32, ok bool) { return t.bos, t.bos >= 0 }

// Encode returns the tokens of text, none added. An added token that is spelled
// out in the text, special or not, is that token. Bytes that are not UTF-8 are
// kept as bytes.
func (t *Tokenizer) Encode(text string) []int32 {
	e := encoder{t: t, ids: make([]int32, 0, len(text)/3+1), cache: map[string][]int32{}}
	t.raw.split(text, func(s string) {
		t.normalized.split(t.normalize(s), e.text, e.token)
	}, e.token)
	return e.ids
}

// Decode returns the text of ids, as if they were all of it: where the tokenizer puts a
// space before a text, the first space is left out. Tokens that end within a character
// give text that is not UTF-8 there; strings.ToValidUTF8 replaces it as other libraries
// do. Ids that are no token have no text: a model's vocabulary is often padded.
func (t *Tokenizer) Decode(ids []int32) string {
	text := t.Part(ids)
	if t.strip {
		text = strings.TrimPrefix(text, " ")
	}
	return text
}

// Part returns the text of ids that stand within a text: Decode without a rule for its
// begin.
func (t *Tokenizer) Part(ids []int32) string {
	var b strings.Builder
	for _, id := range ids {
		if id >= 0 && int(id) < len(t.tokens) {
			b.WriteString(t.tokens[id])
		}
	}
	return b.String()
}

// encoder is one Encode. Words repeat, so each is merged once per text.
type encoder struct {
	t     *Tokenizer
	ids   []int32
	cache map[string][]int32
	begun bool // something of the text is encoded
	scratch
}

// Longer words hardly repeat, and a text of many different words must not make
// the cache as large as itself.
const (
	maxCachedWord = 32
	maxCached     = 1 << 16
)

func (e *encoder) token(id int32) {
	e.ids = append(e.ids, id)
	e.begun = true
}

// text encodes a stretch between added tokens.
func (e *encoder) text(s string) {
	e.pieces(e.t.spaced(s, !e.begun), e.t.split)
	e.begun = true
}

// pieces cuts s by the first splitter, its pieces by the next, and encodes
// those of the last.
func (e *encoder) pieces(s string, by []splitter) {
	if len(by) == 0 {
		e.word(s)
		return
	}
	for len(s) > 0 {
		n := by[0](s)
		e.pieces(s[:n], by[1:])
		s = s[n:]
	}
}

func (e *encoder) word(s string) {
	if ids, ok := e.cache[s]; ok {
		e.ids = append(e.ids, ids...)
		return
	}
	begin := len(e.ids)
	e.ids = e.t.bpe.encode(e.ids, s, &e.scratch)
	if len(s) <= maxCachedWord && len(e.cache) < maxCached {
		e.cache[s] = append([]int32(nil), e.ids[begin:]...)
	}
}
