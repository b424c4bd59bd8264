package plan

import (
	"slices"

	"github.com/mosaicquant/mosaicquant/experiments/kinds"
	"github.com/mosaicquant/mosaicquant/experiments/method"
)

// key describes one setting of a trial.
type key struct {
	name    string // in its section of the sweep file
	section string // "", "protocol", "calibration", "stress" or "method"
	kind    kinds.Kind
	field   func(*Trial) any // pointer to where the value lives; nil for keys of methods
	// variants are the key in the methods that have it; nil for other keys.
	variants map[string]*method.Key
	// fallback is the value where the file gives none; nil = it must.
	fallback func(*Trial) any
	when     func(*Trial) bool // whether the key matters, nil = always; needs says so in words
	needs    string
	// label is how a value appears in labels; quiet keys appear only where
	// they differ from their default.
	label    func(v any) string
	quiet    bool
	means    string // one line for docs/keys.md
	defaults string // the default in words, where it depends on other settings
	// instead names a key that may be given in place of one that must be.
	instead string
}

// methodKey is the key of that name with what all methods say of it.
func methodKey(name string) *key {
	k := &key{name: name, section: "method", variants: map[string]*method.Key{}}
	for _, m := range method.All {
		v := m.Key(name)
		if v == nil {
			continue
		}
		if len(k.variants) == 0 {
			k.kind, k.label, k.quiet, k.means, k.defaults, k.instead = v.Kind, v.Label, v.Quiet, v.Means, v.Defaults, v.Instead
		}
		if k.needs == "" {
			k.needs = v.Needs
		}
		k.variants[m.Name] = v
	}
	return k
}

// has reports whether the method of that name has k.
func (k *key) has(name string) bool { return k.field != nil || k.variants[name] != nil }

// required reports whether a file must give k, for the method of that name if k
// is a key of methods.
func (k *key) required(name string) bool {
	if k.variants == nil {
		return k.fallback == nil
	}
	v := k.variants[name]
	return v != nil && v.Default == nil
}

// defaultOf is the value of k where the file gives none; ok is false where it must.
func (k *key) defaultOf(t *Trial) (v any, ok bool) {
	if k.variants != nil {
		if m := k.variants[t.Method.Name()]; m != nil && m.Default != nil {
			return m.Default(t.Method), true
		}
		return nil, false
	}
	if k.fallback == nil {
		return nil, false
	}
	return k.fallback(t), true
}

// axis is the key's name where all keys stand side by side: in filters and Axes.
func (k *key) axis() string {
	if k.section != "" && k.section != "method" {
		return k.section + "." + k.name
	}
	return k.name
}

// matters reports whether k has a meaning for t, whose earlier keys are set.
func (k *key) matters(t *Trial) bool {
	if k.variants == nil {
		return k.when == nil || k.when(t)
	}
	v := k.variants[t.Method.Name()]
	if v == nil || v.Applies != nil && !v.Applies(t.Method) {
		return false
	}
	return t.Method.Method().Quantizes() || !v.ForInputs || t.Activations != "a16"
}

func (k *key) get(t *Trial) any {
	if k.variants != nil {
		return t.Method.Value(k.variants[t.Method.Name()])
	}
	switch p := k.field(t).(type) {
	case *string:
		return *p
	case *int:
		return *p
	case *uint64:
		return *p
	case *float64:
		return *p
	case *bool:
		return *p
	case *method.Settings:
		return p.Name()
	}
	panic("plan: key " + k.axis() + " has a field of unknown type")
}

func (k *key) set(t *Trial, v any) {
	if k.variants != nil {
		t.Method = t.Method.With(k.name, v)
		return
	}
	switch p := k.field(t).(type) {
	case *string:
		*p = v.(string)
	case *int:
		*p = v.(int)
	case *uint64:
		*p = v.(uint64)
	case *float64:
		*p = v.(float64)
	case *bool:
		*p = v.(bool)
	case *method.Settings:
		*p = method.New(v.(string))
	default:
		panic("plan: key " + k.axis() + " has a field of unknown type")
	}
}

