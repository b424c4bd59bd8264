package zipper

import (
	"math"
	"math/rand/v2"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/mosaicquant/mosaicquant/quant"
)

// fenced returns a copy of b between two pages that nobody may touch, its end
// at the second one, or its start at the first.
func fenced(t *testing.T, b []byte, atEnd bool) []byte {
	t.Helper()
	page := unix.Getpagesize()
	size := ceilDiv(len(b), page) * page
	m, err := unix.Mmap(-1, 0, size+2*page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Munmap(m) })
	for _, fence := range [][]byte{m[:page], m[page+size:]} {
		if err := unix.Mprotect(fence, unix.PROT_NONE); err != nil {
			t.Fatal(err)
		}
	}
	at := page
	if atEnd {
		at += size - len(b)
	}
	c := m[at : at+len(b) : at+len(b)]
	copy(c, b)
	return c
}

// TestFences runs every panel kernel on streams, activations and results that
// touch pages nobody may touch. A stream is followed by the bytes that
// overread promises.
func TestFences(t *testing.T) {
	for _, l := range []layout{
		{n: 16, k: 1}, {n: 3, k: 129}, {n: 40, k: 384, group: 128, r: 16, c: 64, density: 1},
		{n: 16, k: 256, group: 128, r: 1, c: 128, density: 1}, {n: 16, k: 256, group: 32, r: 1, c: 8, density: 1},
		{n: 16, k: 200, group: 8, r: 2, c: 24, density: 1, rowScales: true}, {n: 17, k: 250, r: 4, c: 16, density: 1},
		{n: 16, k: 384, group: 64, r: 8, c: 32, density: 1, rowScales: true}, {n: 16, k: 120, r: 8, c: 8, density: 1},
	} {
		q := l.random(1, anyScale)
		p, err := PrepackBF16(normal(1, l.n, l.k))
		if err != nil {
			t.Fatal(err)
		}
		fenceAll(t, p)
		for _, a := range activationFormats {
			if Takes(q.Form(), Zipped, a) == nil {
				fenceAll(t, prepackFor(t, q, Zipped, a))
			}
		}
	}
	for i, l := range ridingShapes {
		if q := l.riding(uint64(i), quant.Int4(l.group), 15); Takes(q.Form(), Zipped, quant.A8) == nil {
			fenceAll(t, prepack(t, q, Zipped))
		}
	}
	for i, f := range baseFormats(t, 48) {
		q := layout{n: 16, k: 352, r: 1, c: 8, density: 1}.random(1, anyScale)
		q.Base = randomBase(rand.New(rand.NewPCG(uint64(i), 1)), f, 16, 352)
		for _, v := range []Variant{Dense4, Zipped} {
			for _, a := range activationFormats {
				if Takes(q.Form(), v, a) == nil {
					fenceAll(t, prepackFor(t, q, v, a))
				}
			}
		}
	}
}

// fenceAll runs the panel kernels of w.
func fenceAll(t *testing.T, w *Weights) {
	t.Helper()
	for _, k := range kernels() {
		panels := k.panels[w.scheme]
		if w.Rides() {
			panels = k.riding[w.scheme]
		}
		for _, p := range panels {
			fence(t, w, k, p)
		}
	}
}

func fence(t *testing.T, w *Weights, k *kernel, p panelKernel) {
	t.Helper()
	use(t, k)
	a := w.newActivations(k, normal(2, p.tokens, w.k))
	defer a.release()
	sh := w.main.shape
	sh.sums = a.sums
	panels := len(w.main.starts) - 1
	for panel := range panels {
		stream := w.main.data[w.main.starts[panel]:w.main.starts[panel+1]]
		fencePanel(t, w, k, p, a, sh, append(append([]byte(nil), stream...), make([]byte, overread)...))
		if w.Rides() {
			wide, size := w.main.shape.widened()
			wide.sums = a.sums
			data := fenced(t, append(append([]byte(nil), stream...), make([]byte, overread)...), true)
			to := fenced(t, make([]byte, size), true)
			k.widen(to, data, &w.main.shape, &w.main.lanes)
			fencePanel(t, w, k, p, a, wide, to)
		}
	}
}

func fencePanel(t *testing.T, w *Weights, k *kernel, p panelKernel, a *activations, sh shape, stream []byte) {
	t.Helper()
	want := make([]float32, p.tokens*panelRows*sh.outputs())
	p.mul(stream, a.data, a.ld, &sh, &w.main.lanes, want)
	for _, atEnd := range []bool{false, true} {
		data, x := fenced(t, stream, atEnd), fenced(t, a.data, atEnd)
		got := asFloats(fenced(t, make([]byte, 4*len(want)), atEnd))
		p.mul(data, x, a.ld, &sh, &w.main.lanes, got)
		for i, v := range want[:p.tokens*panelRows] {
			if math.Float32bits(v) != math.Float32bits(got[i]) {
				t.Fatalf("%s, %d %s tokens: out[%d] = %v, between fences %v", k.name, p.tokens, w.scheme, i, v, got[i])
			}
		}
	}
}
