package trial

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"

	"github.com/mosaicquant/mosaicquant/experiments/plan"
	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/llm"
	"github.com/mosaicquant/mosaicquant/internal/row"
	"github.com/mosaicquant/mosaicquant/internal/variants"
	"github.com/mosaicquant/mosaicquant/quant"
	"github.com/mosaicquant/mosaicquant/zipper"
	"github.com/mosaicquant/mosaicquant/zipper/cuda"
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
// as one of variants.All, of which w16a16 rounds what q stands for to bfloat16.
// What has no kernel is an error.
func Pack(q *quant.Quantized, scheme, variant string) (Product, error) {
	act, err := quant.ParseActivations(strings.TrimPrefix(scheme, "w4"))
	if err != nil {
		return nil, fmt.Errorf("scheme %s: %w", scheme, err)
	}
	if variant == variants.W16A16 {
		return Pack16(q)
	}
	return zipper.PrepackFor(q, zipper.Variant(variant), act)
}

// Pack16 lays w out as bfloat16: the variant w16a16.
func Pack16(w gemm.Source) (Product, error) { return zipper.PrepackBF16(w) }

// Variant is the variant that executes all of a form.
func Variant(f quant.Form) string {
	switch {
	case f.Residual != nil:
		return variants.Zipper
	case f.Outliers:
		return variants.Outlier16
	}
	return variants.Dense4
}

// packAll lays all of q out for inputs rounded as the model's activations say. A
// layer that rounds its inputs in another way has no kernel.
func packAll(q *quant.Quantized, activations string) (Product, error) {
	act, err := quant.ParseActivations(activations)
	if err != nil {
		return nil, err
	}
	in := q.Inputs(act)
	in.Channels = nil // what a method does to channels is done before its product
	if in != act {
		return nil, fmt.Errorf("its inputs are rounded to %s and not %s: there is no kernel", in, act)
	}
	return Pack(q, Scheme(activations), Variant(q.Form()))
}

// Executable reports why the kernels for packed weights do not execute trial t,
// nil if they do. It reads no weights, so it can be asked before a sweep starts.
// Layers with settings of their own are asked about as well.
func Executable(t plan.Trial) error {
	for _, m := range t.Method.Variants() {
		own := t
		own.Method = m
		if err := ExecutableAt(own, 0, 0); err != nil {
			return err
		}
	}
	return nil
}

// ExecutableAt is Executable for a matrix [n,k]; 0 where a size is not known.
func ExecutableAt(t plan.Trial, n, k int) error {
	f, err := t.Method.Form()
	if err != nil || f == nil {
		return err
	}
	return Takes(*f, t, n, k)
}

// Takes is ExecutableAt for weights of the form f, in whatever way they came to it.
func Takes(f quant.Form, t plan.Trial, n, k int) error {
	f.N, f.K = n, k
	act, err := activations(t)
	if err != nil {
		return err
	}
	if t.ActivationsScale != "" {
		return errors.New("scales of inputs that are found beforehand have no kernel")
	}
	if t.ActivationsWide > 0 {
		return errors.New("inputs with wide channels have no kernel")
	}
	if t.Engine == "cuda" {
		return cuda.Takes(f, cudaScheme(act))
	}
	return zipper.Takes(f, zipper.Variant(Variant(f)), act)
}

// Refused joins what Executable says of those trials that ask for packed
// execution, and what no kernel does of those that ask for a GPU.
func Refused(trials []plan.Trial) error {
	var errs []error
	for _, t := range trials {
		if err := refusedByGPU(t); err != nil {
			errs = append(errs, fmt.Errorf("engine: cuda: trial %q: %w", t.Label, err))
			continue
		}
		if t.Execution != "packed" {
			continue
		}
		if err := Executable(t); err != nil {
			errs = append(errs, fmt.Errorf("execution: packed: trial %q: %w", t.Label, err))
		}
	}
	return errors.Join(errs...)
}

// Kernel returns the kernel asked for and the one in use.
func Kernel() (requested, engaged string) {
	return cmp.Or(os.Getenv("MOSAICQUANT_CPU"), "auto"), zipper.Kernel()
}

// execution says what packed layers run on.
func execution() *row.Execution {
	requested, engaged := Kernel()
	return &row.Execution{Engine: "cpu", Device: fmt.Sprintf("%d threads", runtime.GOMAXPROCS(0)),
		Requested: requested, Kernel: engaged}
}
