package hf

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/mosaicquant/mosaicquant/internal/testdata"
)

const tinyModel = "../builtin/models/tiny-llama3"

// golden is what scripts/golden/tokenizer.py wrote.
type golden struct {
	TokenizerSHA256 string `json:"tokenizer_sha256"`
	WikiText        struct {
		TextSHA256 string `json:"text_sha256"`
		Tokens     int    `json:"tokens"`
		IDsSHA256  string `json:"ids_sha256"`
	} `json:"wikitext"`
	Cases []struct {
		Text string  `json:"text"`
		IDs  []int32 `json:"ids"`
	} `json:"cases"`
}

func readGolden(t testing.TB, name string) (g golden) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "tokenizer-"+name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &g); err != nil {
		t.Fatal(err)
	}
	return g
}

// tokenizerDir is where the tokenizer of a golden lies; only the tiny
// and the small one are in the repository.
func tokenizerDir(t testing.TB, name string) string {
	t.Helper()
	if name == "tiny-llama3" {
		return tinyModel
	}
	if name == "small" {
		return filepath.Join("testdata", name)
	}
	return testdata.Dir(t, "tokenizers", name)
}

func readTokenizer(t testing.TB, name string) *Tokenizer {
	t.Helper()
	tok, err := ReadTokenizer(Dir(tokenizerDir(t, name)))
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

func hashHex(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

var goldenNames = []string{"small", "tiny-llama3", "llama3", "qwen3"}

// TestTokenizerGolden compares with Hugging Face tokenizers, token for token.
func TestTokenizerGolden(t *testing.T) {
	for _, name := range goldenNames {
		t.Run(name, func(t *testing.T) {
			g := readGolden(t, name)
			data, err := os.ReadFile(filepath.Join(tokenizerDir(t, name), "tokenizer.json"))
			if err != nil {
				t.Fatal(err)
			}
			if got := hashHex(data); got != g.TokenizerSHA256 {
				t.Fatalf("tokenizer.json has SHA-256 %s, the golden was made with %s: run scripts/golden/tokenizer.py", got, g.TokenizerSHA256)
			}
			tok := readTokenizer(t, name)
			if len(g.Cases) < 150 {
				t.Fatalf("only %d cases", len(g.Cases))
			}
			for _, c := range g.Cases {
				got := tok.Encode(c.Text)
				if !slices.Equal(got, c.IDs) {
					t.Errorf("Encode(%q)\n got %v\nwant %v", c.Text, got, c.IDs)
				}
				if back := tok.Decode(got); name != "small" && back != tok.normalize(c.Text) { // stripping loses spaces
					t.Errorf("Decode(Encode(%q)) = %q", c.Text, back)
				}
			}
		})
	}
}

// TestTokenizerWikiText compares all of WikiText-2 test, encoded as one string.
func TestTokenizerWikiText(t *testing.T) {
	for _, name := range goldenNames {
		t.Run(name, func(t *testing.T) {
			text, err := os.ReadFile(testdata.Dir(t, "eval", "wikitext2", "wiki.test.raw"))
			if err != nil {
				t.Fatal(err)
			}
			want := readGolden(t, name).WikiText
			if got := hashHex(text); got != want.TextSHA256 {
				t.Fatalf("wiki.test.raw has SHA-256 %s, the golden was made with %s", got, want.TextSHA256)
			}
			ids := readTokenizer(t, name).Encode(string(text))
			var b bytes.Buffer
			binary.Write(&b, binary.LittleEndian, ids)
			if got := hashHex(b.Bytes()); len(ids) != want.Tokens || got != want.IDsSHA256 {
				t.Errorf("%d tokens with SHA-256 %s, want %d with %s", len(ids), got, want.Tokens, want.IDsSHA256)
			}
		})
	}
}

func TestTokenizerBOS(t *testing.T) {
	for _, c := range []struct {
		name  string
		bos   int32
		ok    bool
		vocab int
	}{
		{"tiny-llama3", 4094, true, 4096}, // by its post-processor
		{"llama3", 128000, true, 128256},  // by tokenizer_config.json
		{"qwen3", -1, false, 151669},
	} {
		t.Run(c.name, func(t *testing.T) {
			tok := readTokenizer(t, c.name)
			if bos, ok := tok.BOS(); bos != c.bos || ok != c.ok {
				t.Errorf("BOS() = %d, %v, want %d, %v", bos, ok, c.bos, c.ok)
			}
			if n := tok.VocabSize(); n != c.vocab {
				t.Errorf("VocabSize() = %d, want %d", n, c.vocab)
			}
		})
	}
}

func BenchmarkReadTokenizer(b *testing.B) {
	for _, name := range goldenNames {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				readTokenizer(b, name)
			}
		})
	}
}

func BenchmarkEncode(b *testing.B) {
	for _, name := range goldenNames {
		b.Run(name, func(b *testing.B) {
			text, err := os.ReadFile(testdata.Dir(b, "eval", "wikitext2", "wiki.test.raw"))
			if err != nil {
				b.Fatal(err)
			}
			tok := readTokenizer(b, name)
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				tok.Encode(string(text))
			}
		})
	}
}
