package trial

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"

	"github.com/mosaicquant/mosaicquant/experiments/plan"
	"github.com/mosaicquant/mosaicquant/experiments/row"
	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/llm"
	"github.com/mosaicquant/mosaicquant/quant"
	"github.com/mosaicquant/mosaicquant/zipper"
)

// Product is a weight matrix in the layout of the kernels.
type Product interface {
	llm.Product
	// Bytes is what one product reads of the weights.
	Bytes() int64
}

// Scheme returns what 4-bit weights are executed under when they meet the given
// activations: w4a8 for a8.
func Scheme(activations string) string { return "w4" + activations }

// Pack lays q out for the kernels of package zipper, under one of plan.Schemes and
// as one of plan.Variants, of which w16a16 rounds what q stands for to bfloat16.
// What has no kernel is an error.
func Pack(q *quant.Quantized, scheme, variant string) (Product, error) {
	act, err := quant.ParseActivations(strings.TrimPrefix(scheme, "w4"))
	if err != nil {
		return nil, fmt.Errorf("scheme %s: %w", scheme, err)
	}
	switch variant {
	case plan.W16A16:
		return Pack16(q)
	case plan.Dense4:
		return zipper.PrepackFor(q, zipper.Dense4, act)
	case plan.Separate:
		return zipper.PrepackFor(q, zipper.Separate, act)
	case plan.Outlier16:
		return zipper.PrepackFor(q, zipper.Outlier16, act)
	case plan.Zipper:
		return zipper.PrepackFor(q, zipper.Zipped, act)
	}
	return nil, fmt.Errorf("unknown variant %q", variant)
}

// Pack16 lays w out as bfloat16: the variant w16a16.
func Pack16(w gemm.Source) (Product, error) { return zipper.PrepackBF16(w) }

// variantOf is the variant that executes all of q.
func variantOf(q *quant.Quantized) string {
	switch {
	case q.Residual != nil:
		return plan.Zipper
	case q.Outliers != nil:
		return plan.Outlier16
	}
	return plan.Dense4
}

// packAll lays all of q out for inputs rounded as the model's activations say. A
// layer that rounds its inputs in another way has no kernel.
func packAll(q *quant.Quantized, activations string) (Product, error) {
	act, err := quant.ParseActivations(activations)
	if err != nil {
		return nil, err
	}
	if in := q.Inputs(act); in != act {
		if in.Channels != nil {
			return nil, errors.New("its method scales, reorders or keeps apart channels of the inputs: there is no kernel")
		}
		return nil, fmt.Errorf("its inputs are rounded to %s and not %s: there is no kernel", in, act)
	}
	return Pack(q, Scheme(activations), variantOf(q))
}

// Kernel returns the kernel asked for and the one in use.
func Kernel() (requested, engaged string) {
	return cmp.Or(os.Getenv("MOSAICQUANT_CPU"), "auto"), zipper.Kernel()
}

// execution says what packed layers run on.
func execution() *row.Execution {
	requested, engaged := Kernel()
	return &row.Execution{Engine: "cpu", Device: fmt.Sprintf("%d threads", runtime.GOMAXPROCS(0)), Requested: requested, Kernel: engaged}
}
