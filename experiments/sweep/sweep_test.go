package sweep

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mosaicquant/mosaicquant/experiments/plan"
	"github.com/mosaicquant/mosaicquant/experiments/trial"
	"github.com/mosaicquant/mosaicquant/internal/row"
	"github.com/mosaicquant/mosaicquant/internal/store"
	"github.com/mosaicquant/mosaicquant/internal/testmodel"
)

const small = `
name: small
model: builtin:tiny-llama3
protocol: {text: builtin:heldout, context: 64, stride: 64, bos: true, tokens: 256}
calibration: {text: builtin:calibration, tokens: 512, seed: 1}
baseline: {method: rtn, group: 128}
methods:
  - {method: none}
  - {method: rtn, group: [128, 64]}
  - {method: gptq, group: 128}
  - {method: spqr, group: 128, outliers: 1%}
  - {method: mosaic, base: [rtn, gptq], group: 128, density: [0%, 10%], block: 16x64, criterion: delta}
`

// parse reads a sweep of builtin:tiny-llama3, which a smaller model stands in for
// with -short.
func parse(t *testing.T, yaml string) *plan.Sweep {
	t.Helper()
	if name := "builtin:tiny-llama3"; strings.Contains(yaml, name) {
		yaml = strings.ReplaceAll(yaml, name, testmodel.Short(t, name))
	}
	sw, err := plan.Parse("test.yaml", []byte(yaml))
	if err != nil {
		t.Fatal(err)
	}
	return sw
}

func newLab(t *testing.T) *trial.Lab {
	t.Helper()
	s, err := store.Open(t.TempDir(), func(text string) { t.Errorf("store: %s", text) })
	if err != nil {
		t.Fatal(err)
	}
	return &trial.Lab{Store: s}
}

func rows(t *testing.T, dir string) map[string]row.Row {
	t.Helper()
	list, warning, err := row.ReadFile(filepath.Join(dir, row.File))
	if err != nil || warning != "" {
		t.Fatal(err, warning)
	}
	m := map[string]row.Row{}
	for _, r := range list {
		if _, twice := m[r.Label]; twice {
			t.Errorf("two rows for %s", r.Label)
		}
		m[r.Label] = r
	}
	return m
}

func value(t *testing.T, r row.Row, name string) float64 {
	t.Helper()
	v, ok := r.Value(name)
	if !ok {
		t.Fatalf("%s has no %s (%s %s)", r.Label, name, r.Status, r.Error)
	}
	return v.Value
}

