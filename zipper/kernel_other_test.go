//go:build !amd64 || noasm

package zipper

func alternatives() []*kernel { return nil }
