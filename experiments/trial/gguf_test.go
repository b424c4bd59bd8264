package trial

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mosaicquant/mosaicquant/experiments/plan"
)

const tinyGGUF = "../../internal/llm/testdata/gguf/tiny.gguf"

// A GGUF file is a model: BOS follows its tokenizer, which has none, and what is
// said of it names the precision its weights came in.
func TestEvaluateGGUF(t *testing.T) {
	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, []byte(strings.Repeat("the ", 40)), 0o644); err != nil {
		t.Fatal(err)
	}
	lab := &Lab{Progress: t.Output()}
	e := Evaluation{Model: tinyGGUF, Protocol: plan.Protocol{Text: text, Context: 16, BOS: true}, BOSAsTokenizer: true}
	out, err := lab.Evaluate(t.Context(), e)
	if err != nil {
		t.Fatal(err)
	}
	if out.Evaluation.Protocol.BOS {
		t.Error("began windows with a BOS token that the tokenizer has not")
	}
	if got := strings.Join(out.Warnings, "; "); !strings.Contains(got, "came as Q4_1/Q8_0/F16") {
		t.Errorf("warnings %q do not name the precision", got)
	}
	e.BOSAsTokenizer = false
	if _, err := lab.Evaluate(t.Context(), e); err == nil || !strings.Contains(err.Error(), "the tokenizer has no BOS token") {
		t.Errorf("protocol.bos true gives %v", err)
	}
	in, err := lab.Inspect(t.Context(), Inspection{Model: tinyGGUF, BOSAsTokenizer: true})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(in.Precision, "Q4_1/Q8_0") || in.Inspection.BOS {
		t.Errorf("precision %q, bos %v", in.Precision, in.Inspection.BOS)
	}
}
