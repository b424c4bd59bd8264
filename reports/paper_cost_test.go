package reports

import (
	"strings"
	"testing"

	"github.com/mosaicquant/mosaicquant/reports/rowtest"
)

// TestPaperWhole wants each cell of the paper's tables to hold a figure or the file that
// fills it, and the costs beside the reported ones.
func TestPaperWhole(t *testing.T) {
	md := tables(t, paperFolders(), "md")
	for _, want := range []string{"| Qwen3-4B | RTN W4A8 | 14.8 | no run: configs/paper-w4a8.yaml |",
		"| Qwen3-4B | ResQ W4A8 | 11.0 | not in configs/paper-w4a8.yaml |",
		"Overhead of the residual, in time", "| 1.053 to 1.062 | no run: bench -c configs/kernels.yaml |",
		"1.24 / 1.21 / 1.24"} {
		if !strings.Contains(md, want) {
			t.Errorf("the tables lack %q", want)
		}
	}
	for _, line := range strings.Split(md, "\n") {
		if strings.HasPrefix(line, "| LLaMA") && strings.Contains(line, "|  |") {
			t.Errorf("a cell of the paper's tables is empty: %s", line)
		}
	}
	timed := append(paperFolders(), Input{Title: "kernels", Rows: rowtest.TimedRows(nil)})
	md = tables(t, timed, "md")
	// made-up times at 10 %: zipper 1.1, separate 1.2 of dense4; bytes 1.1
	for _, want := range []string{"1.100, 1.100 to 1.100, 2 products (made-up \\<b\\>CPU, w4a8, kernels)",
		"1.200, 1.200 to 1.200, 2 products"} {
		if !strings.Contains(md, want) {
			t.Errorf("with timed rows the tables lack %q", want)
		}
	}
	if strings.Contains(md, "no run: bench -c configs/kernels.yaml") {
		t.Error("a measured overhead is called missing")
	}
}
