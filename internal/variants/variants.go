// Package variants names the ways to execute a quantized matrix. Sweep and bench files,
// rows, reports and kernels use these names.
package variants

const (
	W16A16    = "w16a16"    // bfloat16 weights
	Dense4    = "dense4"    // the 4-bit base alone: the lower bound of time, not the same result
	Separate  = "separate"  // the base, then the residual in a pass of its own
	Outlier16 = "outlier16" // the base, then half-precision outliers in compressed sparse rows
	Zipper    = "zipper"    // base and residual in one pass over one stream
)

// All are the variants.
var All = []string{W16A16, Dense4, Separate, Outlier16, Zipper}
