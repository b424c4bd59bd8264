package hf

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/mosaicquant/mosaicquant/internal/testdata"
)

// fallbackGolden is what scripts/golden/fallback.py wrote.
type fallbackGolden struct {
	golden
	Cases []struct {
		Text     string             `json:"text"`
		IDs      []int32            `json:"ids"`
		Decoded  string             `json:"decoded"`
		Variants map[string][]int32 `json:"variants"` // of the pre-tokenizer, where they differ
	} `json:"cases"`
}

func readFallback(t *testing.T) (g fallbackGolden, top map[string]any) {
	t.Helper()
	for name, v := range map[string]any{"testdata/tokenizer-fallback.json": &g, "testdata/fallback/tokenizer.json": &top} {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(data, v); err != nil {
			t.Fatal(err)
		}
		if name == "testdata/fallback/tokenizer.json" && !strings.Contains(string(data), "byte_fallback") {
			t.Fatalf("%s has no byte_fallback", name)
		}
	}
	return g, top
}

// TestFallback compares with Hugging Face tokenizers, token for token: as a
// tokenizer.json, and as the metadata of a GGUF file.
func TestFallback(t *testing.T) {
	g, _ := readFallback(t)
	data, err := os.ReadFile("testdata/fallback/tokenizer.json")
	if err != nil {
		t.Fatal(err)
	}
	if got := hashHex(data); got != g.TokenizerSHA256 {
		t.Fatalf("tokenizer.json has SHA-256 %s, the golden was made with %s: run scripts/golden/fallback.py",
			got, g.TokenizerSHA256)
	}
	for name, files := range map[string]Files{
		"json": Dir("testdata/fallback"), "gguf": GGUF("testdata/fallback/tokenizer.gguf"),
	} {
		tok, err := ReadTokenizer(files)
		if err != nil {
			t.Fatal(err)
		}
		if bos, ok := tok.BOS(); bos != 1 || !ok {
			t.Errorf("%s: BOS() = %d, %v", name, bos, ok)
		}
		if n := tok.VocabSize(); n != 700 {
			t.Errorf("%s: %d tokens", name, n)
		}
		for _, c := range g.Cases {
			got := tok.Encode(c.Text)
			if !slices.Equal(got, c.IDs) {
				t.Errorf("%s: Encode(%q)\n got %v\nwant %v", name, c.Text, got, c.IDs)
			}
			if back := strings.ToValidUTF8(tok.Decode(got), "\ufffd"); back != c.Decoded {
				t.Errorf("%s: Decode(Encode(%q)) = %q, want %q", name, c.Text, back, c.Decoded)
			}
		}
	}
	if len(g.Cases) < 180 {
		t.Errorf("only %d cases", len(g.Cases))
	}
}

// TestMetaspace compares every scheme of Metaspace, and added tokens that are looked for
// after normalization, with Hugging Face tokenizers.
func TestMetaspace(t *testing.T) {
	g, top := readFallback(t)
	differ := map[string]int{}
	normalizer := top["normalizer"]
	for _, variant := range []string{"never false", "never true", "first false", "first true", "always false",
		"always true", "normalized"} {
		scheme, split, metaspaced := strings.Cut(variant, " ")
		top["normalizer"] = nil
		top["pre_tokenizer"] = metaspaceOf(scheme, split == "true")
		if !metaspaced {
			top["normalizer"], top["pre_tokenizer"] = normalizer, nil
			for _, token := range top["added_tokens"].([]any) {
				token.(map[string]any)["normalized"] = true
			}
		}
		data, err := json.Marshal(top)
		if err != nil {
			t.Fatal(err)
		}
		tok, err := parseTokenizer(data)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range g.Cases {
			if len([]rune(c.Text)) > 40 {
				continue
			}
			want, ok := c.Variants[variant]
			if !ok {
				want = c.IDs
			} else {
				differ[variant]++
			}
			if got := tok.Encode(c.Text); !slices.Equal(got, want) {
				t.Errorf("%s: Encode(%q)\n got %v\nwant %v", variant, c.Text, got, want)
			}
		}
	}
	if len(differ) < 6 || differ["normalized"] == 0 {
		t.Errorf("variants of which some case differs: %v", slices.Sorted(maps.Keys(differ)))
	}
}

// metaspaceOf is the pre-tokenizer Metaspace.
func metaspaceOf(scheme string, split bool) map[string]any {
	return map[string]any{"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": split}
}

// TestFallbackWikiText compares all of WikiText-2 test, encoded as one string.
func TestFallbackWikiText(t *testing.T) {
	text, err := os.ReadFile(testdata.Dir(t, "eval", "wikitext2", "wiki.test.raw"))
	if err != nil {
		t.Fatal(err)
	}
	g, _ := readFallback(t)
	tok, err := ReadTokenizer(Dir("testdata/fallback"))
	if err != nil {
		t.Fatal(err)
	}
	ids := tok.Encode(string(text))
	var b bytes.Buffer
	binary.Write(&b, binary.LittleEndian, ids)
	if hashHex(text) != g.WikiText.TextSHA256 {
		t.Fatalf("the golden is of another text")
	}
	if got := hashHex(b.Bytes()); len(ids) != g.WikiText.Tokens || got != g.WikiText.IDsSHA256 {
		t.Errorf("%d tokens with SHA-256 %s, want %d with %s", len(ids), got, g.WikiText.Tokens, g.WikiText.IDsSHA256)
	}
	if back := tok.Decode(ids); back != string(text) {
		t.Errorf("decoded text differs from the text: %d bytes, want %d", len(back), len(text))
	}
}

