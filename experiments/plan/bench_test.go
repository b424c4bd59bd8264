package plan

import (
	"reflect"
	"strings"
	"testing"

	"github.com/mosaicquant/mosaicquant/internal/variants"
)

// benchAgain checks that the resolved form of a bench file means the same.
func benchAgain(t *testing.T, path string, data []byte) {
	t.Helper()
	b, err := ParseBench(path, data)
	if err != nil {
		t.Error(err)
		return
	}
	text, err := b.YAML()
	if err != nil {
		t.Fatal(err)
	}
	b2, err := ParseBench("again.yaml", text)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if b.Name != b2.Name || b.Engine != b2.Engine || !reflect.DeepEqual(b.Products, b2.Products) || !reflect.DeepEqual(b.Generations, b2.Generations) {
		t.Errorf("the resolved file means something else:\n%+v\n%+v", b, b2)
	}
}

func TestParseBench(t *testing.T) {
	b, err := ParseBench("b.yaml", []byte(`
name: b
repeats: 7
products:
  - {shapes: [llama3-8b, 16x256], tokens: [1, 4], density: [0, 10%], block: [16x64, 1x128], variants: [dense4, zipper]}
  - {shapes: llama3-8b/down, variants: [dense4, zipper]}
generate:
  - {model: random:qwen3-0.6b, variants: w16a16, group: row}
`))
	if err != nil {
		t.Fatal(err)
	}
	// 5 shapes x 2 tokens x (density 0, which has no block, and 10 % with two);
	// llama3-8b/down at the defaults is among them.
	if len(b.Products) != 30 || b.Engine != "auto" {
		t.Errorf("%d products, engine %s", len(b.Products), b.Engine)
	}
	first, last := b.Products[0], b.Products[29]
	if want := (Product{Model: "llama3-8b", Layer: "qkv", N: 6144, K: 4096, Tokens: 1,
		Layout: Layout{Scheme: "w4a8", Group: 128, Variants: []string{variants.Dense4, variants.Zipper}}, Timing: Timing{Repeats: 7, Cache: "flush", Seed: 1}}); !reflect.DeepEqual(first, want) {
		t.Errorf("first product is %+v", first)
	}
	if last.Shape().String() != "16x256" || last.Tokens != 4 || last.Density != 0.1 || last.Block != (Block{Rows: 1, Cols: 128}) {
		t.Errorf("last product is %+v", last)
	}
	if g := b.Generations[0]; g.Group != 0 || g.Repeats != 3 || g.Prompt != 128 {
		t.Errorf("generation is %+v", g)
	}
	benchAgain(t, "b.yaml", must(b.YAML()))
}

func must(data []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return data
}

// TestArchitectures: the sums of the layers are the sizes that the models are
// known by, embeddings counted once where they are tied.
func TestArchitectures(t *testing.T) {
	for name, want := range map[string]int{"llama3-8b": 8030261248, "llama3.2-1b": 1235814400, "qwen3-8b": 8190735360, "qwen3-0.6b": 596049920} {
		a, ok := ArchitectureOf(name)
		if !ok {
			t.Fatal(name)
		}
		perLayer := 2 * a.Hidden // norms
		for _, s := range a.Shapes() {
			perLayer += s.N * s.K
		}
		if a.QKNorm {
			perLayer += 2 * a.HeadDim
		}
		got := a.Vocab*a.Hidden + a.Hidden + a.Layers*perLayer
		if !a.Tied {
			got += a.Vocab * a.Hidden
		}
		if got != want {
			t.Errorf("%s has %d parameters, want %d", name, got, want)
		}
	}
}

