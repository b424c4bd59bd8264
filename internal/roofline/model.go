// Package roofline predicts the time of a product with quantized weights from
// the data sheet of a GPU, with no measurement: what the memory must move, what
// the tensor cores must multiply and the schedulers issue, which of these
// overlap, how many blocks there are for how many SMs, and what a launch costs.
//
// A prediction says what a kernel that does its work well should take, and so
// where a measured one has room. It is never a measurement, and everything that
// writes one says so. The assumptions beyond data sheets are the constants of
// this file; they are the same for all devices.
package roofline

import (
	"fmt"
	"math"
	"strings"

	"github.com/mosaicquant/mosaicquant/internal/variants"
	"github.com/mosaicquant/mosaicquant/zipper/cuda"
)

// Assumptions.
const (
	// streaming is the share of the data sheet's bandwidth that a long copy gets.
	streaming = 0.92
	// tensor is the share of their rate that tensor cores reach in a long loop.
	tensor = 0.85
	// launch is the time from the end of a kernel to the first load of the next
	// one in a stream.
	launch = 1.5e-6
	// latency of the memory; each kernel waits for it once to begin, and once more
	// where it must read an index before it knows what to load.
	latency = 0.8e-6
	// stages x stageBytes is what a block has in flight, blocksPerSM how many
	// blocks an SM holds.
	stages      = 4
	stageBytes  = 6 << 10
	blocksPerSM = 2
	// rowsPerBlock of weights, as in our kernels.
	rowsPerBlock = 128
	maxSplits    = 16
)

// schedulers of an SM, each of which issues an instruction of a warp per clock.
const schedulers = 4

// issue is the time that all schedulers of d take to issue what the loops of our
// kernels execute for a number of weights, some of which have a residual, as counted
// in their machine code (see zipper/cuda.Turn). With many tokens the weights are read
// several times. Groups of a multiple of 128 have kernels of their own for some tiles. It is 0
// for a scheme that is emulated.
func (d Device) issue(scheme, kind string, group, tokens int, weights, base, residual float64) float64 {
	all := cuda.Turns()[d.Code]
	name := scheme
	if scheme == "w4a16" {
		name = "w4a16_bf16"
	}
	var best cuda.Turn // of the smallest tile that holds the tokens, or of the largest
	for _, t := range all {
		if !strings.HasPrefix(t.Kernel, name+"_"+kind+"_t") {
			continue
		}
		holds, better := t.Tokens >= tokens, best.Tokens >= tokens
		if best.Tokens == 0 || holds && (!better || t.Tokens < best.Tokens) || !holds && !better && t.Tokens > best.Tokens {
			best = t
		}
	}
	if best.Tokens == 0 {
		return 0
	}
	if kind == "ride" {
		residual = 0 // in every turn
	} else if wide, ok := all[strings.Replace(best.Kernel, "_zip_", "_zip128_", 1)]; ok && group%128 == 0 {
		best = wide
	}
	slots := base * float64(all[strings.Replace(best.Kernel, "_zip", "_dense", 1)].Issued)
	if residual > 0 && base > 0 { // fused: the look for a residual is part of every turn
		slots = max(slots, best.Expected(residual))
	} else if residual > 0 {
		slots = max(0, float64(best.IssuedFull-best.Issued)) * residual
	}
	turns := weights / float64(best.Weights) * math.Ceil(float64(tokens)/float64(best.Tokens))
	return turns * slots / (float64(d.SMs) * schedulers * d.ClockHz)
}

// Product is what to predict.
type Product struct {
	M, N, K int
	Scheme  string  // w4a16, w4a8, w4a4
	Variant string  // w16a16, dense4, separate, outlier16, zipper
	Group   int     // weights that share a scale; 0: the row
	Density float64 // share of the blocks
	Rides   bool    // the residual is added to the codes of the base, see cuda.Layout.Rides
	// BlockBits is what a residual weight takes, its scale included; 0: 4 bits
	// and one scale for 16x64.
	BlockBits float64
}

// Prediction is a time and where it goes. All times are in seconds.
type Prediction struct {
	Time    float64
	Kernels []Kernel
	// Emulated says that the device has no tensor cores for the scheme.
	Emulated bool
}

// Kernel is one launch of a product. Memory, Tensor and Issue overlap; the
// longest counts. Fixed does not.
type Kernel struct {
	Name                         string
	Memory, Tensor, Issue, Fixed float64
	Bytes                        float64 // moved
	Blocks, Splits               int
	Waves                        float64 // of blocks, per SM
}

// Time is what the kernel takes.
func (k *Kernel) Time() float64 { return max(k.Memory, k.Tensor, k.Issue) + k.Fixed }

// Bound names what the kernel waits for: memory, tensor, issue or launch.
func (k *Kernel) Bound() string {
	switch longest := max(k.Memory, k.Tensor, k.Issue, k.Fixed); longest {
	case k.Fixed:
		return "launch"
	case k.Memory:
		return "memory"
	case k.Tensor:
		return "tensor"
	}
	return "issue"
}

