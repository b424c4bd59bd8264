// Command report-check opens a report in headless Chromium with the network
// off and fails where a figure is not drawn or the console reports an error.
//
//	go run ./scripts/report-check [-screenshots DIR] [-used tabs,sorting] results/NAME/report.html...
//
// It checks that the page has at least one figure (or says that it has no
// results), that each figure shows a drawing with marks in it, that its chart
// has replaced the drawing where the page carries one with its script, or that
// the drawing stays where it would load that, and that the pixels of
// each drawing, alone, and of the whole page are not blank. Then it uses the page with
// mouse and keys: tabs, folds, contents, sorting, filters and tooltips; looks at the
// colours of the ledger, and for what sticks out at widths of 390, 1280 and 1920 pixels;
// and prints it, on at most 8 pages in letters that can be read. Without Chromium it says so and succeeds; with -require it fails.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"image/color"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

func main() {
	require := flag.Bool("require", false, "fail where Chromium is missing")
	shots := flag.String("screenshots", "", "folder to keep screenshots in")
	want := flag.String("used", "", "fail unless the page has these, `NAME,NAME`: "+strings.Join(uses, ","))
	flag.Parse()
	if flag.NArg() == 0 || flag.NArg() > 1 && *shots != "" {
		fmt.Fprintln(os.Stderr, "usage: report-check [-require] [-used NAMES] report.html...\n"+
			"       report-check -screenshots DIR report.html")
		os.Exit(2)
	}
	browser := find()
	if browser == "" {
		fmt.Println("report-check: skipped: no chromium, chromium-browser or google-chrome on the path")
		if *require {
			os.Exit(1)
		}
		return
	}
	failed := false
	for _, page := range flag.Args() {
		if err := check(browser, page, *shots, *want); err != nil {
			fmt.Fprintf(os.Stderr, "report-check: %s: %v\n", page, err)
			failed = true
		}
	}
	if failed {
		os.Exit(1)
	}
}

func find() string {
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	return ""
}

var (
	figures = regexp.MustCompile(`(?s)<figure [^>]*data-figure="([^"]*)"[^>]*>.*?</figure>`)
	drawing = regexp.MustCompile(`(?s)<svg .*?</svg>`)
	marks   = regexp.MustCompile(`<(path|rect|circle|polygon)\b`)
)

// check opens the page and uses it.
func check(browser, page, shots, want string) error {
	path, err := filepath.Abs(page)
	if err != nil {
		return err
	}
	if _, err := os.Stat(path); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp("", "report-check-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	if shots == "" {
		shots = tmp
	} else if err := os.MkdirAll(shots, 0o755); err != nil {
		return err
	}
	b, err := chromium{browser, tmp}.open(path)
	if err != nil {
		return err
	}
	defer b.close()
	d, err := b.drawings()
	if err != nil {
		return err
	}
	for name, width := range map[string]int{"page.png": 1280, "page-narrow.png": 390, "page-wide.png": 1920} {
		err := b.shot(filepath.Join(shots, name), width, 3000, fmt.Sprintf("the page, %d pixels wide", width))
		if err != nil {
			return err
		}
	}
	if err := b.size(1280, 900); err != nil {
		return err
	}
	used, err := exercise(b, shots)
	if err != nil {
		return err
	}
	for _, name := range strings.FieldsFunc(want, func(r rune) bool { return r == ',' }) {
		if !slices.Contains(used, name) {
			return fmt.Errorf("the page has no %s", name)
		}
	}
	if err := b.sheet(d, filepath.Join(tmp, "figures.html"), filepath.Join(shots, "figures.png")); err != nil {
		return err
	}
	fmt.Printf("report-check: %s: %d figures drawn, %d of them as charts; no console message; used: %s\n",
		page, d.figures, d.charts, strings.Join(used, ", "))
	return nil
}

// drawn is what a page shows.
type drawn struct {
	figures, charts int
	names, svgs     []string // of each drawing
}