func TestParseBenchErrors(t *testing.T) {
	const entry = "\nproducts:\n  - {shapes: 16x256, variants: dense4}\n"
	for _, c := range []struct{ yaml, want string }{
		{"name: b", "b.yaml:1: products: is missing"},
		{"name: b\nrepeat: 5" + entry, "b.yaml:2: unknown key \"repeat\"; did you mean repeats?"},
		{"name: b\nrepeats: 2" + entry, "b.yaml:2: repeats: 2 is outside 3..10000"},
		{"name: b\nrepeats: [3, 4]" + entry, "b.yaml:2: repeats: is a list"},
		{"name: b\nengine: gpu" + entry, "b.yaml:2: engine: \"gpu\" is not one of auto, cpu, cuda"},
		{"name: b\nproducts:\n  - {shapes: llama3-9b, variants: dense4}", "b.yaml:3: products[0].shapes: \"llama3-9b\" is neither"},
		{"name: b\nproducts:\n  - {shapes: llama3-8b/up, variants: dense4}", "has the layers qkv, o, gate_up and down"},
		{"name: b\nproducts:\n  - {shapes: 99999x99999, variants: dense4}", "is neither NxK"},
		{"name: b\nproducts:\n  - {shapes: 65536x65536, variants: dense4}", "more than 1073741824 weights"},
		{"name: b\nproducts:\n  - {shapes: 16x100, variants: dense4}", "b.yaml:3: products[0].group: 128 does not divide the 100 columns of 16x100"},
		{"name: b\nproducts:\n  - {shapes: 16x128}", "b.yaml:3: products[0].variants: is missing"},
		{"name: b\nproducts:\n  - {shapes: 16x128, variants: [zipper, zipped]}", "products[0].variants[1]: \"zipped\" is not one of"},
		{"name: b\nproducts: {}", "b.yaml:2: products:"},
		{"name: b\nproducts:\n  - {shapes: 16x256, index: exact, variants: zipper}",
			"b.yaml:3: products[0]: index: exact: goes with residual_scale: half"},
		{"name: b\nproducts:\n  - {shapes: 16x256, residual_scale: half, block: 4x12, variants: zipper}",
			"b.yaml:3: products[0]: residual_scale: half: blocks of 4x12 and groups of 128: want a multiple of 8 columns"},
		{"name: b\nproducts:\n  - {shapes: 16x256, residual_scale: half, index: exact, block: 1x8, variants: zipper}",
			"b.yaml:3: products[0]: index: exact: wants blocks 1x8 and a density of a whole number of 16 blocks, not 1x8 at 10%"},
		{"name: b\ngenerate:\n  - {model: \"random:gpt\", variants: zipper}", "unknown architecture"},
	} {
		if _, err := ParseBench("b.yaml", []byte(c.yaml)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s\nerror %v\nwant   %s", c.yaml, err, c.want)
		}
	}
}

func TestSpeed(t *testing.T) {
	const sweep = `
name: s
model: builtin:m
protocol: {text: builtin:t, context: 64, stride: 64, bos: true}
calibration: {text: builtin:t, tokens: 512}
activations: a8
speed: {shapes: [llama3.2-1b/down, 16x256], tokens: [1, 4]}
methods:
  - {method: none}
  - {method: rtn, group: 64}
  - {method: spqr, outliers: 1%}
  - {method: mosaic, density: [0%, 10%], block: 16x16, residual_bits: [4, 2], residual_scale: row}
  - {method: mosaic, density: 10%, block: 16x16, residual_scale: base}
`
	s := parse(t, sweep)
	again(t, s)
	for _, tr := range s.Trials {
		products := tr.Timed()
		if p := products[0]; len(products) != 4 || p.Tokens != 1 || p.Repeats != 15 || p.Scheme != "w4a8" || p.K != 8192 {
			t.Errorf("%s: %d products, the first %+v", tr.Label, len(products), p)
		}
	}
	for bad, want := range map[string]string{
		"speed: {tokens: 1}": "speed.shapes: is missing", "speed: {shapes: 16x16, seed: 1}": "unknown key \"seed\"",
		"speed: {shapes: 16x16, repeats: [3, 4]}": "speed.repeats: is a list", "speed: 3": "is not a mapping",
	} {
		text := strings.Replace(sweep, "speed: {shapes: [llama3.2-1b/down, 16x256], tokens: [1, 4]}", bad, 1)
		if _, err := Parse("s.yaml", []byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", bad, err, want)
		}
	}
}
