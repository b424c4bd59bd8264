package quant

import "github.com/mosaicquant/mosaicquant/internal/gemm"

// Matrix is a row-major float32 matrix.
type Matrix = gemm.Matrix

// Problem is one linear layer to quantize. It is read, never modified.
type Problem struct {
	Name    string
	Weights Matrix   // W [N,K]
	Moments *Moments // of the inputs of this layer; nil where a method needs none
	Seed    uint64   // for methods and criteria that draw random numbers
}

// Quantizer is a method: RTN, GPTQ, SpQR, MosaicQuant ...
type Quantizer interface {
	// Quantize returns Ŵ in its stored form. It reports what data can cause
	// (NaN weights, K not divisible by the group, a singular H) as an error
	// that names layer and value; it never falls back to another method.
	Quantize(p Problem) (*Quantized, error)
}

// Quantized is Ŵ [N,K]: a dense base plus at most one of a sparse residual
// and outliers. It is a gemm.Source, so a model can run on it as stored.
type Quantized struct {
	Base     *Packed
	Residual *Residual // added to the base on its blocks; nil without
	Outliers *Outliers // replace the base at their places; nil without
	Warnings []string
}
