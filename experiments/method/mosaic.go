package method

import (
	"fmt"
	"math"
	"slices"

	"github.com/mosaicquant/mosaicquant/experiments/kinds"
	"github.com/mosaicquant/mosaicquant/quant"
	"github.com/mosaicquant/mosaicquant/quant/mosaic"
)

var mosaicQuant = &Method{
	Name:    "mosaic",
	Summary: "A dense base, and a sparse residual on the blocks whose error hurts the output most",
	Source:  "arXiv:2606.15652",
	Look:    Look{Color: "#d55e00", Marker: "diamond", Last: true},
	Variants: []Variant{
		{"mosaic on rtn", Look{Color: "#e69f00", Marker: "diamond"}},
		{"mosaic on gptq", Look{Color: "#d55e00", Marker: "star"}},
	},
	Keys: []*Key{smoothing, smoothingSearch, smoothingSites, base, format("int4"), group(128), scale, order, groups,
		damp, awq,
		{Name: "density", Kind: kinds.Percent(0, 1), Means: "Share of blocks that get a residual", Label: kinds.AsPercent},
		{Name: "block", Kind: kinds.BlockShape, Default: always(kinds.Block{Rows: 16, Cols: 64}),
			Means: "Shape of a residual block: outputs x inputs of W", Label: kinds.Prefix("", nil)},
		{Name: "criterion", Default: always("delta"), Label: kinds.Prefix("", nil),
			Means: "How blocks are ranked; see the glossary",
			Kind:  kinds.Word("random", "weight", "error", "diag", "delta", "full", "greedy", "relief", "oracle")},
		budget,
		{Name: "residual_bits", Kind: kinds.Integer(2, 4), Default: always(4),
			Means: "Bits of a residual code", Label: kinds.Prefix("r", nil), Quiet: true},
		{Name: "residual_scale", Default: always("block"),
			Kind: kinds.Renamed("base", "tied", "block", "row", "tied", "half"), // rows and identities say base
			Means: "Scale of a residual: one for a block, one for each row of a block, tied to the scale of the base, " +
				"which stores none (`base` is the older word), or tied by a whole number of half steps, which kernels add " +
				"to the codes of an integer base (`half`)",
			Label: residualScaleLabel, Quiet: true},
		{Name: "index", Kind: kinds.DefaultWord(true, "rows", "bitmap", "exact", "gaps"), Default: always(""),
			Means: "How places of kept blocks are stored: block sparse rows, a bit for every block, 4 bits for each gap " +
				"between kept ones (`gaps`), or 4 bits for each kept block where every 16 blocks of a row keep just as many " +
				"(`exact`, of which `density` is a whole number)",
			Label: kinds.Prefix("", nil), Quiet: true},
		{Name: "joint", Kind: kinds.Boolean, Default: always(false), Applies: gptqBase, Needs: "base gptq",
			Means: "Whether base and residual are quantized together, in GPTQ's column loop",
			Label: kinds.Either("joint", "separate"), Quiet: true},
		{Name: "pairs", Kind: pairs, Default: always("all"), Applies: func(s Settings) bool { return s.Bool("joint") },
			Needs: "joint: true",
			Means: "Codes of base and residual that a joint residual tries together: all pairs, or those near the weight",
			Label: func(v any) string { return pairs.Write(v) + "-pairs" }, Quiet: true},
		refine, lmHead},
	Rules: slices.Concat([]Rule{
		{"criterion", func(s Settings) bool {
			return s.Bool("joint") && slices.Contains([]string{"full", "greedy", "oracle"}, s.Word("criterion"))
		}, "has no meaning with joint: true, where losses add up without cross terms; delta says it all"},
		{"groups", func(s Settings) bool { return s.Bool("joint") && s.Word("groups") == "dynamic" },
			"groups are not possible with joint: true, whose blocks are chosen before the column loop"},
	}, baseRules, []Rule{
		{"criterion", func(s Settings) bool { return s.Word("criterion") == "relief" && !s.Bool("joint") },
			"needs joint: true"},
	}, halfSteps, exactIndex, awqBudget[:1], []Rule{
		{"budget", func(s Settings) bool {
			return s.Word("budget") != "" && (s.Word("criterion") == "greedy" || s.Word("criterion") == "oracle")
		}, "needs a criterion whose scores do not depend on the blocks taken, not greedy or oracle"},
	}, awqBudget[1:]),
	Build: func(s Settings) (quant.Quantizer, error) {
		block := s.Block("block")
		blocks := mosaic.Blocks{BlockRows: block.Rows, BlockCols: block.Cols, Density: s.Float("density"),
			Bits: s.Int("residual_bits"), ResidualScale: residualScales[s.Word("residual_scale")],
			Index: indices[s.Word("index")]}
		if s.Bool("joint") {
			c, err := criterion(mosaic.JointCriteria, s)
			if err != nil {
				return nil, err
			}
			base, err := s.gptq()
			return mosaic.Joint{Format: base.Format, Scale: base.Scale, Damping: base.Damping, ActOrder: base.ActOrder,
				Blocks: blocks, Criterion: c, AllPairs: s.Word("pairs") == "all", Refine: s.Int("refine")}, err
		}
		c, err := criterion(mosaic.Criteria, s)
		if err != nil {
			return nil, err
		}
		base, err := s.base()
		return mosaic.Mosaic{Base: base, Blocks: blocks, Criterion: c}, err
	},
	Parts: func(s Settings, f *quant.Form) {
		if s.Float("density") > 0 {
			b := s.Block("block")
			f.Residual = &quant.ResidualForm{BlockRows: b.Rows, BlockCols: b.Cols, Bits: s.Int("residual_bits"),
				RowScales: s.Word("residual_scale") == "row", HalfSteps: s.Word("residual_scale") == "half",
				Index: indices[s.Word("index")]}
			f.Residual.BaseScales = s.Word("residual_scale") == "base" || f.Residual.HalfSteps
			if f.Residual.Index == quant.IndexExact {
				f.Residual.PerSegment = int(math.Round(s.Float("density") * quant.SegmentBlocks))
			}
		}
	},
	Cost: func(s Settings) Cost {
		c := Cost{Loop: s.Word("base") == "gptq", Refine: float64(s.Int("refine")), Scored: true, Copies: 8}
		switch s.Word("criterion") {
		case "greedy":
			c.Greedy, c.Squares = s.Float("density"), 4
		case "oracle":
			c.Greedy, c.Squares = s.Float("density"), 4+8 // H in float32, H of the evaluated text
		case "full":
			c.Squares = 4
		}
		if s.Word("budget") != "" {
			c.Again = 1 // scores
		}
		if s.Bool("joint") {
			c.Refine *= slowRound
			c.Tries = 28 // pairs of codes, and a run without residual
			if s.Word("criterion") == "relief" {
				c.Tries = 80
			}
			if scale := s.Word("residual_scale"); scale == "base" || scale == "half" {
				c.Sampled = ratioTries(s)
			}
		}
		return c
	},
}

