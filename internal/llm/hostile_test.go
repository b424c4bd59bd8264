package llm

import (
	"bytes"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/mosaicquant/mosaicquant/internal/hf"
)

// TestHugeHead: a head_dim that no tensor has is an error before anything of its
// size is allocated.
func TestHugeHead(t *testing.T) {
	files := Random(hf.Config{ModelType: "llama", VocabSize: 16, HiddenSize: 8, MLPSize: 8, Layers: 1, Heads: 2, KVHeads: 1, HeadDim: 4,
		MaxPositions: 16, RMSNormEps: 1e-5, RopeTheta: 10000, TieEmbeddings: true}, 1)
	fsys := fstest.MapFS{}
	for _, name := range []string{"config.json", "model.safetensors"} {
		blob, err := files.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		fsys[name] = &fstest.MapFile{Data: bytes.Clone(blob.Data)}
	}
	c := fsys["config.json"]
	c.Data = regexp.MustCompile(`"head_dim": *4`).ReplaceAll(c.Data, []byte(`"head_dim": 2147483646`))
	if !bytes.Contains(c.Data, []byte("2147483646")) {
		t.Fatalf("config.json is %s", c.Data)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := Open(hf.FS("test", fsys))
	runtime.ReadMemStats(&after)
	if err == nil || !strings.Contains(err.Error(), "q_proj") {
		t.Errorf("error %v", err)
	}
	if n := after.TotalAlloc - before.TotalAlloc; n > 64<<20 {
		t.Errorf("allocated %d bytes", n)
	}
}
