// Package row defines the result of one trial and its file format: JSON lines,
// append-only, one self-contained row per trial. It needs nothing but the
// standard library, so that any tool can read old results.
package row

import "encoding/json"

// Schema is the version of the row format. A reader refuses a newer one.
const Schema = 1

// Status tells whether a trial produced its values.
type Status string

const (
	OK     Status = "ok"
	Failed Status = "failed"
	// Predicted rows come from a model of a device: nothing was measured.
	Predicted Status = "predicted"
)

// Row is the result of one trial.
type Row struct {
	Schema int    `json:"schema"`
	Trial  string `json:"trial"` // content hash of the resolved configuration
	Label  string `json:"label"` // short human name, unique within a sweep
	// Title is what the sweep file calls the method, for legends: the part of a label
	// that its trials share. Empty where the file gives no label, or one with
	// placeholders.
	Title string `json:"title,omitempty"`
	// Baseline is the label of the row that paired differences refer to; empty
	// where the sweep names none.
	Baseline string `json:"baseline,omitempty"`
	// Axes are the swept settings, flat: "method": "mosaic", "density": "0.1".
	// Reports group and compare along them.
	Axes map[string]string `json:"axes"`
	// Config is the fully resolved trial, as hashed into Trial.
	Config json.RawMessage `json:"config"`
	Env    string          `json:"env"` // key into env.json of the same folder
	Status Status          `json:"status"`
	Error  string          `json:"error,omitempty"`
	Start  string          `json:"start"` // RFC 3339, UTC
	Values []Value         `json:"values,omitempty"`
	Series []Series        `json:"series,omitempty"`
	Layers []Layer         `json:"layers,omitempty"`
	Ledger []Item          `json:"ledger,omitempty"`
	// Execution says what ran, in rows that were timed.
	Execution *Execution `json:"execution,omitempty"`
	// Warnings are remarks of the quantizer or evaluator that a reader of the
	// numbers must see.
	Warnings []string `json:"warnings,omitempty"`
}

// Value is one measured quantity. SE is its standard error where the
// evaluation gives one; Low and High are its 95 % interval where it was timed.
type Value struct {
	Name  string   `json:"name"`
	Value float64  `json:"value"`
	Unit  string   `json:"unit,omitempty"`
	SE    *float64 `json:"se,omitempty"`
	Low   *float64 `json:"low,omitempty"`
	High  *float64 `json:"high,omitempty"`
}

// Execution is what ran on what.
type Execution struct {
	Engine    string `json:"engine"`
	Device    string `json:"device"`
	Requested string `json:"requested"`        // kernel asked for, or auto
	Kernel    string `json:"kernel,omitempty"` // kernel engaged
	Cache     string `json:"cache,omitempty"`  // what the last-level cache held, in words
	// State is what the device said of itself right after the product: clocks,
	// power, temperature, by name and unit.
	State map[string]float64 `json:"state,omitempty"`
	// Yardsticks tells how each yardstick of the row was measured.
	Yardsticks map[string]string `json:"yardsticks,omitempty"`
}

// Names of values. Perplexity, divergence and agreement are over the scored
// tokens of the protocol; standard errors are clustered by window.
const (
	BitsPerWeight = "bits_per_weight" // stored bits over weights of the quantized layers
	ModelBytes    = "model_bytes"     // whole model as stored, unquantized tensors included; unit B
	NLL           = "nll"             // mean negative log-likelihood; unit nat/token
	PPLToken      = "ppl_token"       // exp of NLL
	PPLWord       = "ppl_word"        // exp of total nats over whitespace-separated words
	BitsPerByte   = "bits_per_byte"   // total bits over UTF-8 bytes of the scored text
	KLMean        = "kl_mean"         // KL(16-bit || quantized), nat/token
	KLMedian      = "kl_median"
	KLP999        = "kl_p999" // 99.9th percentile
	Top1          = "top1"    // share of tokens whose most likely next token agrees with the 16-bit model
	// Top1Lost and Top1Gained are the shares of tokens whose most likely prediction is the
	// text's next token in the 16-bit model alone, and in the quantized one alone.
	Top1Lost   = "top1_lost"
	Top1Gained = "top1_gained"
	// OutputError is the sum over layers of tr(E H Eᵀ) over the sum of tr(W H Wᵀ), E = W - Ŵ,
	// H of the calibration. OutputErrorEvaluated is the same on a sample of the inputs X
	// that layers get from the evaluated text: ||X Eᵀ||² over ||X Wᵀ||².
	OutputError          = "output_error"
	OutputErrorEvaluated = "output_error_evaluated"
	// OnlineOperations are the additions and multiplications that changes of basis take
	// while the model runs, all layers together; unit op/token.
	OnlineOperations = "online_operations"
	QuantizeTime     = "quantize_time" // s
	EvalTime         = "eval_time"     // s
)

