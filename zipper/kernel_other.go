//go:build !amd64 || noasm

package zipper

// kernels returns the generic kernel: there is no assembly in this build.
func kernels() []*kernel { return []*kernel{generic} }
