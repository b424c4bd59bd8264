//go:build amd64 && !noasm

package llm

import "github.com/mosaicquant/mosaicquant/internal/gemm"

//go:generate go run -C _gen . -isa avx2 -pkg llm -out ../avx2_amd64.s -stubs ../avx2_amd64.go
//go:generate go run -C _gen . -isa avx512 -pkg llm -out ../avx512_amd64.s -stubs ../avx512_amd64.go

// variants returns what this CPU runs.
func variants() []*elementwise {
	vs := []*elementwise{generic}
	if k := gemm.Kernel(); k == "avx2" || k == "avx512" {
		vs = append(vs, &elementwise{"avx2", 8, expShiftAVX2, swiGLUAVX2, exp64AVX2})
		if k == "avx512" {
			vs = append(vs, &elementwise{"avx512", 16, expShiftAVX512, swiGLUAVX512, exp64AVX512})
		}
	}
	return vs
}
