package reports

import (
	"os"
	"testing"

	"github.com/mosaicquant/mosaicquant/reports/stats"
)

// TestLook writes the synthetic report where a person can look at it.
func TestLook(t *testing.T) {
	dir := os.Getenv("MOSAICQUANT_REPORT_DIR")
	if dir == "" {
		t.Skip("MOSAICQUANT_REPORT_DIR is not set: no folder to write a report for looking at")
	}
	in := syntheticInput()
	if path := os.Getenv("MOSAICQUANT_ECHARTS"); path != "" {
		script, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		in.Script = string(script)
	}
	if err := Write(dir, in); err != nil {
		t.Fatal(err)
	}
	if err := Summary(os.Stdout, stats.Build(in.Rows)); err != nil {
		t.Fatal(err)
	}
}
