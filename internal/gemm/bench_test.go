package gemm

import (
	"fmt"
	"testing"
)

func each(b *testing.B, run func(b *testing.B)) {
	for _, k := range kernels() {
		b.Run(k.name, func(b *testing.B) {
			use(b, k)
			run(b)
		})
	}
}

// rate reports GFLOP/s and GB/s from what one iteration computes and moves.
func rate(b *testing.B, flops, bytes float64) {
	ns := float64(b.Elapsed().Nanoseconds()) / float64(b.N)
	b.ReportMetric(flops/ns, "GFLOP/s")
	b.ReportMetric(bytes/ns, "GB/s")
}

// BenchmarkGemm is what run.sh compares with OpenBLAS, and its odd neighbours.
func BenchmarkGemm(b *testing.B) {
	for _, n := range []int{64, 256, 1023, 1024, 1025, 2047, 2048} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			each(b, func(b *testing.B) { mulNT(b, n, n, n, nil) })
		})
	}
}

// BenchmarkDecode is one step of a decoder over a layer of an 8B model, bounded
// by the memory that W takes.
func BenchmarkDecode(b *testing.B) {
	for _, m := range []int{1, 4, 8, 16, 32} {
		b.Run(fmt.Sprint(m), func(b *testing.B) {
			each(b, func(b *testing.B) { mulNT(b, m, 4096, 4096, nil) })
		})
		b.Run(fmt.Sprintf("%d-bf16", m), func(b *testing.B) {
			each(b, func(b *testing.B) { mulNT(b, m, 4096, 4096, newHalves(4096, 4096)) })
		})
	}
}

// BenchmarkPrefill is a batch of tokens through a layer of an 8B model: W is
// decoded and packed for the use of few rows.
func BenchmarkPrefill(b *testing.B) {
	for _, m := range []int{33, 64, 256} {
		b.Run(fmt.Sprint(m), func(b *testing.B) {
			each(b, func(b *testing.B) { mulNT(b, m, 4096, 4096, nil) })
		})
		b.Run(fmt.Sprintf("%d-bf16", m), func(b *testing.B) {
			each(b, func(b *testing.B) { mulNT(b, m, 4096, 4096, newHalves(4096, 4096)) })
		})
	}
}

func mulNT(b *testing.B, m, n, k int, w Source) {
	x, y := randomMatrix(1, m, k, 0), NewMatrix(m, n)
	bytes := 4 * float64(m*k+m*n+n*k)
	if w == nil {
		w = randomMatrix(2, n, k, 0)
	} else {
		bytes -= 2 * float64(n*k)
	}
	for b.Loop() {
		MulNT(y, x, w)
	}
	rate(b, 2*float64(m)*float64(n)*float64(k), bytes)
}

func BenchmarkSyrk(b *testing.B) {
	each(b, func(b *testing.B) {
		x, h := randomMatrix(1, 512, 1024, 0), make([]float64, 1024*1024)
		for b.Loop() {
			Syrk(h, x)
		}
		rate(b, 512*1024*1025, 4*512*1024+2*2*8*1024*1025/2)
	})
}

// BenchmarkTile is the ceiling: one tile again and again, all of it in the L1 cache.
func BenchmarkTile(b *testing.B) {
	each(b, func(b *testing.B) {
		k := active
		mem := borrow(k.kc*(k.aStride+k.cols) + k.rows*k.cols)
		for i := range mem.floats {
			mem.floats[i] = 1
		}
		a, p, c := mem.floats, mem.floats[k.kc*k.aStride:], mem.floats[k.kc*(k.aStride+k.cols):]
		for b.Loop() {
			k.tiles[0].mul(k.kc, &a[0], &p[0], &a[0], &c[0], k.cols, 1, false)
		}
		rate(b, 2*float64(k.kc*k.rows*k.cols), 0)
	})
}

// BenchmarkPack is a share of every product: both ways of packing.
func BenchmarkPack(b *testing.B) {
	each(b, func(b *testing.B) {
		k := active
		m := randomMatrix(1, 512, 512, 0)
		dst, scratch := borrow(512*512*2), borrow(k.scratchSize())
		for _, o := range []struct {
			name string
			operand
		}{{"rows", rowsOf(m)}, {"cols", colsOf(m)}} {
			b.Run(o.name, func(b *testing.B) {
				for b.Loop() {
					k.pack(dst.floats, k.bPanels(), o.operand, 0, 512/k.cols, 0, 256, scratch.floats)
				}
				rate(b, 0, 2*4*512*256)
			})
		}
	})
}

func BenchmarkDecodeBF16(b *testing.B) {
	each(b, func(b *testing.B) {
		src, dst := make([]byte, 2*4096), make([]float32, 4096)
		for b.Loop() {
			DecodeBF16(dst, src)
		}
		rate(b, 0, 6*4096)
	})
}
