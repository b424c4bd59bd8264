package roofline

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/mosaicquant/mosaicquant/internal/variants"
)

func predict(t *testing.T, d Device, p Product) Prediction {
	t.Helper()
	r, err := Predict(d, p)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// each calls f for products of all kinds on all devices.
func each(f func(d Device, p Product)) {
	for _, d := range Devices {
		for _, m := range []int{1, 7, 16, 128, 2048} {
			for _, l := range append(slices.Clone(qwen3), vProj) {
				for _, scheme := range []string{"w4a16", "w4a8", "w4a4"} {
					for _, density := range []float64{0, 0.01, 0.1, 1} {
						f(d, Product{M: m, N: l.n, K: l.k, Scheme: scheme, Group: 128, Density: density})
					}
				}
			}
		}
	}
}

// TestBounds: nothing is faster than memory and tensor cores allow, and more
// residual never takes less time.
func TestBounds(t *testing.T) {
	each(func(d Device, p Product) {
		for _, v := range []string{variants.W16A16, variants.Dense4, variants.Zipper, variants.Separate, variants.Outlier16} {
			p.Variant = v
			r := predict(t, d, p)
			bytes, flops, peak := float64(p.N)*float64(p.K)/2, 2*float64(p.M)*float64(p.N)*float64(p.K), max(d.BF16, d.Int8, d.Int4)
			if v == variants.W16A16 {
				bytes *= 4
			}
			if least := max(bytes/d.Bandwidth, flops/peak); !(r.Time > least) {
				t.Fatalf("%s %+v: %g s, less than the bound %g", d.Name, p, r.Time, least)
			}
			more := p
			more.Density = min(1, p.Density+0.05)
			if again := predict(t, d, more); again.Time < r.Time {
				t.Fatalf("%s %+v: %g s, but %g at a higher density", d.Name, p, r.Time, again.Time)
			}
		}
	})
}

// TestWithoutResidual: at density 0 all that carry a residual are the base.
func TestWithoutResidual(t *testing.T) {
	each(func(d Device, p Product) {
		p.Density, p.Variant = 0, variants.Dense4
		base := predict(t, d, p)
		for _, v := range []string{variants.Zipper, variants.Separate, variants.Outlier16} {
			p.Variant = v
			if r := predict(t, d, p); r.Time != base.Time {
				t.Fatalf("%s %+v: %g s, the base takes %g", d.Name, p, r.Time, base.Time)
			}
		}
	})
}

// TestOrder: up to 128 tokens the fused kernel is not slower than two kernels, but for
// what it costs to look for a residual where there is next to none. For more, both are bound by what they issue,
// and what the sparse kernel executes beside its products is not counted.
func TestOrder(t *testing.T) {
	each(func(d Device, p Product) {
		p.Variant = variants.Zipper
		fused := predict(t, d, p)
		p.Variant = variants.Separate
		limit := 1.02
		if p.M > 128 {
			limit = 1.06
		}
		if two := predict(t, d, p); p.Density < 1 && fused.Time > two.Time*limit {
			t.Errorf("%s %+v: fused %g s, separate %g", d.Name, p, fused.Time, two.Time)
		}
	})
}

// TestLargeDecodeIsMemoryBound: but on a B200, whose memory is faster than its
// schedulers issue what W4A16 takes.
func TestLargeDecodeIsMemoryBound(t *testing.T) {
	for name, d := range Devices {
		p := Product{M: 1, N: 28672, K: 8192, Scheme: "w4a16", Variant: variants.Dense4, Group: 128}
		r := predict(t, d, p)
		if name == "b200" {
			if b := r.Kernels[0].Bound(); b != "issue" {
				t.Errorf("%s: bound by %s", name, b)
			}
			continue
		}
		if b := r.Kernels[0].Bound(); b != "memory" {
			t.Errorf("%s: bound by %s", name, b)
		}
		want := float64(p.N) * float64(p.K) * (0.5 + 2.0/128) / (d.Bandwidth * streaming)
		if e := math.Abs(r.Time-want) / want; e > 0.2 {
			t.Errorf("%s: %g s, bytes over bandwidth are %g", name, r.Time, want)
		}
	}
}

func TestEmulationIsSaid(t *testing.T) {
	p := Product{M: 16, N: 4096, K: 4096, Scheme: "w4a4", Variant: variants.Zipper, Group: 128, Density: 0.1}
	for name, want := range map[string]bool{"a100": false, "rtx4090": false, "l20": false, "h100": true, "h200": true, "b200": true} {
		if r := predict(t, Devices[name], p); r.Emulated != want {
			t.Errorf("%s: emulated %v", name, r.Emulated)
		}
	}
}

func TestNonsense(t *testing.T) {
	good := Product{M: 1, N: 1, K: 1, Scheme: "w4a8", Variant: variants.Zipper, Density: 0.5}
	for i, f := range []func(p *Product){
		func(p *Product) { p.M = 0 }, func(p *Product) { p.Density = math.NaN() }, func(p *Product) { p.Scheme = "w8a8" },
		func(p *Product) { p.Variant = "fused" }, func(p *Product) { p.Density = 2 },
	} {
		p := good
		f(&p)
		if _, err := Predict(Devices["h200"], p); err == nil {
			t.Errorf("case %d is accepted", i)
		}
	}
}

func TestDevicesHaveSources(t *testing.T) {
	for name, d := range Devices {
		if len(d.Sources) < 2 || d.SMs == 0 || d.Bandwidth < 5e11 || d.BF16 < 1e14 || d.MMA <= 0 || d.MMA > 1 {
			t.Errorf("%s: %+v", name, d)
		}
	}
}

func ExamplePredict() {
	r, err := Predict(Devices["h200"], Product{M: 1, N: 28672, K: 4096, Scheme: "w4a16", Variant: variants.Zipper, Group: 128, Density: 0.1})
	fmt.Printf("%.2g s, bound by %s %v\n", r.Time, r.Kernels[0].Bound(), err)
	// Output: 1.8e-05 s, bound by memory <nil>
}

func TestPaperTable(t *testing.T) {
	for _, r := range Paper {
		line := fmt.Sprintf("%-55s %.3g", r.What, r.Low)
		for _, name := range []string{"rtx4090", "l20", "a100", "h200"} {
			v, err := r.Predict(Devices[name])
			if err != nil || !(v > 0) {
				t.Fatalf("%s on %s: %g, %v", r.What, name, v, err)
			}
			line += fmt.Sprintf(" %8.3f", v)
		}
		t.Log(line)
	}
}
