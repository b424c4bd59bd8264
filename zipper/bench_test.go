package zipper

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/quant"
)

// BenchmarkLayer times the variants and schemes of a layer of an 8B model in
// turns, together with a plain read of memory, and reports medians: the streams of
// all of them together are larger than the last-level cache, so each starts cold.
// read is the yardstick in GB/s; a share is the rate of a stream over it.
func BenchmarkLayer(b *testing.B) {
	for _, l := range []layout{
		{n: 14336, k: 4096, group: 128, r: 16, c: 64, density: 0.1},
		{n: 4096, k: 14336, group: 128, r: 16, c: 64, density: 0.1},
		{n: 14336, k: 4096, group: 128, r: 16, c: 16, density: 0.1},
		{n: 14336, k: 4096, group: 128, r: 4, c: 16, density: 0.1},
		{n: 14336, k: 4096, group: 128, r: 1, c: 128, density: 0.1},
		{n: 14336, k: 4096, group: 128, r: 1, c: 32, density: 0.1},
	} {
		b.Run(fmt.Sprintf("%dx%d-%dx%d", l.n, l.k, l.r, l.c), func(b *testing.B) { benchmarkLayer(b, l) })
	}
}

func benchmarkLayer(b *testing.B, l layout) {
	q := l.random(1, anyScale)
	sparse := layout{n: l.n, k: l.k, group: l.group, outliers: 0.01}.random(1, anyScale)
	w16, err := PrepackBF16(q)
	if err != nil {
		b.Fatal(err)
	}
	ways := []struct {
		name string
		w    *Weights
	}{
		{"dense4", prepack(b, q, Dense4)}, {"zipper", prepack(b, q, Zipped)}, {"separate", prepack(b, q, Separate)},
		{"outlier16", prepack(b, sparse, Outlier16)}, {"w16a16", w16},
		{"dense4-a16", prepackFor(b, q, Dense4, quant.A16)}, {"zipper-a16", prepackFor(b, q, Zipped, quant.A16)},
		{"zipper-a4", prepackFor(b, q, Zipped, quant.A4)},
	}
	read := allocate(64 << 20)
	for i := range read { // pages never written to are all the same page
		read[i] = byte(i)
	}
	for _, m := range []int{1, 4, 16} {
		b.Run(fmt.Sprintf("M=%d", m), func(b *testing.B) {
			x, y := normal(1, m, l.k), gemm.NewMatrix(m, l.n)
			times := make([][]float64, len(ways))
			var reads []float64
			for b.Loop() {
				start := time.Now()
				Sum(read)
				reads = append(reads, time.Since(start).Seconds())
				for _, v := range rand.Perm(len(ways)) { // each comes after each other
					start := time.Now()
					ways[v].w.MulNT(y, x)
					times[v] = append(times[v], time.Since(start).Seconds())
				}
			}
			yardstick := float64(len(read)) / median(reads)
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(yardstick/1e9, "read-GB/s")
			of := map[string]float64{}
			for i, way := range ways {
				t := median(times[i])
				of[way.name] = t
				b.ReportMetric(t*1e3, way.name+"-ms")
				b.ReportMetric(float64(way.w.Bytes())/t/yardstick, way.name+"-share")
			}
			b.ReportMetric(of["zipper"]/of["dense4"], "zipper/dense4")
			b.ReportMetric(float64(ways[1].w.Bytes())/float64(ways[0].w.Bytes()), "bytes/bytes")
			b.ReportMetric(of["separate"]/of["zipper"], "separate/zipper")
			b.ReportMetric(of["outlier16"]/of["zipper"], "outlier16/zipper")
			b.ReportMetric(of["w16a16"]/of["zipper"], "w16a16/zipper")
			b.ReportMetric(of["zipper-a16"]/of["dense4-a16"], "zipper/dense4-a16")
		})
	}
}

// BenchmarkFormats times bases of all formats with one token against int4 with groups
// of 128 under the same scheme, in turns: the median of ratios, what it lies between
// in 95 % of bootstrap draws, and the ratio of bytes. With GOMAXPROCS=1 times are processor
// time.
func BenchmarkFormats(b *testing.B) {
	const n, k = 14336, 4096
	for _, a := range []quant.Activations{quant.A8, quant.A16} {
		base := prepackFor(b, layout{n: n, k: k, group: 128}.random(1, anyScale), Dense4, a)
		for _, group := range []int{128, 32, 16} {
			for _, f := range baseFormats(b, group) {
				if fixed := f.Group != group; fixed && group != 128 {
					continue // once
				}
				b.Run(fmt.Sprintf("%s/%s", a, f), func(b *testing.B) {
					q := &quant.Quantized{Base: randomBase(rand.New(rand.NewPCG(1, 2)), f, n, k)}
					w := prepackFor(b, q, Dense4, a)
					benchmarkPair(b, base, w, 1)
				})
			}
		}
	}
}

