package hf

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// maxTokenID bounds ids so that a wrong one is an error and not an allocation.
const maxTokenID = 1<<22 - 1

type tokenizerJSON struct {
	AddedTokens   []addedToken    `json:"added_tokens"`
	Normalizer    *component      `json:"normalizer"`
	PreTokenizer  *component      `json:"pre_tokenizer"`
	PostProcessor *component      `json:"post_processor"`
	Decoder       *component      `json:"decoder"`
	Model         json.RawMessage `json:"model"`
	// Truncation and padding are the caller's business in transformers too.
}

// component is the union of the parts of a tokenizer.json that are understood.
type component struct {
	Type string `json:"type"`

	// Sequence
	Normalizers   []component `json:"normalizers"`
	PreTokenizers []component `json:"pretokenizers"`
	Processors    []component `json:"processors"`
	Decoders      []component `json:"decoders"`

	// Split and Replace
	Pattern struct {
		Regex  *string `json:"Regex"`
		String *string `json:"String"`
	} `json:"pattern"`
	Content string `json:"content"` // of Replace and Strip
	Start   int    `json:"start"`   // of Strip
	Stop    int    `json:"stop"`

	// Prepend and Metaspace
	Prepend       string `json:"prepend"`
	Replacement   string `json:"replacement"`
	PrependScheme string `json:"prepend_scheme"`
	Split         *bool  `json:"split"` // nil: true

	Behavior string `json:"behavior"`
	Invert   bool   `json:"invert"`

	// ByteLevel and Digits
	AddPrefixSpace   bool  `json:"add_prefix_space"`
	UseRegex         *bool `json:"use_regex"` // nil: true
	IndividualDigits bool  `json:"individual_digits"`

	// TemplateProcessing
	Single []struct {
		SpecialToken *struct {
			ID string `json:"id"`
		} `json:"SpecialToken"`
	} `json:"single"`
	SpecialTokens map[string]struct {
		IDs []int32 `json:"ids"`
	} `json:"special_tokens"`
}

type modelJSON struct {
	Type          string           `json:"type"`
	Vocab         map[string]int32 `json:"vocab"`
	Merges        json.RawMessage  `json:"merges"`
	Unknown       *string          `json:"unk_token"`
	FuseUnknown   bool             `json:"fuse_unk"`
	ByteFallback  bool             `json:"byte_fallback"`
	IgnoreMerges  bool             `json:"ignore_merges"`
	Dropout       float64          `json:"dropout"`
	SubwordPrefix string           `json:"continuing_subword_prefix"`
	WordSuffix    string           `json:"end_of_word_suffix"`
}

// ReadTokenizer reads tokenizer.json and, where it is there, the bos_token of
// tokenizer_config.json. A part that it does not know is an error naming it:
// models other than BPE of bytes or with byte_fallback, split patterns other than
// those of GPT-2, Llama 3 and Qwen 2, normalizers other than NFC, Prepend and Replace.
func ReadTokenizer(files Files) (*Tokenizer, error) {
	const name, configName = "tokenizer.json", "tokenizer_config.json"
	blob, err := files.Open(name)
	if err != nil {
		return nil, err
	}
	defer blob.Close()
	t, err := parseTokenizer(blob.Data)
	if err != nil {
		return nil, fmt.Errorf("hf: %s: %w", at(files, name), err)
	}
	config, err := openOptional(files, configName)
	if err != nil {
		return nil, err
	}
	if config != nil {
		defer config.Close()
		if err := t.readConfig(config.Data); err != nil {
			return nil, fmt.Errorf("hf: %s: %w", at(files, configName), err)
		}
	}
	return t, nil
}

