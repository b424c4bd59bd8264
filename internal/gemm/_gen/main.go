// Command _gen writes the assembly of package gemm with avo. It is a module of
// its own, so that avo never becomes a dependency of the main module.
//
// The kernels of both instruction sets have the same names up to a suffix, the
// same signatures and the same contracts; the contracts are the Go twins in
// kernel_generic.go. Callers check every length before they pass a pointer.
package main

import (
	"flag"
	"log"

	. "github.com/mmcloughlin/avo/build"
)

func main() {
	isa := flag.String("isa", "", "avx2 or avx512")
	flag.Parse()
	ConstraintExpr("!noasm")
	switch *isa {
	case "avx2":
		tilesAVX2()
		transpose8()
		dot4(avx2, 1)
		dot4(avx2, 2)
		vectors(avx2)
	case "avx512":
		tilesAVX512()
		transpose16()
		dot4(avx512, 1)
		dot4(avx512, 4)
		vectors(avx512)
	default:
		log.Fatalf("unknown -isa %q", *isa)
	}
	Generate()
}
