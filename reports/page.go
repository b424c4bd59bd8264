package reports

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html/template"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/mosaicquant/mosaicquant/internal/row"
	"github.com/mosaicquant/mosaicquant/reports/figures"
	"github.com/mosaicquant/mosaicquant/reports/format"
)

// policy is the page's Content-Security-Policy: of scripts those given and the
// one at the address from, where that is not empty; no other network. Styles
// are inline, as drawings carry theirs.
func policy(from string, scripts ...string) string {
	var allowed []string
	if from != "" {
		allowed = append(allowed, from)
	}
	for _, s := range scripts {
		h := sha256.Sum256([]byte(s))
		allowed = append(allowed, "'sha256-"+base64.StdEncoding.EncodeToString(h[:])+"'")
	}
	src := cmp.Or(strings.Join(allowed, " "), "'none'")
	return "default-src 'none'; base-uri 'none'; form-action 'none'; style-src 'unsafe-inline'; img-src data:; " +
		"script-src " + src
}

//go:embed page.tmpl
var pageTemplate string

// pageScript makes tabs of groups, and tables that sort and filter. Without it the
// page shows all of them, one after another.
//
//go:embed page.js
var pageScript string

//go:embed page.css
var pageStyle string

// page writes d as an HTML page that refers to nothing outside itself, but for
// the chart script where in allows it.
func (d *document) page(in Input) ([]byte, error) {
	scripts, from, err := d.scripts(in)
	if err != nil {
		return nil, err
	}
	charts := len(scripts) > 0
	scripts = append(scripts, pageScript)
	connect := ""
	if in.Live != nil {
		scripts = append(scripts, liveScript)
		connect = "; connect-src 'self'" // the page asks its own server for progress
	}
	var loads []template.HTML
	for _, s := range scripts {
		loads = append(loads, template.HTML("<script>"+s+"</script>"))
	}
	tmpl, err := template.New("page").Funcs(pageFuncs(charts)).Parse(pageTemplate)
	if err != nil {
		return nil, fmt.Errorf("reports: page template: %w", err)
	}
	var b bytes.Buffer
	err = tmpl.Execute(&b, map[string]any{
		"Document": d, "Live": in.Live, "Style": template.CSS(pageStyle), "Policy": policy(from, scripts...) + connect,
		"From": from, "Scripts": loads, "Charts": charts, "Schema": strconv.Itoa(row.Schema),
		"EchartsVersion": figures.EchartsVersion,
	})
	if err != nil {
		return nil, fmt.Errorf("reports: page: %w", err)
	}
	return b.Bytes(), nil
}

// scripts are those that draw the charts, and the address that the chart script
// is loaded from where it is not among them.
func (d *document) scripts(in Input) (scripts []string, from string, err error) {
	switch {
	case in.NoCharts:
	case in.Script != "":
		if err := figures.CheckScript(in.Script); err != nil {
			return nil, "", err
		}
		return []string{in.Script, figures.Loader}, "", nil
	case slices.ContainsFunc(d.figures(), func(f *figures.Figure) bool { return f.Chart != nil }):
		return []string{figures.Loader}, figures.UsualScript(), nil
	}
	return nil, "", nil
}

// pageFuncs are what the template calls; it has charts only if told so.
func pageFuncs(charts bool) template.FuncMap {
	return template.FuncMap{
		"next":  func(i int) int { return i + 1 },
		"words": strings.Fields, "isRow": isRow, "cut": cutInterval,
		"breakable": func(s string) template.HTML { // bits/weight may take two lines
			return template.HTML(strings.ReplaceAll(template.HTMLEscapeString(s), "bits/weight", "bits/<wbr>weight"))
		},
		"color": func(hex string) template.CSS { return template.CSS(hex) },
		"svg": func(f drawing) (template.HTML, error) {
			s, err := f.Inline()
			return template.HTML(s), err
		},
		"chart": func(f drawing) template.HTML {
			if f.Chart == nil || !charts {
				return ""
			}
			return template.HTML(`<script type="application/json">` + string(f.Chart) + `</script>`)
		},
		"unknown": func(kind string) (string, error) {
			return "", fmt.Errorf("a block that the page cannot write: %s", kind)
		},
	}
}

// Class is how the page lays s out beyond what all sections have in common.
func (s section) Class() string {
	kind, _, _ := strings.Cut(s.Key, "-")
	if kind == "answer" {
		return kind
	}
	return ""
}

// ByRow reports whether the lines of t are rows of the sweep.
func (t table) ByRow() bool { return t.Columns[0].Is == ofRows }

// Row, Method and References report what the column holds.
func (c tableColumn) Row() bool { return c.Is == ofRows }

func (c tableColumn) Method() bool { return c.Is == ofMethods }

func (c tableColumn) References() bool { return c.Is == ofReferences }

// Text reports whether the column starts at the left.
func (c tableColumn) Text() bool { return c.Is != ofNumbers && c.Is != ofRows }

// Class is how the cells of a column of text are written: in one line or several, and
// whether a click on a value shows only lines that have it.
func (c tableColumn) Class() string {
	switch c.Is {
	case ofWords, ofMethods:
		return "words pick"
	case ofNames:
		return "name pick"
	}
	return "name"
}

var rowPattern = regexp.MustCompile(`^r[0-9]+$`)

// isRow reports whether s is the ID of a row.
func isRow(s string) bool { return rowPattern.MatchString(s) }

// shownValue is a cell of a number in its parts.
type shownValue struct {
	Value    string
	Star     bool
	Interval string
}

// cutInterval takes "value* [low, high]" apart.
func cutInterval(s string) shownValue {
	v := shownValue{Value: s}
	if i := strings.LastIndex(s, " ["); i > 0 && strings.HasSuffix(s, "]") {
		v.Value, v.Interval = s[:i], s[i+1:]
	}
	v.Value, v.Star = strings.CutSuffix(v.Value, "*")
	return v
}

func indented(s string) bool { return strings.HasPrefix(s, " ") || strings.HasPrefix(s, "\t") }

// paragraphs splits text at empty lines.
func paragraphs(text string) []string {
	return strings.FieldsFunc(strings.ReplaceAll(text, "\n\n", "\x00"), func(r rune) bool { return r == 0 })
}

// environments flattens env.json for reading.
func (in Input) environments() []facts {
	var out []facts
	for _, k := range slices.Sorted(maps.Keys(in.Env)) {
		e := facts{Title: format.Visible(k, false)}
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
			e.Pairs = append(e.Pairs, [2]string{format.Visible(name, false), format.Visible(format.Flat(fields[name]), false)})
		}
		out = append(out, e)
	}
	return out
}
