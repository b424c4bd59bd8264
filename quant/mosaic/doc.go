// Package mosaic adds a block-sparse low-bit residual to a dense base: the method
// of MosaicQuant (arXiv 2606.15652), a residual that is quantized together with its
// base, the criteria that choose its blocks, and budgets that layers share.
//
//   - Mosaic (mosaic.go) is the paper's method: a finished base, then a residual on the
//     blocks of highest score. Its residual may share the scales of the base (tied.go).
//   - Joint (joint.go) quantizes base and residual in one pass of GPTQ's loop.
//   - Blocks (blocks.go) says how many blocks, how large, and how they are stored. It is
//     part of both.
//   - A Criterion (criterion.go) ranks blocks; greedy.go and relief.go have the longer
//     ones. Study (study.go) compares criteria on one layer.
//   - Scores (budget.go), Share and Allocate (allocate.go) divide a budget among layers.
//
// The base and its codes come from package solve.
package mosaic
