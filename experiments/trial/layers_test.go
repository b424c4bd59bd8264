package trial

import (
	"fmt"
	"math"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mosaicquant/mosaicquant/experiments/plan"
	"github.com/mosaicquant/mosaicquant/internal/row"
	"github.com/mosaicquant/mosaicquant/internal/testmodel"
)

// TestSettingsByLayer: layers have their own settings, in fake and packed execution, in the
// ledger, and in what quantize writes.
func TestSettingsByLayer(t *testing.T) {
	lab := testLab(t)
	sw, err := plan.Parse("layers.yaml", fmt.Appendf(nil, `
name: layers
model: %s
protocol: {text: builtin:heldout, context: 64, stride: 64, bos: true, tokens: 128}
calibration: {text: builtin:calibration, tokens: 512, seed: 1}
activations: a8
execution: [fake, packed]
methods:
  - {method: rtn, group: 128}
  - {method: rtn, group: 128, ignore: ["*.o_proj"], layers: [{match: "*.down_proj", group: 32}]}
`, testmodel.Short(t, "builtin:tiny-llama3")))
	if err != nil {
		t.Fatal(err)
	}
	s, err := lab.Open(t.Context(), sw.Trials[0])
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var rows []*row.Row
	for _, tr := range sw.Trials {
		if err := s.CheckShapes(tr); err != nil {
			t.Error(err)
		}
		r, err := s.Run(t.Context(), tr)
		if err != nil || r.Status != row.OK {
			t.Fatalf("%s: %v %s", tr.Label, err, r.Error)
		}
		rows = append(rows, r)
	}
	layers := func(r *row.Row) map[string]row.Layer {
		m := map[string]row.Layer{}
		for _, l := range r.Layers {
			m[l.Name] = l
		}
		return m
	}
	plain, own := layers(rows[0]), layers(rows[1])
	var bits, weights float64
	var sixteen int64
	for _, l := range s.source.linears {
		n := float64(l.N) * float64(l.K)
		weights += n
		switch a, b := plain[l.Name], own[l.Name]; {
		case strings.HasSuffix(l.Name, "o_proj"):
			if b.Name != "" {
				t.Errorf("%s is quantized", l.Name)
			}
			bits += 16 * n
			sixteen += 2 * int64(n)
		case strings.HasSuffix(l.Name, "down_proj"):
			if b.BitsPerWeight != 4.5 || b.OutputError >= a.OutputError {
				t.Errorf("%s: %v bits, output error %v against %v", l.Name, b.BitsPerWeight, b.OutputError, a.OutputError)
			}
			bits += 4.5 * n
		default:
			if a != b {
				t.Errorf("%s: %+v, want %+v", l.Name, b, a)
			}
			bits += a.BitsPerWeight * n
		}
	}
	for _, i := range []int{1, 3} {
		if v, _ := rows[i].Value(row.BitsPerWeight); math.Abs(v.Value-bits/weights) > 1e-9 {
			t.Errorf("%s: %v bits, want %v", rows[i].Label, v.Value, bits/weights)
		}
		var found int64
		for _, item := range rows[i].Ledger {
			if item.Name == sixteenBits {
				found = item.Bytes
			}
		}
		if found != sixteen {
			t.Errorf("%s: %d bytes in 16 bits, want %d", rows[i].Label, found, sixteen)
		}
	}
	a, _ := rows[1].Value(row.NLL)
	b, _ := rows[3].Value(row.NLL)
	if c, _ := rows[0].Value(row.NLL); math.Abs(a.Value-b.Value) > 1e-2*a.Value || a.Value == c.Value {
		t.Errorf("NLL %v fake, %v packed, %v without settings by layer", a.Value, b.Value, c.Value)
	}
	for _, tr := range []plan.Trial{sw.Trials[1], sw.Trials[3]} {
		dir := filepath.Join(t.TempDir(), "packed")
		p, err := lab.Quantize(t.Context(), tr, dir)
		if err != nil {
			t.Fatal(err)
		}
		if math.Abs(p.BitsPerWeight-bits/weights) > 1e-9 {
			t.Errorf("packed: %v bits, want %v", p.BitsPerWeight, bits/weights)
		}
		got, err := lab.Evaluate(t.Context(), Evaluation{Model: dir, Protocol: tr.Protocol})
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range got.Text.Values {
			if v.Name == row.NLL && v.Value != a.Value {
				t.Errorf("NLL %v of the checkpoint, %v of the trial", v.Value, a.Value)
			}
		}
	}

	// A pattern that fits nothing is an error before and in a run.
	wrong := sw.Trials[1]
	wrong.Method = wrong.Method.WithLayers([]string{"*.o_prj"}, nil)
	const want = `ignore: "*.o_prj" matches no linear layer`
	if err := s.CheckShapes(wrong); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v", err)
	}
	if r, err := s.Run(t.Context(), wrong); err != nil || !strings.Contains(r.Error, want) {
		t.Errorf("%v %v", r, err)
	}
}
