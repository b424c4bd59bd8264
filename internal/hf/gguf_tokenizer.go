package hf

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/mosaicquant/mosaicquant/internal/gguf"
)

// Token types of GGUF.
const (
	ggufNormal      = 1
	ggufUnknown     = 2
	ggufControl     = 3
	ggufUserDefined = 4
	ggufUnused      = 5
	ggufByte        = 6
)

type object = map[string]any

// ggufSplits are the pre-tokenizers, and normalizers, of the kinds of byte-level
// BPE that are known, by tokenizer.ggml.pre.
func ggufSplits(pre string) (normalizer, split any, whole bool, err error) {
	isolated := func(pattern string) object {
		return object{"type": "Sequence", "pretokenizers": []object{
			{"type": "Split", "pattern": object{"Regex": pattern}, "behavior": "Isolated", "invert": false},
			{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false}}}
	}
	byteLevel := object{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true}
	switch pre {
	case "llama-bpe", "llama3", "llama-v3":
		return nil, isolated(patternLlama3), true, nil
	case "qwen2":
		return object{"type": "NFC"}, isolated(patternQwen2), false, nil
	case "smollm":
		digits := object{"type": "Digits", "individual_digits": true}
		return nil, object{"type": "Sequence", "pretokenizers": []object{digits, byteLevel}}, false, nil
	case "gpt-2":
		return nil, byteLevel, false, nil
	case "":
		return nil, nil, false, fmt.Errorf("tokenizer.ggml.pre is missing: how the text is split is not known")
	}
	return nil, nil, false, fmt.Errorf("tokenizer.ggml.pre %q is not llama-bpe, qwen2, smollm or gpt-2", pre)
}

// ggufTokenizer writes tokenizer.json from the metadata.
func ggufTokenizer(f *gguf.File) ([]byte, error) {
	m := &metadata{f: f}
	switch model := m.text("tokenizer.ggml.model", ""); {
	case m.err == nil && model == "llama":
		return m.fallbackTokenizer()
	case m.err == nil && model != "gpt2":
		m.fail("tokenizer.ggml.model %q is not gpt2 or llama", model)
	}
	normalizer, split, whole, err := ggufSplits(m.text("tokenizer.ggml.pre", ""))
	if err != nil {
		m.fail("%w", err)
	}
	vocab, added, err := m.vocabulary(ggufNormal)
	if err != nil {
		return nil, err
	}
	merges := [][2]string{}
	const key = "tokenizer.ggml.merges"
	v, ok := m.value(key)
	if !ok {
		m.fail("%s is missing", key)
		return nil, m.err
	}
	lines, err := v.Texts()
	if err != nil {
		return nil, fmt.Errorf("%s %w", key, err)
	}
	for i, line := range lines {
		a, b, ok := strings.Cut(line, " ")
		if !ok {
			return nil, fmt.Errorf("%s: entry %d %.80q is not a pair", key, i, line)
		}
		merges = append(merges, [2]string{a, b})
	}
	t := object{
		"added_tokens": added, "normalizer": normalizer, "pre_tokenizer": split, "decoder": object{"type": "ByteLevel"},
		"model": object{"type": "BPE", "vocab": vocab, "merges": merges, "ignore_merges": whole},
	}
	if m.flag("tokenizer.ggml.add_bos_token", whole) { // that of LLaMA 3 has it without a word
		t["post_processor"] = m.template(vocab, added)
	}
	if m.err != nil {
		return nil, m.err
	}
	return json.Marshal(t)
}

// template is the post-processor that puts the BOS token before a text.
func (m *metadata) template(vocab map[string]int, added []object) object {
	id := m.id("tokenizer.ggml.bos_token_id")
	name := ""
	for token, v := range vocab {
		if int64(v) == id {
			name = token
		}
	}
	for _, a := range added {
		if int64(a["id"].(int)) == id {
			name = a["content"].(string)
		}
	}
	if name == "" {
		m.fail("tokenizer.ggml.bos_token_id %d is no token", id)
	}
	text := func(id string, kind int) object { return object{"Sequence": object{"id": id, "type_id": kind}} }
	return object{"type": "TemplateProcessing",
		"single":         []object{{"SpecialToken": object{"id": name, "type_id": 0}}, text("A", 0)},
		"pair":           []object{text("A", 0), text("B", 1)},
		"special_tokens": object{name: object{"id": name, "ids": []int64{id}, "tokens": []string{name}}}}
}

// fallbackTokenizer writes tokenizer.json of a vocabulary of sentencepiece's BPE, as
// transformers converts it: pieces have scores, and no merges.
func (m *metadata) fallbackTokenizer() ([]byte, error) {
	vocab, added, err := m.vocabulary(ggufNormal, ggufByte)
	if err != nil {
		return nil, err
	}
	merges, err := m.scoredMerges(vocab)
	if err != nil {
		return nil, err
	}
	spaces := object{"type": "Replace", "pattern": object{"String": " "}, "content": metaspace}
	normalizer := object{"type": "Sequence", "normalizers": []object{{"type": "Prepend", "prepend": metaspace}, spaces}}
	decoders := []object{{"type": "Replace", "pattern": object{"String": metaspace}, "content": " "},
		{"type": "ByteFallback"}, {"type": "Fuse"},
		{"type": "Strip", "content": " ", "start": 1, "stop": 0}}
	if !m.flag("tokenizer.ggml.add_space_prefix", true) {
		normalizer["normalizers"], decoders = []object{spaces}, decoders[:3]
	}
	t := object{
		"added_tokens": added, "normalizer": normalizer, "pre_tokenizer": nil,
		"decoder": object{"type": "Sequence", "decoders": decoders},
		"model":   object{"type": "BPE", "vocab": vocab, "merges": merges, "byte_fallback": true},
	}
	if m.flag("tokenizer.ggml.add_bos_token", true) {
		t["post_processor"] = m.template(vocab, added)
	}
	if m.err != nil {
		return nil, m.err
	}
	return json.Marshal(t)
}

