package reports

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/mosaicquant/mosaicquant/internal/row"
	"github.com/mosaicquant/mosaicquant/reports/format"
	"github.com/mosaicquant/mosaicquant/reports/rowtest"
)

var update = flag.Bool("update", false, "write the golden pages anew; look at the difference")

// goldenInput has one of everything that a page can show, a few rows of each.
func goldenInput() Input {
	s := rowtest.Synthetic{Windows: 12, Layers: 1}
	var rows []row.Row
	for _, r := range s.Sweep("a16") {
		if m := r.Axes["method"]; m != "mosaic" || r.Axes["base"] == "rtn" && r.Axes["block"] == "16x64" {
			rows = append(rows, rowtest.WithSpeed(r, .27, .31))
		}
	}
	slices.SortFunc(rows, func(a, b row.Row) int { return strings.Compare(a.Label, b.Label) }) // sweep has no order
	none := s.Row("16-bit", "a16", map[string]string{"method": "none"}, 16, 1e-9)
	rows = append(rows, none)
	for i := range rows {
		hit := float64(i % 2)
		rows[i] = rowtest.WithTask(rows[i], "arc_easy/acc", "", 1, 0, hit, 1, 1, 0, 0, 1)
	}
	failed := s.Row("gptq g100", "a16", map[string]string{"method": "gptq", "group": "100"}, 4, 1)
	failed.Status, failed.Values, failed.Series, failed.Error = row.Failed, nil, nil, "K=688 not divisible by group 100"
	rows = append(append(rows, failed), rowtest.TimedRows(nil)[:8]...)
	return Input{Title: "golden", Styles: styles, Question: "Made-up rows: does the page stay the same?", Rows: rows,
		Config: "name: golden\n",
		Env: map[string]row.Environment{"e": {Go: "go1.25", OS: "linux", Arch: "amd64", CPU: "made up", Cores: 2,
			Kernel: "avx2", Commit: "0123abc"}},
		Command:  "go run ./experiments sweep",
		Commands: map[string]string{rows[0].Trial: "go run ./experiments sweep --trial " + rows[0].Trial}}
}

// TestGolden compares pages and tables with those of testdata/golden, drawings
// aside: their coordinates follow the fonts' hinting, and other tests look at
// what is drawn.
func TestGolden(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("golden numbers are of amd64: other processors fuse multiplications and additions, and last digits differ")
	}
	dir := t.TempDir()
	if err := Write(dir, goldenInput()); err != nil {
		t.Fatal(err)
	}
	hash := regexp.MustCompile(`sha256-[^&]+(&#43;[^&]+)*`)
	drawing := regexp.MustCompile(`(?s)<svg.*?</svg>`)
	for _, name := range []string{"report.html", "report.md", "tables/results.csv", "tables/results.tex",
		"tables/iso_bits.csv", "tables/tasks.csv", "tables/timings.csv"} {
		got, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(name)))
		if err != nil {
			t.Fatal(err)
		}
		got = drawing.ReplaceAll(got, []byte("<svg/>"))
		if _, style, ok := bytes.Cut(got, []byte("<style>")); ok { // read in its own file
			style, _, _ = bytes.Cut(style, []byte("</style>"))
			got = bytes.Replace(got, style, nil, 1)
		}
		got = bytes.Replace(got, []byte(pageScript), nil, 1) // so is the script
		got = hash.ReplaceAll(got, []byte("sha256-…"))
		path := filepath.Join("testdata", "golden", filepath.Base(name))
		if *update {
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, got, 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		a, b := strings.Split(string(got), "\n"), strings.Split(string(want), "\n")
		for i := range max(len(a), len(b)) {
			if i >= len(a) || i >= len(b) || a[i] != b[i] {
				line := func(l []string) string {
					if i < len(l) {
						return l[i]
					}
					return "(end)"
				}
				t.Errorf("%s:%d (go test ./reports -run TestGolden -update writes it anew)\n got %s\nwant %s", name, i+1,
					format.Short(line(a), 400), format.Short(line(b), 400))
				break
			}
		}
	}
}
