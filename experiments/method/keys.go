package method

import (
	"fmt"
	"strings"

	"github.com/mosaicquant/mosaicquant/experiments/kinds"
	"github.com/mosaicquant/mosaicquant/quant"
	"github.com/mosaicquant/mosaicquant/quant/grid"
)

// Keys that several methods share.

func always(v any) func(Settings) any { return func(Settings) any { return v } }

func gptqBase(s Settings) bool { return s.Word("base") == "" || s.Word("base") == "gptq" }

// Formats are integer grids, bits and "a" for affine (a stored zero) in place of
// symmetric or "b" for SpQR's grid of two levels, and the others of quant.Kind.
var Formats = []string{"int4", "int4a", "int2", "int2a", "int3", "int3a",
	"int5", "int5a", "int6", "int6a", "int8", "int8a",
	"int3b", "int4b", "nf4", "nf4dq", "fp4", "bnbfp4", "mxfp4", "nvfp4", "any4",
	"mxint4", "nvint4", "seq4", "qoq4", "mxint8", "mxfp8", "fp8", "fp6", "fp6e2m3", "intscale4",
	"any3", "any2", "power4", "fireq4", "sdr4", "hqq4", "if4", "mxfp6", "mxfp6e2m3", "fp8e5m2"}

// formatsWith joins the names of the formats that have a property.
func formatsWith(property func(quant.Format) bool) string {
	var list []string
	for _, name := range Formats {
		if property(named(name)) {
			list = append(list, name)
		}
	}
	return strings.Join(list, ", ")
}

// named returns the format of that name, with groups that it may not have: they are
// another key.
func named(name string) quant.Format {
	f, _ := quant.ParseFormat(name, 0)
	return f
}

// kind returns the format of the dense base without its groups.
func (s Settings) kind() quant.Format { return named(s.Word("format")) }

var smoothing = &Key{Name: "smoothing", Kind: kinds.Share(0, 1), Default: always(0.0), ForInputs: true,
	Means: "SmoothQuant's alpha: how much of the activations' range moves into the weights; 0 is none",
	Needs: "a quantizer, or activations a8 or a4", Label: kinds.Prefix("smooth", nil), Quiet: true}

var smoothingSearch = &Key{Name: "smoothing_search",
	Kind: kinds.DefaultWord(false, "none", "alpha", "global", "threshold"), Default: always(""), ForInputs: true,
	Means: "Finds what smoothing fixes by the error of rounded inputs and weights: an alpha for each input of layers, " +
		"one for the model (SmoothQuant+'s), or for each input a threshold above which channels are scaled down to it " +
		"(OS+'s)",
	Applies: func(s Settings) bool { return s.Float("smoothing") == 0 }, Needs: "smoothing 0",
	Label: kinds.Prefix("smooth-", nil), Quiet: true}

var smoothingSites = &Key{Name: "smoothing_sites", Kind: kinds.Word("all", "norms"),
	Default: always("all"), ForInputs: true,
	Means:   "Layers that are smoothed: all, or those that read a norm",
	Applies: Settings.Smooths, Needs: "smoothing above 0, or smoothing_search",
	Label: kinds.Prefix("", kinds.Suffix("-only")), Quiet: true}

// LMHead is the name of the key that quantizes the output layer, too.
const LMHead = "lm_head"

var lmHead = &Key{Name: LMHead, Kind: kinds.Boolean, Default: always(false),
	Means: "Quantizes the output layer, too, and counts it among the quantized layers. Where it is the embedding " +
		"(tied), the embedding stays in 16 bits, and the output layer becomes a quantized copy",
	Label: kinds.Either("lm_head", "no-lm_head"), Quiet: true}

var base = &Key{Name: "base", Kind: kinds.Word("rtn", "gptq"), Default: always("rtn"),
	Means: "How the dense base is quantized", Label: kinds.Prefix("", nil)}

// format returns the key of the base's format.
func format(fallback string) *Key {
	return &Key{Name: "format", Kind: kinds.Word(Formats...), Default: always(fallback),
		Means: "Format of the dense base; see the list of formats", Label: kinds.Prefix("", nil), Quiet: true}
}

// group returns the key of the group size, which falls back to that of the
// format, or else of the method's paper.
func group(fallback int) *Key {
	return &Key{Name: "group", Kind: kinds.GroupSize, Means: "Weights along K that share a scale",
		Defaults: "that of the format or of the method's paper; else 128", Label: kinds.GroupLabel,
		Default: func(s Settings) any {
			f := s.kind()
			if g := f.Kind.FixedGroup(); g > 0 {
				return g
			}
			if twoLevels(f) {
				return 16 // as SpQR has it
			}
			return fallback
		}}
}

var scale = &Key{Name: "scale", Kind: kinds.Word("absmax", "mse", "hessian", "clip", "ceil", "foursix"),
	Default: always("absmax"),
	Means: "How a scale is found: from the largest weight, by a search for the least error (`mse`), error weighted by h " +
		"(`hessian`) or output error (`clip`, AWQ's), or a rule of a format (`ceil` of those whose names begin with mx, " +
		"`foursix` of nvfp4)",
	Label: kinds.Prefix("", nil), Quiet: true}