// TestRun runs every method on the builtin model and checks what must hold
// between the rows, then that a second run has nothing to do.
func TestRun(t *testing.T) {
	dir, lab, sw := t.TempDir(), newLab(t), parse(t, small)
	res, err := Run(t.Context(), lab, sw, Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if want := (Result{Ran: len(sw.Trials)}); res != want {
		t.Fatalf("result %+v, want %+v", res, want)
	}
	m := rows(t, dir)
	for _, tr := range sw.Trials {
		r, ok := m[tr.Label]
		if !ok || r.Status != row.OK {
			t.Fatalf("%s: %s %s", tr.Label, r.Status, r.Error)
		}
		tokens := r.Windows(row.WindowTokens)
		if len(tokens) != 4 || tokens[0] != 64 {
			t.Errorf("%s: scored %v", r.Label, tokens)
		}
		var bytes int64
		for _, item := range r.Ledger {
			bytes += item.Bytes
		}
		var weights float64
		for _, l := range r.Layers {
			weights += float64(l.N * l.K)
		}
		if bits := value(t, r, row.BitsPerWeight); tr.Method.Name() != "none" && bits != float64(bytes)*8/weights {
			t.Errorf("%s: %v bits, but the ledger has %d bytes for %v weights", r.Label, bits, bytes, weights)
		}
	}

	find := func(match func(plan.Method) bool) row.Row {
		for _, tr := range sw.Trials {
			if match(tr.Method) {
				return m[tr.Label]
			}
		}
		t.Fatal("no such trial")
		panic("unreachable")
	}
	none := find(func(m plan.Method) bool { return m.Name() == "none" })
	if kl, top1, bits := value(t, none, row.KLMean), value(t, none, row.Top1), value(t, none, row.BitsPerWeight); kl != 0 || top1 != 1 || bits != 16 {
		t.Errorf("the 16-bit model against itself: KL %v, top-1 %v, %v bits", kl, top1, bits)
	}
	rtn := find(func(m plan.Method) bool { return m.Name() == "rtn" && m.Int("group") == 128 })
	if bits := value(t, rtn, row.BitsPerWeight); bits != 4.125 {
		t.Errorf("rtn g128 has %v bits, want 4 + 16/128", bits)
	}
	for _, base := range []string{"rtn", "gptq"} {
		plain := find(func(m plan.Method) bool { return m.Name() == base && m.Int("group") == 128 })
		empty := find(func(m plan.Method) bool {
			return m.Name() == "mosaic" && m.Word("base") == base && m.Float("density") == 0
		})
		for _, name := range []string{row.NLL, row.KLMean, row.OutputError} {
			if a, b := value(t, plain, name), value(t, empty, name); a != b {
				t.Errorf("density 0 on %s: %s %v, the base alone %v", base, name, b, a)
			}
		}
	}
	mosaic := find(func(m plan.Method) bool {
		return m.Name() == "mosaic" && m.Word("base") == "rtn" && m.Float("density") == 0.1
	})
	if a, b := value(t, mosaic, row.OutputError), value(t, rtn, row.OutputError); !(a < b) {
		t.Errorf("a residual on RTN does not lower the output error: %v, base %v", a, b)
	}
	gptq := find(func(m plan.Method) bool { return m.Name() == "gptq" })
	if a, b := value(t, gptq, row.OutputError), value(t, rtn, row.OutputError); !(a < b) {
		t.Errorf("GPTQ's output error %v is not below RTN's %v: did calibration run?", a, b)
	}

	before, err := os.ReadFile(filepath.Join(dir, row.File))
	if err != nil {
		t.Fatal(err)
	}
	res, err = Run(t.Context(), lab, sw, Options{Dir: dir})
	if want := (Result{Finished: len(sw.Trials)}); err != nil || res != want {
		t.Errorf("second run: %+v, %v", res, err)
	}
	if after, _ := os.ReadFile(filepath.Join(dir, row.File)); !bytes.Equal(before, after) {
		t.Error("the second run changed the rows")
	}
}

// TestOwnSteps runs what goes beyond the paper, and wants each step to do what
// it is for: settings that never reached the quantizer would change nothing.
func TestOwnSteps(t *testing.T) {
	if testing.Short() {
		t.Skip("checks numbers of the builtin model")
	}
	dir, sw := t.TempDir(), parse(t, `
name: steps
model: builtin:tiny-llama3
protocol: {text: builtin:heldout, context: 64, stride: 64, bos: true, tokens: 64}
calibration: {text: builtin:calibration, tokens: 2048, context: 64, seed: 1}
methods:
  - {method: gptq, group: 128, refine: [0, 1]}
  - {method: mosaic, base: gptq, density: 10%, block: 1x32, joint: [false, true]}
  - {method: mosaic, base: gptq, density: 10%, block: 1x32, joint: true, criterion: relief, refine: [0, 1]}
  - {method: mosaic, base: rtn, density: 10%, block: 1x32, criterion: [full, greedy]}
`)
	if res, err := Run(t.Context(), newLab(t), sw, Options{Dir: dir}); err != nil || res.Ran != 8 || res.Failed != 0 {
		t.Fatalf("%+v, %v", res, err)
	}
	m := rows(t, dir)
	var lost []float64
	for _, tr := range sw.Trials {
		lost = append(lost, value(t, m[tr.Label], row.OutputError))
	}
	gptq, refined, after, joint, relief, both, full, greedy := lost[0], lost[1], lost[2], lost[3], lost[4], lost[5], lost[6], lost[7]
	if !(refined < gptq) {
		t.Errorf("refine: output error %v, without %v", refined, gptq)
	}
	if !(both < relief && relief < joint) {
		t.Errorf("joint: output error %v, with relief %v, refined %v", joint, relief, both)
	}
	if !(joint < after && joint < gptq) {
		t.Errorf("joint: output error %v, residual after GPTQ %v, GPTQ alone %v", joint, after, gptq)
	}
	if !(greedy < full) {
		t.Errorf("greedy: output error %v, full %v", greedy, full)
	}
}

// TestReproducible runs one sweep alone and side by side, with a cold and a
// warm cache, and wants the same numbers to the last bit.
func TestReproducible(t *testing.T) {
	lab, sw := newLab(t), parse(t, small+"  - {method: mosaic, density: 10%, block: 16x16, budget: global, smoothing: 0.5}\n")
	a, b := t.TempDir(), t.TempDir()
	if _, err := Run(t.Context(), lab, sw, Options{Dir: a, Jobs: 1}); err != nil {
		t.Fatal(err)
	}
	if _, err := Run(t.Context(), lab, sw, Options{Dir: b, Jobs: 4}); err != nil {
		t.Fatal(err)
	}
	second := rows(t, b)
	for label, r := range rows(t, a) {
		for _, v := range r.Values {
			if v.Unit == "s" {
				continue
			}
			if w := value(t, second[label], v.Name); w != v.Value {
				t.Errorf("%s: %s is %v alone, %v side by side", label, v.Name, v.Value, w)
			}
		}
	}
}

// cancelAfter ends the context after some finished trials.
type cancelAfter struct {
	silent
	n      int
	cancel func()
}

func (c *cancelAfter) Done(*row.Row, time.Duration) {
	if c.n--; c.n == 0 {
		c.cancel()
	}
}

func TestInterrupted(t *testing.T) {
	dir, lab, sw := t.TempDir(), newLab(t), parse(t, small)
	ctx, cancel := context.WithCancel(t.Context())
	res, err := Run(ctx, lab, sw, Options{Dir: dir, Jobs: 1, Progress: &cancelAfter{n: 3, cancel: cancel}})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("error %v", err)
	}
	if len(rows(t, dir)) != res.Ran || res.Ran < 3 || res.Ran == len(sw.Trials) {
		t.Fatalf("%d rows after %+v", len(rows(t, dir)), res)
	}
	res2, err := Run(t.Context(), lab, sw, Options{Dir: dir})
	if err != nil || res2.Finished != res.Ran || res2.Ran != len(sw.Trials)-res.Ran {
		t.Errorf("resumed: %+v, %v", res2, err)
	}
}

