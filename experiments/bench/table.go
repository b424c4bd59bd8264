package bench

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/mosaicquant/mosaicquant/internal/row"
	"github.com/mosaicquant/mosaicquant/internal/variants"
)

// Print writes the rows of one product for a terminal: a line of what they share,
// and a line for each variant.
func Print(out io.Writer, rows []*row.Row) error {
	if len(rows) == 0 {
		return nil
	}
	title := strings.TrimSuffix(rows[0].Label, " "+rows[0].Axes["variant"])
	for _, r := range rows {
		if rates := yardsticks(r); rates != "" {
			title += ": " + rates
			break
		}
	}
	fmt.Fprintln(out, title)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	if rows[0].Axes["bench"] == "product" {
		fmt.Fprintln(w, "  variant\ttime [95 %]\t/ dense4 [95 %]\tweights\tof read\tof peak\tkernel")
	}
	for _, r := range rows {
		if r.Status != row.OK {
			fmt.Fprintf(w, "  %s\tnot measured: %s\n", r.Axes["variant"], r.Error)
			continue
		}
		if r.Axes["bench"] == "generate" {
			fmt.Fprintf(w, "  %s\t%s\t%s\t%s\t%s\n", r.Axes["variant"], endToEnd(r),
				tokenRate(r, "prefill", row.PrefillRate, row.PrefillTime), tokenRate(r, "decode", row.DecodeRate, row.DecodeTime),
				r.Execution.Kernel)
			continue
		}
		over := "\t"
		if v, ok := r.Value(row.TimeOver(variants.Dense4)); ok {
			over = fmt.Sprintf("%.3f %s\t", v.Value, interval(v, 1, "%.3f"))
		} else if r.Axes["variant"] == variants.Dense4 {
			over = "1\t"
		}
		t, _ := r.Value(row.Time)
		bytes, _ := r.Value(row.WeightBytes)
		fmt.Fprintf(w, "  %s\t%s\t%s%.1f MB\t%s\t%s\t%s\n", r.Axes["variant"], duration(t), over, bytes.Value/1e6,
			rate(r, row.Bandwidth, "GB/s", row.BandwidthShare), rate(r, row.Rate, "GFLOP/s", row.RateShare), r.Execution.Kernel)
	}
	return w.Flush()
}

// endToEnd is "all 1.53 s [1.52, 1.54], 1.24x w16a16 [1.23, 1.25]".
func endToEnd(r *row.Row) string {
	v, ok := r.Value(row.GenerateTime)
	if !ok {
		return ""
	}
	text := fmt.Sprintf("all %.4g s %s", v.Value, interval(v, 1, "%.4g"))
	if o, ok := r.Value(row.Over(row.GenerateTime, variants.W16A16)); ok {
		low, high := 1 / *o.High, 1 / *o.Low
		text += fmt.Sprintf(", %.3fx %s %s", 1/o.Value, variants.W16A16, interval(row.Value{Low: &low, High: &high}, 1, "%.3f"))
	}
	return text
}

// tokenRate is "decode 31.2 tok/s [30.9, 31.4], time / dense4 1.031 [1.02, 1.04]".
func tokenRate(r *row.Row, what, rate, time string) string {
	v, ok := r.Value(rate)
	if !ok {
		return ""
	}
	text := fmt.Sprintf("%s %.4g token/s %s", what, v.Value, interval(v, 1, "%.4g"))
	if o, ok := r.Value(row.Over(time, variants.Dense4)); ok {
		text += fmt.Sprintf("\ttime/dense4 %.3f %s", o.Value, interval(o, 1, "%.3f"))
	} else {
		text += "\t"
	}
	return text
}

// yardsticks is "read 31.2 GB/s, peak 310 GFLOP/s".
func yardsticks(r *row.Row) string {
	var list []string
	if v, ok := r.Value(row.ReadBandwidth); ok {
		list = append(list, fmt.Sprintf("read %.1f GB/s", v.Value/1e9))
	}
	if v, ok := r.Value(row.PeakRate); ok {
		list = append(list, fmt.Sprintf("peak %.0f GFLOP/s", v.Value/1e9))
	}
	return strings.Join(list, ", ")
}

// rate is "30.1 GB/s 96 %".
func rate(r *row.Row, name, unit, share string) string {
	v, ok := r.Value(name)
	if !ok {
		return ""
	}
	text := fmt.Sprintf("%.1f %s", v.Value/1e9, unit)
	if s, ok := r.Value(share); ok {
		text += fmt.Sprintf(" %.0f%%", 100*s.Value)
	}
	return text
}

// duration is "1.234 ms [1.230, 1.251]".
func duration(v row.Value) string {
	unit, scale := "s", 1.0
	switch {
	case v.Value < 1e-3:
		unit, scale = "µs", 1e6
	case v.Value < 1:
		unit, scale = "ms", 1e3
	}
	return fmt.Sprintf("%.4g %s %s", v.Value*scale, unit, interval(v, scale, "%.4g"))
}

// interval is "[1.230, 1.251]", or nothing.
func interval(v row.Value, scale float64, format string) string {
	if v.Low == nil || v.High == nil {
		return ""
	}
	return fmt.Sprintf("["+format+", "+format+"]", *v.Low*scale, *v.High*scale)
}
