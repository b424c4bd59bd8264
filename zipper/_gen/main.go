// Command _gen writes the assembly of package zipper with avo. It is a module
// of its own, so that avo never becomes a dependency of the main module.
//
// The contracts are the Go twins in kernel_generic.go. Callers check every
// length before they pass a pointer.
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
		spreadTable()
		for _, tokens := range []int{1, 2} {
			panelAVX2(a8, tokens)
			panelAVX2(a4, tokens)
			panelFloatAVX2(tokens)
			panelBF16AVX2(tokens)
		}
		widenAVX2()
		for _, code := range trellisCodes {
			constants := trellisData(code)
			for bits := 2; bits <= 4; bits++ {
				decodeTrellisAVX2(code, bits, constants)
			}
		}
		panelDecodedAVX2(1)
		panelDecodedAVX2(4)
		sparseAVX2()
		vectorsAVX2()
	case "avx512":
		for _, tokens := range []int{1, 4, 8} {
			panel(a8, tokens)
			panel(a4, tokens)
			panel(a16, tokens)
			panelBF16(tokens)
		}
		widen()
		widenExact()
		panel16(a8)
		panel16(a4)
		for _, code := range trellisCodes {
			for bits := 2; bits <= 4; bits++ {
				decodeTrellis(code, bits)
				panelTrellis(code, bits)
			}
		}
		for _, tokens := range []int{1, 4, 8} {
			panelDecoded(tokens)
		}
		sparse()
		vectors()
	default:
		log.Fatalf("unknown -isa %q", *isa)
	}
	Generate()
}
