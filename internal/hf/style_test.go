package hf

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// styleDir is where the tokenizers that are kept here lie, one for each style of
// splitting text.
var styleDir = map[string]string{"qwen3-style": filepath.Join("testdata", "qwen3-style"), "tiny-llama3": tinyModel}

// TestQwen3Style compares with Hugging Face tokenizers on a small tokenizer that splits
// and normalizes text as Qwen3's does; see scripts/golden/styles.py.
func TestQwen3Style(t *testing.T) {
	g := readGolden(t, "qwen3-style")
	data, err := os.ReadFile(filepath.Join(styleDir["qwen3-style"], "tokenizer.json"))
	if err != nil {
		t.Fatal(err)
	}
	if got := hashHex(data); got != g.TokenizerSHA256 || len(g.Cases) < 150 {
		t.Fatalf("%d cases of the tokenizer with SHA-256 %s, this one has %s", len(g.Cases), g.TokenizerSHA256, got)
	}
	tok, err := ReadTokenizer(Dir(styleDir["qwen3-style"]))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range g.Cases {
		got := tok.Encode(c.Text)
		if !slices.Equal(got, c.IDs) {
			t.Errorf("Encode(%q)\n got %v\nwant %v", c.Text, got, c.IDs)
		}
		if back := tok.Decode(got); back != tok.normalize(c.Text) {
			t.Errorf("Decode(Encode(%q)) = %q", c.Text, back)
		}
	}
}

// TestHeldOutText encodes the project's held-out text as one string.
func TestHeldOutText(t *testing.T) {
	text, err := os.ReadFile("../builtin/text/heldout.txt")
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile("testdata/heldout.json")
	if err != nil {
		t.Fatal(err)
	}
	var golden map[string]json.RawMessage
	if err := json.Unmarshal(data, &golden); err != nil {
		t.Fatal(err)
	}
	var sha string
	if err := json.Unmarshal(golden["text_sha256"], &sha); err != nil || sha != hashHex(text) {
		t.Fatalf("the golden is of a text with SHA-256 %s, heldout.txt has %s: run scripts/golden/styles.py", sha, hashHex(text))
	}
	for name, dir := range styleDir {
		var want struct {
			Tokens int
			IDs    string `json:"ids_sha256"`
		}
		if err := json.Unmarshal(golden[name], &want); err != nil {
			t.Fatal(err)
		}
		tok, err := ReadTokenizer(Dir(dir))
		if err != nil {
			t.Fatal(err)
		}
		ids := tok.Encode(string(text))
		var b bytes.Buffer
		binary.Write(&b, binary.LittleEndian, ids)
		if got := hashHex(b.Bytes()); len(ids) != want.Tokens || got != want.IDs {
			t.Errorf("%s: %d tokens with SHA-256 %s, want %d with %s", name, len(ids), got, want.Tokens, want.IDs)
		}
	}
}
