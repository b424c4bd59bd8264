package hf

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/mosaicquant/mosaicquant/internal/gguf"
)

// Token types of GGUF.
const (
	ggufNormal      = 1
	ggufControl     = 3
	ggufUserDefined = 4
	ggufUnused      = 5
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
	if model := m.text("tokenizer.ggml.model", ""); m.err == nil && model != "gpt2" {
		m.fail("tokenizer.ggml.model %q is not gpt2", model)
	}
	normalizer, split, whole, err := ggufSplits(m.text("tokenizer.ggml.pre", ""))
	if err != nil {
		m.fail("%w", err)
	}
	vocab, added, err := m.vocabulary()
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
		t["post_processor"] = object{"type": "TemplateProcessing",
			"single":         []object{{"SpecialToken": object{"id": name, "type_id": 0}}, {"Sequence": object{"id": "A", "type_id": 0}}},
			"pair":           []object{{"Sequence": object{"id": "A", "type_id": 0}}, {"Sequence": object{"id": "B", "type_id": 1}}},
			"special_tokens": object{name: object{"id": name, "ids": []int64{id}, "tokens": []string{name}}}}
	}
	if m.err != nil {
		return nil, m.err
	}
	return json.Marshal(t)
}

// vocabulary returns the tokens of the model, and those that are looked for in
// the text before it is split.
func (m *metadata) vocabulary() (vocab map[string]int, added []object, err error) {
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
		switch kind {
		case ggufNormal:
			vocab[token] = i
		case ggufControl, ggufUserDefined:
			added = append(added, object{"id": i, "content": token, "special": kind == ggufControl,
				"single_word": false, "lstrip": false, "rstrip": false, "normalized": false})
		default:
			return nil, nil, fmt.Errorf("%s: token %d %.80q has type %d, which a byte-level tokenizer has not",
				typesKey, i, token, kind)
		}
	}
	return vocab, added, nil
}

// ggufTokenizerConfig writes tokenizer_config.json. A BOS token that the tokenizer
// does not put before a text is not in it.
func ggufTokenizerConfig(*gguf.File) ([]byte, error) { return []byte("{}\n"), nil }
