//go:build cuda && linux && cgo

package bench

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/mosaicquant/mosaicquant/internal/row"
	"github.com/mosaicquant/mosaicquant/internal/variants"
	"github.com/mosaicquant/mosaicquant/quant"
	"github.com/mosaicquant/mosaicquant/zipper/cuda"
)

func enginesOfBuild() map[string]func() (Engine, error) {
	return map[string]func() (Engine, error){"cpu": newCPU, "cuda": newCUDA}
}

// gpu is the engine of package cuda. Activations and outputs are bfloat16, as
// models have them; those of W4A8 and W4A4 are rounded on the device, which is
// part of the time.
type gpu struct {
	device *cuda.Device
	tile   cuda.Tile
	// last is the layout that was made last: copies of one layer share it.
	last struct {
		q         *quant.Quantized
		scheme    cuda.Scheme
		separable bool
		layout    *cuda.Layout
	}
}

// tileVariable forces the tiles of the matrix kernels: MOSAICQUANT_CUDA="t16 s4".
const tileVariable = "MOSAICQUANT_CUDA"

func newCUDA() (Engine, error) {
	e := &gpu{}
	var err error
	if v := os.Getenv(tileVariable); v != "" && v != "auto" {
		if e.tile, err = cuda.ParseTile(v); err != nil {
			return nil, fmt.Errorf("%s: %w", tileVariable, err)
		}
	}
	if e.device, err = cuda.Open(0); err != nil {
		return nil, err
	}
	return e, nil
}

func (e *gpu) Name() string { return "cuda" }

func (e *gpu) Device() string {
	i := e.device.Info
	return fmt.Sprintf("%s, %d SMs, compute capability %s, CUDA driver %s", i.Name, i.SMs, i.Capability, i.Driver)
}

func (e *gpu) Requested() string { return cmp.Or(os.Getenv(tileVariable), "auto") }

func (e *gpu) CacheBytes() int64 { return e.device.Info.L2 }

// Warning says of emulated kernels that their times are none.
func (e *gpu) Warning() string {
	if e.device.Info.Emulated {
		return "kernels were emulated on the CPU: this time says nothing about a GPU"
	}
	return ""
}

// State is the device's clocks while it works.
func (e *gpu) State() map[string]float64 {
	c, ok := e.device.Info.Clocks()
	if !ok {
		return nil
	}
	return map[string]float64{"SM clock, MHz": float64(c.SMMHz), "memory clock, MHz": float64(c.MemoryMHz),
		"power, W": c.Watts, "temperature, °C": float64(c.Celsius)}
}

// WarmUp is what it takes for the clocks to rise.
func (e *gpu) WarmUp() time.Duration {
	if e.device.Info.Emulated {
		return 0
	}
	return 200 * time.Millisecond
}

// RunAll times products one after the other.
func (e *gpu) RunAll(layers []Layer) (time.Duration, error) {
	all := make([]*cuda.Layer, len(layers))
	for i, l := range layers {
		all[i] = l.(*cuda.Layer)
	}
	return e.device.RunAll(all)
}

// Profile runs f where a profiler looks.
func (e *gpu) Profile(f func() error) error { return e.device.Profile(f) }

func (e *gpu) Flush() string {
	if err := e.device.Flush(); err != nil { // the next Run reports it as well
		return "not flushed: " + err.Error()
	}
	return fmt.Sprintf("flushed: %d MiB were read before each product", 4*e.device.Info.L2>>20)
}

func (e *gpu) Close() error { return e.device.Close() }

func (e *gpu) Yardsticks(string) []Yardstick {
	bytes, n := max(256<<20, 8*e.device.Info.L2), 4096
	if e.device.Info.Emulated {
		bytes, n = 1<<20, 64
	}
	all := []Yardstick{{row.ReadBandwidth, fmt.Sprintf("copy of %d MiB on the device, bytes read and written", bytes>>20),
		func() (float64, error) {
			return e.device.CopyBandwidth(bytes)
		}}}
	if _, err := e.device.CuBLAS(); err == nil {
		all = append(all, Yardstick{row.PeakRate, fmt.Sprintf("cuBLAS bf16 GEMM of %d³", n),
			func() (float64, error) { return e.device.GEMMRate(n) }})
	}
	return all
}

func (e *gpu) Prepare(w *Weights, scheme, variant string) (Layer, error) {
	q := w.Of(variant)
	o := cuda.Options{Input: cuda.BFloat16, Output: cuda.BFloat16, Tile: e.tile}
	if variant == variants.W16A16 {
		if _, err := e.device.CuBLAS(); err != nil {
			return nil, &Unsupported{"cuda", scheme, variant, err.Error()}
		}
		l, err := e.device.NewLayer16(q, o)
		return wrap(l, err)
	}
	s := cuda.Scheme(scheme)
	if scheme == "w4a16" {
		s = cuda.W4A16BF16
	}
	if variant == variants.Outlier16 && s == cuda.W4A4 {
		return nil, &Unsupported{"cuda", scheme, variant, "4-bit activations and outliers have no kernel"}
	}
	// A residual that rides in the base has another layout where it shall have its own kernel.
	separable := variant == variants.Separate && q.Residual != nil && q.Residual.BaseScales
	if e.last.q == nil || e.last.q.Base != q.Base || e.last.q.Residual != q.Residual ||
		e.last.q.Outliers != q.Outliers || e.last.scheme != s || e.last.separable != separable {
		lay := cuda.NewLayout
		if separable {
			lay = cuda.NewSeparable
		}
		layout, err := lay(q, s)
		if err != nil {
			return nil, &Unsupported{"cuda", scheme, variant, err.Error()}
		}
		e.last.q, e.last.scheme, e.last.separable, e.last.layout = q, s, separable, layout
	}
	return wrap(e.device.NewLayer(e.last.layout, variant, o))
}

// wrap keeps a nil *cuda.Layer from becoming a Layer that is not nil.
func wrap(l *cuda.Layer, err error) (Layer, error) {
	if err != nil {
		return nil, err
	}
	return l, nil
}

// CUDAStatus describes the engine cuda for doctor, in lines: the device, or why the
// CPU runs in its place.
func CUDAStatus() []string {
	d, err := cuda.Open(0)
	if err != nil {
		return []string{fmt.Sprintf("requested cuda, engaged cpu: %v", err)}
	}
	i := d.Info
	lines := []string{fmt.Sprintf("%s, compute capability %s, %d SMs, %.1f GiB, L2 %d MiB, CUDA driver %s",
		i.Name, i.Capability, i.SMs, float64(i.Memory)/(1<<30), i.L2>>20, i.Driver)}
	if i.Emulated {
		lines = append(lines, "emulated: this is the fake driver of the tests, no GPU")
	}
	if c, ok := i.Clocks(); ok {
		lines = append(lines, fmt.Sprintf("driver %s, %d MHz, memory %d MHz, %.0f W, %d °C",
			c.Version, c.SMMHz, c.MemoryMHz, c.Watts, c.Celsius))
	}
	if v, err := d.CuBLAS(); err == nil {
		lines = append(lines, fmt.Sprintf("cuBLAS %d.%d.%d", v/10000, v/100%100, v%100))
	} else {
		lines = append(lines, err.Error())
	}
	start := time.Now()
	if err := errors.Join(d.Compile(), d.Close()); err != nil {
		return append(lines, "kernels do not load: "+err.Error())
	}
	return append(lines, fmt.Sprintf("all kernels load (%s)", time.Since(start).Round(time.Millisecond)))
}
