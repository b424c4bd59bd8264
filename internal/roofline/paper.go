package roofline

import "github.com/mosaicquant/mosaicquant/internal/variants"

import "math"

// Reported is a figure of the paper (arXiv 2606.15652) and the model's answer to
// the same question.
type Reported struct {
	What      string
	Low, High float64 // reported; High is Inf for "more than"
	// Predict answers for a device.
	Predict func(d Device) (float64, error)
}

// layer is a linear layer W [N,K].
type layer struct{ n, k int }

// qwen3 are the linear layers of Qwen3-8B, fused as an engine runs them:
// qkv, o, gate and up, down; there are 36 of each.
var qwen3 = []layer{{6144, 4096}, {4096, 4096}, {24576, 4096}, {4096, 12288}}

// vProj is the value projection of Qwen3-8B and LLaMA-3-8B.
var vProj = layer{1024, 4096}

// total is the time of layers in a variant, at the paper's 10 % of blocks, W4A8
// and groups of 128.
func total(d Device, layers []layer, m int, variant string) (float64, error) {
	var sum float64
	for _, l := range layers {
		p, err := Predict(d, Product{M: m, N: l.n, K: l.k, Scheme: "w4a8", Variant: variant, Group: 128, Density: 0.1})
		if err != nil {
			return 0, err
		}
		sum += p.Time
	}
	return sum, nil
}

// over returns the ratio of two variants' times.
func over(layers []layer, m int, a, b string) func(Device) (float64, error) {
	return func(d Device) (float64, error) {
		ta, err := total(d, layers, m, a)
		if err != nil {
			return 0, err
		}
		tb, err := total(d, layers, m, b)
		return ta / tb, err
	}
}

// endToEnd is the speed-up over 16 bits of the linear layers alone, for prompts
// of 2048 tokens and 128 generated ones: attention, which is the same in both,
// would bring it nearer to 1.
func endToEnd(batch int) func(Device) (float64, error) {
	return func(d Device) (float64, error) {
		var sum [2]float64
		for i, v := range []string{variants.W16A16, variants.Zipper} {
			prefill, err := total(d, qwen3, 2048*batch, v)
			if err != nil {
				return 0, err
			}
			decode, err := total(d, qwen3, batch, v)
			if err != nil {
				return 0, err
			}
			sum[i] = prefill + 128*decode
		}
		return sum[0] / sum[1], nil
	}
}

// Paper lists the reported speeds. The paper does not name its GPU; the sister
// paper (arXiv 2606.01556) uses RTX 4090 and L20.
var inf = math.Inf(1)

var Paper = []Reported{
	{"fused over dense4, 10 %, M=1", 1.053, 1.062, over(qwen3, 1, variants.Zipper, variants.Dense4)},
	{"fused over dense4, 10 %, M=16", 1.053, 1.062, over(qwen3, 16, variants.Zipper, variants.Dense4)},
	{"fused over dense4, 10 %, M=2048", 1.053, 1.062, over(qwen3, 2048, variants.Zipper, variants.Dense4)},
	{"separate over dense4, 10 %, M=1", 1.3, inf, over(qwen3, 1, variants.Separate, variants.Dense4)},
	{"separate over dense4, 10 %, M=16", 1.3, inf, over(qwen3, 16, variants.Separate, variants.Dense4)},
	{"separate over dense4, 10 %, M=2048", 1.3, inf, over(qwen3, 2048, variants.Separate, variants.Dense4)},
	{"V projection: sparse kernel over dense kernel, M=16", 0.55, 0.55, sparseShare(16)},
	{"V projection: sparse kernel over dense kernel, M=2048", 0.55, 0.55, sparseShare(2048)},
	{"linear layers against 16 bits, 2048+128, batch 4", 1.24, 1.24, endToEnd(4)},
	{"linear layers against 16 bits, 2048+128, batch 8", 1.21, 1.21, endToEnd(8)},
	{"linear layers against 16 bits, 2048+128, batch 16", 1.24, 1.24, endToEnd(16)},
}

// sparseShare is the time of the sparse kernel over that of the dense one.
func sparseShare(m int) func(Device) (float64, error) {
	return func(d Device) (float64, error) {
		p, err := Predict(d, Product{M: m, N: vProj.n, K: vProj.k, Scheme: "w4a8",
			Variant: variants.Separate, Group: 128, Density: 0.1})
		if err != nil {
			return 0, err
		}
		var dense, sparse float64
		for i := range p.Kernels {
			switch k := &p.Kernels[i]; k.Name {
			case "dense":
				dense = k.Time()
			case "sparse":
				sparse = k.Time()
			}
		}
		return sparse / dense, nil
	}
}

// Verdict says in a word how a prediction compares: agrees, within 2 % of the
// reported range, or higher or lower.
func (r Reported) Verdict(v float64) string {
	switch {
	case v > 1.02*r.High:
		return "higher"
	case v < r.Low/1.02:
		return "lower"
	}
	return "agrees"
}
