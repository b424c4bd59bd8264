package quant_test

import (
	"testing"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/quant"
	"github.com/mosaicquant/mosaicquant/quant/quanttest"
	"github.com/mosaicquant/mosaicquant/quant/solve"
)

func TestDistortion(t *testing.T) {
	p := quanttest.Problem(t, 11, 150, 3)
	q := quanttest.Quantize(t, solve.NewGPTQ(quant.Int4(0)), p)
	lost, total := quant.Distortion(p.Weights, q, p.Moments)
	quanttest.Near(t, "tr(EHEᵀ)", lost, quanttest.Objective(p, q.Dequantize()), 1e-4)
	quanttest.Near(t, "tr(WHWᵀ)", total, quanttest.Objective(p, gemm.NewMatrix(11, 150)), 1e-4)
}
