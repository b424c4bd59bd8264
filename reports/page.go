package reports

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/mosaicquant/mosaicquant/internal/row"
)

//go:embed page.tmpl
var pageTemplate string

//go:embed page.css
var pageStyle string

// cell numbers the notebook's cells as they are written.
type cell int

// Next returns the next cell's number.
func (c *cell) Next() int { *c++; return int(*c) }

// pageStudy is a study of the criteria on the page.
type pageStudy struct {
	*Study
	Lines         [][]string // head first
	Finding, Note string
	Figures       []drawn
}

type drawn struct {
	*figure
	SVG   template.HTML
	Chart template.HTML
}

type pageGroup struct {
	*Group
	Findings []finding
	Scope    []string
	Figures  []drawn
	Columns  map[string]bool
	Tasks    [][]string // head first
	Equal    [][]string // comparisons at equal time, head first
	About    string     // them
}

// pageTiming is a set of timings on the page; tables have their heads first.
type pageTiming struct {
	*Timing
	Findings                 []finding
	Products, GeneratedLines [][]string
	Figures                  []drawn
}

type field struct{ Name, Value string }

type environment struct {
	Key    string
	Fields []field
}

// isoLimit bounds the rows of long secondary tables on the page; the CSV files
// have them all.
const isoLimit = 60

func (t *Table) page(in Input, figures [][]*figure) ([]byte, error) {
	var scripts []string
	from := ""
	switch {
	case in.NoCharts:
	case in.Script != "":
		if err := CheckScript(in.Script); err != nil {
			return nil, err
		}
		scripts = []string{in.Script, loader}
	case slices.ContainsFunc(slices.Concat(figures...), func(f *figure) bool { return f.chart != nil }):
		scripts, from = []string{loader}, usualScript()
	}
	charts := len(scripts) > 0
	connect := ""
	if in.Live != nil {
		scripts = append(scripts, liveScript)
		connect = "; connect-src 'self'" // the page asks its own server for progress
	}
	inline := func(fs []*figure) ([]drawn, error) {
		var out []drawn
		for _, f := range fs {
			svg, err := f.inline()
			if err != nil {
				return nil, err
			}
			d := drawn{figure: f, SVG: template.HTML(svg)}
			if f.chart != nil && charts {
				d.Chart = template.HTML(`<script type="application/json">` + string(f.chart) + `</script>`)
			}
			out = append(out, d)
		}
		return out, nil
	}
	var groups []pageGroup
	for i, g := range t.Groups {
		pg := pageGroup{Group: g, Findings: g.findings(), Scope: g.scope(), Columns: g.present(), Tasks: g.taskLines(), Equal: g.isoTimeLines(), About: g.isoTimeNote()}
		var err error
		if pg.Figures, err = inline(figures[i]); err != nil {
			return nil, err
		}
		groups = append(groups, pg)
	}
	var timings []pageTiming
	for i, m := range t.Timings {
		pt := pageTiming{Timing: m, Findings: m.findings(), Products: m.lines(), GeneratedLines: m.generatedLines()}
		var err error
		if pt.Figures, err = inline(figures[len(t.Groups)+i]); err != nil {
			return nil, err
		}
		timings = append(timings, pt)
	}
	var chosen []pageStudy
	for i, s := range t.Studies {
		ps := pageStudy{Study: s, Lines: s.lines(), Finding: s.finding(), Note: s.note()}
		var err error
		if ps.Figures, err = inline(figures[len(t.Groups)+len(t.Timings)+i]); err != nil {
			return nil, err
		}
		chosen = append(chosen, ps)
	}
	all := t.entries()
	measured := all[:len(all)-len(t.Failed)]
	var loads []template.HTML
	for _, s := range scripts {
		loads = append(loads, template.HTML("<script>"+s+"</script>"))
	}
	l := t.looks()
	tmpl, err := template.New("page").Funcs(template.FuncMap{
		"sig": sig, "bits": func(v float64) string { return fixed(v, 3) }, "interval": interval,
		"percent": percentOf, "percentInterval": func(e Estimate) string { return interval(e, percentOf) },
		"sigInterval": func(e Estimate) string { return interval(e, sig) },
		"share":       func(v float64) string { return fixed(100*v, 2) + "\u00a0%" },
		"points":      func(v float64) string { return signed(100*v, 2) },
		"signedBits":  func(v float64) string { return signed(v, 3) },
		"pvalue":      pvalue, "named": named, "plural": plural,
		"clear": func(p float64) bool { return p < 1-Level },
		"value": func(e *Entry, name string) string {
			if v, ok := e.Value(name); ok {
				return sig(v)
			}
			return "–"
		},
		"color": func(e *Entry) template.CSS { return template.CSS(hexColor(l[e.Family].color)) },
		"lines": func(label string, lines [][]string) map[string]any {
			return map[string]any{"Label": label, "Lines": lines, "IDs": false}
		},
		"rows": func(label string, lines [][]string) map[string]any { // where the rows are at home
			return map[string]any{"Label": label, "Lines": lines, "IDs": true}
		},
		"plain": func(names int, label string, lines [][]string) map[string]any { // the first columns are names
			return map[string]any{"Label": label, "Lines": lines, "Names": names}
		},
		"cut": cutInterval, "paragraphs": paragraphs, "indented": indented,
		"limit": func(v []Iso) []Iso { return v[:min(len(v), isoLimit)] },
	}).Parse(pageTemplate)
	if err != nil {
		return nil, fmt.Errorf("reports: page template: %w", err)
	}
	var number cell
	var b bytes.Buffer
	err = tmpl.Execute(&b, map[string]any{
		"In": in, "Table": t, "Groups": groups, "Timings": timings, "Studies": chosen, "OK": len(measured), "All": all, "Warned": warned(measured),
		"Style": template.CSS(pageStyle), "Policy": policy(from, scripts...) + connect, "From": from, "Scripts": loads, "Charts": charts, "Cell": &number,
		"Env": in.environments(), "Several": len(groups) > 1, "Schema": strconv.Itoa(row.Schema), "Limit": isoLimit,
		"EchartsVersion": EchartsVersion, "TaskNote": taskNote, "TimingNote": timingNote, "Across": t.acrossLines(), "Short": t.shortTitles(), "AcrossNote": acrossNote,
	})
	if err != nil {
		return nil, fmt.Errorf("reports: page: %w", err)
	}
	return b.Bytes(), nil
}

