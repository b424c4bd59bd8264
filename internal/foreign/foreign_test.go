package foreign

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/hf"
)

// golden is testdata/golden.json, written by scripts/golden/foreign.py.
type golden map[string]struct {
	By     string `json:"by"`
	Layers map[string]struct {
		DType  string    `json:"dtype"` // to which the library rounds
		First  []float64 `json:"first"`
		SHA256 string    `json:"sha256"`
	} `json:"layers"`
}

func readGolden(t *testing.T) golden {
	t.Helper()
	data, err := os.ReadFile("testdata/golden.json")
	if err != nil {
		t.Fatal(err)
	}
	g := golden{}
	if err := json.Unmarshal(data, &g); err != nil {
		t.Fatal(err)
	}
	return g
}

// rounded returns v as a library that computes in dtype has it.
func rounded(t *testing.T, v float32, dtype string) float32 {
	switch dtype {
	case "F32":
		return v
	case "BF16":
		b := math.Float32bits(v)
		return math.Float32frombits((b + 0x7fff + b>>16&1) &^ 0xffff)
	case "F16": // by the spacing of half precision
		if v == 0 {
			return 0
		}
		_, e := math.Frexp(float64(v))
		unit := math.Ldexp(1, max(e-11, -24))
		return float32(math.RoundToEven(float64(v)/unit) * unit)
	}
	t.Fatalf("dtype %q", dtype)
	return 0
}

func dense(w gemm.Source) gemm.Matrix {
	m := gemm.NewMatrix(w.Dims())
	w.Load(m, 0, 0)
	return m
}

// TestGolden: every layer has the values that the library that wrote it makes of it,
// and the ledger counts every byte of its tensors.
func TestGolden(t *testing.T) {
	for name, want := range readGolden(t) {
		c, err := Open(hf.Dir(filepath.Join("testdata", name)))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for layer, w := range want.Layers {
			l := c.Layer(layer)
			if l == nil {
				t.Errorf("%s: %s is missing", name, layer)
				continue
			}
			got := dense(l)
			hash := sha256.New()
			for i, v := range got.Data {
				v = rounded(t, v, w.DType)
				if i < len(w.First) && float64(v) != w.First[i] {
					t.Errorf("%s (%s): %s: weight %d is %v, want %v", name, l.Form, layer, i, v, w.First[i])
				}
				binary.Write(hash, binary.LittleEndian, v+0)
			}
			if sum := hex.EncodeToString(hash.Sum(nil)); sum != w.SHA256 {
				t.Errorf("%s (%s): %s differs from what %s makes of it", name, l.Form, layer, want.By)
			}
		}
		checkLedger(t, name, c)
		c.Close()
	}
}

// checkLedger compares the ledgers with the bytes of the checkpoint's tensors.
func checkLedger(t *testing.T, name string, c *Checkpoint) {
	t.Helper()
	var stored, booked int64
	for _, tensor := range c.Model.Checkpoint().Names() {
		x, err := c.Model.Checkpoint().Raw(tensor)
		if err != nil {
			t.Fatal(err)
		}
		stored += int64(len(x.Data))
		if x, err := c.Model.Checkpoint().Tensor(tensor); err == nil && (len(x.Shape) == 1 && x.Shape[0] == 64 && tensor[len(tensor)-11:] == "norm.weight" ||
			tensor == "model.embed_tokens.weight" || tensor[len(tensor)-12:] == "global_scale" && tensor[len(tensor)-18:] == "input_global_scale") {
			stored -= int64(len(x.Data))
		}
	}
	for _, l := range c.Model.Linears() {
		booked += c.Layer(l.Name).Ledger.Total()
	}
	if booked != stored {
		t.Errorf("%s: the ledgers have %d bytes, the tensors %d", name, booked, stored)
	}
}
