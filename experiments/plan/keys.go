package plan

import (
	"path"
	"slices"
	"strings"
)

// key describes one setting of a trial.
type key struct {
	name    string // in its section of the sweep file
	section string // "", "protocol", "calibration", "stress" or "method"
	kind    kind
	field   func(*Trial) any // pointer to where the value lives
	// fallback is the value where the file gives none; nil = it must.
	fallback func(*Trial) any
	// methods have this key; nil for the keys of all trials. Of them it
	// matters where applies (nil = always) holds; needs says so in words.
	methods []string
	applies func(*Method) bool
	when    func(*Trial) bool // the same for what depends on other settings than the method's
	needs   string
	// label is how a value appears in labels; quiet keys appear only where
	// they differ from their default.
	label    func(v any) string
	quiet    bool
	means    string // one line for docs/keys.md
	defaults string // the default in words, where it depends on other settings
	// instead names a key that may be given in place of one that must be.
	instead string
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
	return (k.when == nil || k.when(t)) &&
		(k.methods == nil || slices.Contains(k.methods, t.Method.Name)) && (k.applies == nil || k.applies(&t.Method))
}

func (k *key) get(t *Trial) any {
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
	case *Block:
		return *p
	}
	panic("plan: key " + k.axis() + " has a field of unknown type")
}

func (k *key) set(t *Trial, v any) {
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
	case *Block:
		*p = v.(Block)
	default:
		panic("plan: key " + k.axis() + " has a field of unknown type")
	}
}

func (k *key) file(v any) string {
	if k.kind.file != nil {
		return k.kind.file(v)
	}
	return k.kind.write(v)
}

// Methods are the known methods, in the order in which they are explained.
var Methods = []string{"none", "rtn", "gptq", "spqr", "mosaic", "quik", "atom", "llmint8", "svdquant"}

var (
	quantized = Methods[1:]
	columns   = []string{"gptq", "spqr", "mosaic", "quik", "atom", "svdquant"} // may run GPTQ's column loop
	scalable  = []string{"rtn", "gptq", "spqr", "mosaic"}                      // may have AWQ's scales
)

// formats are integer grids, bits and "a" for affine (a stored zero) in place of
// symmetric or "b" for SpQR's bilevel one, and the others of quant.Kind.
var formats = []string{"int4", "int4a", "int2", "int2a", "int3", "int3a", "int5", "int5a", "int6", "int6a", "int8", "int8a",
	"int3b", "int4b", "nf4", "nf4dq", "fp4", "bnbfp4", "mxfp4", "nvfp4", "any4"}

// Formats returns the names of all formats of a dense base.
func Formats() []string { return slices.Clone(formats) }

// fixedGroups are the group sizes that formats prescribe.
var fixedGroups = map[string]int{"mxfp4": 32, "nvfp4": 16}

// defaultGroup is that of the format, or else of the method's paper.
func defaultGroup(t *Trial) any {
	m := &t.Method
	if g, ok := fixedGroups[m.Format]; ok {
		return g
	}
	switch {
	case m.Format == "int3b" || m.Format == "int4b":
		return 16
	case m.Name == "quik" || m.Name == "llmint8":
		return 0
	case m.Name == "svdquant":
		return 64
	}
	return 128
}

func defaultFormat(t *Trial) any {
	if t.Method.Name == "llmint8" {
		return "int8"
	}
	return "int4"
}

func defaultThreshold(t *Trial) any {
	if t.Method.Name == "llmint8" {
		return 6.0
	}
	return 0.0
}

func gptqBase(m *Method) bool { return m.Base == "" || m.Base == "gptq" }

// stressed reports whether t is about a model with synthetic outliers.
func stressed(t *Trial) bool { return t.Stress.Channels > 0 }

// smoothable reports whether t quantizes anything that smoothing changes.
func smoothable(t *Trial) bool { return t.Method.Name != "none" || t.Activations != "a16" }

func refinable(m *Method) bool { return m.Name == "gptq" || m.Joint }

func always(v any) func(*Trial) any { return func(*Trial) any { return v } }

