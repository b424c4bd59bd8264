package bench

import (
	"testing"

	"github.com/mosaicquant/mosaicquant/experiments/plan"
	"github.com/mosaicquant/mosaicquant/internal/row"
	"github.com/mosaicquant/mosaicquant/quant"
)

// TestTrellisSpeed: trellis codes are timed, each code by itself, on matrices that have them.
func TestTrellisSpeed(t *testing.T) {
	sw, err := plan.Parse("speed.yaml", []byte(`
name: speed
model: m
protocol: {text: t, context: 64, stride: 64, bos: true}
calibration: {text: c, tokens: 64}
speed: {shapes: 64x256, tokens: [1, 4], repeats: 3}
methods:
  - {method: trellis, trellis_bits: [2, 4], trellis_length: 6, trellis_code: [mul1, 1mad, 3inst]}
`))
	if err != nil {
		t.Fatal(err)
	}
	var s Speed
	defer s.Close()
	if err := s.Prepare(t.Context(), sw.Trials, nil); err != nil {
		t.Fatal(err)
	}
	if len(s.times) != 2*(2+6) { // of 16-bit weights and int4 as well
		t.Errorf("%d times", len(s.times))
	}
	for i := range sw.Trials {
		var r row.Row
		s.Report(&sw.Trials[i], &r)
		if len(r.Warnings) > 0 || len(r.Values) == 0 {
			t.Errorf("%s: %d values, warnings %q", sw.Trials[i].Label, len(r.Values), r.Warnings)
		}
		f, err := s.formOf(&sw.Trials[i])
		if err != nil {
			t.Fatal(err)
		}
		w, err := example(f, weightsOf(32, 64, 1), 1)
		if err != nil {
			t.Fatal(err)
		}
		code, _ := quant.ParseTrellisCode(sw.Trials[i].Method.Word("trellis_code"))
		if got := w.Packed.Base.Tables; len(got) != 2 || got[0] != 6 || got[1] != uint16(code) {
			t.Errorf("%s: timed with %v", sw.Trials[i].Label, got)
		}
	}
}
