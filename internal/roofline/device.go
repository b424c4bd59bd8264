package roofline

import (
	"maps"
	"slices"
)

// Device is what the model knows of a GPU. Rates are those of its data sheet,
// without sparsity.
type Device struct {
	Name string
	SMs  int
	// ClockHz is the boost clock.
	ClockHz float64
	// Bandwidth of the memory in B/s.
	Bandwidth float64
	L2        int64 // bytes
	// BF16, Int8 and Int4 are operations per second of the tensor cores; 0 where
	// they lack the type. BF16 sums in float32.
	BF16, Int8, Int4 float64
	// MMA is the share of these rates that the mma.sync instruction reaches,
	// which our kernels use; cuBLAS has newer ones where that is below 1.
	MMA float64
	// Code is the architecture whose machine code it runs, or the nearest that is
	// counted: 80 or 90. See zipper/cuda.Turns.
	Code int
	// Lanes is the number of 32-bit integer operations of an SM per clock.
	Lanes int
	// Sources of the figures.
	Sources []string
}

const (
	ampere = "NVIDIA A100 Tensor Core GPU data sheet (80 GB SXM); NVIDIA A100 Tensor Core GPU Architecture white " +
		"paper, tables 4 and 5"
	ada = "NVIDIA Ada GPU Architecture white paper V2.02, appendix A (GeForce RTX 4090)"
	l20 = "NVIDIA L20 product brief: 864 GB/s, 119.5 TFLOP/s FP16, 239 TOP/s INT8; 92 SMs and 2520 MHz as listed by " +
		"topcpu.net and technical.city; INT4 as twice INT8, the rule of AD102"
	hopper = "NVIDIA H100 Tensor Core GPU data sheet (SXM5); NVIDIA H100 Tensor Core GPU Architecture white paper, table 3"
	h200   = "NVIDIA H200 Tensor Core GPU data sheet (SXM); chip as H100"
	b200   = "NVIDIA HGX B200 data sheet, per GPU; 148 SMs and 1.98 GHz as listed by hmc-tech.com"
	// mmaSync found mma.sync at 62.9 % of Hopper's peak.
	mmaSync = "share of mma.sync: Luo et al. 2024, arXiv 2402.13499 (Hopper, 62.9 % on average)"
	lanes   = "integer lanes: CUDA C++ Programming Guide, table of arithmetic throughput"
)

// Devices are those that the model predicts, by the name to ask for.
var Devices = map[string]Device{
	"a100": {Name: "NVIDIA A100 SXM 80GB", SMs: 108, ClockHz: 1.41e9, Bandwidth: 2.039e12, L2: 40 << 20,
		Code: 80, BF16: 312e12, Int8: 624e12, Int4: 1248e12, MMA: 1, Lanes: 64, Sources: []string{ampere, lanes}},
	"rtx4090": {Name: "NVIDIA GeForce RTX 4090", SMs: 128, ClockHz: 2.52e9, Bandwidth: 1.008e12, L2: 72 << 20,
		Code: 80, BF16: 165.2e12, Int8: 660.6e12, Int4: 1321.2e12, MMA: 1, Lanes: 64, Sources: []string{ada, lanes}},
	"l20": {Name: "NVIDIA L20", SMs: 92, ClockHz: 2.52e9, Bandwidth: 864e9, L2: 96 << 20,
		Code: 80, BF16: 119.5e12, Int8: 239e12, Int4: 478e12, MMA: 1, Lanes: 64, Sources: []string{l20, lanes}},
	"h100": {Name: "NVIDIA H100 SXM", SMs: 132, ClockHz: 1.83e9, Bandwidth: 3.35e12, L2: 50 << 20,
		Code: 90, BF16: 989.4e12, Int8: 1978.9e12, MMA: 0.629, Lanes: 64, Sources: []string{hopper, mmaSync, lanes}},
	"h200": {Name: "NVIDIA H200 SXM", SMs: 132, ClockHz: 1.83e9, Bandwidth: 4.8e12, L2: 50 << 20,
		Code: 90, BF16: 989.4e12, Int8: 1978.9e12, MMA: 0.629, Lanes: 64, Sources: []string{h200, mmaSync, lanes}},
	"b200": {Name: "NVIDIA B200", SMs: 148, ClockHz: 1.98e9, Bandwidth: 8e12, L2: 126 << 20,
		Code: 90, BF16: 2250e12, Int8: 4500e12, MMA: 0.629, Lanes: 64,
		Sources: []string{b200, mmaSync + "; taken for Blackwell too, where nothing is published", lanes}},
}

// Names lists Devices in order.
func Names() []string { return slices.Sorted(maps.Keys(Devices)) }
