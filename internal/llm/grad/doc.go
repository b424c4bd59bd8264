// Package grad back-propagates the loss of a model of internal/llm to the rotations
// that SpinQuant learns (Liu et al. 2024, arXiv:2405.16406): one orthogonal matrix R1
// [D,D] of the residual stream, and one R2 [d,d] of the heads of the values in each
// layer. The loss is the mean cross-entropy of the next token while the inputs of all
// linear layers of decoder layers are rounded and the weights are not; the gradient of
// rounding is the identity (the straight-through estimator).
//
// # Rotations without rotated weights
//
// Weights that take a rotation up are functions of it, but need not be computed. Where
// a layer reads the normed stream n, the rotated model rounds n·R and multiplies by
// W·R, so that it computes
//
//	y = round(n·R)·(W·R)ᵀ = n'·Wᵀ,  n' = round(n·R)·Rᵀ.
//
// The stream itself stays in the channels of the folded model, and rotations act around
// rounding alone. For a small turn Ω of R, δR = Ω·R with Ω skew, and a gradient dn' that
// rounding lets through,
//
//	δn' = (n - n')·Ω,  δloss = <(n - n')ᵀ·dn', Ω>.
//
// So the gradient is the skew part of the products of what rounding took away and of
// the gradient of what it left, summed over sites. Beside it, back-propagation is that
// of the model with n' in place of n: R·Rᵀ = I cancels, and no gradient of a weight is
// ever formed. The same holds for R2 before o_proj, head by head, and for a fixed
// transform before down_proj.
//
// Shapes are those of internal/llm: T tokens of a sequence, D the hidden size, Q and KV
// the widths of all query and all key heads, I that of the MLP, V the vocabulary, d the
// size of a head.
package grad
