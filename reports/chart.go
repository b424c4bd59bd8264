package reports

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"github.com/go-echarts/go-echarts/v2/charts"
	"github.com/go-echarts/go-echarts/v2/opts"
)

// The one script that is inlined for interactive charts: echarts.min.js of
// Apache ECharts 5.6.0, as npm publishes it (package/dist/echarts.min.js).
const (
	EchartsVersion = "5.6.0"
	EchartsSHA256  = "bf4a223524e40b77c304bec67e1222cf551f14880cf42c69dc046558e11c07b1"
)

// loader replaces each figure's drawing by its chart once that is drawn.
//
//go:embed loader.js
var loader string

// script reads and checks the chart script at path.
func script(path string) (string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("reports: chart script: %w", err)
	}
	if s := sha256.Sum256(data); hex.EncodeToString(s[:]) != EchartsSHA256 {
		return "", fmt.Errorf("reports: chart script %s has SHA-256 %x, want echarts %s's %s", path, s, EchartsVersion, EchartsSHA256)
	}
	return string(data), nil
}

// policy is the page's Content-Security-Policy: no network at all, and of
// scripts only those given. Styles are inline, as drawings carry theirs.
func policy(scripts ...string) string {
	src := "'none'"
	if len(scripts) > 0 {
		var hashes []string
		for _, s := range scripts {
			h := sha256.Sum256([]byte(s))
			hashes = append(hashes, "'sha256-"+base64.StdEncoding.EncodeToString(h[:])+"'")
		}
		src = strings.Join(hashes, " ")
	}
	return "default-src 'none'; base-uri 'none'; form-action 'none'; style-src 'unsafe-inline'; img-src data:; script-src " + src
}

// chart returns s as ECharts options. They are data only: the default tooltip
// formatter escapes names, so no function of ours ever builds markup.
func (s *xy) chart() []byte {
	symbols := map[int]string{0: "circle", 1: "rect", 2: "triangle", 3: "diamond", 4: "pin", 5: "roundRect", 6: "arrow"}
	kind := func(log bool) string {
		if log {
			return "log"
		}
		return "value"
	}
	global := []charts.GlobalOpts{
		charts.WithInitializationOpts(opts.Initialization{ChartID: "chart"}), // otherwise random
		charts.WithLegendOpts(opts.Legend{Show: opts.Bool(true), Type: "scroll", Top: "0"}),
		charts.WithTooltipOpts(opts.Tooltip{Show: opts.Bool(true), Trigger: "item"}),
		charts.WithXAxisOpts(opts.XAxis{Type: kind(s.xLog), Name: s.xLabel, NameLocation: "middle", NameGap: 28, Scale: opts.Bool(true)}),
		charts.WithYAxisOpts(opts.YAxis{Type: kind(s.yLog), Name: s.yLabel, NameLocation: "middle", NameGap: 52, Scale: opts.Bool(true)}),
		charts.WithGridOpts(opts.Grid{Left: "72", Right: "24", Top: "44", Bottom: "56"}),
		charts.WithDataZoomOpts(opts.DataZoom{Type: "inside", XAxisIndex: 0}, opts.DataZoom{Type: "inside", YAxisIndex: 0}),
		charts.WithAnimation(false),
	}
	name := func(p point) string {
		return fmt.Sprintf("%s, %s [%s, %s]", short(p.name, 80), sig(p.y), sig(p.low), sig(p.high))
	}
	var options any
	lines := len(s.series) > 0 && s.series[0].line
	if lines {
		c := charts.NewLine()
		c.SetGlobalOptions(global...)
		for i, r := range s.series {
			var data []opts.LineData
			for _, p := range r.points {
				data = append(data, opts.LineData{Name: name(p), Value: []float64{p.x, p.y}, Symbol: symbols[i%len(symbols)], SymbolSize: 9})
			}
			c.AddSeries(short(r.name, 48), data, charts.WithItemStyleOpts(opts.ItemStyle{Color: hexColor(r.color)}), charts.WithLineStyleOpts(opts.LineStyle{Color: hexColor(r.color)}))
		}
		c.Validate()
		options = c.JSON()
	} else {
		c := charts.NewScatter()
		c.SetGlobalOptions(global...)
		for i, r := range s.series {
			var data []opts.ScatterData
			for _, p := range r.points {
				data = append(data, opts.ScatterData{Name: name(p), Value: []float64{p.x, p.y}, Symbol: symbols[i%len(symbols)], SymbolSize: 9})
			}
			c.AddSeries(short(r.name, 48), data, charts.WithItemStyleOpts(opts.ItemStyle{Color: hexColor(r.color)}))
		}
		c.Validate()
		options = c.JSON()
	}
	b, err := json.Marshal(options) // escapes <, > and &: safe inside a script element
	if err != nil {
		panic("reports: chart options: " + err.Error()) // numbers are finite, the rest is plain data
	}
	return b
}
