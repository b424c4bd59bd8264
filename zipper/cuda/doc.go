// Package cuda is ZipperEngine on NVIDIA GPUs: it lays quant's canonical form out
// for the kernels in kernels/ (whose interface is kernels/ABI.md), and runs them.
//
// The layout needs nothing but Go and is always there. Devices need a build with
// the tag cuda (see package driver); without it, or without a driver or a GPU,
// Open returns an error that says what is missing.
package cuda
