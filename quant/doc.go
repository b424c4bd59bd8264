// Package quant turns weight matrices into 4-bit ones: a dense base, and on top
// of it either MosaicQuant's sparse 4-bit residual (arXiv 2606.15652) or the
// 16-bit outliers of a mixed-precision baseline.
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