func (k *key) file(v any) string {
	if k.kind.File != nil {
		return k.kind.File(v)
	}
	return k.kind.Write(v)
}

// stressed reports whether t is about a model with synthetic outliers.
func stressed(t *Trial) bool { return t.Stress.Channels > 0 }

// execution is packed, or fake for the empty string: the way that came first has
// no mark in the identity of a trial.
var execution = kinds.DefaultWord(false, "fake", "packed")

// engine is cuda, or the CPU for the empty string, which came first.
var engine = kinds.DefaultWord(false, "cpu", "cuda")

// basis is that of the model; the empty string is the model as stored, which came
// first and has no mark in the identity of a trial.
var basis = kinds.DefaultWord(true, "stored", "folded", "rotated")

// prefix is that of a trial; the empty string is none, which came first.
var prefix = kinds.DefaultWord(true, "none", "outliers")

func always(v any) func(*Trial) any { return func(*Trial) any { return v } }

// keys is the table of all settings. Order matters: a key comes after those
// that decide whether it applies; products and labels follow it.
var keys = tableOfKeys()

// tableOfKeys puts the keys of methods where those of every trial leave room.
func tableOfKeys() []*key {
	common := commonKeys()
	last := len(common) - 1
	return slices.Concat(common[:last], methodKeys(), common[last:])
}

// methodKeys are the keys of all methods, in an order that suits every method.
func methodKeys() []*key {
	var ks []*key
	for _, name := range method.KeyNames() {
		ks = append(ks, methodKey(name))
	}
	return ks
}

// commonKeys are those of every trial; the last one comes after those of methods.
func commonKeys() []*key {
	return slices.Concat(textKeys(), basisKeys(), []*key{prefixKey()}, inputKeys(), executionKeys())
}

// textKeys say which model and texts.
func textKeys() []*key {
	return []*key{
		{name: "model",
			means: "`builtin:NAME`, `hub:ORG/NAME` or a folder in Hugging Face layout",
			kind:  kinds.Text, field: func(t *Trial) any { return &t.Model }, label: kinds.Base},

		{name: "text", section: "protocol",
			means: "Text to evaluate on: `builtin:NAME` or a file",
			kind:  kinds.Text, field: func(t *Trial) any { return &t.Protocol.Text }, label: kinds.Prefix("on ", kinds.Base)},
		{name: "context", section: "protocol",
			means: "Tokens of a window",
			kind:  kinds.Integer(2, 1<<20), field: func(t *Trial) any { return &t.Protocol.Context },
			label: kinds.Prefix("ctx", nil)},
		{name: "stride", section: "protocol",
			means: "Tokens from the start of a window to that of the next; tokens seen before are context only",
			kind:  kinds.Integer(1, 1<<20), field: func(t *Trial) any { return &t.Protocol.Stride },
			label: kinds.Prefix("stride", nil)},
		{name: "bos", section: "protocol",
			means: "Whether every window starts with the token that begins sequences",
			kind:  kinds.Boolean, field: func(t *Trial) any { return &t.Protocol.BOS }, label: kinds.Either("bos", "no-bos")},
		{name: "tokens", section: "protocol",
			means: "Number of scored tokens at most; 0 scores all",
			kind:  kinds.Integer(0, 1<<31-1), field: func(t *Trial) any { return &t.Protocol.Tokens },
			fallback: always(0), label: kinds.Prefix("score", nil)},

		{name: "text", section: "calibration",
			means: "Text whose activations the methods see: `builtin:NAME` or a file",
			kind:  kinds.Text, field: func(t *Trial) any { return &t.Calibration.Text },
			label: kinds.Prefix("cal ", kinds.Base)},
		{name: "tokens", section: "calibration",
			means: "Number of calibration tokens",
			kind:  kinds.Integer(1, 1<<31-1), field: func(t *Trial) any { return &t.Calibration.Tokens },
			label: kinds.Prefix("cal", nil)},
		{name: "context", section: "calibration",
			means: "Tokens of a calibration sequence", defaults: "`protocol.context`",
			kind: kinds.Integer(2, 1<<20), field: func(t *Trial) any { return &t.Calibration.Context },
			fallback: func(t *Trial) any { return t.Protocol.Context }, label: kinds.Prefix("calctx", nil)},
		{name: "seed", section: "calibration",
			means: "Seed that draws the sequences, and of all methods that draw",
			kind:  kinds.Seed, field: func(t *Trial) any { return &t.Calibration.Seed },
			fallback: always(uint64(1)), label: kinds.Prefix("seed", nil)},

		{name: "channels", section: "stress",
			means: "Share of channels that get synthetic outliers, without a change of the model's function",
			kind:  kinds.Percent(0, 1), field: func(t *Trial) any { return &t.Stress.Channels },
			fallback: always(0.0), label: kinds.Prefix("synthetic stress ", kinds.AsPercent)},
		{name: "gain", section: "stress",
			means: "Factor by which activations of these channels grow and the weights that read them shrink",
			kind:  kinds.Number(1, 1e4), field: func(t *Trial) any { return &t.Stress.Gain },
			fallback: always(30.0), when: stressed, needs: "stress.channels above 0", label: kinds.Prefix("x", nil)},
		{name: "seed", section: "stress",
			means: "Seed that draws the channels",
			kind:  kinds.Seed, field: func(t *Trial) any { return &t.Stress.Seed },
			fallback: always(uint64(1)), when: stressed, needs: "stress.channels above 0",
			label: kinds.Prefix("stress-seed", nil), quiet: true},
	}
}

