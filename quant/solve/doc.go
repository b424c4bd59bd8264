// Package solve chooses the codes of a matrix: RTN (round to nearest), GPTQ's
// column loop with a hook for what is stored beside the base, and rounds of
// coordinate descent over codes and scales. Grids come from package grid.
//
//   - RTN (rtn.go) rounds each weight by itself.
//   - GPTQ (gptq.go) rounds column by column and spreads the error over the columns to
//     come, by a factor of H⁻¹ (factor.go). A Pass is one run of that loop.
//   - Descent over codes (refine.go) and scales (rescale.go) begins with either's result.
//   - Tiling (tiling.go) cuts a matrix into blocks; Sparse (sparse.go) is the residual of
//     some of them while it is being chosen, Largest (select.go) picks by score.
package solve
