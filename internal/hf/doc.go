// Package hf reads models in Hugging Face layout: config.json, safetensors
// weights (one file or shards) and tokenizer.json, from a folder, from an
// embedded file system or from a hub.
//
// Weights are mapped, not read: opening a checkpoint costs its headers only.
// Whatever a file can lie about is one error naming the file, the field or
// tensor, and the value.
package hf