// residualScales are the values of the key residual_scale.
var residualScales = map[string]mosaic.ResidualScale{"block": mosaic.PerBlock, "row": mosaic.PerRow,
	"base": mosaic.Tied, "half": mosaic.HalfSteps}

// indices are the values of the key index.
var indices = map[string]quant.Index{"": quant.IndexRows, "bitmap": quant.IndexBitmap, "exact": quant.IndexExact,
	"gaps": quant.IndexGaps}

// halfSteps refuse what cannot ride in the codes of a base; see package zipper.
var halfSteps = []Rule{
	{"residual_scale", func(s Settings) bool {
		return s.Word("residual_scale") == "half" && !rides(s.kind())
	}, "needs a format of integers of up to 4 bits: " + formatsWith(rides)},
	{"residual_scale", func(s Settings) bool { return s.Word("residual_scale") == "half" && s.Int("residual_bits") != 2 },
		"needs residual_bits: 2"},
	{"residual_scale", func(s Settings) bool { return s.Word("residual_scale") == "half" && s.Block("block").Cols%8 != 0 },
		"needs blocks of a multiple of 8 columns"},
	{"residual_scale", func(s Settings) bool { return s.Word("residual_scale") == "half" && s.Int("group")%8 != 0 },
		"needs groups of a multiple of 8 columns, or of a row"},
}

// rides says that codes of f are whole numbers that a half step can be added to.
func rides(f quant.Format) bool {
	return f.Bits <= 4 && (f.Kind == quant.Integer || f.Kind == quant.Bilevel)
}

// exactIndex are the rules of index: exact, which keeps the same number of blocks in each segment.
var exactIndex = []Rule{
	{"index", func(s Settings) bool {
		k := s.Float("density") * quant.SegmentBlocks
		return s.Word("index") == "exact" && (k < .5 || math.Abs(k-math.Round(k)) > 1e-9)
	}, "needs a density of a whole number of 16 blocks: 6.25%, 12.5%, 18.75% ..."},
	{"index", func(s Settings) bool { return s.Word("index") == "exact" && s.Word("budget") != "" },
		"keeps as many blocks in all layers, and has no budget to share"},
	{"index", func(s Settings) bool {
		return s.Word("index") == "exact" && (s.Word("criterion") == "greedy" || s.Word("criterion") == "oracle")
	}, "needs a criterion whose scores do not depend on the blocks taken, not greedy or oracle"},
}

// criterion returns the one that s names, of those of one way to quantize.
func criterion[C fmt.Stringer](of []C, s Settings) (c C, err error) {
	for _, c := range of {
		if c.String() == s.Word("criterion") {
			return c, nil
		}
	}
	return c, fmt.Errorf("mosaic with joint: %t has no criterion %q", s.Bool("joint"), s.Word("criterion"))
}

// ratioTries is how often a joint residual tied to the base rounds a weight of its
// sample of 8192 until it has its ratio: candidates, times the scales that a group
// tries with each.
func ratioTries(s Settings) float64 {
	candidates, scales := 36*float64(int(1)<<s.Int("residual_bits")-1), 10.0
	if s.Word("residual_scale") == "half" {
		candidates = quant.MaxHalfSteps
	}
	if twoLevels(s.kind()) {
		scales = 150 // 64, in two levels
	}
	return 8192 * candidates * scales
}

// pairs says how a joint residual finds the codes of base and residual: the best
// of all pairs, or of near ones, which is the empty string inside.
var pairs = kinds.DefaultWord(true, "near", "all")

// residualScaleLabel writes "tied", "half-steps", "row-scale", "block-scale".
func residualScaleLabel(v any) string {
	switch v {
	case "base":
		return "tied"
	case "half":
		return "half-steps"
	}
	return v.(string) + "-scale"
}