// basisKeys are changes of basis, which come before the method.
func basisKeys() []*key {
	return []*key{
		{name: "basis",
			means: "Form in which the model is quantized, all of one function: as stored; the gains of norms " +
				"folded into weights; folded, and the residual stream turned by a random orthogonal matrix. " +
				"`transform` has these and more",
			kind: basis, field: func(t *Trial) any { return &t.Basis },
			fallback: always(""), label: kinds.Prefix("", basis.Write)},
		{name: "basis_seed",
			means: "Seed that draws the orthogonal matrix",
			kind:  kinds.Seed, field: func(t *Trial) any { return &t.BasisSeed }, fallback: always(uint64(1)),
			when: func(t *Trial) bool { return t.Basis == "rotated" }, needs: "basis: rotated",
			label: kinds.Prefix("basis-seed", nil), quiet: true},

		{name: "transform",
			means: "Change of basis that comes before the method, of one function too; see the list of transforms",
			kind:  transform, field: func(t *Trial) any { return &t.Transform },
			fallback: always(""), label: kinds.Prefix("", transform.Write), quiet: true},
		{name: "transform_seed",
			means: "Seed that draws its matrices and signs",
			kind:  kinds.Seed, field: func(t *Trial) any { return &t.TransformSeed }, fallback: always(uint64(1)),
			when: transforms("seed"), needs: "a transform that draws", label: kinds.Prefix("transform-seed", nil), quiet: true},
		{name: "transform_block",
			means: "Channels of a block that is turned by itself, a power of two",
			kind:  kinds.Integer(2, 1<<16), field: func(t *Trial) any { return &t.TransformBlock }, fallback: always(128),
			when: transforms("block"), needs: "a transform of blocks", label: kinds.Prefix("block", nil), quiet: true},
		{name: "transform_steps",
			means: "Steps by which rotations are learned, of each rotation at most",
			kind:  kinds.Integer(1, 100000), field: func(t *Trial) any { return &t.TransformSteps },
			defaults: "that of the paper: 256 for `duquant`, 100 for `kurtail` and `spinquant`",
			fallback: func(t *Trial) any {
				if k := TransformOf(t.Transform); k != nil {
					return k.Steps
				}
				return 0
			},
			when: transforms("steps"), needs: "a transform that is learned",
			label: kinds.Prefix("", kinds.Suffix("-steps")), quiet: true},
	}
}

