// Command _gen writes the assembly of package zipper with avo. It is a module
// of its own, so that avo never becomes a dependency of the main module.
//
// The contracts are the Go twins in kernel_generic.go. Callers check every
// length before they pass a pointer.
package main

import (
	. "github.com/mmcloughlin/avo/build"
)

func main() {
	ConstraintExpr("!noasm")
	for _, tokens := range []int{1, 4, 8} {
		panel(tokens)
	}
	maxAbs()
	quantize()
	sum()
	Generate()
}
