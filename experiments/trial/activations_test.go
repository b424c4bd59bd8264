package trial

import (
	"testing"

	"github.com/mosaicquant/mosaicquant/internal/row"
)

// TestActivationSettings: every format of inputs runs with 16-bit and quantized
// weights, each by itself; more levels diverge less; scales found beforehand are
// stored; and kernels refuse what they do not have.
func TestActivationSettings(t *testing.T) {
	if testing.Short() {
		t.Skip("quantizes with every format of the inputs: slow under the race detector")
	}
	lab := testLab(t)
	rows := map[string]*row.Row{}
	for _, lines := range []string{
		"activations: [a8, a4, fp8, mxfp8, mxfp4, nvfp4]",
		"activations: [a8, a4]\nactivations_group: [row, 32]",
		"activations: a4\nactivations_zero: asymmetric",
		"activations: a4\nactivations_clip: [0.9, 0.2]",
		"activations: [a8, a4]\nactivations_scale: static\nactivations_group: [row, 32]",
	} {
		for _, tr := range transformed(t, "tiny-llama3", lines+"\nmethods: [{method: none}, {method: rtn, awq: true}]") {
			s, err := lab.Open(t.Context(), tr)
			if err != nil {
				t.Fatal(err)
			}
			r, err := s.Run(t.Context(), tr)
			if err != nil || r.Status != row.OK {
				t.Fatalf("%s: %v %s", tr.Label, err, r.Error)
			}
			s.Close()
			a, err := activations(tr)
			if err != nil {
				t.Fatal(err)
			}
			name := a.String() + " " + tr.ActivationsScale + " " + tr.Method.Name()
			rows[name] = r
			tr.Execution = "packed"
			if plain := a.String() == "a8" || a.String() == "a4 g128"; tr.Method.Name() == "rtn" {
				tr.Method = tr.Method.With("awq", false)
				if err := Executable(tr); (err == nil) != (plain && tr.ActivationsScale == "") {
					t.Errorf("%s: kernels: %v", name, err)
				}
			}
		}
	}
	kl := func(name string) float64 {
		r := rows[name]
		if r == nil {
			t.Fatalf("no row %q", name)
		}
		v, _ := r.Value(row.KLMean)
		return v.Value
	}
	for _, pair := range [][2]string{
		{"a8  none", "fp8  none"}, {"fp8  none", "a4 g128  none"}, {"a4 g32  none", "a4 g128  none"},
		{"a4 g128  none", "a4  none"},
		{"mxfp8  none", "mxfp4  none"}, {"nvfp4  none", "mxfp4  none"}, {"a4 g128 affine  none", "a4 g128  none"},
		{"a4 g128 clip 0.9  none", "a4 g128 clip 0.2  none"}, {"a8 g32 static none", "a8 static none"},
		{"a8  none", "a8 static none"}, {"a8  rtn", "a4 g128  rtn"},
	} {
		if a, b := kl(pair[0]), kl(pair[1]); !(a < b) {
			t.Errorf("%s diverges by %g, %s by %g", pair[0], a, pair[1], b)
		}
	}
	const layers, d, inter = 6, 256, 768
	scales := map[string]int64{"a8 static": 4 * layers * 4, "a4 g32 static": 4 * layers * (3*d + inter) / 32}
	for name, want := range scales {
		for _, method := range []string{" none", " rtn"} {
			r := rows[name+method]
			if r == nil {
				r = rows[name+" static"+method]
			}
			if r == nil {
				t.Fatalf("no row %q of %d", name+method, len(rows))
			}
			last := r.Ledger[len(r.Ledger)-1]
			if last.Name != "input scales" || last.Bytes != want {
				t.Errorf("%s%s: the ledger ends with %s of %d bytes, want %d", name, method, last.Name, last.Bytes, want)
			}
		}
	}
}

// TestWideActivations: the more channels have 8 bits, the less a model diverges; their
// order is stored; and kernels refuse them.
func TestWideActivations(t *testing.T) {
	if testing.Short() {
		t.Skip("quantizes several models: slow under the race detector")
	}
	lab := testLab(t)
	trials := transformed(t, "tiny-llama3", "stress: {channels: 2%, gain: 30}\nactivations: a4\n"+
		"activations_wide: [0, 25%, 1]\nmethods: [{method: none}, {method: rtn, awq: true}]")
	last := map[string]float64{}
	for _, tr := range trials {
		s, err := lab.Open(t.Context(), tr)
		if err != nil {
			t.Fatal(err)
		}
		r, err := s.Run(t.Context(), tr)
		s.Close()
		if err != nil || r.Status != row.OK {
			t.Fatalf("%s: %v %s", tr.Label, err, r.Error)
		}
		kl, _ := r.Value(row.KLMean)
		if before, ok := last[tr.Method.Name()]; ok && !(kl.Value < before) {
			t.Errorf("%s diverges by %g, with fewer wide channels by %g", tr.Label, kl.Value, before)
		}
		last[tr.Method.Name()] = kl.Value
		var got int64
		for _, item := range r.Ledger {
			if item.Name == "input order" {
				got = item.Bytes
			}
		}
		const layers, d, inter = 6, 256, 768
		if want := int64(2 * layers * (3*d + inter)); tr.ActivationsWide > 0 && got != want || tr.ActivationsWide == 0 && got != 0 {
			t.Errorf("%s: %d bytes for the order of inputs, want %d", tr.Label, got, want)
		}
		tr.Execution = "packed"
		if err := Executable(tr); tr.Method.Name() == "rtn" && tr.ActivationsWide > 0 && err == nil {
			t.Errorf("%s: kernels take it", tr.Label)
		}
	}
}

// TestSearchedActivations: static scales that are searched for diverge less than those of
// the largest inputs, and take the same bytes.
func TestSearchedActivations(t *testing.T) {
	if testing.Short() {
		t.Skip("quantizes several models: slow under the race detector")
	}
	lab := testLab(t)
	trials := transformed(t, "tiny-llama3", "activations: a4\nactivations_group: row\n"+
		"activations_scale: [static, searched]\nmethods: [{method: none, smoothing: [0, 0.5]}, {method: rtn, awq: true}]")
	static := map[string]*row.Row{}
	for _, tr := range trials {
		s, err := lab.Open(t.Context(), tr)
		if err != nil {
			t.Fatal(err)
		}
		r, err := s.Run(t.Context(), tr)
		s.Close()
		if err != nil || r.Status != row.OK {
			t.Fatalf("%s: %v %s", tr.Label, err, r.Error)
		}
		if tr.ActivationsScale == "static" {
			static[tr.Method.String()] = r
			continue
		}
		before := static[tr.Method.String()]
		a, _ := before.Value(row.KLMean)
		b, _ := r.Value(row.KLMean)
		if !(b.Value < 0.9*a.Value) {
			t.Errorf("%s diverges by %g, with scales of the largest inputs by %g", tr.Label, b.Value, a.Value)
		}
		x, y := before.Ledger[len(before.Ledger)-1], r.Ledger[len(r.Ledger)-1]
		if x != y || x.Name != "input scales" {
			t.Errorf("%s: the ledger ends with %v, that of static scales with %v", tr.Label, y, x)
		}
	}
}