// Names of values and series of rows that were timed; see experiments/bench.
const (
	Time           = "time"            // s
	Bandwidth      = "bandwidth"       // weight bytes over time; B/s
	BandwidthShare = "bandwidth_share" // of ReadBandwidth
	Rate           = "rate"            // FLOP/s
	RateShare      = "rate_share"      // of PeakRate
	WeightBytes    = "weight_bytes"    // that one product reads; B
	OutputNMSE     = "output_nmse"     // ||Y - reference||² / ||reference||²
	ReadBandwidth  = "read_bandwidth"  // yardstick; B/s
	PeakRate       = "peak_rate"       // yardstick; FLOP/s
	PrefillTime    = "prefill_time"    // of the prompt and the first token; s
	DecodeTime     = "decode_time"     // of the tokens after the first; s
	GenerateTime   = "generate_time"   // PrefillTime and DecodeTime together; s
	// PredictedTime is of rows whose status is Predicted.
	PredictedTime = "predicted_time" // s
	PrefillRate   = "prefill_rate"   // tokens of the prompt over PrefillTime; token/s
	DecodeRate    = "decode_rate"    // tokens after the first over DecodeTime; token/s
)

// Over is the name of the value that compares a time with that of another
// variant, repeat by repeat: "time_over/dense4".
func Over(time, variant string) string { return time + "_over/" + variant }

// TimeOver is Over(Time, variant).
func TimeOver(variant string) string { return Over(Time, variant) }

// Speed is the name of a value of a timed product among those of a trial:
// "speed/llama3-8b down 4096x14336 M=1/time".
func Speed(product, value string) string { return "speed/" + product + "/" + value }

// TaskMetric is the name of the value, and of its series over the items, that a
// zero-shot task has of a metric: "choice/acc".
func TaskMetric(task, metric string) string { return task + "/" + metric }

// Series is one number per evaluation window, in the order of the text, or per
// item of a task, so that two rows of equal protocol can be compared in pairs.
type Series struct {
	Name   string    `json:"name"`
	Unit   string    `json:"unit,omitempty"`
	Values []float64 `json:"values"`
}

// Names of series of the text; each entry is a sum over the scored tokens of one window.
const (
	WindowTokens = "window_tokens" // scored tokens
	WindowNLL    = "window_nll"    // nat
	WindowKL     = "window_kl"     // nat
	WindowTop1   = "window_top1"   // agreeing tokens
	WindowLost   = "window_lost"   // tokens of Top1Lost
	WindowGained = "window_gained" // tokens of Top1Gained
	// LayerTime is what quantizing each of Layers took, in their order; s. Layers
	// that share inputs share what is made of these, which the first of them pays.
	LayerTime = "layer_time"
)

// Layer is what happened to one linear layer W [N,K].
type Layer struct {
	Name          string  `json:"name"`
	N             int     `json:"n"`
	K             int     `json:"k"`
	BitsPerWeight float64 `json:"bits_per_weight"`
	// WeightError is ||W - Ŵ||² / ||W||².
	WeightError float64 `json:"weight_error"`
	// OutputError is tr(E H Eᵀ) / tr(W H Wᵀ).
	OutputError float64 `json:"output_error"`
	// BaseOutputError is OutputError of the dense base alone, where a residual
	// or outliers were added to it.
	BaseOutputError *float64 `json:"base_output_error,omitempty"`
	Density         float64  `json:"density,omitempty"` // share of blocks (or weights) kept
}

// Item is one entry of the bits ledger, summed over the quantized layers.
type Item struct {
	Name  string `json:"name"` // "codes", "scales", "residual codes", ...
	Bytes int64  `json:"bytes"`
}

// Value returns the named value of r, and whether r has it.
func (r *Row) Value(name string) (Value, bool) {
	for _, v := range r.Values {
		if v.Name == name {
			return v, true
		}
	}
	return Value{}, false
}

// Windows returns the named series of r, or nil.
func (r *Row) Windows(name string) []float64 {
	for _, s := range r.Series {
		if s.Name == name {
			return s.Values
		}
	}
	return nil
}
