package figures

import (
	"strings"
	"testing"

	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"

	"github.com/mosaicquant/mosaicquant/reports/stats"
)

// TestRowLabels cuts labels to the room they have, and only then.
func TestRowLabels(t *testing.T) {
	c := draw.New(vgsvg.New(columnWidth, columnWidth))
	long := "mosaic gptq g128 10% 16x64 delta r3 row-scale joint hessian dynamic natural-order"
	style, labels, width := sheet{columnFont, fileInk}.rowLabels(c, []*stats.Entry{{Name: "rtn"}, {Name: long}})
	head, tail, cut := strings.Cut(labels[1], "…")
	if labels[0] != "rtn" || !cut || head == "" || tail == "" || !strings.HasPrefix(long, head) ||
		!strings.HasSuffix(long, tail) {
		t.Errorf("labels %q", labels)
	}
	if w := style.Width(labels[1]); !(w <= 0.5*columnWidth) || !(w > 0.45*columnWidth) || !(width > w) {
		t.Errorf("the long label takes %v of %v", w, columnWidth)
	}
}
