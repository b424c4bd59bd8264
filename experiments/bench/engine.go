package bench

import (
	"fmt"
	"time"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/variants"
	"github.com/mosaicquant/mosaicquant/quant"
)

// Engine executes products on one device. Its methods are called one at a time.
type Engine interface {
	// Name is what bench files and rows call it: "cpu", "cuda".
	Name() string
	// Device is what executes, such as "AMD EPYC, 2 threads" or "NVIDIA H200";
	// rows of another device are measured again.
	Device() string
	// Requested is the kernel asked for by flag or environment, or "auto".
	Requested() string
	// Prepare lays w out for a variant under a scheme (see plan.Product for both).
	// What the engine has no kernel for is an *Unsupported, never another variant.
	Prepare(w *Weights, scheme, variant string) (Layer, error)
	// Yardsticks are what products are measured against, in the same run.
	Yardsticks(scheme string) []Yardstick
	// Flush makes the last-level cache forget the weights, and says in a few
	// words how.
	Flush() string
	// CacheBytes is the size of the last-level cache.
	CacheBytes() int64
	Close() error
}

// stater is an engine that can tell its device's clocks.
type stater interface{ State() map[string]float64 }

// warmer is an engine that wants to work for a while before it is timed.
type warmer interface{ WarmUp() time.Duration }

// batcher is an engine whose products may take less than its clock's steps times
// a hundred. It times several, one after the other with nothing between.
type batcher interface {
	RunAll([]Layer) (time.Duration, error)
}

// Layer is a weight matrix Ŵ [N,K] ready to multiply.
type Layer interface {
	// Bytes is what one product with m tokens reads of the weights, padding and
	// every pass included.
	Bytes(m int) int64
	// Load sets the input of the following products to x [M,K]. It is not timed.
	Load(x gemm.Matrix) error
	// Run computes Y = X·Ŵᵀ once, quantization of X included, and returns what
	// it took on the device.
	Run() (time.Duration, error)
	// Kernel names the kernel that the loaded input engages, such as
	// "avx512 panels of 8 tokens".
	Kernel() string
	// Output returns Y [M,N] of the last Run.
	Output() (gemm.Matrix, error)
	Close() error
}

// Yardstick is a rate of the device that products are compared with.
type Yardstick struct {
	Name string // row.ReadBandwidth (B/s) or row.PeakRate (FLOP/s)
	What string // how it is measured, in a few words
	// Sample measures it once, in a few milliseconds.
	Sample func() (float64, error)
}

// Weights is a random matrix to execute in all variants.
type Weights struct {
	// Packed is the dense base with the residual, if the density is not 0: what
	// zipper and separate execute, dense4 without its residual, and w16a16
	// rounded to bfloat16.
	Packed *quant.Quantized
	// Outlier is the same base with weights in half precision, scattered at
	// random: what outlier16 executes; as many as take the bytes of the residual,
	// unless the layout gives their share. nil without any.
	Outlier *quant.Quantized
}

// Of returns the matrix that a variant executes, before any rounding to 16 bits;
// nil for outlier16 without outliers.
func (w *Weights) Of(variant string) *quant.Quantized {
	switch {
	case variant == variants.Dense4:
		return &quant.Quantized{Base: w.Packed.Base}
	case variant == variants.Outlier16:
		return w.Outlier
	}
	return w.Packed
}

// Unsupported says that an engine has no kernel for what was asked.
type Unsupported struct {
	Engine, Scheme, Variant string
	Why                     string
}

func (e *Unsupported) Error() string {
	return fmt.Sprintf("engine %s has no kernel for %s %s: %s", e.Engine, e.Scheme, e.Variant, e.Why)
}

// Engines opens the engines of this build by name.
var Engines = enginesOfBuild()
