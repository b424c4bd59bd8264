package figures

import (
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/go-echarts/go-echarts/v2/charts"
	"github.com/go-echarts/go-echarts/v2/opts"
	"gonum.org/v1/plot"

	"github.com/mosaicquant/mosaicquant/reports/format"
	"github.com/mosaicquant/mosaicquant/reports/stats"
)

// The one script that is inlined for interactive charts: echarts.min.js of
// Apache ECharts 5.6.0, as npm publishes it (package/dist/echarts.min.js).
const (
	EchartsVersion = "5.6.0"
	EchartsSHA256  = "bf4a223524e40b77c304bec67e1222cf551f14880cf42c69dc046558e11c07b1"
)

// Loader replaces each figure's drawing by its chart once that is drawn.
//
//go:embed loader.js
var Loader string

// CheckScript fails unless text is the script of EchartsVersion.
func CheckScript(text string) error {
	if s := sha256.Sum256([]byte(text)); hex.EncodeToString(s[:]) != EchartsSHA256 {
		return fmt.Errorf("reports: the chart script has SHA-256 %x, want echarts %s's %s", s, EchartsVersion, EchartsSHA256)
	}
	return nil
}

// UsualScript is where go-echarts has its pages load the chart script from.
func UsualScript() string {
	c := charts.NewScatter()
	c.Validate()
	return c.JSAssets.Values[0]
}

// chart returns s as ECharts options, and beside them the ticks of each axis
// with their labels: ECharts' own, on logarithmic axes, are powers of one base.
// It is data only. The default tooltip formatter escapes names, so no function
// of ours ever builds markup from them.
func (s *xy) chart() []byte {
	p := plot.New()
	s.axes(p)
	kind := func(log bool) string {
		if log {
			return "log"
		}
		return "value"
	}
	c := charts.NewScatter()
	c.SetGlobalOptions(
		charts.WithInitializationOpts(opts.Initialization{ChartID: "chart"}), // otherwise random
		charts.WithTooltipOpts(opts.Tooltip{Show: opts.Bool(true), Trigger: "item", Formatter: "{b}"}),
		charts.WithXAxisOpts(opts.XAxis{Type: kind(s.xLog), Name: s.xLabel, NameLocation: "middle", NameGap: 28, Min: p.X.Min,
			Max: p.X.Max}),
		charts.WithYAxisOpts(opts.YAxis{Type: kind(s.yLog), Name: s.yLabel, NameLocation: "middle", NameGap: 58, Min: p.Y.Min,
			Max: p.Y.Max}),
		charts.WithGridOpts(opts.Grid{Left: "80", Right: "24", Top: "44", Bottom: "56"}),
		charts.WithDataZoomOpts(opts.DataZoom{Type: "inside", XAxisIndex: 0}, opts.DataZoom{Type: "inside", YAxisIndex: 0}),
		charts.WithAnimation(false),
	)
	type item struct {
		Name string `json:"name"`
		Icon string `json:"icon,omitempty"`
	}
	const dash = "path://M0,4L7,4L7,6L0,6ZM11,4L18,4L18,6L11,6Z"
	var legend []item
	for _, r := range s.series {
		name := format.Short(r.name, 48)
		legend = append(legend, item{Name: name})
		if r.marker == nil {
			legend[len(legend)-1].Icon = "path://M0,4L18,4L18,6L0,6Z"
		}
		var data []opts.ScatterData
		var curve, bars [][]any
		for _, q := range r.points {
			data = append(data, opts.ScatterData{Name: q.tooltip(), Value: []float64{q.x, q.y}})
			curve = append(curve, []any{q.x, q.y})
			bars = append(bars, []any{q.x, max(q.low, p.Y.Min)}, []any{q.x, q.high}, []any{nil, nil})
			if q.right > q.left {
				bars = append(bars, []any{q.left, q.y}, []any{q.right, q.y}, []any{nil, nil})
			}
		}
		c.AddSeries(name, data, charts.WithItemStyleOpts(opts.ItemStyle{Color: Hex(r.color), Opacity: opts.Float(1)}),
			charts.WithScatterChartOpts(opts.ScatterChart{Symbol: r.symbol, SymbolSize: 11}))
		if r.line {
			c.MultiSeries = append(c.MultiSeries, lines(name, Hex(r.color), "solid", curve))
		}
		if r.bars {
			c.MultiSeries = append(c.MultiSeries, lines(name, Hex(r.color), "solid", bars))
		}
	}
	if len(s.front) > 1 {
		var data [][]any
		for _, q := range s.front {
			data = append(data, []any{q.x, q.y})
		}
		l := lines("Pareto front", "#808080", "dashed", data)
		l.Step = "end"
		legend = append(legend, item{"Pareto front", dash})
		c.MultiSeries = append(c.MultiSeries, l)
	}
	if s.level != nil {
		c.MultiSeries = append(c.MultiSeries,
			lines("baseline", "#808080", "solid", [][]any{{p.X.Min, *s.level}, {p.X.Max, *s.level}}))
	}
	c.Validate()
	options := c.JSON()
	options["legend"] = map[string]any{"type": "scroll", "top": "0", "data": legend}
	// escapes <, > and &: safe inside a script element
	b, err := json.Marshal(map[string]any{"options": options,
		"ticks": map[string][]tick{"xAxis": labelled(p.X), "yAxis": labelled(p.Y)}})
	if err != nil {
		panic("reports: chart options: " + err.Error()) // numbers are finite, the rest is plain data
	}
	return b
}

// lines draws without symbols: a pair of null values lifts the pen.
func lines(name, color, dash string, data [][]any) charts.SingleSeries {
	l := charts.SingleSeries{Name: name, Type: "line", Data: data, Symbol: "none"}
	charts.WithLineStyleOpts(opts.LineStyle{Color: color, Width: 1.2, Type: dash})(&l)
	charts.WithItemStyleOpts(opts.ItemStyle{Color: color})(&l)
	return l
}

// bitsOf is what tooltips say of the size of a row.
func bitsOf(e *stats.Entry) string { return format.Fixed(e.Bits, 3) + " bits" }

// tooltip is what the chart says of q: label, bits, value and interval.
func (q point) tooltip() string {
	label := format.Short(q.name, 80)
	ends := func(v, low, high float64) string {
		if !(high > low) {
			return format.Sig(v)
		}
		return fmt.Sprintf("%s [%s, %s]", format.Sig(v), format.Sig(low), format.Sig(high))
	}
	if q.says != "" {
		label += ", " + q.says
	}
	if q.right > q.left {
		label += ", time " + ends(q.x, q.left, q.right)
	}
	return label + ", " + ends(q.y, q.low, q.high)
}

// tick is a labelled place on an axis of a chart.
type tick struct {
	At    float64 `json:"at"`
	Label string  `json:"label"`
}

func labelled(a plot.Axis) []tick {
	var out []tick
	for _, t := range a.Tick.Marker.Ticks(a.Min, a.Max) {
		if t.Label != "" {
			out = append(out, tick{t.Value, t.Label})
		}
	}
	return out
}
