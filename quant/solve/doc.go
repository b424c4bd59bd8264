// Package solve chooses the codes of a matrix: RTN (round to nearest), GPTQ's
// column loop with a hook for what is stored beside the base, and rounds of
// coordinate descent over codes and scales. Grids come from package grid.
package solve
