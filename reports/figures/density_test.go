package figures

import (
	"testing"

	"github.com/mosaicquant/mosaicquant/internal/row"
	"github.com/mosaicquant/mosaicquant/reports/rowtest"
	"github.com/mosaicquant/mosaicquant/reports/stats"
)

func TestRecovered(t *testing.T) {
	s := rowtest.Synthetic{Windows: 8, Layers: 3}
	var rows []row.Row
	for _, d := range []string{"0.05", "0.1", "0.2"} {
		rows = append(rows, s.Row("d"+d, "a16", map[string]string{"method": "mosaic", "base": "rtn", "density": d,
			"block": "16x64"}, 4.3, .02))
	}
	g := stats.Build(rows).Groups[0]
	fs := densityFigures(g, recovery)
	if len(fs) != 1 || fs[0].Key != "recovered" {
		t.Fatalf("figures %v", fs)
	}
	v, low, high, ok := recovery.of(g.Entries[0])
	if !ok || !(low < v && v < high && low > 0 && high < 100) {
		t.Errorf("recovered %v [%v, %v] %%", v, low, high)
	}
	for _, e := range g.Entries {
		e.Axes["joint"] = "true"
	}
	if fs := densityFigures(g, recovery); len(fs) > 0 {
		t.Error("what was quantized together has no base to recover from")
	}
}
