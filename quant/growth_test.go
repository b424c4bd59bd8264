//go:build unix

package quant_test

import (
	"bytes"
	flags "flag"
	"fmt"
	"hash/crc64"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/row"
	"github.com/mosaicquant/mosaicquant/quant"
	"github.com/mosaicquant/mosaicquant/quant/grid"
	"github.com/mosaicquant/mosaicquant/quant/mosaic"
	"github.com/mosaicquant/mosaicquant/quant/quanttest"
	"github.com/mosaicquant/mosaicquant/quant/solve"
)

var (
	growthN = flags.Int("growth-n", 1024, "rows of the layers of BenchmarkGrowth")
	growthK = flags.String("growth-k", "256,512,1024", "columns of the layers of BenchmarkGrowth")
	growthO = flags.String("growth-o", "", "folder for rows of BenchmarkGrowth; empty: none are kept")
)

// BenchmarkGrowth measures how the time for a layer [N,K] grows with K: what all
// methods share (second moments, the factor of H, the error of the layer's
// output), and each method where the factor is there already. At the end it
// prints a table of the processor time of all threads, which says more than the
// clock on a machine that does other things as well. Its last columns are the
// exponent p of the least squares fit t ~ K^p, and the one between the two largest
// K: small K are dominated by work in proportion to N·K, large ones by N·K² and K³.
//
//	go test ./quant -run '^$' -bench Growth -benchtime 1x -growth-n 2048 -growth-k 256,512,1024,2048,4096
//
// -growth-o keeps a row of each step, with a value for every K.
func BenchmarkGrowth(b *testing.B) {
	var ks []int
	for _, text := range strings.Split(*growthK, ",") {
		k, err := strconv.Atoi(text)
		if err != nil || k < 128 || k%128 != 0 {
			b.Fatalf("-growth-k %q: want multiples of 128", text)
		}
		ks = append(ks, k)
	}
	rtn, gptq := solve.RTN{Format: quant.Int4(128), Scale: grid.Scale{Rule: grid.AbsMax}}, solve.NewGPTQ(quant.Int4(128))
	refined := gptq
	refined.Refine = 4
	relief := joint(gptq.Format, 1, 16, .1)
	relief.Criterion, relief.Refine = mosaic.CriterionRelief, 4
	run := func(m quant.Quantizer) func(*testing.B, *growth) {
		return func(b *testing.B, g *growth) { quanttest.Quantize(b, m, g.problem) }
	}
	steps := []struct {
		name string
		run  func(*testing.B, *growth)
	}{
		{"moments of 1024 tokens", func(b *testing.B, g *growth) {
			if err := quant.NewAccumulator(g.x.Cols).Add(g.x); err != nil {
				b.Fatal(err)
			}
		}},
		{"factor of H", func(b *testing.B, g *growth) {
			p, m := g.problem, *g.problem.Moments
			p.Moments = &quant.Moments{K: m.K, Tokens: m.Tokens, H: m.H} // keeps no factor
			if _, err := gptq.Start(p); err != nil {
				b.Fatal(err)
			}
		}},
		{"output error", func(b *testing.B, g *growth) { quant.OutputEnergy(g.problem.Weights, g.problem.Moments) }},
		{"rtn", run(rtn)},
		{"gptq", run(gptq)},
		{"gptq refine4", run(refined)},
		{"mosaic rtn 16x64 delta", run(laid(rtn, 16, 64, .1))},
		{"mosaic joint 1x16 relief refine4", run(relief)},
	}
	seconds := make([][]float64, len(steps)) // by K; 0 = not asked for
	for i := range seconds {
		seconds[i] = make([]float64, len(ks))
	}
	for j, k := range ks {
		var g *growth
		for i, step := range steps {
			b.Run(fmt.Sprintf("K=%d/%s", k, step.name), func(b *testing.B) {
				if g == nil {
					g = newGrowth(b, *growthN, k, 1024)
				}
				if strings.Contains(step.name, "gptq") || strings.Contains(step.name, "joint") {
					if _, err := gptq.Start(g.problem); err != nil {
						b.Fatal(err)
					}
				}
				start := processor(b)
				for b.Loop() {
					step.run(b, g)
				}
				seconds[i][j] = (processor(b) - start) / float64(b.N)
				b.ReportMetric(seconds[i][j], "cpu-s/op")
			})
		}
	}
	name := func(i int) string { return steps[i].name }
	b.Logf("seconds of processor time for a layer of %d rows\n%s", *growthN, growthTable(ks, seconds, name))
	if *growthO != "" {
		keepGrowth(b, ks, seconds, name)
	}
}