// Predict returns the time of p on d. It reports products that make no sense.
func Predict(d Device, p Product) (Prediction, error) {
	if p.M < 1 || p.N < 1 || p.K < 1 || !(p.Density >= 0 && p.Density <= 1) || p.Group < 0 {
		return Prediction{}, fmt.Errorf("roofline: product %+v", p)
	}
	x, ok := map[string]float64{"w4a16": 2, "w4a8": 1, "w4a4": 0.5}[p.Scheme] // bytes of an activation
	if !ok {
		return Prediction{}, fmt.Errorf("roofline: unknown scheme %q", p.Scheme)
	}
	if p.BlockBits == 0 {
		p.BlockBits = 4 + 128.0/(16*64) // our 16x64 tiles have 16 bytes for their scale
	}
	m, n, k := float64(p.M), float64(p.N), float64(p.K)
	weights := n * k
	group := float64(p.Group)
	if p.Group == 0 {
		group = k
	}
	rate, emulated := d.rate(p.Scheme)
	out := Prediction{Emulated: emulated && p.Variant != variants.W16A16}
	add := func(k Kernel) { out.Kernels = append(out.Kernels, k) }

	if p.Variant == variants.W16A16 {
		add(d.kernel("gemm bf16", p, 0, 2*weights+2*m*k+2*m*n, 2*m*weights/(d.BF16*tensor), 0, false))
		return out.sum(), nil
	}
	if p.Scheme != "w4a16" { // activations are rounded first
		add(d.small("quantize", m*k*(2+x)))
	}
	base := weights*(0.5+2/group) + m*k*x + 2*m*n
	multiply := 2 * pad(m, 8) * weights / rate
	issue := func(kind string, base, residual float64) float64 {
		return d.issue(p.Scheme, kind, p.Group, p.M, weights, base, residual)
	}
	residual := p.Density * weights * p.BlockBits / 8
	index := 4 * n * k / (16 * 64)
	if p.Density == 0 {
		index = 0
	}
	// Work is counted in tiles of 16x64; that of the residual varies from block to
	// block by chance.
	tiles := k / 64 * rowsPerBlock / 16
	deviation := 2 * math.Sqrt(p.Density*(1-p.Density)/tiles)
	if p.Variant != variants.Zipper {
		add(d.kernel("dense", p, 0, base, multiply, issue("zip", 1, 0), false))
	}
	switch p.Variant {
	case variants.Dense4:
	case variants.Zipper:
		if p.Rides { // a word of 2 bits a weight and 4 bits of place for each block
			add(d.kernel("ride", p, 0, base+p.Density*weights*2.5/8, multiply, issue("ride", 1, 0), false))
			break
		}
		add(d.kernel("zip", p, deviation/(1+p.Density), base+residual+index,
			multiply*(1+p.Density), issue("zip", 1, p.Density), false))
	case variants.Separate:
		if p.Density > 0 {
			// The second kernel reads the activations again, and the outputs, which
			// it writes a second time.
			add(d.kernel("sparse", p, deviation/p.Density, residual+index+m*k*x+4*m*n,
				multiply*p.Density, issue("zip", 0, p.Density), true))
		}
	case variants.Outlier16:
		if p.Density > 0 {
			count := residual / 6 // as many as take the bytes of the residual
			// Each outlier is an address, a load and a multiplication per token.
			scalar := count * m * 3 / (float64(d.SMs*d.Lanes) * d.ClockHz)
			add(d.kernel("outliers", p, 0, 6*count+4*n+m*k*x+4*m*n, 0, scalar, true))
		}
	default:
		return Prediction{}, fmt.Errorf("roofline: unknown variant %q", p.Variant)
	}
	return out.sum(), nil
}

// rate is what the tensor cores do per second for a scheme.
func (d Device) rate(scheme string) (rate float64, emulated bool) {
	switch scheme {
	case "w4a16":
		rate = d.BF16
	case "w4a8":
		rate = d.Int8
	default:
		if rate = d.Int4; rate == 0 {
			rate, emulated = d.Int8, true // as the compiler does: through int8
		}
	}
	return rate * d.MMA * tensor, emulated
}

// kernel shapes a launch: it splits K until there are blocks for all SMs, and
// then counts waves. The last block to end has uneven more work than the mean, as
// a share of it; indexed kernels must read an index before their data.
func (d Device) kernel(name string, p Product, uneven, bytes, multiply, issue float64, indexed bool) Kernel {
	most := 64 // tokens of a block
	if p.Variant == variants.W16A16 || p.Scheme == "w4a4" {
		most = 128
	}
	tokens := min(most, int(pad(float64(p.M), 8)))
	blocks := (p.N + rowsPerBlock - 1) / rowsPerBlock * ((p.M + tokens - 1) / tokens)
	slots := d.SMs * blocksPerSM
	splits := 1
	for !indexed && splits < maxSplits && blocks*splits*2 <= 2*slots && 64*splits*2 <= p.K {
		splits *= 2
	}
	k := Kernel{Name: name, Bytes: bytes, Blocks: blocks * splits, Splits: splits, Fixed: launch + latency}
	if splits > 1 { // partial sums go out and come back, mostly through the L2 cache
		k.Fixed += latency
	}
	if indexed {
		k.Fixed += latency
	}
	// Little's law: what is in flight over the latency bounds the bandwidth.
	inFlight := float64(min(k.Blocks, slots)) * stages * stageBytes
	k.Memory = bytes / min(d.Bandwidth*streaming, inFlight/latency)
	// The tensor cores of an SM wait while the last wave is not full.
	per := float64(k.Blocks) / float64(d.SMs)
	k.Waves = math.Ceil(per)
	idle := k.Waves / per * (1 + uneven/k.Waves)
	k.Tensor, k.Issue = multiply*idle, issue*idle
	return k
}

// small is a kernel that streams bytes, most of them in the L2 cache.
func (d Device) small(name string, bytes float64) Kernel {
	return Kernel{Name: name, Bytes: bytes, Memory: bytes / (d.Bandwidth * streaming), Fixed: launch + latency}
}

func (p Prediction) sum() Prediction {
	for i := range p.Kernels {
		p.Time += p.Kernels[i].Time()
	}
	return p
}

func pad(v, to float64) float64 { return math.Ceil(v/to) * to }