func parseTokenizer(data []byte) (*Tokenizer, error) {
	var j tokenizerJSON
	if err := json.Unmarshal(data, &j); err != nil {
		return nil, err
	}
	t := &Tokenizer{bos: -1}
	vocab, err := t.readModel(j.Model)
	if err != nil {
		return nil, fmt.Errorf("model: %w", err)
	}
	if t.normalize, err = newNormalizer(j.Normalizer); err != nil {
		return nil, fmt.Errorf("normalizer: %w", err)
	}
	if t.bpe.runes {
		err = t.readMetaspace(j.PreTokenizer)
	} else {
		t.split, err = newPreTokenizer(j.PreTokenizer)
	}
	if err != nil {
		return nil, fmt.Errorf("pre_tokenizer: %w", err)
	}
	if err := t.add(j.AddedTokens, vocab); err != nil {
		return nil, fmt.Errorf("added_tokens: %w", err)
	}
	if d := j.Decoder; t.bpe.runes {
		if err := t.readDecoder(d); err != nil {
			return nil, fmt.Errorf("decoder: %w", err)
		}
	} else if d == nil || d.Type != "ByteLevel" {
		return nil, fmt.Errorf("decoder: %s is not ByteLevel", typeOf(d))
	}
	if err := t.readPostProcessor(j.PostProcessor); err != nil {
		return nil, fmt.Errorf("post_processor: %w", err)
	}
	return t, nil
}

func typeOf(c *component) string {
	if c == nil {
		return "null"
	}
	return fmt.Sprintf("type %q", c.Type)
}

