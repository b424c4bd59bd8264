package hf

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

func smallJSON(t testing.TB) []byte {
	t.Helper()
	data, err := os.ReadFile("testdata/small/tokenizer.json")
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// edit decodes the small tokenizer, changes it and encodes it again.
func edit(t *testing.T, change func(top, model map[string]any)) []byte {
	t.Helper()
	var top map[string]any
	if err := json.Unmarshal(smallJSON(t), &top); err != nil {
		t.Fatal(err)
	}
	change(top, top["model"].(map[string]any))
	data, err := json.Marshal(top)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestTokenizerBad(t *testing.T) {
	type object = map[string]any
	split := func(regex string) object {
		return object{"type": "Sequence", "pretokenizers": []any{
			object{"type": "Split", "behavior": "Isolated", "invert": false, "pattern": object{"Regex": regex}},
			object{"type": "ByteLevel", "add_prefix_space": false, "use_regex": false}}}
	}
	template := func(ids ...int) object {
		return object{"type": "TemplateProcessing", "single": []any{object{"SpecialToken": object{"id": "<s>"}}, object{"Sequence": object{"id": "A"}}},
			"special_tokens": object{"<s>": object{"ids": ids}}}
	}
	for _, c := range []struct {
		name   string
		change func(top, model object)
		want   string
	}{
		{"no model", func(top, m object) { delete(top, "model") }, "model: missing"},
		{"unigram", func(top, m object) { m["type"] = "Unigram" }, `model: type "Unigram"`},
		{"byte fallback", func(top, m object) { m["byte_fallback"] = true },
			"byte_fallback is true, but there is no token <0x00>"},
		{"dropout", func(top, m object) { m["dropout"] = 0.1 }, "dropout 0.1"},
		{"prefix", func(top, m object) { m["continuing_subword_prefix"] = "##" }, `continuing_subword_prefix "##"`},
		{"suffix", func(top, m object) { m["end_of_word_suffix"] = "</w>" }, `end_of_word_suffix "</w>"`},
		{"no vocab", func(top, m object) { delete(m, "vocab") }, "vocab: is empty"},
		{"byte missing", func(top, m object) { delete(m["vocab"].(object), "Ġ") }, `token "Ġ" is not in the vocabulary`},
		{"unk missing", func(top, m object) { delete(m["vocab"].(object), "!"); m["unk_token"] = "<unk>" }, `unk_token "<unk>" is not in the vocabulary`},
		{"unk fused", func(top, m object) { delete(m["vocab"].(object), "!"); m["unk_token"], m["fuse_unk"] = "a", true }, "no token for byte 0x21, and fuse_unk true"},
		{"negative id", func(top, m object) { m["vocab"].(object)["x1"] = -1 }, "id -1 is outside"},
		{"huge id", func(top, m object) { m["vocab"].(object)["x1"] = 1 << 30 }, "id 1073741824 is outside"},
		{"id twice", func(top, m object) { m["vocab"].(object)["x1"] = 5 }, "id 5 is taken"},
		{"id of text", func(top, m object) { m["vocab"].(object)["x1"] = "5" }, "string"},
		{"merge unknown", func(top, m object) { m["merges"] = []any{[]any{"x", "y"}} }, `token "xy" is not in the vocabulary`},
		{"merge of three", func(top, m object) { m["merges"] = []any{"a b c"} }, "is not a pair"},
		{"merge of one", func(top, m object) { m["merges"] = []any{[]any{"a"}} }, "is not a pair"},
		{"merges mixed", func(top, m object) { m["merges"] = []any{"a a", []any{"l", "o"}} }, "merges"},
		{"merges an object", func(top, m object) { m["merges"] = object{} }, "merges"},
		{"no merges", func(top, m object) { delete(m, "merges") }, "merges: missing"},
		{"normalizer", func(top, m object) { top["normalizer"] = object{"type": "NFKC"} }, `normalizer: type "NFKC"`},
		{"no pre-tokenizer", func(top, m object) { top["pre_tokenizer"] = nil }, "pre_tokenizer: null"},
		{"metaspace", func(top, m object) { top["pre_tokenizer"] = object{"type": "Metaspace"} }, "does not end with ByteLevel"},
		{"unknown pattern", func(top, m object) { top["pre_tokenizer"] = split(`\w+`) }, `pattern "\\w+"`},
		{"prefix space", func(top, m object) { top["pre_tokenizer"] = object{"type": "ByteLevel", "add_prefix_space": true} }, "add_prefix_space true"},
		{"decoder", func(top, m object) { top["decoder"] = object{"type": "Metaspace"} }, `decoder: type "Metaspace"`},
		{"no decoder", func(top, m object) { delete(top, "decoder") }, "decoder: null"},
		{"added empty", func(top, m object) { top["added_tokens"] = []any{object{"id": 300, "content": ""}} }, "id 300 has no content"},
		{"added taken", func(top, m object) { top["added_tokens"] = []any{object{"id": 5, "content": "<x>"}} }, `token "<x>": id 5 is taken`},
		{"added elsewhere", func(top, m object) { top["added_tokens"] = []any{object{"id": 300, "content": "lo"}} }, `token "lo": id 300, but`},
		{"post-processor", func(top, m object) { top["post_processor"] = object{"type": "BertProcessing"} }, `post_processor: type "BertProcessing"`},
		{"template of two", func(top, m object) { top["post_processor"] = template(1, 2) }, "more than one token"},
		{"template of nothing", func(top, m object) { top["post_processor"] = template(100000) }, "id 100000, which is no token"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := ReadTokenizer(mapFS(map[string][]byte{"tokenizer.json": edit(t, c.change)}))
			wantError(t, err, "model/tokenizer.json", c.want)
		})
	}
	_, err := ReadTokenizer(mapFS(map[string][]byte{"tokenizer.json": smallJSON(t)[:1000]}))
	wantError(t, err, "model/tokenizer.json", "unexpected end")
	for config, want := range map[string]string{"{": "unexpected end", `{"bos_token":"<none>"}`: `bos_token "<none>" is not in`, `{"bos_token":7}`: "bos_token 7"} {
		_, err := ReadTokenizer(mapFS(map[string][]byte{"tokenizer.json": smallJSON(t), "tokenizer_config.json": []byte(config)}))
		wantError(t, err, "model/tokenizer_config.json", want)
	}
	for _, config := range []string{`{"bos_token":"<left>"}`, `{"bos_token":{"content":"<left>"}}`} {
		tok, err := ReadTokenizer(mapFS(map[string][]byte{"tokenizer.json": smallJSON(t), "tokenizer_config.json": []byte(config)}))
		if err != nil {
			t.Fatal(err)
		}
		if bos, ok := tok.BOS(); !ok || tok.Decode([]int32{bos}) != "<left>" {
			t.Errorf("%s: BOS() = %d, %v", config, bos, ok)
		}
	}
}

// TestMergesAsStrings reads the older spelling of merges.
func TestMergesAsStrings(t *testing.T) {
	data := edit(t, func(top, m map[string]any) {
		var lines []string
		for _, p := range m["merges"].([]any) {
			lines = append(lines, p.([]any)[0].(string)+" "+p.([]any)[1].(string))
		}
		m["merges"] = lines
	})
	tok, err := parseTokenizer(data)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range readGolden(t, "small").Cases {
		if got := tok.Encode(c.Text); !slices.Equal(got, c.IDs) {
			t.Errorf("Encode(%q) = %v, want %v", c.Text, got, c.IDs)
		}
	}
}

// TestEncodeBytes keeps text that is not UTF-8, and skips ids that are no token.
func TestEncodeBytes(t *testing.T) {
	tok := readTokenizer(t, "tiny-llama3")
	all := make([]byte, 0, 1024)
	for b := range 256 {
		all = append(all, byte(b), ' ', byte(255-b), 0xc3)
	}
	if got := tok.Decode(tok.Encode(string(all))); got != string(all) {
		t.Errorf("got %q", got)
	}
	if got := tok.Decode([]int32{-1, 1 << 30, tok.Encode("a")[0]}); got != "a" {
		t.Errorf("got %q", got)
	}
}

func TestEncodeConcurrent(t *testing.T) {
	tok := readTokenizer(t, "tiny-llama3")
	text := strings.Repeat("Many readers, one tokenizer. ", 100)
	want := tok.Encode(text)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if !slices.Equal(tok.Encode(text), want) {
				t.Error("differs")
			}
		})
	}
	wg.Wait()
}

