package reports

import (
	"bytes"
	"cmp"
	"encoding/csv"
	"slices"

	"github.com/mosaicquant/mosaicquant/internal/row"
	"github.com/mosaicquant/mosaicquant/reports/stats"
)

// longCSV is tidy data: a line for each value of each trial, draws of one row apart.
// The columns are trial, label, status, an axis each, metric, value, low, high and
// unit; low and high are a 95 % interval, empty where there is none.
func longCSV(t *stats.Table) []byte {
	var trials []*stats.Entry
	var axes []string
	for _, e := range t.Entries() {
		for _, d := range e.Trials() {
			trials = append(trials, d)
			for k := range d.Axes {
				if !slices.Contains(axes, k) {
					axes = append(axes, k)
				}
			}
		}
	}
	slices.Sort(axes)
	slices.SortStableFunc(trials, func(a, b *stats.Entry) int { return cmp.Compare(a.Trial, b.Trial) })
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	w.Write(formulaFree(slices.Concat([]string{"trial", "label", "status"}, axes,
		[]string{"metric", "value", "low", "high", "unit"})))
	for _, e := range trials {
		head := []string{e.Trial, e.Label, string(e.Status)}
		for _, a := range axes {
			head = append(head, e.Axes[a])
		}
		head = formulaFree(head)
		for _, v := range e.Values {
			low, high := "", ""
			if x := interval(e, v); x.Interval() {
				low, high = full(x.Low), full(x.High)
			}
			names := formulaFree([]string{v.Name, v.Unit})
			w.Write(slices.Concat(head, []string{names[0], full(v.Value), low, high, names[1]}))
		}
	}
	w.Flush()
	return b.Bytes() // writes to a buffer do not fail
}

// interval is that of a value of e: over windows where the value is a mean over them,
// as the row states it otherwise.
func interval(e *stats.Entry, v row.Value) stats.Estimate {
	var of *stats.Estimate
	switch v.Name {
	case row.KLMean:
		of = e.KL
	case row.NLL:
		of = e.NLL
	case row.Top1:
		of = e.Top1
	case row.Top1Lost:
		of = e.Lost
	case row.Top1Gained:
		of = e.Gained
	case row.PPLToken:
		if e.NLL != nil {
			ppl := e.NLL.Exp()
			of = &ppl
		}
	}
	if s := e.Task(v.Name); s != nil {
		of = &s.Mean
	}
	if of != nil {
		return *of
	}
	est, _ := e.Timed(v.Name)
	return est
}
