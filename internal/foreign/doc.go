// Package foreign reads the linear layers of checkpoints that other programs
// quantized, and writes ours for them.
//
// A layer becomes the exact numbers that its codes stand for, products in float32,
// where its own library may round them to its 16-bit type. Its ledger counts the bytes
// of all tensors that the checkpoint has of it. Where package quant can hold the
// layer without any change, kernels can execute it.
//
// The layouts, as the libraries write them (shapes are those of the files, w is 32/bits):
//
//	compressed-tensors  pack-quantized: weight_packed I32 [N, K/w], lowest bits first, code
//	                    plus 2^(bits-1); weight_scale [N, groups]; weight_zero_point I32
//	                    [N/w, groups] packed along N; weight_g_idx [K]; weight_shape.
//	                    int-quantized: weight I8 [N,K], weight_scale, weight_zero_point I8.
//	                    nvfp4-pack-quantized: weight_packed U8 [N, K/2], low nibble first,
//	                    E2M1; weight_scale E4M3 [N, K/16], divided by weight_global_scale.
//	                    mxfp4-pack-quantized: the same with E8M0 scales [N, K/32].
//	gptq                qweight I32 [K/w, N], qzeros I32 [groups, N/w], scales [groups, N],
//	                    g_idx I32 [K]. Version 1 stores zeros less one.
//	awq                 qweight I32 [K, N/8], qzeros I32 [groups, N/8], outputs of a word in
//	                    the order 0, 2, 4, 6, 1, 3, 5, 7; scales [groups, N]. Version gemm.
//	bitsandbytes        weight U8 [N·K/2, 1], high nibble first, over the flat matrix; absmax
//	                    F32, or U8 through nested_quant_map and nested_absmax; quant_map.
package foreign