// TestNFC compares compose with x/text on every character, decomposed, marks
// around it, and on long runs of marks, where x/text inserts a joiner.
func TestNFC(t *testing.T) {
	for r := rune(0x80); r <= utf8.MaxRune; r++ {
		// Of the long stretches of ideographs, syllables and private use, some.
		if !utf8.ValidRune(r) || (r > 0x3400 && r < 0xf900 || r > 0x20000) && r%37 != 0 && (r < 0x2f800 || r > 0x2fa1f) {
			continue
		}
		for _, s := range []string{string(r), norm.NFD.String(string(r)), "a" + string(r) + "\u0323\u0301", "q\u0301" + string(r) + "\u0300"} {
			want := norm.NFC.String(s)
			if props := norm.NFD.PropertiesString(string(r)); r > 0xffff && props.CCC() == 0 && props.Decomposition() == nil {
				// A starter on its own; x/text takes its lower 16 bits for another.
				before, after, _ := strings.Cut(s, string(r))
				want = norm.NFC.String(before) + string(r) + norm.NFC.String(after)
			}
			if got := compose(s); got != want {
				t.Fatalf("compose(%+q) = %+q, want %+q", s, got, want)
			}
		}
	}
	marks := strings.Repeat("\u0301\u0323", 40)
	if got, want := nfc("xa"+marks+"b"), "x\u1ea1"+strings.Repeat("\u0323", 39)+strings.Repeat("\u0301", 40)+"b"; got != want {
		t.Errorf("got %+q, want %+q", got, want)
	}
}

