package solve

import (
	"github.com/mosaicquant/mosaicquant/quant"
)

// Tiling cuts [N,K] into blocks of R x C.
type Tiling struct{ N, K, R, C int }

func (t Tiling) Cols() int  { return quant.CeilDiv(t.K, t.C) }
func (t Tiling) Count() int { return quant.CeilDiv(t.N, t.R) * t.Cols() }

// Bounds returns rows n0..n1 and columns k0..k1 of block b.
func (t Tiling) Bounds(b int) (n0, n1, k0, k1 int) {
	n0, k0 = b/t.Cols()*t.R, b%t.Cols()*t.C
	return n0, min(n0+t.R, t.N), k0, min(k0+t.C, t.K)
}