// cutInterval splits "value [low, high]" before the bracket.
func cutInterval(s string) [2]string {
	if i := strings.LastIndex(s, " ["); i > 0 && strings.HasSuffix(s, "]") {
		return [2]string{s[:i], s[i+1:]}
	}
	return [2]string{s}
}

func indented(s string) bool { return strings.HasPrefix(s, " ") || strings.HasPrefix(s, "\t") }

// paragraphs splits text at empty lines.
func paragraphs(text string) []string {
	return strings.FieldsFunc(strings.ReplaceAll(text, "\n\n", "\x00"), func(r rune) bool { return r == 0 })
}

// present tells which optional columns of the main table have content.
func (g *Group) present() map[string]bool {
	has := map[string]bool{}
	for _, e := range g.Entries {
		for _, v := range e.Values {
			has[v.Name] = true
		}
		has["versus"] = has["versus"] || e.Versus != nil || e.VersusNote != ""
		has["kl"] = has["kl"] || e.KL != nil
		has["top"] = has["top"] || e.Top1 != nil
		has["standing"] = has["standing"] || e.Standing != Unplaced
	}
	return has
}

func warned(rows []*Entry) []*Entry {
	var out []*Entry
	for _, e := range rows {
		if len(e.Warnings) > 0 {
			out = append(out, e)
		}
	}
	return out
}

// environments flattens env.json for reading.
func (in Input) environments() []environment {
	var out []environment
	for _, k := range slices.Sorted(maps.Keys(in.Env)) {
		e := environment{Key: visible(k, false)}
		b, err := json.Marshal(in.Env[k])
		if err != nil {
			panic("reports: environment: " + err.Error()) // strings and numbers
		}
		var fields map[string]any
		d := json.NewDecoder(bytes.NewReader(b))
		d.UseNumber()
		if err := d.Decode(&fields); err != nil {
			panic("reports: environment: " + err.Error()) // just written
		}
		for _, name := range slices.Sorted(maps.Keys(fields)) {
			e.Fields = append(e.Fields, field{visible(name, false), visible(flat(fields[name]), false)})
		}
		out = append(out, e)
	}
	return out
}