var restarts = &Key{Name: "restarts", Kind: kinds.Integer(0, 100), Default: always(0),
	Means:   "Further starts of k-means for the tables of any4, any3 and any2, of which the best counts",
	Applies: func(s Settings) bool { return kmeansTables(s.kind()) }, Needs: "format any4, any3 or any2",
	Label: kinds.Prefix("restarts", nil), Quiet: true}

// kmeansTables says that the levels of f are found by k-means.
func kmeansTables(f quant.Format) bool { return f.Kind == quant.Any4 || f.Kind == quant.AnyFew }

var order = &Key{Name: "order", Kind: kinds.Word("act", "natural"), Default: always("act"),
	Means:   "Order of GPTQ's columns: by descending h, or as they stand",
	Applies: gptqBase, Needs: "base gptq", Label: kinds.Prefix("", kinds.Suffix("-order")), Quiet: true}

var groups = &Key{Name: "groups", Kind: kinds.Word("static", "dynamic"), Default: always("static"),
	Means:   "Scales of GPTQ: found before the column loop, or when the loop reaches the group",
	Applies: gptqBase, Needs: "base gptq", Label: kinds.Prefix("", nil), Quiet: true}

var damp = &Key{Name: "damp", Kind: kinds.Share(0, 10), Default: always(0.01),
	Means:   "GPTQ's damping of H, as a share of the mean of its diagonal",
	Applies: gptqBase, Needs: "base gptq", Label: kinds.Prefix("damp", nil), Quiet: true}

var awq = &Key{Name: "awq", Kind: kinds.Boolean, Default: always(false),
	Means: "Scales channels by AWQ's search before the method runs", Label: kinds.Either("awq", "unscaled"), Quiet: true}

// threshold returns the key of what LLM.int8() and SpQR compare with.
func threshold(fallback float64) *Key {
	return &Key{Name: "threshold", Kind: kinds.Share(0, 1e6), Default: always(fallback),
		Means: "SpQR: sensitivity from which a weight is an outlier, 0 for a share in its place. LLM.int8(): input from " +
			"which a channel stays in 16 bits",
		Label: kinds.Prefix("threshold", nil), Quiet: true}
}

var columns = &Key{Name: "columns", Kind: kinds.Percent(0, 0.9),
	Means: "Share of channels kept in 16 bits (quik) or 8 bits (atom)", Label: kinds.AsPercent}

var budget = &Key{Name: "budget", Kind: kinds.DefaultWord(true, "layer", "global", "relative"), Default: always(""),
	Means: "Who shares the budget of blocks (mosaic) or bytes of scales (gptq): each layer its own, or all " +
		"layers one, by gain or by gain relative to the layer's output",
	Label: kinds.Prefix("", kinds.Suffix("-budget")), Quiet: true}

var refine = &Key{Name: "refine", Kind: kinds.Integer(0, 100), Default: always(0),
	Means:   "Rounds of coordinate descent over codes and scales, after GPTQ or a joint residual",
	Applies: func(s Settings) bool { return s.Name() == "gptq" || s.Bool("joint") },
	Needs:   "method gptq or joint: true", Label: kinds.Prefix("refine", nil), Quiet: true}

// twoLevels says that scales of f are codes themselves.
func twoLevels(f quant.Format) bool { return f.SharedRows() > 1 }

// noGroups refuse groups that are not those of a format which prescribes them.
func noGroups() (rules []Rule) {
	for _, name := range Formats {
		size := named(name).Kind.FixedGroup()
		if size > 0 {
			rules = append(rules, Rule{"group",
				func(s Settings) bool { return s.Word("format") == name && s.Int("group") != size },
				fmt.Sprintf("is no group of %s, which has %d", name, size)})
		}
	}
	return rules
}

// ownScale refuses a rule of scales for formats that it does not belong to.
func ownScale(rule grid.ScaleRule) Rule {
	return Rule{"scale",
		func(s Settings) bool { return s.Word("scale") == string(rule) && grid.Own(s.kind()) != rule },
		"is a rule of " + formatsWith(func(f quant.Format) bool { return grid.Own(f) == rule }) + " alone"}
}

// baseRules hold for every method with a dense base.
var baseRules = append(noGroups(),
	ownScale(grid.Ceil), ownScale(grid.FourOverSix),
	Rule{"scale", func(s Settings) bool { return s.Word("scale") == string(grid.SearchClip) && grid.RowLevels(s.kind()) },
		"does not exist for " + formatsWith(grid.RowLevels) + ", whose table is learned"},
	Rule{"scale", func(s Settings) bool { return s.Word("scale") != string(grid.AbsMax) && grid.Fixed(s.kind()) },
		"does not exist for " + formatsWith(grid.Fixed) + ", which have a rule of their own"},
	Rule{"groups", func(s Settings) bool {
		return s.Word("groups") == "dynamic" && (s.Word("scale") == string(grid.SearchClip) || grid.Together(s.kind()))
	}, "groups are not possible with " + formatsWith(grid.Together) +
		" and scale: clip, whose grids are found beforehand"},
	Rule{"groups", func(s Settings) bool { return s.Word("groups") == "dynamic" && s.Word("order") == "act" },
		"groups need order: natural, in which the columns of a group follow each other"},
)
