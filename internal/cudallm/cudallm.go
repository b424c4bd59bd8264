package cudallm

// Options of a model on a GPU.
type Options struct {
	// Packed runs quantized layers on the kernels for packed weights. Without it they are products in 16
	// bits with what their codes stand for.
	Packed bool
	// Variant is how packed layers with a residual are executed, one of package variants; "" for zipper.
	Variant string
	// Fast rounds once to 16 bits where exact models keep 16 bits and what they leave.
	Fast bool
	// Repeat, where not 0, makes a model of so many layers of the first one: for benchmarks of
	// random weights.
	Repeat int
}

// Generated is what Generate made.
type Generated struct {
	Tokens [][]int32 // of each sequence
	// Prefill and Decode are the seconds to the first tokens, and from there to the last.
	Prefill, Decode float64
}