// readModel fills t.bpe and returns the vocabulary in its byte alphabet.
func (t *Tokenizer) readModel(data json.RawMessage) (map[string]int32, error) {
	var m modelJSON
	if data == nil {
		return nil, fmt.Errorf("missing")
	}
	if err := json.Unmarshal(data, &m); err != nil {
		return nil, err
	}
	// Files written before tokenizers 0.9 do not say the type.
	if m.Type != "BPE" && m.Type != "" {
		return nil, fmt.Errorf("type %q is not BPE", m.Type)
	}
	if m.Dropout != 0 {
		return nil, fmt.Errorf("dropout %v is not supported", m.Dropout)
	}
	if m.SubwordPrefix != "" {
		return nil, fmt.Errorf("continuing_subword_prefix %q is not supported", m.SubwordPrefix)
	}
	if m.WordSuffix != "" {
		return nil, fmt.Errorf("end_of_word_suffix %q is not supported", m.WordSuffix)
	}
	if len(m.Vocab) == 0 {
		return nil, fmt.Errorf("vocab: is empty")
	}
	if m.ByteFallback {
		return m.Vocab, t.readFallback(&m)
	}
	t.bpe = bpe{vocab: make(map[string]int32, len(m.Vocab)), whole: m.IgnoreMerges}
	for token, id := range m.Vocab {
		text, ok := fromByteLevel(token)
		if err := t.set(id, text); err != nil {
			return nil, fmt.Errorf("vocab: token %q: %w", token, err)
		}
		if ok { // the others can only be reached as added tokens
			t.bpe.vocab[text] = id
		}
	}
	for b := range t.bpe.bytes {
		id, ok := t.bpe.vocab[string([]byte{byte(b)})]
		if !ok {
			if id, ok = m.Vocab[deref(m.Unknown)]; m.Unknown == nil {
				id = -1 // such bytes are left out of the text
			} else if !ok {
				return nil, fmt.Errorf("unk_token %q is not in the vocabulary", *m.Unknown)
			} else if m.FuseUnknown {
				return nil, fmt.Errorf("vocab: no token for byte 0x%02x, and fuse_unk true is not supported", b)
			}
		}
		t.bpe.bytes[b] = id
	}
	return m.Vocab, t.bpe.readMerges(m.Merges, m.Vocab)
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// set gives an id its text.
func (t *Tokenizer) set(id int32, text string) error {
	if id < 0 || id > maxTokenID {
		return fmt.Errorf("id %d is outside 0..%d", id, maxTokenID)
	}
	for int(id) >= len(t.tokens) {
		t.tokens = append(t.tokens, "")
		t.known = append(t.known, false)
	}
	if t.known[id] {
		return fmt.Errorf("id %d is taken by %q", id, t.tokens[id])
	}
	t.tokens[id], t.known[id] = text, true
	return nil
}

// readMerges reads merges written as "a b" or as ["a", "b"].
func (b *bpe) readMerges(data json.RawMessage, vocab map[string]int32) error {
	if data == nil {
		return errors.New("merges: missing")
	}
	var pairs [][]string
	if rest := bytes.TrimLeft(bytes.TrimPrefix(data, []byte("[")), " \t\r\n"); len(rest) > 0 && rest[0] == '"' {
		var lines []string
		if err := json.Unmarshal(data, &lines); err != nil {
			return fmt.Errorf("merges: %w", err)
		}
		for _, line := range lines {
			pairs = append(pairs, strings.Split(line, " "))
		}
	} else if err := json.Unmarshal(data, &pairs); err != nil {
		return fmt.Errorf("merges: %w", err)
	}
	b.merges = make(map[pair]merge, len(pairs))
	for rank, p := range pairs {
		if len(p) != 2 {
			return fmt.Errorf("merges: entry %d %q is not a pair", rank, p)
		}
		var ids [3]int32
		for i, token := range [3]string{p[0], p[1], p[0] + p[1]} {
			id, ok := vocab[token]
			if !ok {
				return fmt.Errorf("merges: entry %d %q: token %q is not in the vocabulary", rank, p, token)
			}
			ids[i] = id
		}
		b.merges[pair{ids[0], ids[1]}] = merge{int32(rank), ids[2]}
	}
	return nil
}

// add registers the added tokens. One that the model has too must have its id
// there.
func (t *Tokenizer) add(tokens []addedToken, vocab map[string]int32) error {
	var raw, normalized []addedToken
	for _, a := range tokens {
		if a.Content == "" {
			return fmt.Errorf("id %d has no content", a.ID)
		}
		if id, ok := vocab[a.Content]; !ok {
			if err := t.set(a.ID, a.Content); err != nil {
				return fmt.Errorf("token %q: %w", a.Content, err)
			}
		} else if id != a.ID {
			return fmt.Errorf("token %q: id %d, but %d in the model's vocabulary", a.Content, a.ID, id)
		}
		if a.Normalized {
			a.Content = t.normalize(a.Content)
			normalized = append(normalized, a)
		} else {
			raw = append(raw, a)
		}
	}
	t.raw, t.normalized = newAddedSet(raw), newAddedSet(normalized)
	return nil
}

func newNormalizer(c *component) (func(string) string, error) {
	if c == nil {
		return func(s string) string { return s }, nil
	}
	switch c.Type {
	case "NFC":
		return nfc, nil
	case "Prepend": // to what is not empty
		return func(s string) string {
			if s == "" {
				return s
			}
			return c.Prepend + s
		}, nil
	case "Replace":
		if c.Pattern.String == nil || *c.Pattern.String == "" {
			return nil, fmt.Errorf("Replace: pattern is no String")
		}
		return strings.NewReplacer(*c.Pattern.String, c.Content).Replace, nil
	case "Sequence":
		steps := make([]func(string) string, len(c.Normalizers))
		for i := range steps {
			var err error
			if steps[i], err = newNormalizer(&c.Normalizers[i]); err != nil {
				return nil, err
			}
		}
		return func(s string) string {
			for _, step := range steps {
				s = step(s)
			}
			return s
		}, nil
	}
	return nil, fmt.Errorf("type %q is not NFC, Prepend, Replace or a Sequence of them", c.Type)
}

// newPreTokenizer accepts a ByteLevel, or a Sequence that ends with one: what
// comes before sees text, what came after would see its byte alphabet.
func newPreTokenizer(c *component) ([]splitter, error) {
	if c == nil {
		return nil, fmt.Errorf("null: only byte-level tokenizers are supported")
	}
	steps := []component{*c}
	if c.Type == "Sequence" {
		steps = c.PreTokenizers
	}
	if n := len(steps); n == 0 || steps[n-1].Type != "ByteLevel" {
		return nil, fmt.Errorf("does not end with ByteLevel: only byte-level tokenizers are supported")
	}
	var split []splitter
	for i, s := range steps {
		switch {
		case s.Type == "Split":
			if s.Behavior != "Isolated" || s.Invert {
				return nil, fmt.Errorf("Split: behavior %q, invert %v is not Isolated, false", s.Behavior, s.Invert)
			}
			if s.Pattern.Regex == nil {
				return nil, fmt.Errorf("Split: pattern is not a Regex")
			}
			f, err := patternSplitter(*s.Pattern.Regex)
			if err != nil {
				return nil, fmt.Errorf("Split: %w", err)
			}
			split = append(split, f)
		case s.Type == "Digits":
			split = append(split, splitDigits(s.IndividualDigits))
		case s.Type == "ByteLevel" && i == len(steps)-1:
			if s.AddPrefixSpace {
				return nil, fmt.Errorf("ByteLevel: add_prefix_space true is not supported")
			}
			if s.UseRegex == nil || *s.UseRegex {
				split = append(split, splitGPT2)
			}
		default:
			return nil, fmt.Errorf("step %d of %d: type %q is not Split, Digits or a final ByteLevel", i+1, len(steps), s.Type)
		}
	}
	return split, nil
}

// readPostProcessor looks for the token that is put before a text.
func (t *Tokenizer) readPostProcessor(c *component) error {
	if c == nil {
		return nil
	}
	switch c.Type {
	case "ByteLevel": // shifts offsets only
		return nil
	case "Sequence":
		for i := range c.Processors {
			if err := t.readPostProcessor(&c.Processors[i]); err != nil {
				return err
			}
		}
		return nil
	case "TemplateProcessing":
		for i, item := range c.Single {
			if item.SpecialToken == nil {
				return nil // the text: what follows it is not a beginning
			}
			name := item.SpecialToken.ID
			ids := c.SpecialTokens[name].IDs
			if i > 0 || len(ids) != 1 {
				return fmt.Errorf("TemplateProcessing: more than one token, or none, before the text: %q is %v", name, ids)
			}
			if id := int(ids[0]); id < 0 || id >= len(t.known) || !t.known[id] {
				return fmt.Errorf("TemplateProcessing: %q has id %d, which is no token", name, id)
			}
			t.bos = ids[0]
		}
		return nil
	}
	return fmt.Errorf("type %q is not ByteLevel, TemplateProcessing or a Sequence of them", c.Type)
}

// readConfig takes bos_token, a string or an object with its content, where
// the post-processor puts none.
func (t *Tokenizer) readConfig(data []byte) error {
	var config struct {
		BOS json.RawMessage `json:"bos_token"`
	}
	if err := json.Unmarshal(data, &config); err != nil {
		return err
	}
	if t.bos >= 0 || config.BOS == nil || string(config.BOS) == "null" {
		return nil
	}
	var token struct {
		Content string `json:"content"`
	}
	if json.Unmarshal(config.BOS, &token.Content) != nil && json.Unmarshal(config.BOS, &token) != nil {
		return fmt.Errorf("bos_token %.80s is neither a string nor a token", config.BOS)
	}
	for id, text := range t.tokens {
		if t.known[id] && text == token.Content {
			t.bos = int32(id)
			return nil
		}
	}
	return fmt.Errorf("bos_token %q is not in the vocabulary", token.Content)
}

// byteOf is the inverse of GPT-2's byte alphabet: printable characters of
// Latin-1 stand for themselves, the other bytes for U+0100 on, in order.
var byteOf = func() map[rune]byte {
	m := map[rune]byte{}
	next := rune(0x100)
	for b := range 256 {
		r := rune(b)
		if !(r >= '!' && r <= '~' || r >= 0xa1 && r <= 0xac || r >= 0xae && r <= 0xff) {
			r = next
			next++
		}
		m[r] = byte(b)
	}
	return m
}()

// fromByteLevel returns the bytes that a token of the byte alphabet stands for,
// or the token itself and false if it has other characters.
func fromByteLevel(token string) (text string, ok bool) {
	b := make([]byte, 0, utf8.RuneCountInString(token))
	for _, r := range token {
		v, ok := byteOf[r]
		if !ok {
			return token, false
		}
		b = append(b, v)
	}
	return string(b), true
}
