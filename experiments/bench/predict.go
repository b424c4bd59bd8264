package bench

import (
	"fmt"
	"io"
	"math"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/mosaicquant/mosaicquant/experiments/plan"
	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/roofline"
	"github.com/mosaicquant/mosaicquant/internal/row"
	"github.com/mosaicquant/mosaicquant/internal/variants"
	"github.com/mosaicquant/mosaicquant/quant"
)

// Predict writes what the analytic model of internal/roofline expects of the
// products of b on a device, and prints it to out with the paper's figures. Its
// rows cannot be taken for measurements: their status is row.Predicted, their
// axis bench is "prediction", and their only value is row.PredictedTime.
func Predict(out io.Writer, b *plan.Bench, device, dir string) (err error) {
	d, ok := roofline.Devices[device]
	if !ok {
		return fmt.Errorf("no data sheet of %q; there are %s", device, strings.Join(PredictedDevices(), ", "))
	}
	writer, warning, err := row.OpenWriter(dir)
	if err != nil {
		return err
	}
	defer writer.Close()
	if warning != "" {
		fmt.Fprintln(out, warning)
	}
	env, err := row.SaveEnvironment(dir, row.Capture(gemm.Kernel(), gemm.Features()))
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "PREDICTIONS for %s, nothing was measured. Sources:\n", d.Name)
	for _, s := range d.Sources {
		fmt.Fprintf(out, "  %s\n", s)
	}
	r := &runner{engine: predictor{d}, env: env, content: map[string]string{"prediction": device}}
	for i := range b.Products {
		p := &b.Products[i]
		rows := r.describe(p)
		for j, v := range p.Variants {
			if err := predict(d, p, v, rows[j]); err != nil {
				return err
			}
			if err := writer.Append(rows[j]); err != nil {
				return err
			}
		}
		if err := printPrediction(out, rows); err != nil {
			return err
		}
	}
	if err := comparePaper(out, d); err != nil {
		return err
	}
	fmt.Fprintf(out, "\npredictions: %s\n", filepath.Join(dir, row.File))
	return nil
}

// PredictedDevices lists the devices that Predict knows.
func PredictedDevices() []string { return roofline.Names() }

// predict fills in the row of a variant.
func predict(d roofline.Device, p *plan.Product, variant string, out *row.Row) error {
	product := roofline.Product{M: p.Tokens, N: p.N, K: p.K, Scheme: p.Scheme, Variant: variant,
		Group: p.Group, Density: p.Density}
	if p.Density > 0 && p.Block.Cols%64 != 0 { // cells of 16x16 have 16 bytes for a scale each
		product.BlockBits = 4 + 128.0/(16*16)
	}
	// As cuda.Layout.Rides; the codes that bench draws are fit for it.
	product.Rides = p.HalfSteps && p.Index == "exact" && p.Block.Rows == 1 && p.Block.Cols == 8 &&
		p.Scheme != "w4a4" && p.Density <= 4.0/quant.SegmentBlocks && p.K%128 == 0 &&
		(p.Group == 32 || p.Group == 64 || p.Group%128 == 0)
	r, err := roofline.Predict(d, product)
	if err != nil {
		return err
	}
	out.Status, out.Axes["bench"] = row.Predicted, "prediction"
	out.Label = "predicted: " + out.Label
	out.Error = "a prediction: nothing was measured" // for readers that know two statuses
	out.Values = []row.Value{{Name: row.PredictedTime, Value: r.Time, Unit: "s"}}
	var names []string
	for i := range r.Kernels {
		k := &r.Kernels[i]
		names = append(names, fmt.Sprintf("%s bound by %s", k.Name, k.Bound()))
	}
	out.Execution.Kernel = strings.Join(names, " + ")
	if r.Emulated {
		out.Warnings = append(out.Warnings, "the device has no 4-bit tensor cores: these products are emulated in int8")
	}
	return nil
}

func printPrediction(out io.Writer, rows []*row.Row) error {
	fmt.Fprintln(out, strings.TrimSuffix(rows[0].Label, " "+rows[0].Axes["variant"]))
	var dense float64
	for _, r := range rows {
		if v, ok := r.Value(row.PredictedTime); ok && r.Axes["variant"] == variants.Dense4 {
			dense = v.Value
		}
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, r := range rows {
		v, _ := r.Value(row.PredictedTime)
		over := ""
		if dense > 0 {
			over = fmt.Sprintf("%.3f of dense4", v.Value/dense)
		}
		fmt.Fprintf(w, "  %s\tpredicted %.1f µs\t%s\t%s\n", r.Axes["variant"], v.Value*1e6, over, r.Execution.Kernel)
	}
	return w.Flush()
}

// comparePaper prints the reported figures beside the model's.
func comparePaper(out io.Writer, d roofline.Device) error {
	fmt.Fprintf(out, "\nThe paper's figures (GPU not stated) beside the model's for %s:\n", d.Name)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "  figure\treported\tpredicted\t\n")
	for _, r := range roofline.Paper {
		v, err := r.Predict(d)
		if err != nil {
			return err
		}
		reported := fmt.Sprintf("%g", r.Low)
		switch {
		case math.IsInf(r.High, 1):
			reported = fmt.Sprintf("> %g", r.Low)
		case r.High > r.Low:
			reported = fmt.Sprintf("%g to %g", r.Low, r.High)
		}
		fmt.Fprintf(w, "  %s\t%s\t%.3f\t%s\n", r.What, reported, v, r.Verdict(v))
	}
	return w.Flush()
}

// predictor stands where rows name their engine.
type predictor struct{ d roofline.Device }

func (p predictor) Name() string                  { return "model" }
func (p predictor) Device() string                { return p.d.Name + " (data sheet)" }
func (p predictor) Requested() string             { return "prediction" }
func (p predictor) CacheBytes() int64             { return p.d.L2 }
func (p predictor) Flush() string                 { return "" }
func (p predictor) Yardsticks(string) []Yardstick { return nil }
func (p predictor) Close() error                  { return nil }
func (p predictor) Prepare(*Weights, string, string) (Layer, error) {
	panic("bench: predictions run nothing")
}
