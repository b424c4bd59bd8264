package reports

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/mosaicquant/mosaicquant/internal/row"
	"github.com/mosaicquant/mosaicquant/internal/variants"
	"github.com/mosaicquant/mosaicquant/reports/format"
	"github.com/mosaicquant/mosaicquant/reports/stats"
)

// costTable is one of the paper's tables of what the residual costs, head first:
// quantity, reported, measured.
type costTable struct {
	key, title, note string
	lines            [][]string
}

// noRun begins a cell that no row fills.
const noRun = "no run: "

// costTables are the paper's figures of overhead, memory and speed end to end, with
// what the timed rows of the folders say.
func costTables(fs []*folderRows) []costTable {
	const kernels, gpu = noRun + "bench -c configs/kernels.yaml", noRun + "bench -c configs/kernels-gpu.yaml"
	head := []string{"quantity", "reported", "measured"}
	over := func(variant, base, value string) string {
		return ranges(fs, func(m *stats.Timing) []float64 { return productRatios(m, variant, base, value) })
	}
	overhead := costTable{"overhead", "Overhead of the residual, in time",
		"A residual on 10 % of the blocks. Reported: of a GPU that is not named. Measured: median and range over the " +
			"timed products of that density, by device.",
		[][]string{head,
			{"base and residual in one stream, over the base alone", "1.053 to 1.062",
				cmp.Or(over(variants.Zipper, variants.Dense4, row.Time), kernels)},
			{"residual in a pass of its own, over the base alone", "above 1.30",
				cmp.Or(over(variants.Separate, variants.Dense4, row.Time), kernels)},
			{"the pass of its own over the one stream", "", cmp.Or(over(variants.Separate, variants.Zipper, row.Time), kernels)},
		}}
	memory := costTable{"memory", "Overhead of the residual, in memory", "Bytes of weights read, of the same products.",
		[][]string{head,
			{"base and residual, over the base alone", "1.085 to 1.092",
				cmp.Or(over(variants.Zipper, variants.Dense4, row.WeightBytes), kernels)}}}
	end := costTable{"end-to-end", "End to end, over 16-bit weights",
		"Reported: Qwen3-8B, 2048 tokens in and 128 out, against TensorRT-LLM. Measured: models, lengths and batch (one " +
			"sequence) of the rows; speed of reading the prompt and of generation apart.", [][]string{head}}
	for _, r := range [][2]string{{"MosaicQuant, batch 4 / 8 / 16", "1.24 / 1.21 / 1.24"},
		{"ResQ, batch 4 / 8 / 16", "1.15 / 1.18 / 1.05"},
		{"AWQ, batch 4 / 8 / 16", "1.12 / 1.14 / 1.04"}, {"QuaRot, batch 4 / 8 / 16", "1.12 / 1.13 / 1.03"}} {
		end.lines = append(end.lines, []string{r[0], r[1], gpu})
	}
	end.lines = append(end.lines, generatedRatios(fs)...)
	return []costTable{overhead, memory, end}
}

// productRatios are the ratios of a value between two variants, in the measured
// products of m with a residual on 10 % of the blocks.
func productRatios(m *stats.Timing, variant, base, value string) []float64 {
	var out []float64
	for _, p := range m.Products {
		a, b := p.Variant(variant), p.Variant(base)
		if p.Density != 0.1 || a == nil || b == nil {
			continue
		}
		if value == row.Time {
			if r, ok := a.Timed(row.TimeOver(base)); ok { // of each repeat, in turns
				out = append(out, r.Value)
			}
			continue
		}
		x, ok := a.Value(value)
		y, has := b.Value(value)
		if ok && has && y > 0 {
			out = append(out, x/y)
		}
	}
	return out
}

// ranges writes the median and the range of the values over all measured timings of
// each device and scheme.
func ranges(fs []*folderRows, of func(*stats.Timing) []float64) string {
	var parts []string
	for _, f := range fs {
		for _, m := range f.table.Timings {
			v := of(m)
			if m.Predicted || len(v) == 0 {
				continue
			}
			slices.Sort(v)
			parts = append(parts,
				fmt.Sprintf("%s, %s to %s, %s (%s, %s, %s)", format.Fixed(stats.Quantile(v, 0.5), 3), format.Fixed(v[0], 3),
					format.Fixed(v[len(v)-1], 3),
					format.Plural(len(v), "product", "products"), m.Device, m.Scheme, f.name))
		}
	}
	return strings.Join(parts, "; ")
}

// generatedRatios are the lines of measured generations: the zipped model against the
// 16-bit one.
func generatedRatios(fs []*folderRows) [][]string {
	var out [][]string
	for _, f := range fs {
		for _, m := range f.table.Timings {
			for _, p := range m.Generated {
				full, ours := p.Variant(variants.W16A16), p.Variant(variants.Zipper)
				if m.Predicted || full == nil || ours == nil {
					continue
				}
				var parts []string
				for _, v := range [][2]string{{row.PrefillRate, "prompt"}, {row.DecodeRate, "generation"}} {
					x, ok := ours.Value(v[0])
					y, has := full.Value(v[0])
					if ok && has && y > 0 {
						parts = append(parts, v[1]+" "+format.Fixed(x/y, 2))
					}
				}
				if parts != nil {
					out = append(out,
						[]string{p.Name + ", " + m.Scheme, "", strings.Join(parts, ", ") + " (" + m.Device + ", " + f.name + "/" +
							ours.ID + ")"})
				}
			}
		}
	}
	return out
}
