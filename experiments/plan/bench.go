package plan

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/mosaicquant/mosaicquant/experiments/kinds"
	"github.com/mosaicquant/mosaicquant/internal/variants"
)

// Bench is a validated bench file.
type Bench struct {
	Name     string
	Question string // as a Sweep's
	// Engine is cpu, cuda or auto, the best one there is.
	Engine      string
	Products    []Product
	Generations []Generation

	opening string
	root    *yaml.Node
}

// Schemes are what bench files may name. A scheme says what the 4-bit weights meet:
// w4a16 floats, w4a8 int8 per token, w4a4 int4 per 128 channels.
var Schemes = []string{"w4a8", "w4a16", "w4a4"}

// Layout is the form of a matrix that is executed in Variants of package variants.
type Layout struct {
	Scheme   string  `json:"scheme"`
	Group    int     `json:"group,omitempty"`
	Density  float64 `json:"density"`             // of the residual
	Block    Block   `json:"block,omitzero"`      // zero at density 0, as RowScales
	RowScale bool    `json:"row_scale,omitempty"` // each row of a block has a scale
	Outliers float64 `json:"outliers,omitempty"`  // share of weights of outlier16; 0: as many bytes as the residual
	// HalfSteps says that the residual has 2-bit codes and is tied to the base's scales by a
	// whole number of half steps; Index how its places are stored: bitmap, exact or, empty, rows.
	HalfSteps bool     `json:"half_steps,omitempty"`
	Index     string   `json:"index,omitempty"`
	Variants  []string `json:"variants"`
}

// Product is a matrix product whose Variants are measured in turns.
type Product struct {
	Model  string `json:"model,omitempty"`
	Layer  string `json:"layer,omitempty"`
	N      int    `json:"n"`
	K      int    `json:"k"`
	Tokens int    `json:"tokens"` // M
	Layout
	Timing
}

// Shape returns the layer of p.
func (p *Product) Shape() Shape { return Shape{p.Model, p.Layer, p.N, p.K} }

// Generation is a model that reads a prompt and generates, in every variant.
type Generation struct {
	Model  string `json:"model"`           // as a sweep's, or random:ARCHITECTURE
	Prompt int    `json:"prompt"`          // tokens
	Tokens int    `json:"tokens"`          // generated
	Batch  int    `json:"batch,omitempty"` // copies that go on together; 0 is one
	// Checkpoint is the method of a packed checkpoint, whose codes are run in place of random
	// ones: Layout is then that of the checkpoint, not of the file.
	Checkpoint string `json:"checkpoint,omitempty"`
	Layout
	Timing
}

// Copies is how many sequences go on together.
func (g *Generation) Copies() int { return max(1, g.Batch) }

// Timing is how to measure.
type Timing struct {
	Repeats int `json:"repeats"`
	// Resolution is how wide the intervals of ratios may be, as a share of them to either side;
	// there are more repeats until they are so, up to MostRepeats times as many. 0: just Repeats.
	Resolution float64 `json:"resolution,omitempty"`
	Cache      string  `json:"cache,omitempty"` // flush, rotate or warm; of products
	Seed       uint64  `json:"seed"`            // of weights and activations
}

// MostRepeats is how many times the repeats that were asked for a resolution may take.
const MostRepeats = 10

// What keys mean that bench files and the speed section of sweep files share.
const (
	shapesMean  = "Layers to time: a size, all layers of a model, or one of them"
	tokensMean  = "Rows of the activations: tokens that go through the layer at once"
	engineMeans = "What runs the products: the CPU, an NVIDIA GPU, or the best one there is"
)