// BenchmarkThin times thin residuals that ride in the codes against the base alone,
// on two layers of an 8B model, in turns: medians of the ratios within a turn, and
// between which a bootstrap finds the median in 95 % of its draws. bytes is what the
// ratio would be if bytes were all that counts. Streams of a turn are larger than the
// last-level cache. With GOMAXPROCS=1 times are processor time, which other work on the
// machine disturbs less.
func BenchmarkThin(b *testing.B) {
	read := Memory(64 << 20)
	for _, l := range []layout{{n: 14336, k: 4096, group: 128}, {n: 4096, k: 14336, group: 128}} {
		for _, a := range []quant.Activations{quant.A8, quant.A16} {
			exact := l.exact(1, quant.Int4(l.group), 15, 2)
			l.r, l.c, l.density = 1, cellCols, .125
			ways := map[string]*Weights{"exact": prepackFor(b, exact, Zipped, a)}
			if a == quant.A8 {
				ways["bitmap"] = prepackFor(b, l.riding(1, quant.Int4(l.group), 15), Zipped, a)
			}
			dense := prepackFor(b, exact, Dense4, a)
			for _, m := range []int{1, 4, 16, 512} {
				b.Run(fmt.Sprintf("%dx%d/%s/M=%d", l.n, l.k, a, m), func(b *testing.B) {
					benchmarkThin(b, dense, ways, read, m)
				})
			}
		}
	}
}

func benchmarkThin(b *testing.B, dense *Weights, ways map[string]*Weights, read []byte, m int) {
	x, y := normal(1, m, dense.k), gemm.NewMatrix(m, dense.n)
	names := slices.Sorted(maps.Keys(ways))
	all := []*Weights{dense}
	for _, name := range names {
		all = append(all, ways[name])
	}
	times := make([][]float64, len(all))
	var reads []float64
	for b.Loop() {
		start := clock()
		Sum(read)
		reads = append(reads, float64(len(read))/(clock()-start)/1e9)
		for _, v := range rand.Perm(len(all)) {
			start := clock()
			all[v].MulNT(y, x)
			times[v] = append(times[v], clock()-start)
		}
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(dense.Bytes())/median(slices.Clone(times[0]))/1e9, "dense4-GB/s")
	b.ReportMetric(median(reads), "read-GB/s")
	for i, name := range names {
		low, mid, high := ratios(times[i+1], times[0])
		b.ReportMetric(mid, name)
		b.ReportMetric(low, name+"-low")
		b.ReportMetric(high, name+"-high")
		b.ReportMetric(float64(ways[name].Bytes())/float64(dense.Bytes()), name+"-bytes")
	}
}

// ratios returns the median of a[i]/b[i], and what it lies between in 95 % of
// bootstrap draws.
func ratios(a, b []float64) (low, mid, high float64) {
	r := make([]float64, len(a))
	for i := range r {
		r[i] = a[i] / b[i]
	}
	rng := rand.New(rand.NewPCG(1, 1))
	var medians []float64
	draw := make([]float64, len(r))
	for range 1000 {
		for i := range draw {
			draw[i] = r[rng.IntN(len(r))]
		}
		medians = append(medians, median(draw))
	}
	slices.Sort(medians)
	return medians[25], median(r), medians[975]
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
		for _, a := range activationFormats {
			for _, block := range [][2]int{{}, {16, 64}, {16, 16}, {4, 16}, {1, 128}, {1, 32}} {
				l := layout{n: 16, k: 4096, group: 128, r: block[0], c: block[1], density: 0.1}
				benchmarkPanel(b, fmt.Sprintf("%s/%s/%dx%d", k.name, schemeOf(a), l.r, l.c), k, prepackFor(b, l.random(1, anyScale), Zipped, a))
			}
		}
		w, err := PrepackBF16(normal(1, 16, 4096))
		if err != nil {
			b.Fatal(err)
		}
		benchmarkPanel(b, k.name+"/bf16", k, w)
	}
}

func benchmarkPanel(b *testing.B, name string, k *kernel, w *Weights) {
	for _, p := range k.panels[w.scheme] {
		b.Run(fmt.Sprintf("%s/M=%d", name, p.tokens), func(b *testing.B) {
			a := w.newActivations(k, normal(1, p.tokens, w.k))
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

// BenchmarkTrellis times trellis codes against int4 with groups of 128 under the same scheme,
// as BenchmarkFormats does.
func BenchmarkTrellis(b *testing.B) {
	const n, k = 14336, 4096
	for _, a := range []quant.Activations{quant.A8, quant.A16} {
		for _, code := range trellisCodes {
			for _, bits := range []int{4, 3, 2} {
				b.Run(fmt.Sprintf("%s/%s/%d", a, code, bits), func(b *testing.B) {
					base := prepackFor(b, layout{n: n, k: k, group: 128}.random(1, anyScale), Dense4, a)
					w := prepackFor(b, randomTrellis(b, 1, n, k, trellis{bits, 16, code}), Dense4, a)
					for _, m := range []int{1, 4, 16, 512} {
						b.Run(fmt.Sprintf("M=%d", m), func(b *testing.B) { benchmarkPair(b, base, w, m) })
					}
				})
			}
		}
	}
}

// benchmarkPair times w against base in turns.
func benchmarkPair(b *testing.B, base, w *Weights, m int) {
	x, y := normal(1, m, w.k), gemm.NewMatrix(m, w.n)
	times := make([][]float64, 2)
	for b.Loop() {
		for _, v := range rand.Perm(2) {
			start := clock()
			[]*Weights{base, w}[v].MulNT(y, x)
			times[v] = append(times[v], clock()-start)
		}
	}
	b.ReportMetric(0, "ns/op")
	low, mid, high := ratios(times[1], times[0])
	b.ReportMetric(mid, "time/int4")
	b.ReportMetric(low, "low")
	b.ReportMetric(high, "high")
	b.ReportMetric(float64(w.Bytes())/float64(base.Bytes()), "bytes/int4")
	b.ReportMetric(float64(base.Bytes())/median(times[0])/1e9, "int4-GB/s")
}
