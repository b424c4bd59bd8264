package zipper

import (
	"encoding/binary"
	"fmt"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/half"
	"github.com/mosaicquant/mosaicquant/quant"
)

// PrepackBF16 lays w [N,K] out as bfloat16, rounded to nearest even, for
// products with float32 activations: the variant W16A16. A number beyond
// bfloat16's range becomes infinite.
//
// The stream is panels of 16 rows like that of 4-bit weights. 4 bytes hold two
// columns of a row, 64 those of 16 rows; K is padded to 8 columns.
func PrepackBF16(w gemm.Source) (*Weights, error) {
	n, k := w.Dims()
	if n < 1 || k < 1 || k > maxK {
		return nil, fmt.Errorf("zipper: weights of %dx%d, want at least 1x1 and at most %d columns", n, k, maxK)
	}
	p := &Weights{n: n, k: k, variant: W16A16, activations: quant.A16, scheme: schemeBF16, grid: grid{k, k, k}}
	p.main.shape = shape{groups: 1, groupCells: p.grid.cells(), lastCells: p.grid.cells(), tileGroups: 1}
	panels, size := ceilDiv(n, panelRows), p.grid.cells()*cellCols*panelRows*2
	p.main.data = allocate(panels*size + overread)[:panels*size]
	p.main.starts = make([]int, panels+1)
	for i := range p.main.starts {
		p.main.starts[i] = i * size
	}
	parallel(workers(), panels, func(i int) {
		rows := min(panelRows, n-i*panelRows)
		tile := gemm.NewMatrix(rows, k)
		w.Load(tile, i*panelRows, 0)
		out := p.main.data[i*size:]
		for r := range rows {
			for c, v := range tile.Row(r) {
				binary.LittleEndian.PutUint16(out[c/2*64+4*r+c%2*2:], half.ToBF16(v))
			}
		}
	})
	settle(p.main.data)
	return p, nil
}