func timingKeys(repeats int) []*key {
	return []*key{
		{name: "repeats", kind: kinds.Integer(3, 10000), fallback: always(repeats),
			means: "How often each variant is timed; the median counts"},
		{name: "cache", kind: kinds.Word("flush", "rotate", "warm"), fallback: always("flush"),
			means: "What the last-level cache holds when a product starts: nothing of it (`flush`), another " +
				"copy of the weights (`rotate`), or the weights (`warm`)"},
		{name: "seed", kind: kinds.Seed, fallback: always(uint64(1)), means: "Seed that draws weights and activations"},
		{name: "resolution", kind: kinds.Percent(0, 0.5), fallback: always(0.0),
			means: "Repeat until the 95 % interval of every ratio reaches no farther than this from the median, " +
				"at most ten times as often; 0 is `repeats` alone"},
	}
}

// The keys of the file and of its entries, as those of a sweep in keys.go.
var (
	benchKeys = append([]*key{
		{name: "engine", kind: kinds.Word("auto", "cpu", "cuda"), fallback: always("auto"), means: engineMeans},
	}, timingKeys(15)...)
	productKeys = append([]*key{
		{name: "shapes", kind: shapes, means: shapesMean},
		{name: "tokens", kind: kinds.Integer(1, 1<<16), fallback: always(1), means: tokensMean},
	}, layoutKeys...)
	generateKeys = append([]*key{
		{name: "model", kind: kinds.Text,
			means: "As in a sweep file, or `random:ARCHITECTURE` for random weights of that shape"},
		{name: "prompt", kind: kinds.Integer(1, 1<<16), fallback: always(128), means: "Tokens of the prompt"},
		{name: "tokens", kind: kinds.Integer(1, 1<<16), fallback: always(32), means: "Tokens to generate"},
		{name: "repeats", kind: kinds.Integer(3, 10000), fallback: always(3),
			means: "How often each variant is timed; the median counts"},
		{name: "batch", kind: kinds.Integer(1, 1024), fallback: always(1),
			means: "Copies of the prompt that are continued together"},
	}, layoutKeys...)
	layoutKeys = []*key{
		{name: "scheme", kind: kinds.Word(Schemes...), fallback: always("w4a8"),
			means: "What the 4-bit weights are multiplied with: 8-bit, 16-bit or 4-bit activations"},
		{name: "group", kind: kinds.GroupSize, fallback: always(128), means: "Weights along K that share a scale"},
		{name: "density", kind: kinds.Percent(0, 1), fallback: always(0.1), means: "Share of blocks that have a residual"},
		{name: "block", kind: kinds.BlockShape, fallback: always(Block{Rows: 16, Cols: 64}),
			means: "Shape of a residual block: outputs x inputs of W"},
		{name: "residual_scale", kind: kinds.Word("block", "row", "half"), fallback: always("block"),
			means: "Scale of a residual: one for a block, one for each row of a block, or that of the base, " +
				"times a whole number of half steps (`half`, codes of 2 bits)"},
		{name: "index", kind: kinds.Word("rows", "bitmap", "exact"), fallback: always("rows"),
			means: "How places of blocks are stored that have `residual_scale: half`, as in a sweep file"},
		{name: "outliers", kind: kinds.Percent(0, 0.5), fallback: always(0.0),
			means: "Share of weights that `outlier16` keeps in 16 bits; 0 is as many as take the bytes of the residual"},
		{name: "variants", kind: kinds.Word(variants.All...), // a list that is not swept
			means: "What to time: 16-bit weights; the 4-bit base alone; base, then residual; base and 16-bit outliers; " +
				"base and residual in one stream"},
	}
)

// ParseBench reads a bench file; errors and assignments are as those of Parse.
func ParseBench(name string, data []byte, assignments ...string) (*Bench, error) {
	return ParseBenchWith(nil, name, data, assignments...)
}

// ParseBenchWith is ParseBench for a file that may include others, which read returns.
func ParseBenchWith(read Files, name string, data []byte, assignments ...string) (*Bench, error) {
	p := &parser{file: name, bad: map[string]bool{}, assigned: assignments, read: read}
	b := p.bench(data)
	if err := p.err(); err != nil {
		return nil, err
	}
	b.opening = opening(data)
	b.Question = prose(b.opening)
	return b, nil
}

