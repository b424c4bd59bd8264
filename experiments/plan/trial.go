package plan

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// Trial is one fully resolved point of a sweep: nothing in it is a list or
// left to a default. Its JSON form is canonical; settings that the method does
// not use are absent from it, so that they cannot change its identity.
type Trial struct {
	// Model is a Hugging Face folder, builtin:NAME or hub:ORG/NAME.
	Model       string      `json:"model"`
	Protocol    Protocol    `json:"protocol"`
	Calibration Calibration `json:"calibration"`
	Stress      Stress      `json:"stress,omitzero"`
	// Activations are what the quantized layers read: a16, a8 or a4.
	Activations string `json:"activations"`
	Method      Method `json:"method"`
	// Tasks are zero-shot tasks, builtin:NAME or TASK=FILE, joined by commas so
	// that trials stay comparable; TaskList splits them.
	Tasks string `json:"tasks,omitempty"`
	// Execution is "packed" where quantized layers run on the kernels for packed
	// weights; empty for fake quantization, a float32 product with what the codes
	// stand for. Both compute the same up to the rounding of sums.
	Execution string `json:"execution,omitempty"`

	// Speed asks for times of layers in the form of the trial, nil for none.
	// Trials of a sweep share it, so that they stay comparable.
	Speed *Speed `json:"speed,omitempty"`

	// Label is short and unique within the sweep; Baseline is the label of the
	// trial that paired differences refer to (its own for the baseline itself),
	// empty where the sweep names none. Neither is part of the identity.
	Label    string `json:"-"`
	Baseline string `json:"-"`
}

// TaskList returns the tasks of t, one by one.
func (t *Trial) TaskList() []string {
	if t.Tasks == "" {
		return nil
	}
	return strings.Split(t.Tasks, ",")
}

// Speed says which products to time.
type Speed struct {
	Shapes  []string `json:"shapes"` // see ShapesOf
	Tokens  []int    `json:"tokens"`
	Engine  string   `json:"engine"`
	Repeats int      `json:"repeats"`
	Cache   string   `json:"cache"`
}

// Protocol says which tokens are scored and what the model sees before them.
type Protocol struct {
	Text    string `json:"text"`    // builtin:NAME or a file
	Context int    `json:"context"` // tokens per window
	Stride  int    `json:"stride"`  // tokens from one window to the next
	BOS     bool   `json:"bos"`     // each window starts with the BOS token
	Tokens  int    `json:"tokens"`  // at most so many scored tokens; 0 = all
}

// Calibration says which activations the methods see.
type Calibration struct {
	Text    string `json:"text"`
	Tokens  int    `json:"tokens"`
	Context int    `json:"context"` // tokens per sequence
	Seed    uint64 `json:"seed"`    // of the choice of sequences, and of methods that draw
}

// Stress gives a model synthetic outliers without changing its function: Channels
// of its activations are Gain times as large, the weights that read them Gain
// times as small. The zero value leaves the model alone.
type Stress struct {
	Channels float64 `json:"channels"` // share of the channels that are drawn
	Gain     float64 `json:"gain"`
	Seed     uint64  `json:"seed"`
}

// Method is a quantizer with its settings. A field that the method does not
// use is zero.
type Method struct {
	Name string `json:"name"`           // one of Methods
	Base string `json:"base,omitempty"` // of mosaic and svdquant: rtn or gptq

	Smoothing      float64 `json:"smoothing,omitempty"`       // SmoothQuant's alpha; 0 = none
	SmoothingSites string  `json:"smoothing_sites,omitempty"` // inputs that are smoothed: all, or those after norms

	Format string `json:"format,omitempty"` // grid of the dense base
	Group  int    `json:"group,omitempty"`  // weights along K that share a scale; 0 = the whole row
	Scale  string `json:"scale,omitempty"`  // how scales are found: absmax, mse, hessian, clip, ceil, foursix

	Order  string  `json:"order,omitempty"`  // of GPTQ's columns: act, natural
	Groups string  `json:"groups,omitempty"` // GPTQ's scales: static, dynamic
	Damp   float64 `json:"damp,omitempty"`   // added to diag H, as a share of its mean

	AWQ bool `json:"awq,omitempty"` // channel scales by AWQ's search before all else

	// Threshold is SpQR's τ in place of a share of outliers, and the input of
	// LLM.int8() from which a channel stays in 16 bits.
	Threshold float64 `json:"threshold,omitempty"`
	Outliers  float64 `json:"outliers,omitempty"`  // share of weights kept in 16 bits
	Columns   float64 `json:"columns,omitempty"`   // share of channels kept in 16 (quik) or 8 bits (atom)
	Int8Down  bool    `json:"int8_down,omitempty"` // QUIK's rule: down_proj in 8 bits

	Rank         int  `json:"rank,omitempty"` // of the low-rank branch
	SVDSmoothing bool `json:"svd_smoothing,omitempty"`
	SVDRounds    int  `json:"svd_rounds,omitempty"` // at most so many rounds of branch and remainder

	Density       float64 `json:"density,omitempty"` // share of blocks with a residual
	Block         Block   `json:"block,omitzero"`    // shape of a residual block
	Criterion     string  `json:"criterion,omitempty"`
	Budget        string  `json:"budget,omitempty"` // of blocks or groups, shared by all layers: global, relative; empty: each layer's own
	ResidualBits  int     `json:"residual_bits,omitempty"`
	ResidualScale string  `json:"residual_scale,omitempty"` // one per block or per row of a block, or tied to the scale of the base
	Joint         bool    `json:"joint,omitempty"`          // base and residual are fitted together
	Pairs         string  `json:"pairs,omitempty"`          // codes of base and residual tried together: all, or empty: near ones
	Refine        int     `json:"refine,omitempty"`         // rounds of coordinate descent over codes and scales
}

// Block is the shape r×c of a residual block: Rows outputs by Cols inputs of W;
// Rows 0 is all of them, so that a block is Cols whole channels.
type Block struct{ Rows, Cols int }

// String returns "16x64", or "Nx1" for all rows.
func (b Block) String() string {
	if b.Rows == 0 {
		return "Nx" + strconv.Itoa(b.Cols)
	}
	return strconv.Itoa(b.Rows) + "x" + strconv.Itoa(b.Cols)
}

// MarshalText writes the block as in a sweep file.
func (b Block) MarshalText() ([]byte, error) { return []byte(b.String()), nil }

// UnmarshalText reads "16x64" and "Nx1".
func (b *Block) UnmarshalText(text []byte) error {
	r, c, ok := strings.Cut(string(text), "x")
	rows, err1 := strconv.Atoi(r)
	if r == "N" {
		rows, err1 = 0, nil
	}
	cols, err2 := strconv.Atoi(c)
	if !ok || err1 != nil || err2 != nil || rows < 1 && r != "N" || cols < 1 || rows > 1<<16 || cols > 1<<16 {
		return fmt.Errorf("block %q: want ROWSxCOLUMNS, such as 16x64 or Nx1", text)
	}
	*b = Block{rows, cols}
	return nil
}

// ID identifies what t computes: a hash over its settings and over the content
// that they name (model, tokenizer, texts, code epoch ...), which the caller
// hashes. Labels are not part of it. 16 hexadecimal digits.
func ID(t Trial, content map[string]string) string {
	data, err := json.Marshal(struct {
		Trial   Trial             `json:"trial"`
		Content map[string]string `json:"content"`
	}{t, content})
	if err != nil {
		panic("plan: " + err.Error()) // NaN cannot pass Parse; everything else marshals
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:8])
}