// keepGrowth writes a row for each step that was measured at every K.
func keepGrowth(b *testing.B, ks []int, seconds [][]float64, name func(int) string) {
	w, _, err := row.OpenWriter(*growthO)
	if err != nil {
		b.Fatal(err)
	}
	defer w.Close()
	env, err := row.SaveEnvironment(*growthO, row.Capture(gemm.Kernel(), gemm.Features()))
	if err != nil {
		b.Fatal(err)
	}
	for i, t := range seconds {
		if slices.Min(t) == 0 {
			continue
		}
		config := fmt.Sprintf(`{"bench":"growth","step":%q,"n":%d,"k":[%s]}`, name(i), *growthN, *growthK)
		r := &row.Row{Schema: row.Schema, Trial: fmt.Sprintf("%016x", crc64.Checksum([]byte(config), crc64.MakeTable(crc64.ECMA))),
			Label: name(i), Axes: map[string]string{"bench": "growth", "step": name(i)}, Config: []byte(config), Env: env,
			Status: row.OK, Start: time.Now().UTC().Format(time.RFC3339)}
		for j, k := range ks {
			r.Values = append(r.Values, row.Value{Name: fmt.Sprintf("processor_time/K=%d", k), Value: t[j], Unit: "s"})
		}
		if n := len(ks); n > 1 {
			r.Values = append(r.Values, row.Value{Name: "exponent", Value: slope(ks, t)},
				row.Value{Name: "last_exponent", Value: slope(ks[n-2:], t[n-2:])})
		}
		if err := w.Append(r); err != nil {
			b.Fatal(err)
		}
	}
}

// processor is the time in seconds that all threads have run.
func processor(b *testing.B) float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}

// growthTable is Markdown; steps that were not measured at every K are without
// exponents, or left out.
func growthTable(ks []int, seconds [][]float64, name func(int) string) string {
	var w strings.Builder
	w.WriteString("| step |")
	for _, k := range ks {
		fmt.Fprintf(&w, " K=%d |", k)
	}
	w.WriteString(" exponent | last |\n|---|")
	w.WriteString(strings.Repeat("---|", len(ks)+2))
	for i, t := range seconds {
		if slices.Max(t) == 0 {
			continue
		}
		fmt.Fprintf(&w, "\n| %s |", name(i))
		for _, s := range t {
			if s == 0 {
				w.WriteString(" |")
			} else {
				fmt.Fprintf(&w, " %.3g |", s)
			}
		}
		if n := len(ks); n < 2 || slices.Min(t) == 0 {
			w.WriteString(" | |")
		} else {
			fmt.Fprintf(&w, " %.2f | %.2f |", slope(ks, t), slope(ks[n-2:], t[n-2:]))
		}
	}
	return w.String()
}

// growth is a layer and inputs of it.
type growth struct {
	problem quant.Problem
	x       quant.Matrix // [tokens,K]
}

// newGrowth returns a layer with Gaussian weights. H is that of channels of many
// energies, each correlated with its neighbours: computing it from enough tokens
// would take longer than what is measured.
func newGrowth(b *testing.B, n, k, tokens int) *growth {
	r := rand.New(rand.NewPCG(uint64(k), 1))
	g := &growth{problem: quant.Problem{Name: "layer", Weights: gemm.NewMatrix(n, k)}, x: gemm.NewMatrix(tokens, k)}
	for _, m := range []quant.Matrix{g.problem.Weights, g.x} {
		for i := range m.Data {
			m.Data[i] = float32(r.NormFloat64())
		}
	}
	m := &quant.Moments{K: k, Tokens: tokens, H: make([]float64, k*k), AbsMax: make([]float32, k), Mean: make([]float32, k), MeanAbs: make([]float32, k)}
	scale := make([]float64, k)
	for j := range scale {
		scale[j] = math.Exp(r.NormFloat64())
		m.AbsMax[j], m.MeanAbs[j] = float32(3*scale[j]), float32(scale[j])
	}
	for i := range k {
		for j := range k {
			if d := max(i-j, j-i); d < 64 { // below the precision of float32 farther away
				m.H[i*k+j] = float64(float32(scale[i] * scale[j] * math.Ldexp(1, -d)))
			}
		}
	}
	var file bytes.Buffer // what is read is checked, and keeps its factor
	err := m.Encode(&file)
	if err != nil {
		b.Fatal(err)
	}
	if g.problem.Moments, err = quant.DecodeMoments(&file, int64(file.Len())); err != nil {
		b.Fatal(err)
	}
	return g
}

// slope returns the exponent p of the least squares fit t ~ k^p.
func slope(k []int, t []float64) float64 {
	var x, y, xx, xy float64
	for i := range k {
		a, c := math.Log(float64(k[i])), math.Log(t[i])
		x, y, xx, xy = x+a, y+c, xx+a*a, xy+a*c
	}
	n := float64(len(k))
	return (n*xy - x*y) / (n*xx - x*x)
}
