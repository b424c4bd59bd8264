// Package cudallm runs the decoder-only models of internal/llm on an NVIDIA GPU, with the kernels of
// zipper/cuda: whole forward passes for evaluation, and greedy generation with a cache of keys and
// values. It has code only in a build with the tag cuda (see zipper/cuda/driver); elsewhere Open
// returns an error that says so.
//
// # What runs where
//
//	embed    a row of the table for each token, float32: the residual stream
//	norm     adds the last product to the stream, RMSNorm, and rounds for the next product
//	         q, k, v, gate, up, o, down: packed kernels, or cuBLAS
//	rope     biases, RMSNorm of heads, rotation; keys and values go to the cache
//	attend   softmax over tiles of 16 rows in float32, of 64 rows on tensor cores in fast models; in
//	         decode the keys are cut in splits (flash-decoding)
//	combine  joins the splits, and rounds for o
//	swiglu   silu(gate)·up, and rounds for down
//	greedy   the most likely token, and the next position: a step needs nothing of the host, and
//	         all but the first of a batch are one CUDA graph
//
// # Precision
//
// Exact models keep float32 between products, in the cache as well. A product in 16 bits is one of
// bfloat16 for what rounding an input to bfloat16 gives, and a second one for what it leaves, so
// that inputs have 16 significant bits; weights that bfloat16 does not hold are cut in two likewise. Packed
// kernels of W4A16 run on both halves, W4A8 and W4A4 on the codes that internal/llm has. So logits are
// those of internal/llm up to 1e-3 of the largest: evaluations use this. Fast models round once: products
// and outputs in bfloat16, the cache in half precision. Benchmarks use this.
//
// What has no kernel is an error of Open that names the layer: other activation formats than a16, a8 and
// a4, online rotations, sizes that are no multiple of 8.
package cudallm