// TestFailedTrial has a trial that cannot work beside one that can.
func TestFailedTrial(t *testing.T) {
	dir, lab := t.TempDir(), newLab(t)
	sw := parse(t, `
name: failing
model: builtin:tiny-llama3
protocol: {text: builtin:heldout, context: 64, stride: 64, bos: true, tokens: 64}
calibration: {text: builtin:calibration, tokens: 256, seed: 1}
methods:
  - {method: rtn}
  - {method: svdquant, rank: 4096}
`)
	for range 2 { // a failed trial runs again
		res, err := Run(t.Context(), lab, sw, Options{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		if res.Failed != 1 {
			t.Fatalf("result %+v", res)
		}
	}
	list, _, err := row.ReadFile(filepath.Join(dir, row.File))
	if err != nil {
		t.Fatal(err)
	}
	merged := row.Merge(list)
	if len(list) != 3 || len(merged) != 2 {
		t.Fatalf("%d rows, %d trials", len(list), len(merged))
	}
	for _, r := range merged {
		failed := r.Status == row.Failed
		if failed != (r.Axes["method"] == "svdquant") {
			t.Errorf("%s: %s", r.Label, r.Status)
		}
		if failed && (!strings.Contains(r.Error, "rank 4096") || !strings.Contains(r.Error, "_proj") || len(r.Values) > 0) {
			t.Errorf("error %q, %d values", r.Error, len(r.Values))
		}
	}
}

func TestFresh(t *testing.T) {
	dir, lab := t.TempDir(), newLab(t)
	sw := parse(t, `
name: fresh
model: builtin:tiny-llama3
protocol: {text: builtin:heldout, context: 64, stride: 64, bos: true, tokens: 64}
calibration: {text: builtin:calibration, tokens: 256, seed: 1}
methods: [{method: none}]
`)
	for _, fresh := range []bool{false, true} {
		res, err := Run(t.Context(), lab, sw, Options{Dir: dir, Fresh: fresh})
		if err != nil || res.Ran != 1 {
			t.Fatalf("fresh %v: %+v, %v", fresh, res, err)
		}
	}
	kept, _ := filepath.Glob(filepath.Join(dir, "rows-until-*.jsonl"))
	if len(kept) != 1 || len(rows(t, dir)) != 1 {
		t.Errorf("kept %v, %d rows", kept, len(rows(t, dir)))
	}
}

// TestBadSurroundings: what stops a sweep as a whole says where and what.
func TestBadSurroundings(t *testing.T) {
	head := "name: x\nprotocol: {text: builtin:heldout, context: 64, stride: 64, bos: true}\ncalibration: {text: builtin:calibration, tokens: 256}\nmethods: [{method: none}]\n"
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, yaml, dir, want string }{
		{"no such model", head + "model: builtin:nothing\n", t.TempDir(), `no model "nothing"`},
		{"no such folder", head + "model: " + file + "x\n", t.TempDir(), file + "x"},
		{"model is a file", head + "model: " + file + "\n", t.TempDir(), "is a file"},
		{"empty folder", head + "model: " + t.TempDir() + "\n", t.TempDir(), "config.json"},
		{"results folder is a file", head + "model: builtin:tiny-llama3\n", file, file},
		{"no such text", strings.Replace(head, "builtin:heldout", "builtin:nothing", 1) + "model: builtin:tiny-llama3\n", t.TempDir(), `no text "nothing"`},
		{"calibration too long", strings.Replace(head, "tokens: 256", "tokens: 100000000", 1) + "model: builtin:tiny-llama3\n", t.TempDir(), "calibration.tokens: 100000000"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Run(t.Context(), newLab(t), parse(t, c.yaml), Options{Dir: c.dir})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want it to say %q", err, c.want)
			}
		})
	}
}

