// Package half converts between float32 and the narrow floating-point formats in
// which weights and scales are stored: half precision (binary16), bfloat16, E4M3
// and E8M0. gemm.DecodeF16 and gemm.DecodeBF16 widen whole vectors.
package half