// prefixKey is the one change of the model that changes its function.
func prefixKey() *key {
	return &key{name: "prefix",
		means: "Tokens before every sequence, whose keys and values stay in 16 bits: those whose inputs of down_proj are " +
			"outliers in the calibration text, and the token that begins sequences, or ends them where none begins " +
			"(`outliers`, PrefixQuant's). The reference of divergences is the model without them",
		kind: prefix, field: func(t *Trial) any { return &t.Prefix },
		fallback: always(""), label: kinds.Prefix("prefix-", prefix.Write), quiet: true}
}

// inputKeys say how inputs of quantized layers are rounded.
func inputKeys() []*key {
	return []*key{
		{name: "activations",
			means: "Inputs of the quantized layers: 16 bits; 8 bits per token; 4 bits per 128 channels; or floating-point " +
				"numbers: E4M3 per token (`fp8`), E4M3 or E2M1 per 32 channels (`mxfp8`, `mxfp4`), E2M1 per 16 (`nvfp4`)",
			kind:     kinds.Word("a16", "a8", "a4", "fp8", "mxfp8", "mxfp4", "nvfp4"),
			field:    func(t *Trial) any { return &t.Activations },
			fallback: always("a16"), label: kinds.Prefix("", nil)},
		{name: "activations_group",
			means: "Channels of a token that share a scale",
			kind:  inputGroup, field: func(t *Trial) any { return &t.ActivationsGroup }, fallback: always(""),
			when: integerInputs, needs: "activations a8 or a4", label: kinds.Prefix("inputs-g", inputGroup.Write), quiet: true},
		{name: "activations_zero",
			means: "Grids of inputs: symmetric, or with a zero point",
			kind:  inputZero, field: func(t *Trial) any { return &t.ActivationsZero }, fallback: always(""),
			when: integerInputs, needs: "activations a8 or a4", label: kinds.Prefix("inputs-", inputZero.Write), quiet: true},
		{name: "activations_clip",
			means: "Share of the range that grids of inputs cover; 0 is all of it",
			kind:  kinds.Share(0, 1), field: func(t *Trial) any { return &t.ActivationsClip }, fallback: always(0.0),
			when: integerInputs, needs: "activations a8 or a4", label: kinds.Prefix("inputs-clip", nil), quiet: true},
		{name: "activations_scale",
			means: "Whether scales of inputs are found for each token, or beforehand from the calibration text: of its " +
				"largest inputs (`static`), or the share of these that loses least on a sample (`searched`)",
			kind: inputScale, field: func(t *Trial) any { return &t.ActivationsScale }, fallback: always(""),
			when: integerInputs, needs: "activations a8 or a4", label: kinds.Prefix("inputs-", inputScale.Write), quiet: true},
		{name: "activations_wide",
			means: "Share of the channels of 4-bit inputs that have 8 bits, as whole groups: those of the largest inputs, " +
				"COMET's",
			kind: kinds.Percent(0, 1), field: func(t *Trial) any { return &t.ActivationsWide }, fallback: always(0.0),
			when: func(t *Trial) bool { return t.Activations == "a4" }, needs: "activations a4",
			label: kinds.Prefix("inputs-wide", kinds.AsPercent), quiet: true},
	}
}

// executionKeys are the method and what runs it.
func executionKeys() []*key {
	return []*key{
		{name: "method", section: "method",
			means: "The method; see the list of methods",
			kind:  kinds.Word(method.Names()...), field: func(t *Trial) any { return &t.Method }, label: methodLabel},
		{name: "execution",
			means: "What runs the quantized layers: a float32 product with what the codes stand for, " +
				"or the kernels for packed weights",
			kind: execution, field: func(t *Trial) any { return &t.Execution },
			fallback: always(""), when: func(t *Trial) bool { return t.Method.Name() != "none" },
			needs: "a method that quantizes",
			label: kinds.Prefix("", execution.Write), quiet: true},
		{name: "engine",
			means: "What the model runs on while it is evaluated: the CPU, or an NVIDIA GPU, which needs a build with the tag " +
				"`cuda`; weights are quantized on the CPU",
			kind: engine, field: func(t *Trial) any { return &t.Engine }, fallback: always(""),
			label: kinds.Prefix("", engine.Write), quiet: true},
	}
}