// maxPiece bounds a piece that is split to find its merges; sentencepiece's own have
// some 16 characters.
const maxPiece = 1024

// scoredMerges returns the merges of pieces by their scores.
func (m *metadata) scoredMerges(vocab map[string]int) ([][2]string, error) {
	const key = "tokenizer.ggml.scores"
	v, ok := m.value(key)
	if !ok {
		m.fail("%s is missing", key)
		return nil, m.err
	}
	scores, err := v.Floats()
	if err != nil {
		return nil, fmt.Errorf("%s %w", key, err)
	}
	for piece, id := range vocab {
		if id >= len(scores) {
			return nil, fmt.Errorf("%s has %d entries, and there is a token %d", key, len(scores), id)
		}
		if len(piece) > maxPiece {
			return nil, fmt.Errorf("tokenizer.ggml.tokens: token %d has %d bytes; at most %d are read", id, len(piece), maxPiece)
		}
	}
	return mergesByScore(vocab, scores), nil
}

// mergesByScore returns every two pieces that make up a third, the third of the best score
// first, as convert_slow_tokenizer.py of transformers orders them. scores has the id of
// every piece.
func mergesByScore(vocab map[string]int, scores []float32) [][2]string {
	type scored struct {
		left, right string
		score       float32
	}
	var list []scored
	byID := make([]string, len(scores))
	for piece, id := range vocab {
		byID[id] = piece
	}
	for id, piece := range byID {
		first := len(list)
		for k := range piece {
			_, left := vocab[piece[:k]]
			if _, right := vocab[piece[k:]]; left && right {
				list = append(list, scored{piece[:k], piece[k:], scores[id]})
			}
		}
		slices.SortStableFunc(list[first:], func(a, b scored) int {
			return cmp.Or(cmp.Compare(vocab[a.left], vocab[b.left]), cmp.Compare(vocab[a.right], vocab[b.right]))
		})
	}
	characters := utf8.RuneCountInString
	slices.SortStableFunc(list, func(a, b scored) int {
		return cmp.Or(cmp.Compare(b.score, a.score), cmp.Compare(characters(b.left), characters(a.left)),
			cmp.Compare(characters(b.right), characters(a.right)))
	})
	merges := make([][2]string, len(list))
	for i, x := range list {
		merges[i] = [2]string{x.left, x.right}
	}
	return merges
}

// vocabulary returns the tokens of the model, which have one of the types, and those that
// are looked for in the text before it is split.
func (m *metadata) vocabulary(own ...int64) (vocab map[string]int, added []object, err error) {
	const tokensKey, typesKey = "tokenizer.ggml.tokens", "tokenizer.ggml.token_type"
	v, ok := m.value(tokensKey)
	if !ok {
		m.fail("%s is missing", tokensKey)
		return nil, nil, m.err
	}
	tokens, err := v.Texts()
	if err != nil {
		return nil, nil, fmt.Errorf("%s %w", tokensKey, err)
	}
	if v.Len > maxTokenID {
		return nil, nil, fmt.Errorf("%s: %d tokens exceed %d", tokensKey, v.Len, maxTokenID)
	}
	var types []int64
	if t, ok := m.value(typesKey); ok {
		if types, err = t.Ints(); err != nil {
			return nil, nil, fmt.Errorf("%s %w", typesKey, err)
		}
		if len(types) != v.Len {
			return nil, nil, fmt.Errorf("%s has %d entries for %d tokens", typesKey, len(types), v.Len)
		}
	}
	vocab, added = map[string]int{}, []object{}
	seen := map[string]int{}
	for i, token := range tokens {
		kind := int64(ggufNormal)
		if types != nil {
			kind = types[i]
		}
		if kind == ggufUnused {
			continue // fills the vocabulary up
		}
		if j, ok := seen[token]; ok {
			return nil, nil, fmt.Errorf("%s: %.80q is token %d and %d", tokensKey, token, j, i)
		}
		seen[token] = i
		switch {
		case slices.Contains(own, kind):
			vocab[token] = i
		case kind == ggufControl, kind == ggufUserDefined, kind == ggufUnknown && slices.Contains(own, ggufByte):
			added = append(added, object{"id": i, "content": token, "special": kind != ggufUserDefined,
				"single_word": false, "lstrip": false, "rstrip": false, "normalized": false})
		default:
			return nil, nil, fmt.Errorf("%s: token %d %.80q has type %d, which such a tokenizer has not",
				typesKey, i, token, kind)
		}
	}
	return vocab, added, nil
}

// ggufTokenizerConfig writes tokenizer_config.json. A BOS token that the tokenizer
// does not put before a text is not in it.
func ggufTokenizerConfig(*gguf.File) ([]byte, error) { return []byte("{}\n"), nil }
