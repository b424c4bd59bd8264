package trial

import (
	"encoding/json"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/row"
	"github.com/mosaicquant/mosaicquant/quant/quanttest"
)

// The tokens of a prefix against scripts/golden/prefix.py.
func TestPrefixGolden(t *testing.T) {
	data, err := os.ReadFile("testdata/prefix.json")
	if err != nil {
		t.Fatal(err)
	}
	var golden struct {
		Cases []struct {
			Often  [][3]int // layer, token, and of how many sequences one has it as an outlier
			Prefix []int32
		}
	}
	if err := json.Unmarshal(data, &golden); err != nil {
		t.Fatal(err)
	}
	if len(golden.Cases) != 5 {
		t.Fatalf("%d cases, want 5", len(golden.Cases))
	}
	const layers, sequences, tokens = 3, 12, 40
	ids := gemm.NewMatrix(sequences, tokens)
	quanttest.Integers(ids, 31)
	for _, c := range golden.Cases {
		top := gemm.NewMatrix(layers*sequences, tokens)
		quanttest.Integers(top, 32)
		found := outlierCounts{layers: make([]int, layers), tokens: map[int32]int{}}
		for i := range top.Rows {
			layer, s := i/sequences, i%sequences
			seq := make([]int32, tokens)
			for p := range seq {
				seq[p] = int32(math.Abs(float64(64*ids.Row(s)[p]))) % 23
				v := &top.Row(i)[p]
				*v = 1 + max(*v, -*v)
				if layer > 0 && p == 0 {
					*v *= 4096
				}
				for _, o := range c.Often {
					if o[0] == layer && int32(o[1]) == seq[p] && s%o[2] == 0 {
						*v *= 1024
					}
				}
			}
			found.add(layer, seq, top.Row(i))
		}
		if got := found.prefix(sequences); !slices.Equal(got, c.Prefix) {
			t.Errorf("%v: prefix %v, want %v", c.Often, got, c.Prefix)
		}
	}
}

// A prefix is counted, stands before the sequences of the calibration and of the text,
// has no rows in the statistics, and is no part of the reference.
func TestPrefixTrials(t *testing.T) {
	lab := testLab(t)
	trials := transformed(t, "tiny-llama3", "prefix: [none, outliers]\ntransform: [none, quarot]\nmethods: [{method: none}]")
	kl, ppl := map[string]float64{}, map[string]float64{}
	for _, tr := range trials {
		s, err := lab.Open(t.Context(), tr)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		r, err := s.Run(t.Context(), tr)
		if err != nil || r.Status != row.OK {
			t.Fatal(err, r)
		}
		name := tr.Prefix + " " + tr.Transform
		for _, v := range r.Values {
			switch v.Name {
			case row.KLMean:
				kl[name] = v.Value
			case row.PPLToken:
				ppl[name] = v.Value
			}
		}
		c := s.source.model.Config()
		want := int64(4 * c.Layers * c.KVHeads * c.HeadDim * len(s.source.model.Prefix()))
		var got int64
		for _, item := range r.Ledger {
			if item.Name == "prefix" {
				got = item.Bytes
			}
		}
		if got != want || (want > 0) != (tr.Prefix != "") {
			t.Errorf("%s: the ledger has %d bytes of a prefix, want %d", tr.Label, got, want)
		}
		st, err := s.calibrated.begin().statistics(t.Context(), s.source.linears[0].Site)
		if err != nil {
			t.Fatal(err)
		}
		if st.moments.Tokens != s.calibrated.tokens() {
			t.Errorf("%s: statistics of %d tokens, want %d", tr.Label, st.moments.Tokens, s.calibrated.tokens())
		}
	}
	if kl[" "] != 0 || !(kl["outliers "] > 1e-6) {
		t.Errorf("divergence from the model without prefix: %v", kl)
	}
	// Keys and values of half precision are others in another basis.
	if a, b := ppl["outliers "], ppl["outliers quarot"]; !(math.Abs(a-b) < 1e-3*a) {
		t.Errorf("perplexity with a prefix is %g, and %g turned", a, b)
	}
	if a, b := ppl["outliers "], ppl[" "]; a == b {
		t.Errorf("perplexity is %g with and without a prefix", a)
	}
}

func TestPrefixRefused(t *testing.T) {
	lab := testLab(t)
	tr := transformed(t, "tiny-llama3", "prefix: outliers\nmethods: [{method: rtn}]")[0]
	if _, err := lab.Quantize(t.Context(), tr, t.TempDir()+"/out"); err == nil || !strings.Contains(err.Error(), "prefix: outliers") {
		t.Errorf("a packed checkpoint with a prefix: %v", err)
	}
	if _, err := lab.Export(t.Context(), tr, t.TempDir()+"/out", "gptq"); err == nil || !strings.Contains(err.Error(), "prefix") {
		t.Errorf("a checkpoint of another program with a prefix: %v", err)
	}
}