func FuzzTokenizerJSON(f *testing.F) {
	f.Add(smallJSON(f))
	f.Fuzz(func(t *testing.T, data []byte) {
		if tok, err := parseTokenizer(data); err == nil {
			tok.Decode(tok.Encode("a <left> b longlonger 123 \x00\xff"))
		}
	})
}

// FuzzEncode: without a normalizer, decoding is the inverse of encoding.
func FuzzEncode(f *testing.F) {
	for _, c := range readGolden(f, "tiny-llama3").Cases {
		f.Add(c.Text)
	}
	tok := readTokenizer(f, "tiny-llama3")
	f.Fuzz(func(t *testing.T, text string) {
		if got := tok.Decode(tok.Encode(text)); got != text {
			t.Errorf("got %q, want %q", got, text)
		}
	})
}

// FuzzSplit: pieces are not empty and end within the text; NFC is idempotent.
func FuzzSplit(f *testing.F) {
	f.Add("a b  c\r\n 12'LL \xff")
	f.Fuzz(func(t *testing.T, text string) {
		for _, pattern := range []string{patternGPT2, patternLlama3, patternQwen2} {
			split, err := patternSplitter(pattern)
			if err != nil {
				t.Fatal(err)
			}
			for s := text; s != ""; {
				n := split(s)
				if n < 1 || n > len(s) {
					t.Fatalf("piece of %d bytes in %q", n, s)
				}
				s = s[n:]
			}
		}
		if s := nfc(text); utf8.ValidString(text) && nfc(s) != s {
			t.Errorf("nfc is not idempotent on %+q", text)
		}
	})
}