// keys is the table of all settings. Order matters: a key comes after those
// that decide whether it applies; products and labels follow it.
var keys = []*key{
	{name: "model",
		means: "`builtin:NAME`, `hub:ORG/NAME` or a folder in Hugging Face layout",
		kind:  text, field: func(t *Trial) any { return &t.Model }, label: base},

	{name: "text", section: "protocol",
		means: "Text to evaluate on: `builtin:NAME` or a file",
		kind:  text, field: func(t *Trial) any { return &t.Protocol.Text }, label: prefix("on ", base)},
	{name: "context", section: "protocol",
		means: "Tokens of a window",
		kind:  integer(2, 1<<20), field: func(t *Trial) any { return &t.Protocol.Context }, label: prefix("ctx", nil)},
	{name: "stride", section: "protocol",
		means: "Tokens from the start of a window to that of the next; tokens seen before are context only",
		kind:  integer(1, 1<<20), field: func(t *Trial) any { return &t.Protocol.Stride }, label: prefix("stride", nil)},
	{name: "bos", section: "protocol",
		means: "Whether every window starts with the token that begins sequences",
		kind:  boolean, field: func(t *Trial) any { return &t.Protocol.BOS }, label: either("bos", "no-bos")},
	{name: "tokens", section: "protocol",
		means: "Number of scored tokens at most; 0 scores all",
		kind:  integer(0, 1<<31-1), field: func(t *Trial) any { return &t.Protocol.Tokens },
		fallback: always(0), label: prefix("score", nil)},

	{name: "text", section: "calibration",
		means: "Text whose activations the methods see: `builtin:NAME` or a file",
		kind:  text, field: func(t *Trial) any { return &t.Calibration.Text }, label: prefix("cal ", base)},
	{name: "tokens", section: "calibration",
		means: "Number of calibration tokens",
		kind:  integer(1, 1<<31-1), field: func(t *Trial) any { return &t.Calibration.Tokens }, label: prefix("cal", nil)},
	{name: "context", section: "calibration",
		means: "Tokens of a calibration sequence", defaults: "`protocol.context`",
		kind: integer(2, 1<<20), field: func(t *Trial) any { return &t.Calibration.Context },
		fallback: func(t *Trial) any { return t.Protocol.Context }, label: prefix("calctx", nil)},
	{name: "seed", section: "calibration",
		means: "Seed that draws the sequences, and of all methods that draw",
		kind:  seed, field: func(t *Trial) any { return &t.Calibration.Seed },
		fallback: always(uint64(1)), label: prefix("seed", nil)},

	{name: "channels", section: "stress",
		means: "Share of channels that get synthetic outliers, without a change of the model's function",
		kind:  percent(0, 1), field: func(t *Trial) any { return &t.Stress.Channels },
		fallback: always(0.0), label: prefix("synthetic stress ", asPercent)},
	{name: "gain", section: "stress",
		means: "Factor by which activations of these channels grow and the weights that read them shrink",
		kind:  number(1, 1e4), field: func(t *Trial) any { return &t.Stress.Gain },
		fallback: always(30.0), when: stressed, needs: "stress.channels above 0", label: prefix("x", nil)},
	{name: "seed", section: "stress",
		means: "Seed that draws the channels",
		kind:  seed, field: func(t *Trial) any { return &t.Stress.Seed },
		fallback: always(uint64(1)), when: stressed, needs: "stress.channels above 0", label: prefix("stress-seed", nil), quiet: true},

	{name: "activations",
		means: "Inputs of the quantized layers: 16 bits; 8 bits per token; 4 bits per 128 channels",
		kind:  word("a16", "a8", "a4"), field: func(t *Trial) any { return &t.Activations },
		fallback: always("a16"), label: prefix("", nil)},

	{name: "method", section: "method",
		means: "The method; see the list of methods",
		kind:  word(Methods...), field: func(t *Trial) any { return &t.Method.Name }, label: methodLabel},
	{name: "smoothing", section: "method",
		means: "SmoothQuant's alpha: how much of the activations' range moves into the weights; 0 is none",
		kind:  share(0, 1), field: func(t *Trial) any { return &t.Method.Smoothing },
		fallback: always(0.0), when: smoothable, needs: "a quantizer, or activations a8 or a4", label: prefix("smooth", nil), quiet: true},
	{name: "smoothing_sites", section: "method",
		means: "Layers that are smoothed: all, or those that read a norm",
		kind:  word("all", "norms"), field: func(t *Trial) any { return &t.Method.SmoothingSites },
		fallback: always("all"), applies: func(m *Method) bool { return m.Smoothing > 0 }, needs: "smoothing above 0",
		label: prefix("", suffix("-only")), quiet: true},
	{name: "base", section: "method",
		means: "How the dense base is quantized",
		kind:  word("rtn", "gptq"), field: func(t *Trial) any { return &t.Method.Base },
		fallback: always("rtn"), methods: []string{"mosaic", "svdquant"}, label: prefix("", nil)},
	{name: "format", section: "method",
		means: "Format of the dense base; see the list of formats",
		kind:  word(formats...), field: func(t *Trial) any { return &t.Method.Format },
		fallback: defaultFormat, methods: quantized, label: prefix("", nil), quiet: true},
	{name: "group", section: "method",
		means: "Weights along K that share a scale", defaults: "that of the format or of the method's paper; else 128",
		kind: groupSize, field: func(t *Trial) any { return &t.Method.Group },
		fallback: defaultGroup, methods: quantized, label: groupLabel},
	{name: "scale", section: "method",
		means: "How a scale is found: from the largest weight, by a search for the least error (`mse`), error weighted by h (`hessian`) or output error (`clip`, AWQ's), or a rule of one format (`ceil` of mxfp4, `foursix` of nvfp4)",
		kind:  word("absmax", "mse", "hessian", "clip", "ceil", "foursix"), field: func(t *Trial) any { return &t.Method.Scale },
		fallback: always("absmax"), methods: quantized, label: prefix("", nil), quiet: true},
	{name: "order", section: "method",
		means: "Order of GPTQ's columns: by descending h, or as they stand",
		kind:  word("act", "natural"), field: func(t *Trial) any { return &t.Method.Order },
		fallback: always("act"), methods: columns, applies: gptqBase, needs: "base gptq", label: prefix("", suffix("-order")), quiet: true},
	{name: "groups", section: "method",
		means: "Scales of GPTQ: found before the column loop, or when the loop reaches the group",
		kind:  word("static", "dynamic"), field: func(t *Trial) any { return &t.Method.Groups },
		fallback: always("static"), methods: columns, applies: gptqBase, needs: "base gptq", label: prefix("", nil), quiet: true},
	{name: "damp", section: "method",
		means: "GPTQ's damping of H, as a share of the mean of its diagonal",
		kind:  share(0, 10), field: func(t *Trial) any { return &t.Method.Damp },
		fallback: always(0.01), methods: columns, applies: gptqBase, needs: "base gptq", label: prefix("damp", nil), quiet: true},
	{name: "awq", section: "method",
		means: "Scales channels by AWQ's search before the method runs",
		kind:  boolean, field: func(t *Trial) any { return &t.Method.AWQ },
		fallback: always(false), methods: scalable, label: either("awq", "unscaled"), quiet: true},
	{name: "threshold", section: "method",
		means: "SpQR: sensitivity from which a weight is an outlier, 0 for a share in its place. LLM.int8(): input from which a channel stays in 16 bits",
		kind:  share(0, 1e6), field: func(t *Trial) any { return &t.Method.Threshold },
		fallback: defaultThreshold, methods: []string{"spqr", "llmint8"}, label: prefix("threshold", nil), quiet: true},
	{name: "outliers", section: "method",
		means: "Share of weights kept in 16 bits",
		kind:  percent(0, 0.5), field: func(t *Trial) any { return &t.Method.Outliers },
		methods: []string{"spqr"}, applies: func(m *Method) bool { return m.Threshold == 0 }, needs: "threshold left out", label: asPercent, instead: "threshold"},
	{name: "columns", section: "method",
		means: "Share of channels kept in 16 bits (quik) or 8 bits (atom)",
		kind:  percent(0, 0.9), field: func(t *Trial) any { return &t.Method.Columns },
		methods: []string{"quik", "atom"}, label: asPercent},
	{name: "int8_down", section: "method",
		means: "Whether down_proj is in 8 bits, as in QUIK",
		kind:  boolean, field: func(t *Trial) any { return &t.Method.Int8Down },
		fallback: always(true), methods: []string{"quik"}, label: either("int8-down", "int4-down"), quiet: true},
	{name: "rank", section: "method",
		means: "Rank of the low-rank branch",
		kind:  integer(1, 4096), field: func(t *Trial) any { return &t.Method.Rank },
		methods: []string{"svdquant"}, label: prefix("rank", nil)},
	{name: "svd_smoothing", section: "method",
		means: "Whether SVDQuant searches channel scales first",
		kind:  boolean, field: func(t *Trial) any { return &t.Method.SVDSmoothing },
		fallback: always(true), methods: []string{"svdquant"}, label: either("smoothed", "unsmoothed"), quiet: true},
	{name: "svd_rounds", section: "method",
		means: "Rounds of branch and remainder at most",
		kind:  integer(0, 100), field: func(t *Trial) any { return &t.Method.SVDRounds },
		fallback: always(10), methods: []string{"svdquant"}, label: prefix("rounds", nil), quiet: true},
	{name: "density", section: "method",
		means: "Share of blocks that get a residual",
		kind:  percent(0, 1), field: func(t *Trial) any { return &t.Method.Density },
		methods: []string{"mosaic"}, label: asPercent},
	{name: "block", section: "method",
		means: "Shape of a residual block: outputs x inputs of W",
		kind:  blockShape, field: func(t *Trial) any { return &t.Method.Block },
		fallback: always(Block{16, 64}), methods: []string{"mosaic"}, label: prefix("", nil)},
	{name: "criterion", section: "method",
		means:    "How blocks are ranked; see the glossary",
		kind:     word("random", "weight", "error", "diag", "delta", "full", "greedy", "relief", "oracle"),
		field:    func(t *Trial) any { return &t.Method.Criterion },
		fallback: always("delta"), methods: []string{"mosaic"}, label: prefix("", nil)},
	{name: "budget", section: "method",
		means: "Who shares the budget of blocks (mosaic) or bytes of scales (gptq): each layer its own, or all layers one, by gain or by gain relative to the layer's output",
		kind:  budget, field: func(t *Trial) any { return &t.Method.Budget },
		fallback: always(""), methods: []string{"gptq", "mosaic"}, label: prefix("", suffix("-budget")), quiet: true},
	{name: "residual_bits", section: "method",
		means: "Bits of a residual code",
		kind:  integer(2, 4), field: func(t *Trial) any { return &t.Method.ResidualBits },
		fallback: always(4), methods: []string{"mosaic"}, label: prefix("r", nil), quiet: true},
	{name: "residual_scale", section: "method",
		means: "Scale of a residual: one for a block, one for each row of a block, or tied to the scale of the base, which stores none",
		kind:  word("block", "row", "base"), field: func(t *Trial) any { return &t.Method.ResidualScale },
		fallback: always("block"), methods: []string{"mosaic"}, label: prefix("", suffix("-scale")), quiet: true},
	{name: "joint", section: "method",
		means: "Whether base and residual are quantized together, in GPTQ's column loop",
		kind:  boolean, field: func(t *Trial) any { return &t.Method.Joint },
		fallback: always(false), methods: []string{"mosaic"}, applies: gptqBase, needs: "base gptq", label: either("joint", "separate"), quiet: true},
	{name: "pairs", section: "method",
		means: "Codes of base and residual that a joint residual tries together: all pairs, or those near the weight",
		kind:  pairs, field: func(t *Trial) any { return &t.Method.Pairs },
		fallback: always("all"), methods: []string{"mosaic"}, applies: func(m *Method) bool { return m.Joint }, needs: "joint: true", label: func(v any) string { return pairs.write(v) + "-pairs" }, quiet: true},
	{name: "refine", section: "method",
		means: "Rounds of coordinate descent over codes and scales, after GPTQ or a joint residual",
		kind:  integer(0, 100), field: func(t *Trial) any { return &t.Method.Refine },
		fallback: always(0), methods: []string{"gptq", "mosaic"}, applies: refinable, needs: "method gptq or joint: true", label: prefix("refine", nil), quiet: true},

	{name: "execution",
		means: "What runs the quantized layers: a float32 product with what the codes stand for, or the kernels for packed weights",
		kind:  execution, field: func(t *Trial) any { return &t.Execution },
		fallback: always(""), methods: quantized, label: prefix("", execution.write), quiet: true},
}

