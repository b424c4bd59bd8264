package zipper

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
)

// BenchmarkLayer times the variants of a layer of an 8B model in turns, together
// with a plain read of memory, and reports medians: the streams of all of them
// together are larger than the last-level cache, so each starts cold. read is
// the yardstick in GB/s; share is the rate of dense4's stream over it.
func BenchmarkLayer(b *testing.B) {
	for _, l := range []layout{
		{n: 14336, k: 4096, group: 128, r: 16, c: 64, density: 0.1},
		{n: 4096, k: 14336, group: 128, r: 16, c: 64, density: 0.1},
		{n: 14336, k: 4096, group: 128, r: 16, c: 16, density: 0.1},
		{n: 14336, k: 4096, group: 128, r: 4, c: 16, density: 0.1},
		{n: 14336, k: 4096, group: 128, r: 1, c: 128, density: 0.1},
		{n: 14336, k: 4096, group: 128, r: 1, c: 32, density: 0.1},
	} {
		b.Run(fmt.Sprintf("%dx%d/%dx%d", l.n, l.k, l.r, l.c), func(b *testing.B) { benchmarkLayer(b, l) })
	}
}

func benchmarkLayer(b *testing.B, l layout) {
	q := l.random(1, anyScale)
	var w [3]*Weights
	for v := range w {
		w[v] = prepack(b, q, Variant(v))
	}
	read := aligned(64 << 20)
	for i := range read { // pages never written to are all the same page
		read[i] = byte(i)
	}
	for _, m := range []int{1, 4, 16} {
		b.Run(fmt.Sprintf("M=%d", m), func(b *testing.B) {
			x, y := normal(1, m, l.k), gemm.NewMatrix(m, l.n)
			var times [3][]float64
			var reads []float64
			for b.Loop() {
				start := time.Now()
				Sum(read)
				reads = append(reads, time.Since(start).Seconds())
				for i := range w {
					v := (i + len(reads)) % len(w) // each comes after each other
					start := time.Now()
					w[v].MulNT(y, x)
					times[v] = append(times[v], time.Since(start).Seconds())
				}
			}
			zipped, dense, separate := median(times[Zipped]), median(times[Dense4]), median(times[Separate])
			yardstick := float64(len(read)) / median(reads)
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(dense*1e3, "dense4-ms")
			b.ReportMetric(zipped*1e3, "zipper-ms")
			b.ReportMetric(separate*1e3, "separate-ms")
			b.ReportMetric(yardstick/1e9, "read-GB/s")
			b.ReportMetric(float64(w[Dense4].Bytes())/dense/yardstick, "share")
			b.ReportMetric(zipped/dense, "zipper/dense4")
			b.ReportMetric(float64(w[Zipped].Bytes())/float64(w[Dense4].Bytes()), "bytes/bytes")
			b.ReportMetric(separate/zipped, "separate/zipper")
		})
	}
}

func median(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/2]
}

// BenchmarkPrefill times a batch of tokens, and the same through float32.
func BenchmarkPrefill(b *testing.B) {
	l := layout{n: 2048, k: 4096, group: 128, r: 16, c: 64, density: 0.1}
	q := l.random(1, anyScale)
	w, f := prepack(b, q, Zipped), q.Dequantize()
	for _, m := range []int{32, 512} {
		b.Run(fmt.Sprintf("M=%d", m), func(b *testing.B) {
			x, y := normal(1, m, l.k), gemm.NewMatrix(m, l.n)
			var packed, float []float64
			for b.Loop() {
				start := time.Now()
				w.MulNT(y, x)
				packed = append(packed, time.Since(start).Seconds())
				start = time.Now()
				gemm.MulNT(y, x, f)
				float = append(float, time.Since(start).Seconds())
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(median(packed)*1e3, "zipper-ms")
			b.ReportMetric(median(float)*1e3, "float32-ms")
			b.ReportMetric(median(float)/median(packed), "float32/zipper")
		})
	}
}

// BenchmarkPanel is the ceiling: one panel that stays in the L2 cache.
func BenchmarkPanel(b *testing.B) {
	for _, k := range kernels() {
		for _, block := range [][2]int{{}, {16, 64}, {16, 16}, {4, 16}, {1, 128}, {1, 32}} {
			l := layout{n: 16, k: 4096, group: 128, r: block[0], c: block[1], density: 0.1}
			w := prepack(b, l.random(1, anyScale), Zipped)
			for _, p := range k.panels[schemeA8] {
				b.Run(fmt.Sprintf("%s/%dx%d/M=%d", k.name, l.r, l.c, p.tokens), func(b *testing.B) {
					a := w.newActivations(k, normal(1, p.tokens, l.k))
					s := w.main.shape
					s.sums = a.sums
					out := make([]float32, p.tokens*panelRows)
					b.SetBytes(w.Bytes())
					for b.Loop() {
						p.mul(w.main.data, a.data, a.ld, &s, &w.main.lanes, out)
					}
				})
			}
		}
	}
}

// BenchmarkActivations is the serial part of every product.
func BenchmarkActivations(b *testing.B) {
	for _, k := range kernels() {
		b.Run(k.name, func(b *testing.B) {
			w, x := prepack(b, layout{n: 1, k: 14336, group: 128}.random(1, power), Zipped), normal(1, 1, 14336)
			for b.Loop() {
				w.newActivations(k, x).release()
			}
		})
	}
}