// TestSpeed times a small layer beside the accuracy of trials, each form of storage
// once, and says why one was not timed.
func TestSpeed(t *testing.T) {
	sw := parse(t, `
name: speed
model: builtin:tiny-llama3
protocol: {text: builtin:heldout, context: 64, stride: 64, bos: true, tokens: 128}
calibration: {text: builtin:calibration, tokens: 256, seed: 1}
activations: [a8, a16]
execution: packed
speed: {shapes: 32x256, tokens: [1, 2], repeats: 3, engine: cpu}
methods:
  - {method: none}
  - {method: mosaic, density: 10%, block: 16x16, criterion: [error, random]}
  - {method: rtn, format: nf4, group: 64, only: {activations: a16}}
  - {method: spqr, threshold: 0.5}
skip: {activations: a16, method: [none, mosaic, spqr]}
`)
	dir := t.TempDir()
	res, err := Run(t.Context(), newLab(t), sw, Options{Dir: dir, Jobs: 2})
	if err != nil {
		t.Fatal(err)
	}
	if res.Ran != 5 || res.Failed != 0 {
		t.Fatalf("%+v", res)
	}
	all := rows(t, dir)
	times := map[string]float64{}
	for label, r := range all {
		if r.Axes["method"] == "spqr" {
			if text := strings.Join(r.Warnings, "\n"); !strings.Contains(text, "depends on the weights") {
				t.Errorf("%s: warnings %q", label, text)
			}
			continue
		}
		v, ok := r.Value("speed/32x256 M=2/time")
		if !ok || !(v.Value > 0) || v.Low == nil {
			t.Errorf("%s: %+v", label, v)
		}
		times[label] = v.Value
		_, over := r.Value("speed/32x256 M=1/time_over/w16a16")
		if none := r.Axes["method"] == "none"; over == none {
			t.Errorf("%s: time over 16 bits: %v", label, over)
		}
		if r.Execution == nil || r.Execution.Kernel == "" {
			t.Errorf("%s: execution %+v", label, r.Execution)
		}
	}
	if a, b := times["mosaic g128 error a8"], times["mosaic g128 random a8"]; a == 0 || a != b {
		t.Errorf("the same form was timed twice: %v and %v of %v", a, b, times)
	}
}

// TestSpeedOfCheckpoints: a checkpoint is timed in the form that it has, once with the
// trial of the same form; one without a kernel, or of several forms, is told.
func TestSpeedOfCheckpoints(t *testing.T) {
	lab, model, dir := newLab(t), testmodel.Dir(t), t.TempDir()
	head := "name: speed\nmodel: " + model + "\n" +
		"protocol: {text: builtin:heldout, context: 64, stride: 64, bos: true, tokens: 128}\n" +
		"calibration: {text: builtin:calibration, tokens: 256, seed: 1}\nactivations: a8\n"
	made := parse(t, head+"methods:\n- {method: rtn, group: 64}\n"+
		"- {method: rtn, group: 64, layers: [{match: first, group: 32}]}\n"+
		"- {method: mosaic, density: 10%}\n")
	paths := []string{filepath.Join(dir, "one"), filepath.Join(dir, "several"), filepath.Join(dir, "parts")}
	for i, tr := range made.Trials {
		if _, err := lab.Quantize(t.Context(), tr, paths[i]); err != nil {
			t.Fatal(err)
		}
	}
	sw := parse(t, head+"speed: {shapes: 32x256, tokens: 2, repeats: 3, engine: cpu}\n"+
		"methods:\n- {method: rtn, group: 64}\n"+
		"- {method: checkpoint, path: ["+strings.Join(paths, ", ")+"]}\n")
	if _, err := Run(t.Context(), lab, sw, Options{Dir: filepath.Join(dir, "out")}); err != nil {
		t.Fatal(err)
	}
	all := rows(t, filepath.Join(dir, "out"))
	own, imported := all["rtn"], all["checkpoint one"]
	a, ok := own.Value("speed/32x256 M=2/time")
	b, also := imported.Value("speed/32x256 M=2/time")
	if !ok || !also || a.Value != b.Value {
		t.Errorf("times %+v and %+v of one form, warnings %q", a, b, imported.Warnings)
	}
	for label, want := range map[string]string{
		"checkpoint several": "there is no one form to time", "checkpoint parts": "has parts beside its base",
	} {
		text := strings.Join(all[label].Warnings, "\n")
		if !strings.Contains(text, "speed: not timed: ") || !strings.Contains(text, want) {
			t.Errorf("%s: warnings %q, want %q", label, text, want)
		}
	}
}
