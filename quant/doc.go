// Package quant is the stored form of a quantized matrix: a dense base in one of
// several formats (Packed), what a method keeps beside it (Residual, Outliers,
// Columns, LowRank, channel scales), its binary form and the ledger of its bytes.
// It also has what a method is given (Problem, Moments). How grids are fitted is in
// quant/grid, who chooses codes in quant/solve, and what is laid on top of a base in
// quant/mosaic and quant/baseline. quant/trellis quantizes by trellis codes,
// quant/codebook by codebooks of vectors, and quant/rate has the bound to compare with.
//
// Where to read:
//
//	a format       kind.go (the kinds), table.go (one row for each), format.go, trellis.go,
//	               codebook.go, pairs.go, adadim.go
//	the base       packed.go, bits.go, scaling.go and second.go (scales of one and two levels)
//	beside a base  residual.go, places.go (which blocks it keeps), outliers.go, columns.go
//	all of them    quant.go (Problem, Quantized, its ledger), form.go, binary.go
//	inputs         activations.go, float.go, inputs.go
//	statistics     moments.go, triangle.go, distortion.go
//
// One alphabet is used everywhere:
//
//	X [M,K]  activations of M tokens
//	W [N,K]  weights: N outputs, K inputs; Y = X·Wᵀ [M,N]
//	H [K,K]  second moments 2/M·XᵀX of the calibration activations; h = diag H
//	G        group size along K: weights that share a scale
//	r×c      residual block: r rows (outputs) by c columns (inputs) of W
//	ρ        residual density, the share of blocks that keep a residual
//	E        W - Ŵ, the error; its output distortion is tr(E·H·Eᵀ)
//
// The package knows nothing of tiles or kernels: its result is the canonical,
// byte-exact form of a quantized matrix, which zipper re-lays for execution.
package quant