// constraint is a condition between the settings of one trial.
type constraint struct {
	axis string // where to report it
	fail func(*Trial) bool
	says string
}

var constraints = []constraint{
	{"protocol.stride", func(t *Trial) bool { return t.Protocol.Stride > t.Protocol.Context },
		"is longer than protocol.context: tokens between windows would never be scored"},
	{"transform", func(t *Trial) bool { return t.Transform != "" && t.Basis != "" },
		"beside a basis: basis is the older key for the same, so give one of them"},
	{"activations_scale", func(t *Trial) bool { return t.ActivationsScale != "" && t.ActivationsZero != "" },
		"with asymmetric grids: calibration knows the largest magnitude alone"},
	{"activations_scale", func(t *Trial) bool { return t.ActivationsScale != "" && keepsChannels(t) },
		"for a method that keeps channels apart, which have scales of their own"},
	{"activations_clip", func(t *Trial) bool { return t.ActivationsClip > 0 && t.ActivationsScale == "searched" },
		"beside activations_scale: searched, which finds what share of the range to cover"},
	{"activations_wide", func(t *Trial) bool { return t.ActivationsWide > 0 && t.ActivationsScale != "" },
		"of inputs whose scales are found beforehand: wide channels have theirs at run time"},
	{"activations_wide", func(t *Trial) bool { return t.ActivationsWide > 0 && keepsChannels(t) },
		"for a method that keeps channels apart, and rounds their inputs in its own way"},
	{"transform_block", func(t *Trial) bool { return t.TransformBlock&(t.TransformBlock-1) != 0 }, "is no power of two"},
	{"transform", func(t *Trial) bool {
		return t.Transform != "" && smoothed(t) && TransformOf(t.Transform).Online == "all"
	}, "turns the inputs of all layers while the model runs, so that none can be smoothed: drop smoothing"},
	{"transform", func(t *Trial) bool {
		return t.Transform != "" && smoothed(t) && TransformOf(t.Transform).Online == "inner" &&
			t.Method.Word("smoothing_sites") != "norms"
	}, "turns the inputs of o_proj or down_proj while the model runs, so that these cannot be smoothed: " +
		"set smoothing_sites: norms"},
	{"transform", func(t *Trial) bool { return underInputs(t) && t.Activations == "a16" },
		"is learned under rounded inputs, which activations: a16 are not"},
	{"calibration.tokens", func(t *Trial) bool { return t.Calibration.Tokens < t.Calibration.Context },
		"is less than one sequence of calibration.context tokens"},
}

// section returns the keys of a section, in order.
func section(name string) []*key {
	var ks []*key
	for _, k := range keys {
		if k.section == name {
			ks = append(ks, k)
		}
	}
	return ks
}

// byAxis finds a key by its axis name.
func byAxis(name string) *key {
	for _, k := range keys {
		if k.axis() == name {
			return k
		}
	}
	return nil
}

func axes() []string {
	var names []string
	for _, k := range keys {
		names = append(names, k.axis())
	}
	return names
}

// Axes returns every setting of t that has a meaning for its method, as flat
// text: "method": "mosaic", "density": "0.1", "block": "16x64",
// "protocol.context": "256". A model without stress has no axes of it, one as
// stored none of a basis, and one without transform or prefix none of that.
func (t *Trial) Axes() map[string]string {
	m := map[string]string{}
	for _, k := range keys {
		if k.matters(t) && !(k.section == "stress" && !stressed(t)) && !(k.name == "basis" && t.Basis == "") &&
			!(k.name == "transform" && t.Transform == "") && !(k.name == "prefix" && t.Prefix == "") &&
			!(k.name == "engine" && t.Engine == "") {
			m[k.axis()] = k.kind.Write(k.get(t))
		}
	}
	layerAxes(t, m)
	return m
}

func methodLabel(v any) string {
	if v == "none" {
		return "16-bit"
	}
	return v.(string)
}
