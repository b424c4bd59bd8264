package bench

import (
	"cmp"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/mosaicquant/mosaicquant/experiments/trial"
	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/row"
	"github.com/mosaicquant/mosaicquant/zipper"
)

// cpu is the engine of package zipper.
type cpu struct {
	memory []byte // four times the last-level cache, at least 64 MiB
	llc    int64
	device string
	x, w   gemm.Matrix // operands of the peak
	y      gemm.Matrix
}

func newCPU() (Engine, error) {
	const n = 768
	e := &cpu{llc: cacheBytes("/sys/devices/system/cpu/cpu0/cache"),
		x: normal(1, n, n), w: normal(2, n, n), y: gemm.NewMatrix(n, n)}
	e.memory = zipper.Memory(int(max(64<<20, 4*e.llc)))
	e.device = cpuDevice()
	return e, nil
}

func cpuDevice() string {
	return fmt.Sprintf("%s, %d threads", row.Capture("", nil).CPU, runtime.GOMAXPROCS(0))
}

// assumedCache is taken where the system does not tell.
const assumedCache = 32 << 20

// cacheBytes is the size of the largest cache listed in dir, as Linux lists them.
func cacheBytes(dir string) int64 {
	files, _ := filepath.Glob(filepath.Join(dir, "index*", "size")) // the pattern is valid
	var largest int64
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(string(text)), "K"), 10, 64)
		if err == nil {
			largest = max(largest, kib<<10)
		}
	}
	return cmp.Or(largest, assumedCache)
}

func (e *cpu) Name() string { return "cpu" }

func (e *cpu) Device() string { return e.device }

func (e *cpu) Requested() string {
	requested, _ := trial.Kernel()
	return requested
}

func (e *cpu) CacheBytes() int64 { return e.llc }

func (e *cpu) Flush() string {
	zipper.Sum(e.memory)
	return fmt.Sprintf("flushed: %d MiB were read before each product", len(e.memory)>>20)
}

func (e *cpu) Close() error { return nil }

func (e *cpu) Yardsticks(string) []Yardstick {
	return []Yardstick{
		{row.ReadBandwidth, fmt.Sprintf("sum of %d MiB, %d threads", len(e.memory)>>20, runtime.GOMAXPROCS(0)),
			func() (float64, error) {
				start := time.Now()
				zipper.Sum(e.memory)
				return float64(len(e.memory)) / time.Since(start).Seconds(), nil
			}},
		{row.PeakRate, fmt.Sprintf("our float32 GEMM of %d³ (%s)", e.x.Rows, gemm.Kernel()), func() (float64, error) {
			start := time.Now()
			gemm.MulNT(e.y, e.x, e.w)
			return 2 * math.Pow(float64(e.x.Rows), 3) / time.Since(start).Seconds(), nil
		}},
	}
}

func (e *cpu) Prepare(w *Weights, scheme, variant string) (Layer, error) {
	if w.Of(variant) == nil {
		return nil, &Unsupported{"cpu", scheme, variant, "there are no outliers"}
	}
	p, err := trial.Pack(w.Of(variant), scheme, variant)
	if err != nil {
		return nil, &Unsupported{"cpu", scheme, variant, err.Error()}
	}
	n, _ := w.Packed.Dims()
	return &cpuLayer{n: n, packed: p}, nil
}

type cpuLayer struct {
	packed trial.Product
	n      int
	x, y   gemm.Matrix
}

func (l *cpuLayer) Bytes(int) int64 { return l.packed.Bytes() }

func (l *cpuLayer) Load(x gemm.Matrix) error {
	l.x, l.y = x, gemm.NewMatrix(x.Rows, l.n)
	return nil
}

func (l *cpuLayer) Run() (time.Duration, error) {
	start := time.Now()
	l.packed.MulNT(l.y, l.x)
	return time.Since(start), nil
}

func (l *cpuLayer) Kernel() string {
	_, engaged := trial.Kernel()
	return engaged
}

func (l *cpuLayer) Output() (gemm.Matrix, error) { return l.y, nil }

func (l *cpuLayer) Close() error { return nil }