func (p *parser) bench(data []byte) *Bench {
	root := p.root(data)
	if root == nil {
		return nil
	}
	b := &Bench{root: &yaml.Node{Kind: yaml.MappingNode}}
	fields := p.mapping(root, "", append(names(benchKeys), "name", "products", "generate"))
	b.Name = p.name(root, fields["name"])
	add(b.root, "name", scalar("!!str", b.Name))
	top := p.benchEntry(root, fields, "", benchKeys, b.root)
	if len(p.errs) > 0 {
		return nil
	}
	for _, k := range []string{"engine", "repeats", "resolution", "cache", "seed"} {
		if len(top.setting(k).values) > 1 {
			p.errorf(top.setting(k).line, k, "is a list; it is one for the whole file")
			return nil
		}
	}
	b.Engine = top.setting("engine").values[0].(string)
	timing := Timing{Repeats: top.setting("repeats").values[0].(int), Resolution: top.setting("resolution").values[0].(float64),
		Cache: top.setting("cache").values[0].(string), Seed: top.setting("seed").values[0].(uint64)}
	if fields["products"].value == nil && fields["generate"].value == nil {
		p.errorf(root.Line, "products", "is missing, and generate too: there is nothing to measure")
	}
	p.benchList(b, fields, "products", productKeys, func(e *entry, c []chosen) {
		all, err := ShapesOf(value(c, "shapes").(string))
		if err != nil {
			panic("plan: " + err.Error()) // the kind has checked it
		}
		for _, s := range all {
			t := Product{Model: s.Model, Layer: s.Layer, N: s.N, K: s.K, Tokens: value(c, "tokens").(int),
				Layout: layout(e, c), Timing: timing}
			if err := t.Layout.check(); err != nil {
				p.errorf(e.line, e.path, "%v", err)
				return
			}
			if t.Group > 0 && t.K%t.Group != 0 {
				p.errorf(e.line, join(e.path, "group"), "%d does not divide the %d columns of %s", t.Group, t.K, s)
				return
			}
			if !slices.ContainsFunc(b.Products, func(o Product) bool { return fmt.Sprint(o) == fmt.Sprint(t) }) {
				b.Products = append(b.Products, t)
			}
		}
	})
	p.benchList(b, fields, "generate", generateKeys, func(e *entry, c []chosen) {
		t := Generation{Model: value(c, "model").(string), Prompt: value(c, "prompt").(int),
			Tokens: value(c, "tokens").(int), Layout: layout(e, c), Timing: timing}
		t.Repeats, t.Cache = value(c, "repeats").(int), ""
		if t.Batch = value(c, "batch").(int); t.Batch == 1 {
			t.Batch = 0
		}
		t.Resolution = 0 // of products
		if err := t.Layout.check(); err != nil {
			p.errorf(e.line, e.path, "%v", err)
			return
		}
		if name, ok := strings.CutPrefix(t.Model, RandomPrefix); ok {
			if _, known := ArchitectureOf(name); !known {
				p.errorf(e.line, join(e.path, "model"), "%q: unknown architecture", t.Model)
				return
			}
		}
		if !slices.ContainsFunc(b.Generations, func(o Generation) bool { return fmt.Sprint(o) == fmt.Sprint(t) }) {
			b.Generations = append(b.Generations, t)
		}
	})
	return b
}

// RandomPrefix begins a model of random weights, with the name of its architecture.
const RandomPrefix = "random:"

// layout returns what products and generations have in common.
func layout(e *entry, c []chosen) Layout {
	l := Layout{Scheme: value(c, "scheme").(string), Group: value(c, "group").(int),
		Density: value(c, "density").(float64), Outliers: value(c, "outliers").(float64)}
	if l.Density > 0 {
		l.Block, l.RowScale = value(c, "block").(Block), value(c, "residual_scale") == "row"
		l.HalfSteps = value(c, "residual_scale") == "half"
		if l.Index = value(c, "index").(string); l.Index == "rows" {
			l.Index = ""
		}
	}
	for _, v := range e.setting("variants").values {
		l.Variants = append(l.Variants, v.(string))
	}
	return l
}