// TestFallbackBytes: bytes that are not UTF-8 are kept, and parts of a text keep their
// first space.
func TestFallbackBytes(t *testing.T) {
	tok, err := ReadTokenizer(Dir("testdata/fallback"))
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"\xff", "a\xe6\x97b", "\xf0\x9f\x99", "x \xc3"} {
		if got := tok.Decode(tok.Encode(text)); got != text {
			t.Errorf("%q becomes %q", text, got)
		}
	}
	if got := tok.Part(tok.Encode("a b")); got != " a b" {
		t.Errorf("Part: %q", got)
	}
}

func TestFallbackBad(t *testing.T) {
	type object = map[string]any
	decoder := func(steps ...object) object { return object{"type": "Sequence", "decoders": steps} }
	replace := object{"type": "Replace", "pattern": object{"String": "▁"}, "content": " "}
	fallback, fuse := object{"type": "ByteFallback"}, object{"type": "Fuse"}
	for _, c := range []struct {
		change func(top, model object)
		want   string
	}{
		{func(_, m object) { delete(m["vocab"].(object), "<0x1F>") },
			"vocab: byte_fallback is true, but there is no token <0x1F>"},
		{func(top, _ object) { top["pre_tokenizer"] = object{"type": "ByteLevel"} },
			`pre_tokenizer: type "ByteLevel" is not Metaspace`},
		{func(top, _ object) { top["pre_tokenizer"] = object{"type": "Metaspace", "replacement": "_"} },
			`replacement "_" is not ▁`},
		{func(top, _ object) {
			top["pre_tokenizer"] = object{"type": "Metaspace", "replacement": "▁", "prepend_scheme": "last"}
		}, `prepend_scheme "last" is not never, first or always`},
		{func(top, _ object) { top["normalizer"] = object{"type": "Precompiled"} },
			`normalizer: type "Precompiled" is not NFC, Prepend, Replace`},
		{func(top, _ object) {
			top["normalizer"] = object{"type": "Replace", "pattern": object{"Regex": " {2,}"}, "content": "▁"}
		}, "normalizer: Replace: pattern is no String"},
		{func(top, _ object) { top["decoder"] = object{"type": "ByteLevel"} },
			`decoder: type "ByteLevel" is not a Sequence of Replace`},
		{func(top, _ object) { top["decoder"] = decoder(replace, fuse) }, `decoder: Sequence: step 2 is type "Fuse"`},
		{func(top, _ object) { top["decoder"] = decoder(replace, fallback) }, "decoder: Sequence: 2 steps"},
		{func(top, _ object) {
			top["decoder"] = decoder(object{"type": "Replace", "content": "x"}, fallback, fuse)
		}, "replaces something other than ▁"},
		{func(top, _ object) {
			top["decoder"] = decoder(replace, fallback, fuse, object{"type": "Strip", "content": " ", "start": 2})
		}, "is not the first space"},
		{func(_, m object) { m["vocab"].(object)["x1"] = 5 }, "id 5 is taken"},
		{func(_, m object) { m["merges"] = []any{[]any{"x", "q7"}} }, "is not in the vocabulary"},
	} {
		_, top := readFallback(t)
		c.change(top, top["model"].(object))
		data, err := json.Marshal(top)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parseTokenizer(data); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want %q", err, c.want)
		}
	}
}

// TestFallbackWritten: a vocabulary with byte_fallback is written as GGUF and read back as
// it was; one whose merges no scores give is refused.
func TestFallbackWritten(t *testing.T) {
	data, err := os.ReadFile("testdata/fallback/tokenizer.json")
	if err != nil {
		t.Fatal(err)
	}
	write := func(tokenizer []byte) (Files, error) {
		dir := t.TempDir()
		for name, text := range map[string]string{"tokenizer.json": string(tokenizer), "config.json": `{
			"model_type": "llama", "vocab_size": 704, "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1,
			"num_attention_heads": 2, "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "bos_token_id": 1,
			"eos_token_id": 2}`} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		f, err := os.Create(filepath.Join(dir, "x.gguf"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		return GGUF(f.Name()), WriteGGUF(f, Dir(dir), nil)
	}
	files, err := write(data)
	if err != nil {
		t.Fatal(err)
	}
	got, err := ReadTokenizer(files)
	if err != nil {
		t.Fatal(err)
	}
	g, top := readFallback(t)
	for _, c := range g.Cases {
		if ids := got.Encode(c.Text); !slices.Equal(ids, c.IDs) {
			t.Errorf("Encode(%q)\n got %v\nwant %v", c.Text, ids, c.IDs)
		}
	}
	if bos, ok := got.BOS(); bos != 1 || !ok {
		t.Errorf("BOS() = %d, %v", bos, ok)
	}
	normalizer, model := top["normalizer"], top["model"].(map[string]any)
	merges := model["merges"].([]any)
	model["merges"] = merges[:len(merges)-1] // though its pieces are there
	for want, change := range map[string]func(){
		"merges are not those that scores of pieces give": func() {},
		"pre_tokenizer: type \"Metaspace\" has no name in GGUF": func() {
			top["normalizer"], top["pre_tokenizer"] = nil, metaspaceOf("first", false)
		},
	} {
		change()
		if data, err = json.Marshal(top); err != nil {
			t.Fatal(err)
		}
		if _, err := write(data); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
		top["pre_tokenizer"], top["normalizer"] = nil, normalizer
	}
}
