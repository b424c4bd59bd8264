// Package llm runs decoder-only language models in float32 on the CPU: LLaMA-3,
// Qwen2, Qwen3 and Mistral, as transformers 4.53 computes them with eager
// attention.
//
// A Model is opened from a folder in Hugging Face layout. Weights stay in their
// stored type where they are mapped and are decoded while gemm packs them, so a
// model takes no more memory than its file and the activations of one layer.
// With makes cheap views of a model whose linear layers are replaced, say by
// quantized ones; views share everything else and run concurrently.
//
// Shapes: M stacked tokens of one or several sequences, D the hidden size, Q
// and KV the widths of all query and all key heads, I that of the MLP, V the
// vocabulary, d the size of a head.
//
// NaN and Inf in weights are found where they take effect, without reading a
// model ahead of its use: norms and biases when the model is opened, the
// others by a look at the hidden states after each half layer and at the
// logits, whose error names the weight. CheckFinite reads all weights.
package llm
