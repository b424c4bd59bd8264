package figures

import (
	"testing"

	"github.com/mosaicquant/mosaicquant/reports/rowtest"
	"github.com/mosaicquant/mosaicquant/reports/stats"
)

// The same rows give the same figure, also where two shapes have as much to show.
func TestOverheadIsDetermined(t *testing.T) {
	rows := append(rowtest.TimedRows(nil), rowtest.TimedRows(map[string]string{"shape": "1024x4096"})...)
	want := overheadFigure(stats.Build(rows).Timings[0]).Caption
	for range 30 {
		if got := overheadFigure(stats.Build(rows).Timings[0]).Caption; got != want {
			t.Fatalf("caption %q, then %q", want, got)
		}
	}
}