// drawings finds every figure of the page and fails where one is not drawn as it should.
func (s *session) drawings() (d drawn, err error) {
	if err := s.drawn(); err != nil {
		return d, err
	}
	var dom string
	if err := s.eval(`document.documentElement.outerHTML`, &dom); err != nil {
		return d, err
	}
	if len(s.console) > 0 {
		return d, fmt.Errorf("the console says: %s", strings.Join(s.console, "; "))
	}
	found := figures.FindAllStringSubmatch(dom, -1)
	if len(found) == 0 && !strings.Contains(dom, "No results") {
		return d, errors.New("no figure on the page, and it does not say why")
	}
	d.figures = len(found)
	online := strings.Contains(dom, "<body data-charts=") // with the network off its drawings must stay
	for _, f := range found {
		svgs := drawing.FindAllString(f[0], -1)
		if len(svgs) == 0 {
			return d, fmt.Errorf("figure %s: no drawing", f[1])
		}
		if online && strings.Contains(f[0], "data-drawn") {
			return d, fmt.Errorf("figure %s: a chart is drawn with the network off", f[1])
		}
		if !online && strings.Contains(f[0], `type="application/json"`) {
			d.charts++
			if !strings.Contains(f[0], `data-drawn="chart"`) {
				return d, fmt.Errorf("figure %s: its chart has not been drawn", f[1])
			}
			if len(svgs) != 2 {
				return d, fmt.Errorf("figure %s: %d drawings, want the chart and the static one", f[1], len(svgs))
			}
		}
		for i, svg := range svgs {
			if n := len(marks.FindAllString(svg, -1)); n < 5 {
				return d, fmt.Errorf("figure %s: drawing %d has %d marks", f[1], i+1, n)
			}
			d.names = append(d.names, fmt.Sprintf("figure %s, drawing %d", f[1], i+1))
			d.svgs = append(d.svgs, svg)
		}
	}
	return d, nil
}

// sheet takes one picture of every drawing, each in a square of its own, and fails where
// one is blank. Starting the browser for each would take most of the time.
func (s *session) sheet(d drawn, file, shot string) error {
	if len(d.svgs) == 0 {
		return nil
	}
	const tile = 400
	text := `<!doctype html><meta charset="utf-8"><style>body{margin:0;background:#fff;color:#000}` +
		`div{position:relative;width:400px;height:400px;overflow:hidden}` +
		`svg{display:block}svg[viewBox]{width:400px;height:auto}</style>`
	for _, svg := range d.svgs {
		text += "<div>" + svg + "</div>"
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		return err
	}
	if err := s.navigate(file); err != nil {
		return err
	}
	return s.shot(shot, tile, tile*len(d.names), d.names...)
}

// chromium is a browser, which has a new profile in tmp each time and no network.
type chromium struct{ path, tmp string }

// offline are the arguments of a browser without a window, a network or a past.
func offline(profile string) []string {
	return []string{"--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--enable-logging=stderr",
		"--host-resolver-rules=MAP * ~NOTFOUND", "--proxy-server=127.0.0.1:9", "--user-data-dir=" + profile}
}

// shot saves a picture of the page and fails where one of the named parts, which
// divide its height equally, is nearly blank: less than half a percent of its
// pixels differ from the most frequent colour.
func (s *session) shot(to string, width, height int, parts ...string) error {
	if err := s.size(width, height); err != nil {
		return err
	}
	var r struct{ Data []byte }
	if err := s.call("Page.captureScreenshot", object{"format": "png"}, &r); err != nil {
		return err
	}
	if err := os.WriteFile(to, r.Data, 0o644); err != nil {
		return err
	}
	img, err := png.Decode(bytes.NewReader(r.Data))
	if err != nil {
		return err
	}
	if b := img.Bounds(); b.Dx() != width || b.Dy() != height {
		return fmt.Errorf("the screenshot is %v, want %d by %d", b, width, height)
	}
	for i, part := range parts {
		count, most, total := map[color.Color]int{}, 0, 0
		for y := i * height / len(parts); y < (i+1)*height/len(parts); y++ {
			for x := range width {
				k := img.At(x, y)
				count[k]++
				most = max(most, count[k])
				total++
			}
		}
		if (total-most)*200 < total {
			return fmt.Errorf("%s is blank: %d of %d pixels have one colour", part, most, total)
		}
	}
	return nil
}
