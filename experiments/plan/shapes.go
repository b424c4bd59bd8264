package plan

import (
	"fmt"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/mosaicquant/mosaicquant/experiments/kinds"
)

// Architecture is the shape of a published model, from its config.json.
type Architecture struct {
	Name                   string
	Type                   string // model_type
	Vocab, Hidden, MLP     int
	Layers, Heads, KVHeads int
	HeadDim                int
	Tied                   bool // embeddings are the output layer too
	QKNorm                 bool
	RopeTheta, RMSNormEps  float64
	Positions              int
}

// Architectures are the models whose layers a bench knows by name.
var Architectures = []Architecture{
	{"llama3-8b", "llama", 128256, 4096, 14336, 32, 32, 8, 128, false, false, 500000, 1e-5, 8192},
	{"llama3.2-1b", "llama", 128256, 2048, 8192, 16, 32, 8, 64, true, false, 500000, 1e-5, 131072},
	{"qwen3-8b", "qwen3", 151936, 4096, 12288, 36, 32, 8, 128, false, true, 1e6, 1e-6, 40960},
	// tiny is no published model: it is for programs that emulate a GPU.
	{"tiny", "qwen3", 512, 128, 256, 2, 4, 2, 32, true, true, 1e4, 1e-6, 512},
	{"qwen3-0.6b", "qwen3", 151936, 1024, 3072, 28, 16, 8, 128, true, true, 1e6, 1e-6, 40960},
}

// Shape is one linear layer W [N,K]. Layers that share their input are fused,
// as an engine runs them: qkv, o, gate_up and down.
type Shape struct {
	Model, Layer string // empty for a plain NxK
	N, K         int
}

// String returns "llama3-8b down 4096x14336" or "4096x14336".
func (s Shape) String() string {
	return strings.TrimLeft(fmt.Sprintf("%s %s %dx%d", s.Model, s.Layer, s.N, s.K), " ")
}

// Shapes returns the linear layers of a.
func (a *Architecture) Shapes() []Shape {
	q, kv := a.Heads*a.HeadDim, a.KVHeads*a.HeadDim
	return []Shape{
		{a.Name, "qkv", q + 2*kv, a.Hidden},
		{a.Name, "o", a.Hidden, q},
		{a.Name, "gate_up", 2 * a.MLP, a.Hidden},
		{a.Name, "down", a.Hidden, a.MLP},
	}
}

// ArchitectureOf finds an architecture by name.
func ArchitectureOf(name string) (*Architecture, bool) {
	i := slices.IndexFunc(Architectures, func(a Architecture) bool { return a.Name == name })
	if i < 0 {
		return nil, false
	}
	return &Architectures[i], true
}

// maxShape bounds N·K: 2 GiB of bfloat16.
const maxShape = 1 << 30

// ShapesOf returns what a reference means: all layers of a model (llama3-8b),
// one of them (llama3-8b/down), or NxK.
func ShapesOf(ref string) ([]Shape, error) {
	name, layer, one := strings.Cut(ref, "/")
	if a, ok := ArchitectureOf(name); ok {
		all := a.Shapes()
		if !one {
			return all, nil
		}
		for _, s := range all {
			if s.Layer == layer {
				return []Shape{s}, nil
			}
		}
		return nil, fmt.Errorf("%q: %s has the layers qkv, o, gate_up and down", ref, name)
	}
	var b Block
	if err := b.UnmarshalText([]byte(ref)); err == nil {
		if b.Rows*b.Cols > maxShape {
			return nil, fmt.Errorf("%s has more than %d weights", ref, maxShape)
		}
		return []Shape{{N: b.Rows, K: b.Cols}}, nil
	}
	var names []string
	for _, a := range Architectures {
		names = append(names, a.Name)
	}
	return nil, fmt.Errorf("%q is neither NxK, such as 14336x4096, nor MODEL or MODEL/LAYER of %s%s",
		ref, strings.Join(names, ", "), kinds.DidYouMean(name, names))
}

// shapes is a reference of ShapesOf.
var shapes = kinds.Kind{Zero: "", Quote: true, Form: "`NxK`, `MODEL` or `MODEL/LAYER`",
	Read: func(n *yaml.Node) (any, error) {
		if n.ShortTag() != "!!str" {
			return nil, fmt.Errorf("%s is not a shape or the name of a model", kinds.Show(n))
		}
		if _, err := ShapesOf(n.Value); err != nil {
			return nil, err
		}
		return n.Value, nil
	},
	Write: func(v any) string { return v.(string) },
}
