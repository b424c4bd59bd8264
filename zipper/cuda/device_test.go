//go:build cuda && linux && cgo

package cuda

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/variants"
	"github.com/mosaicquant/mosaicquant/quant"
	"github.com/mosaicquant/mosaicquant/zipper"
	"github.com/mosaicquant/mosaicquant/zipper/cuda/driver"
)

// These tests run on a GPU, or on the fake driver, where the very kernels are
// emulated: scripts/cuda-check.

func openDevice(t testing.TB) *Device {
	t.Helper()
	d, err := Open(0)
	if err != nil {
		t.Skipf("needs a CUDA device: %v", err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// random is x [m,k] of normal numbers, some rows all zero.
func random(seed uint64, m, k int) gemm.Matrix {
	rng := rand.New(rand.NewPCG(seed, 9))
	x := gemm.NewMatrix(m, k)
	for i := range m {
		if m > 2 && i == m/2 {
			continue
		}
		for j := range x.Row(i) {
			x.Row(i)[j] = float32(rng.NormFloat64())
		}
	}
	return x
}

// reference is Y [M,N] in float64 from the canonical form, and the same of
// absolute values: zipper.Reference, which knows neither
// outliers nor narrower residuals.
func reference(q *quant.Quantized, scheme Scheme, x gemm.Matrix) (y, size []float64) {
	a := map[Scheme]quant.Activations{W4A8: quant.A8, W4A4: quant.A4}[scheme]
	switch scheme {
	case W4A16Half:
		x = decode(encode(x, x.Cols, Half), x.Rows, x.Cols, Half)
	case W4A16BF16:
		x = decode(encode(x, x.Cols, BFloat16), x.Rows, x.Cols, BFloat16)
	}
	if q.Outliers == nil && (q.Residual == nil || q.Residual.Bits == 4) {
		return zipper.Reference(q, x, a)
	}
	x = x.Clone()
	a.Apply(x)
	n, k := q.Dims()
	w := q.Dequantize()
	y, size = make([]float64, x.Rows*n), make([]float64, x.Rows*n)
	for m := range x.Rows {
		for i := range n {
			for j := range k {
				v := float64(x.Row(m)[j]) * float64(w.Row(i)[j])
				y[m*n+i] += v
				size[m*n+i] += math.Abs(v)
			}
		}
	}
	return y, size
}

// of is what a variant executes of q.
func of(q *quant.Quantized, variant string) *quant.Quantized {
	switch variant {
	case variants.Dense4:
		return &quant.Quantized{Base: q.Base}
	case variants.Outlier16:
		return &quant.Quantized{Base: q.Base, Outliers: q.Outliers}
	}
	return q
}

// run multiplies and compares with the reference. What a sum in float32 of K
// products may lose, and the rounding of Y, bound the difference.
func run(t *testing.T, d *Device, q *quant.Quantized, scheme Scheme, variant string, o Options, ms ...int) {
	t.Helper()
	q = of(q, variant)
	l, err := NewLayout(q, scheme)
	if err != nil {
		t.Fatal(err)
	}
	layer, err := d.NewLayer(l, variant, o)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := layer.Close(); err != nil {
			t.Error(err)
		}
	}()
	for _, m := range ms {
		x := random(uint64(m), m, l.K)
		x = decode(encode(x, x.Cols, o.Input), x.Rows, x.Cols, o.Input)
		if err := layer.Load(x); err != nil {
			t.Fatal(err)
		}
		for range 2 { // the second shows what the first left behind
			if _, err := layer.Run(); err != nil {
				t.Fatal(err)
			}
		}
		got, err := layer.Output()
		if err != nil {
			t.Fatal(err)
		}
		want, size := reference(q, scheme, x)
		sum := float64(l.K+64) * 0x1p-24
		round := map[Type]float64{Float32: 0x1p-24, Half: 0x1p-10, BFloat16: 0x1p-7}[o.Output]
		for i, w := range want {
			bound := size[i]*sum + 2*math.Abs(w)*round + 1e-7
			if variant == variants.Separate || variant == variants.Outlier16 { // what the first kernel wrote was rounded, too
				bound += size[i] * round
			}
			if e := math.Abs(float64(got.Data[i]) - w); !(e <= bound) {
				t.Fatalf("%s %s of %dx%d, M=%d, %s: y[%d,%d] = %g, want %g within %g", scheme, variant, l.N, l.K, m, layer.Kernel(), i/l.N, i%l.N, got.Data[i], w, bound)
			}
		}
	}
}

// TestProducts compares every scheme and variant with the float64 reference, on
// all forms of residual and awkward sizes.
func TestProducts(t *testing.T) {
	d := openDevice(t)
	all := shapes()
	if d.Info.Emulated { // every third, for the time it takes
		var some []shape
		for i, s := range all {
			if i%3 == 0 && s.n < 140 {
				some = append(some, s)
			}
		}
		all = some
	}
	for i, s := range all {
		q := s.random(uint64(i))
		for j, scheme := range schemes {
			for h, variant := range []string{variants.Dense4, variants.Separate, variants.Zipper, variants.Outlier16} {
				if s.outliers > 0 != (variant == variants.Outlier16) || scheme == W4A4 && variant == variants.Outlier16 {
					continue
				}
				o := Options{Input: Type((i + j) % 3), Output: Type((i + h) % 3)}
				run(t, d, q, scheme, variant, o, []int{1, 3, 16, 40}[(i+j+h)%4])
			}
		}
	}
}

// TestRidingProducts compares residuals that ride with the float64 reference.
func TestRidingProducts(t *testing.T) {
	d := openDevice(t)
	forRiding(func(i int, _ string, q *quant.Quantized) {
		o := Options{Input: Type(i % 3), Output: Type(i / 3 % 3)}
		run(t, d, q, W4A8, variants.Zipper, o, []int{1, 3, 16, 40}[i%4])
		run(t, d, q, schemes[i%2], variants.Zipper, o, []int{1, 40, 3, 16}[i%4])
		run(t, d, q, schemes[i%3], variants.Dense4, o, 2)
	})
	l, err := NewLayout(ridingShapes[0].riding(1, 1, 1), W4A8)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.NewLayer(l, variants.Separate, Options{}); err == nil || !strings.Contains(err.Error(), "NewSeparable") {
		t.Errorf("a riding residual by itself: %v", err)
	}
}

// TestEveryKernel forces each matrix kernel in turn, split and whole, on sizes
// that leave rest in all three dimensions.
func TestEveryKernel(t *testing.T) {
	d := openDevice(t)
	byGroup := map[int]*quant.Quantized{}
	for _, g := range []int{32, 64, 128} {
		byGroup[g] = shape{n: 140, k: 256 * max(1, g/64), group: g, r: 16, c: 64, bits: 4, density: 0.3}.random(1)
	}
	seen := map[string]bool{}
	kinds := []struct {
		variant, kind string
		group         int
	}{{variants.Dense4, "dense", 64}, {variants.Zipper, "zip", 64}, {variants.Dense4, "dense32", 32}, {variants.Zipper, "zip32", 32},
		{variants.Separate, "sparse", 64}, {variants.Dense4, "dense128", 128},
		{variants.Zipper, "zip128", 128}, {variants.Zipper, "ride", 128}, {variants.Zipper, "ride64", 64}, {variants.Zipper, "ride32", 32}}
	for _, scheme := range schemes {
		for _, k := range kinds {
			variant, kind, q := k.variant, k.kind, byGroup[k.group]
			if strings.HasPrefix(kind, "ride") {
				q = shape{n: 140, k: 640, group: k.group}.riding(1, 2, 7)
			}
			for _, tokens := range d.tokens(scheme, kind) {
				for _, splits := range []int{1, 3, 11} {
					if variant == variants.Separate && splits > 1 || d.Info.Emulated && tokens > 32 && splits == 3 {
						continue
					}
					o := Options{Output: Half, Tile: Tile{tokens, splits}}
					if variant == variants.Separate {
						o.Tile = Tile{}
						o.sparse = Tile{tokens, 1}
					}
					run(t, d, q, scheme, variant, o, tokens+3)
					seen[fmt.Sprintf("%s_%s_t%d", scheme, kind, tokens)] = true
				}
			}
		}
	}
	for name, k := range d.table {
		if k.tokens > 0 && strings.HasPrefix(name, "w4a") && !seen[name] {
			t.Errorf("kernel %s was never run", name)
		}
	}
}

func TestCuBLAS(t *testing.T) {
	d := openDevice(t)
	if _, err := d.CuBLAS(); err != nil {
		t.Skip(err)
	}
	q := shape{n: 72, k: 128, group: 64, r: 16, c: 16, bits: 4, density: 0.5}.random(1)
	l, err := d.NewLayer16(q, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	x := random(1, 5, 128)
	if err := l.Load(x); err != nil {
		t.Fatal(err)
	}
	if took, err := l.Run(); err != nil || took <= 0 {
		t.Fatal(took, err)
	}
	y, err := l.Output()
	if err != nil {
		t.Fatal(err)
	}
	want, size := reference(q, W4A16BF16, x)
	for i, w := range want {
		if e := math.Abs(float64(y.Data[i]) - w); !(e <= size[i]*0x1p-7) {
			t.Fatalf("y[%d] = %g, want %g", i, y.Data[i], w)
		}
	}
	if l.Bytes(1) != 2*72*128 || !strings.HasPrefix(l.Kernel(), "cuBLAS ") {
		t.Error(l.Bytes(1), l.Kernel())
	}
}

// TestNotFinite: a token that is not finite gives NaN, and no other does.
func TestNotFinite(t *testing.T) {
	d := openDevice(t)
	q := shape{n: 20, k: 128, group: 64}.random(1)
	l, err := NewLayout(q, W4A8)
	if err != nil {
		t.Fatal(err)
	}
	layer, err := d.NewLayer(l, variants.Dense4, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer layer.Close()
	x := random(1, 3, 128)
	x.Row(1)[77] = float32(math.Inf(1))
	if err := errors.Join(layer.Load(x)); err != nil {
		t.Fatal(err)
	}
	if _, err := layer.Run(); err != nil {
		t.Fatal(err)
	}
	y, err := layer.Output()
	if err != nil {
		t.Fatal(err)
	}
	for i, v := range y.Data {
		if math.IsNaN(float64(v)) != (i/20 == 1) {
			t.Fatalf("y[%d,%d] = %g", i/20, i%20, v)
		}
	}
}

// everything is a life of a device: opened, used in all variants, closed.
func everything() (err error) {
	d, err := Open(0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	q := shape{n: 20, k: 128, group: 64, r: 16, c: 16, bits: 4, density: 0.5}.random(1)
	x := random(1, 2, 128)
	use := func(l *Layer, err error) error {
		if err != nil {
			return err
		}
		err = l.Load(x)
		if err == nil {
			_, err = d.RunAll([]*Layer{l, l})
		}
		if err == nil {
			_, err = l.Output()
		}
		return errors.Join(err, l.Close())
	}
	l, err := NewLayout(q, W4A8)
	if err != nil {
		return err
	}
	for _, v := range []string{variants.Separate, variants.Zipper} {
		if err := use(d.NewLayer(l, v, Options{Tile: Tile{8, 2}})); err != nil {
			return err
		}
	}
	if err := use(d.NewLayer16(q, Options{})); err != nil {
		return err
	}
	if err := d.Flush(); err != nil {
		return err
	}
	if _, err := d.CopyBandwidth(4096); err != nil {
		return err
	}
	_, err = d.GEMMRate(16)
	return err
}

// TestFaults lets every driver call fail once: there must be an error that names
// a call, or a fallback that says so, and nothing may be left.
func TestFaults(t *testing.T) {
	if !openDevice(t).Info.Emulated {
		t.Skip("needs the fake driver")
	}
	calls := func() int { return driver.FakeCalls() }
	before := calls()
	if err := everything(); err != nil {
		t.Fatal(err)
	}
	total, objects := calls()-before, driver.FakeObjects()
	t.Logf("%d calls", total)
	missed := 0
	for i := range total {
		t.Setenv("FAKE_CUDA_FAIL", fmt.Sprintf("%d:719", calls()+i+1))
		err := everything()
		os.Unsetenv("FAKE_CUDA_FAIL")
		var e *driver.Error
		if err == nil {
			if missed++; missed > 5 || i > 20 { // what only describes a device: driver.Info
				t.Errorf("call %d fails without error", i+1)
			}
		} else if !errors.As(err, &e) || e.Code != 719 || strings.Contains(err.Error(), "never freed") {
			t.Errorf("call %d: %v", i+1, err)
		}
		if left := driver.FakeObjects(); left != objects {
			t.Fatalf("call %d (%v): left %s, before %s", i+1, err, left, objects)
		}
	}
}

func TestOutOfMemory(t *testing.T) {
	d := openDevice(t)
	if !d.Info.Emulated {
		t.Skip("needs the fake driver")
	}
	objects := driver.FakeObjects()
	t.Setenv("FAKE_CUDA_MEMORY", fmt.Sprint(8<<20))
	l, err := NewLayout(shape{n: 4096, k: 4096, group: 64}.random(1), W4A8)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.NewLayer(l, variants.Dense4, Options{}); !driver.IsOutOfMemory(err) {
		t.Errorf("error %v", err)
	}
	if left := driver.FakeObjects(); left != objects {
		t.Errorf("left %s, before %s", left, objects)
	}
}

// TestTuning: the tile that won for one layer is taken by its copies, for the same
// number of tokens alone.
func TestTuning(t *testing.T) {
	d := openDevice(t)
	d.Info.Emulated = false // so that all tiles are tried
	q := shape{n: 40, k: 256, group: 64, r: 16, c: 16, bits: 4, density: 0.5}.random(1)
	l, err := NewLayout(q, W4A8)
	if err != nil {
		t.Fatal(err)
	}
	var copies [3]*Layer
	for i := range copies {
		if copies[i], err = d.NewLayer(l, variants.Zipper, Options{}); err != nil {
			t.Fatal(err)
		}
		defer copies[i].Close()
	}
	for i, want := range []int{1, 1, 1} {
		if err := copies[i].Load(random(1, 2, 256)); err != nil {
			t.Fatal(err)
		}
		if len(d.tuned) != want || copies[i].tile != copies[0].tile {
			t.Errorf("copy %d: %d tiles tuned, %s, first %s", i, len(d.tuned), copies[i].tile, copies[0].tile)
		}
	}
	if err := copies[2].Load(random(1, 9, 256)); err != nil || len(d.tuned) != 2 {
		t.Errorf("9 tokens: %d tiles tuned, %v", len(d.tuned), err)
	}
	before, err := copies[0].Run()
	if err != nil || before <= 0 {
		t.Fatal(before, err)
	}
	a, _ := copies[0].Output()
	if _, err := d.RunAll([]*Layer{copies[0], copies[1], copies[0]}); err != nil {
		t.Fatal(err)
	}
	b, _ := copies[0].Output()
	c, _ := copies[1].Output()
	if !slices.Equal(a.Data, b.Data) || !slices.Equal(a.Data, c.Data) {
		t.Error("products in a row differ from one alone")
	}
	if copies[0].kernels() != 2 {
		t.Errorf("%d kernels, want quantize_a8 and zip", copies[0].kernels())
	}
}

// TestImages: every kernel of the table is in its image, with as many 64-bit
// parameters as kernels/ABI.md gives it and a launch bound of its threads.
func TestImages(t *testing.T) {
	text, err := images.ReadFile("kernels/table.tsv")
	if err != nil {
		t.Fatal(err)
	}
	table, err := readTable(string(text))
	if err != nil {
		t.Fatal(err)
	}
	parameters := map[string]int{"quantize_a8": 9, "quantize_a4": 10, "convert_a16": 9, "outliers": 11, "copy16": 3,
		"read16": 3, "delay": 1, "embed": 6, "swiglu": 15, "accumulate": 2, "rope": 25, "attend": 15, "combine": 13, "greedy": 7,
		"flash_d64": 13, "flash_d128": 13}
	for name, k := range table {
		image, err := readImage(k.image + ".ptx")
		if err != nil {
			t.Fatal(err)
		}
		_, entry, ok := strings.Cut(string(image), ".entry "+name+"(")
		if !ok {
			t.Errorf("%s is not in image %s", name, k.image)
			continue
		}
		head, _, _ := strings.Cut(entry, "{")
		want := 17
		if n, other := parameters[name]; other {
			want = n
		}
		if got := strings.Count(head, ".param .u64 "); got != want || strings.Count(head, ".param ") != want {
			t.Errorf("%s has %d parameters of 64 bits, want %d", name, got, want)
		}
		if !strings.Contains(head, fmt.Sprintf(".maxntid %d,", k.threads)) {
			t.Errorf("%s: the table says %d threads, the image%s", name, k.threads, head)
		}
	}
}

// TestMachineCode: every kernel of the table is in the machine code of its image
// for both architectures, and other devices take PTX.
func TestMachineCode(t *testing.T) {
	text, err := images.ReadFile("kernels/table.tsv")
	if err != nil {
		t.Fatal(err)
	}
	table, err := readTable(string(text))
	if err != nil {
		t.Fatal(err)
	}
	for _, capability := range []string{"8.0", "9.0"} {
		for name, k := range table {
			image, err := readImage(k.image + imageKind(capability))
			if err != nil {
				t.Fatal(err)
			}
			// debug/elf refuses NVIDIA's version of ELF. 190 is EM_CUDA; the flags hold the architecture.
			machine, flags := binary.LittleEndian.Uint16(image[18:]), binary.LittleEndian.Uint32(image[48:])
			if arch := strings.ReplaceAll(capability, ".", ""); machine != 190 || fmt.Sprint(flags&0xff) != arch {
				t.Fatalf("%s for %s: machine %d, flags %#x", k.image, capability, machine, flags)
			}
			if !bytes.Contains(image, []byte("\x00.text."+name+"\x00")) {
				t.Errorf("%s is not in the code of %s for %s", name, k.image, capability)
			}
		}
	}
	for capability, want := range map[string]string{"8.0": ".sm_80.cubin", "8.6": ".ptx", "8.9": ".ptx", "9.0": ".sm_90.cubin", "10.0": ".ptx", "12.1": ".ptx"} {
		if got := imageKind(capability); got != want {
			t.Errorf("%s takes %s, want %s", capability, got, want)
		}
	}
}

func TestTiles(t *testing.T) {
	for _, c := range []struct {
		m, n int
		want []Tile
	}{
		{1, 4096, []Tile{{8, 1}, {8, 2}, {8, 4}, {8, 8}}},
		{2048, 4096, []Tile{{64, 1}, {128, 1}}},
	} {
		got := tiles([]int{8, 16, 32, 64, 128}, 64, c.m, c.n, 64, 132, true)
		if !slices.Equal(got, c.want) {
			t.Errorf("M=%d: %v, want %v", c.m, got, c.want)
		}
	}
}