// check reports a residual that no quantizer stores.
func (l *Layout) check() error {
	const segment = 16 // quant.SegmentBlocks
	switch kept := segment * l.Density; {
	case l.Index != "" && !l.HalfSteps:
		return fmt.Errorf("index: %s: goes with residual_scale: half", l.Index)
	case l.HalfSteps && (l.Block.Cols%8 != 0 || l.Group%8 != 0):
		return fmt.Errorf("residual_scale: half: blocks of %s and groups of %d: want a multiple of 8 columns", l.Block, l.Group)
	case l.Index == "exact" && (l.Block != Block{Rows: 1, Cols: 8} || kept != math.Round(kept)):
		return fmt.Errorf("index: exact: wants blocks 1x8 and a density of a whole number of 16 blocks, not %s at %g%%",
			l.Block, 100*l.Density)
	}
	return nil
}

// benchList reads the entries of a section and calls f for every combination.
func (p *parser) benchList(b *Bench, fields map[string]field, name string, ks []*key, f func(e *entry, c []chosen)) {
	n := fields[name].value
	if n == nil {
		return
	}
	if n.Kind != yaml.SequenceNode || len(n.Content) == 0 {
		p.errorf(n.Line, name, "%s is not a list of entries", kinds.Show(n))
		return
	}
	list := &yaml.Node{Kind: yaml.SequenceNode}
	add(b.root, name, list)
	for i, c := range n.Content {
		path := fmt.Sprintf("%s[%d]", name, i)
		out := &yaml.Node{Kind: yaml.MappingNode, Style: yaml.FlowStyle}
		list.Content = append(list.Content, out)
		before := len(p.errs)
		e := p.benchEntry(c, p.mapping(c, path, names(ks)), path, ks, out)
		if len(p.errs) > before {
			continue
		}
		swept := &entry{line: e.line, path: e.path}
		for _, s := range e.settings {
			if s.key.name != "variants" {
				swept.settings = append(swept.settings, s)
			}
		}
		if swept.combinations() > maxCombinations {
			p.errorf(e.line, path, "more than %d combinations", maxCombinations)
			continue
		}
		swept.each(func(c []chosen) { f(e, c) })
	}
}

// benchEntry reads the settings ks with their defaults, and writes them to out.
func (p *parser) benchEntry(n *yaml.Node, fields map[string]field, path string, ks []*key, out *yaml.Node) *entry {
	e := &entry{line: n.Line, path: path, settings: p.settings(fields, n, path, ks)}
	var all []*setting
	for _, k := range ks {
		s := e.setting(k.name)
		if s == nil && k.fallback != nil {
			s = &setting{key: k, values: []any{k.fallback(nil)}, line: n.Line, path: join(path, k.name)}
		}
		if s == nil {
			continue // reported by settings
		}
		all = append(all, s)
		add(out, k.name, s.node())
	}
	e.settings = all
	return e
}

func (e *entry) setting(name string) *setting {
	for _, s := range e.settings {
		if s.key.name == name {
			return s
		}
	}
	return nil
}

func value(c []chosen, name string) any {
	for _, v := range c {
		if v.key.name == name {
			return v.value
		}
	}
	panic("plan: no setting " + name)
}

// YAML returns the bench with every default written out, under its question.
func (b *Bench) YAML() ([]byte, error) {
	var buf bytes.Buffer
	buf.WriteString(comment(b.opening))
	enc := yaml.NewEncoder(&buf)
	enc.SetIndent(2)
	if err := enc.Encode(b.root); err != nil {
		return nil, err
	}
	return buf.Bytes(), enc.Close()
}
