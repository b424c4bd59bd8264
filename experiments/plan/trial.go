package plan

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strings"

	"github.com/mosaicquant/mosaicquant/experiments/kinds"
	"github.com/mosaicquant/mosaicquant/experiments/method"
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
	// Basis is the form in which the model's weights are quantized: "folded", the
	// gains of norms in the weights that read them; "rotated", folded and with the
	// residual stream turned by a random orthogonal matrix of BasisSeed; empty: as
	// stored. All compute the same function.
	Basis     string `json:"basis,omitempty"`
	BasisSeed uint64 `json:"basis_seed,omitempty"`
	// Transform is a change of basis that methods are compared with and without, of
	// one function too; empty: none. The other settings are those that it has.
	Transform      string `json:"transform,omitempty"`
	TransformSeed  uint64 `json:"transform_seed,omitempty"`
	TransformBlock int    `json:"transform_block,omitempty"`
	TransformSteps int    `json:"transform_steps,omitempty"`
	// Prefix is "outliers" for tokens before every sequence that take the outliers of
	// others; empty: none.
	Prefix string `json:"prefix,omitempty"`
	// Activations are what the quantized layers read: a16, a8 or a4.
	Activations string `json:"activations"`
	// What follows is of integer activations, and empty where they are as their name
	// says: channels that share a scale, a number or "row"; "asymmetric"; the share of
	// the range that grids cover; "static" for scales found beforehand,
	// "searched" for those of them that lose least.
	ActivationsGroup string  `json:"activations_group,omitempty"`
	ActivationsZero  string  `json:"activations_zero,omitempty"`
	ActivationsClip  float64 `json:"activations_clip,omitempty"`
	ActivationsScale string  `json:"activations_scale,omitempty"`
	// ActivationsWide is the share of channels that have 8 bits in place of 4.
	ActivationsWide float64 `json:"activations_wide,omitempty"`
	Method          Method  `json:"method"`
	// Tasks are zero-shot tasks, builtin:NAME, TASK=FILE or TASK, joined by commas so
	// that trials stay comparable; TaskList splits them.
	Tasks string `json:"tasks,omitempty"`
	// Execution is "packed" where quantized layers run on the kernels for packed
	// weights; empty for fake quantization, a float32 product with what the codes
	// stand for. Both compute the same up to the rounding of sums.
	Execution string `json:"execution,omitempty"`
	// Engine is "cuda" where the model runs on an NVIDIA GPU while it is evaluated; empty for the CPU,
	// on which weights are always quantized.
	Engine string `json:"engine,omitempty"`

	// Speed asks for times of layers in the form of the trial, nil for none.
	// Trials of a sweep share it, so that they stay comparable.
	Speed *Speed `json:"speed,omitempty"`

	// Label is unique within the sweep: the name that the file gives, or the settings
	// that vary; Baseline is the label of the
	// trial that paired differences refer to (its own for the baseline itself),
	// empty where the sweep names none. Neither is part of the identity.
	// Title is the label of the method's entry, where it has one without placeholders.
	Label    string `json:"-"`
	Baseline string `json:"-"`
	Title    string `json:"-"`
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

// Method is a method with its settings.
type Method = method.Settings

// Block is the shape of a residual block.
type Block = kinds.Block

// ID identifies what t computes: a hash over its settings and over the content
// that they name (model, tokenizer, texts, the program's revision ...), which the caller
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