// constraint is a condition between the settings of one trial.
type constraint struct {
	axis string // where to report it
	fail func(*Trial) bool
	says string
}

var constraints = []constraint{
	{"protocol.stride", func(t *Trial) bool { return t.Protocol.Stride > t.Protocol.Context }, "is longer than protocol.context: tokens between windows would never be scored"},
	{"criterion", func(t *Trial) bool {
		return t.Method.Joint && slices.Contains([]string{"full", "greedy", "oracle"}, t.Method.Criterion)
	}, "has no meaning with joint: true, where losses add up without cross terms; delta says it all"},
	{"group", func(t *Trial) bool { return t.Method.Format == "mxfp4" && t.Method.Group != 32 }, "is no group of mxfp4, which has 32"},
	{"group", func(t *Trial) bool { return t.Method.Format == "nvfp4" && t.Method.Group != 16 }, "is no group of nvfp4, which has 16"},
	{"scale", func(t *Trial) bool { return t.Method.Scale == "ceil" && t.Method.Format != "mxfp4" }, "is a rule of mxfp4 alone"},
	{"scale", func(t *Trial) bool { return t.Method.Scale == "foursix" && t.Method.Format != "nvfp4" }, "is a rule of nvfp4 alone"},
	{"scale", func(t *Trial) bool { return t.Method.Scale == "clip" && t.Method.Format == "any4" }, "does not exist for any4, whose table is learned"},
	{"groups", func(t *Trial) bool {
		return t.Method.Groups == "dynamic" && (t.Method.Scale == "clip" || slices.Contains([]string{"any4", "int3b", "int4b", "nf4dq"}, t.Method.Format))
	}, "groups are not possible with any4, int3b, int4b, nf4dq and scale: clip, whose grids are found beforehand"},
	{"criterion", func(t *Trial) bool { return t.Method.Criterion == "relief" && !t.Method.Joint }, "needs joint: true"},
	{"budget", func(t *Trial) bool {
		return t.Method.Budget != "" && t.Method.Name == "gptq" && (t.Method.Group < 8 || fixedGroups[t.Method.Format] != 0)
	}, "of gptq is shared by groups of several sizes: it needs a format that has them, and groups of 8 or more"},
	{"budget", func(t *Trial) bool { return t.Method.Budget != "" && t.Method.AWQ }, "needs awq: false: scores are those of an unscaled residual"},
	{"budget", func(t *Trial) bool {
		return t.Method.Budget != "" && (t.Method.Criterion == "greedy" || t.Method.Criterion == "oracle")
	}, "needs a criterion whose scores do not depend on the blocks taken, not greedy or oracle"},
	{"awq", func(t *Trial) bool { return t.Method.AWQ && t.Method.Budget != "" }, "does not go with a shared budget, which compares layers before their channels are scaled"},
	{"calibration.tokens", func(t *Trial) bool { return t.Calibration.Tokens < t.Calibration.Context }, "is less than one sequence of calibration.context tokens"},
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
// "protocol.context": "256". A model without stress has no axes of it.
func (t *Trial) Axes() map[string]string {
	m := map[string]string{}
	for _, k := range keys {
		if k.matters(t) && !(k.section == "stress" && !stressed(t)) {
			m[k.axis()] = k.kind.write(k.get(t))
		}
	}
	return m
}

// Labels of values.

func printed(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case float64:
		return share(0, 0).write(v)
	case uint64:
		return seed.write(v)
	case Block:
		return v.String()
	}
	return integer(0, 0).write(v)
}

func prefix(p string, next func(any) string) func(any) string {
	if next == nil {
		next = printed
	}
	return func(v any) string { return p + next(v) }
}

func suffix(s string) func(any) string { return func(v any) string { return printed(v) + s } }

func either(yes, no string) func(any) string {
	return func(v any) string {
		if v.(bool) {
			return yes
		}
		return no
	}
}

func asPercent(v any) string { return percentage(v.(float64)) }

// base is the last part of a reference: builtin:tiny-llama3 is tiny-llama3.
func base(v any) string {
	s := v.(string)
	return path.Base(strings.ReplaceAll(s[strings.Index(s, ":")+1:], `\`, "/"))
}

func groupLabel(v any) string {
	if v == 0 {
		return "per-row"
	}
	return "g" + printed(v)
}

func methodLabel(v any) string {
	if v == "none" {
		return "16-bit"
	}
	return v.(string)
}
