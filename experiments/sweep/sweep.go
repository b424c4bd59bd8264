// Package sweep runs the trials of a plan: it skips what a results folder
// already holds, runs the rest side by side, and appends a row per trial.
package sweep

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mosaicquant/mosaicquant/experiments/bench"
	"github.com/mosaicquant/mosaicquant/experiments/plan"
	"github.com/mosaicquant/mosaicquant/experiments/trial"
	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/row"
	"github.com/mosaicquant/mosaicquant/quant"
)

// Options of a run.
type Options struct {
	Dir   string // results folder
	Jobs  int    // trials side by side; 0 chooses by cores and memory
	Fresh bool   // set finished rows aside and run everything again
	// Part, where not empty, makes this one of many processes that write to Dir
	// at the same time, without locks: rows go to a file of its own, see
	// row.OpenPart, that Part names. Fresh must be false.
	Part string
	// Only restricts the run to the trials with these IDs or labels; empty = all.
	Only []string
	// Progress receives every step; nil is allowed.
	Progress Progress
}

// Progress watches a sweep. Calls come one at a time.
type Progress interface {
	// Begin tells, each time that a model is opened, how many trials will have run in
	// all as far as is known, and how many were found finished so far.
	Begin(run, finished int)
	// Done tells of a finished trial, failed ones included.
	Done(r *row.Row, took time.Duration)
	// Note is a remark or warning.
	Note(format string, args ...any)
}

// Watcher is a Progress that is told of every step within trials as well.
type Watcher interface {
	Progress
	Step(Step)
}

// Result counts what a run did.
type Result struct {
	Finished int // trials found finished
	Ran      int // trials that ran to an end, failed ones included
	Failed   int // of those
}

// Run runs the sweep sw into o.Dir. Trials that failed earlier run again. When
// ctx ends, running trials are dropped, all finished ones stay, and ctx's error
// is returned. A trial that fails is a row, counted in Result.Failed; what
// stops the sweep as a whole (an unreadable model, a full disk) is an error.
func Run(ctx context.Context, lab *trial.Lab, sw *plan.Sweep, o Options) (Result, error) {
	var res Result
	if o.Progress == nil {
		o.Progress = silent{}
	}
	w, err := o.open()
	if err != nil {
		return res, err
	}
	defer func() { w.Close() }()
	if o.Fresh {
		if w, err = setAside(w, o); err != nil {
			return res, err
		}
	}
	if err := SaveConfig(o.Dir, sw); err != nil {
		return res, err
	}
	save := row.SaveEnvironment
	if o.Part != "" {
		save = row.SavePartEnvironment
	}
	env, err := save(o.Dir, row.Capture(gemm.Kernel(), gemm.Features()))
	if err != nil {
		return res, err
	}
	rows, err := o.rows()
	if err != nil {
		return res, err
	}
	done := map[string]*row.Row{}
	for _, r := range row.Merge(rows) {
		if r.Status == row.OK {
			done[r.Trial] = &r
		}
	}
	only := map[string]bool{}
	for _, id := range o.Only {
		only[id] = true
	}
	r := &runner{lab: lab, o: o, w: w, env: env, done: done, only: only, res: &res}
	r.speed.Checkpoint = func(path string) (*quant.Form, error) { return lab.CheckpointForm(ctx, path) }
	r.survey(ctx, sw.Trials)
	if err := errors.Join(r.groups(ctx, sw.Trials), r.speed.Close()); err != nil {
		return res, err
	}
	if len(r.only) > 0 {
		return res, fmt.Errorf("no trial of this sweep has the label or id %.200s",
			strings.Join(slices.Sorted(maps.Keys(r.only)), ", "))
	}
	return res, nil
}

// open opens the rows for writing.
func (o *Options) open() (*row.Writer, error) {
	if o.Part != "" {
		return row.OpenPart(o.Dir, o.Part), nil
	}
	w, warning, err := row.OpenWriter(o.Dir)
	if errors.Is(err, row.ErrNoLocks) {
		return nil, fmt.Errorf("%w; --slice 1/1 writes without any, and experiments merge joins the rows", err)
	}
	if warning != "" {
		o.Progress.Note("%s", warning)
	}
	return w, err
}

// rows reads the rows of earlier runs.
func (o *Options) rows() ([]row.Row, error) {
	rows, warnings, err := row.ReadFolder(o.Dir)
	if o.Part != "" && errors.Is(err, fs.ErrNotExist) { // the first of many processes
		return nil, nil
	}
	for _, text := range warnings {
		o.Progress.Note("%s", text)
	}
	return rows, err
}

// SaveConfig writes sw to config.yaml of the folder dir, unless it is there.
func SaveConfig(dir string, sw *plan.Sweep) error {
	resolved, err := sw.YAML()
	if err != nil {
		return err
	}
	file := filepath.Join(dir, "config.yaml")
	if old, err := os.ReadFile(file); err == nil && bytes.Equal(old, resolved) {
		return nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return row.WriteFile(file, resolved)
}

// setAside renames the rows of earlier runs and opens an empty file.
func setAside(w *row.Writer, o Options) (*row.Writer, error) {
	now := time.Now().UTC().Format("20060102T150405Z")
	kept := filepath.Join(o.Dir, "rows-until-"+now)
	if err := os.Rename(filepath.Join(o.Dir, row.Parts), kept); err == nil {
		o.Progress.Note("earlier rows of slices are kept in %s", kept)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return w, err
	}
	old := filepath.Join(o.Dir, row.File)
	info, err := os.Stat(old)
	if err != nil || info.Size() == 0 {
		return w, err
	}
	kept += ".jsonl"
	if err := os.Rename(old, kept); err != nil {
		return w, err
	}
	o.Progress.Note("earlier rows are kept in %s", kept)
	if err := w.Close(); err != nil {
		return w, err
	}
	w, _, err = row.OpenWriter(o.Dir)
	return w, err
}

type runner struct {
	lab  *trial.Lab
	o    Options
	env  string
	done map[string]*row.Row
	only map[string]bool // IDs asked for and not met yet

	speed bench.Speed // prepared while no trial runs
	later []int       // how many trials of each group are thought to be unfinished

	mu    sync.Mutex // guards w, res, meter and calls of Progress
	meter *meter     // nil where nobody watches
	w     *row.Writer
	res   *Result
}

// groups runs the trials subject by subject, so that one model is open at a
// time.
func (r *runner) groups(ctx context.Context, trials []plan.Trial) error {
	for i, group := range plan.Groups(trials) {
		if err := r.group(ctx, i, group); err != nil {
			return err
		}
	}
	return nil
}

// survey tells which trials seem unfinished, by their settings: what these name may have
// changed, which only opening the model tells. Where somebody watches it estimates them.
func (r *runner) survey(ctx context.Context, trials []plan.Trial) {
	settings := map[string]bool{}
	for _, d := range r.done {
		settings[string(d.Config)] = true
	}
	_, watched := r.o.Progress.(Watcher)
	var m *meter
	var rate trial.Rate
	if watched {
		m, rate = newMeter(time.Now), trial.Probe()
	}
	for g, group := range plan.Groups(trials) {
		var open []plan.Trial
		for _, t := range group {
			if config, err := json.Marshal(t); err != nil || !settings[string(config)] {
				open = append(open, t)
			}
		}
		r.later = append(r.later, len(open))
		if m == nil || len(open) == 0 {
			continue
		}
		shared, list, err := r.lab.EstimateAll(ctx, open, rate)
		if err != nil { // which opening the model reports
			m = nil
			continue
		}
		first := slices.IndexFunc(r.later, func(n int) bool { return n > 0 })
		if seconds, err := bench.EstimateSpeed(open, rate); err == nil && g == first {
			m.plan(part{g, "", timing}, seconds)
		}
		m.plan(part{g, "", trial.Learning}, shared.Learning)
		if slices.ContainsFunc(open, func(t plan.Trial) bool { return t.Method.Method().Quantizes() }) {
			m.plan(part{g, "", trial.Calibrating}, shared.Calibrating)
		}
		for i, e := range list {
			for stage, seconds := range e.Stages {
				m.plan(part{g, open[i].Label, stage}, seconds)
			}
		}
	}
	r.meter = m
}

// step tells who watches how far the trial of that label in the group g is.
func (r *runner) step(g int, label, stage string, done, total int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.meter == nil {
		return
	}
	r.meter.step(part{g, label, stage}, done, total)
	share, left := r.meter.read()
	r.o.Progress.(Watcher).Step(Step{Label: label, Stage: stage, Done: done, Total: total, Share: share, Left: left})
}

// skip takes trials that will not run off what the meter waits for.
func (r *runner) skip(g int, trials []plan.Trial, run func(t plan.Trial) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, t := range trials {
		if r.meter != nil && !run(t) {
			r.meter.finish(g, t.Label)
		}
	}
}

func (r *runner) group(ctx context.Context, g int, trials []plan.Trial) error {
	s, err := r.lab.Open(ctx, trials[0])
	if err != nil {
		return err
	}
	defer s.Close()
	var todo []plan.Trial
	finished := 0
	for _, t := range trials {
		id := s.ID(t)
		if len(r.o.Only) > 0 && !r.only[id] && !r.only[t.Label] {
			continue
		}
		delete(r.only, id)
		delete(r.only, t.Label)
		old := r.done[id]
		if old == nil {
			todo = append(todo, t)
			continue
		}
		finished++
		if err := r.relabel(old, t); err != nil {
			return err
		}
	}
	r.res.Finished += finished
	run := r.res.Ran + len(todo)
	if len(r.o.Only) == 0 {
		for _, n := range r.later[g+1:] {
			run += n
		}
	}
	r.o.Progress.Begin(run, r.res.Finished)
	r.skip(g, trials, func(t plan.Trial) bool { return slices.Contains(todo, t) })
	if err := r.speed.Prepare(ctx, todo, r.o.Progress.Note); err != nil {
		return err
	}
	r.step(g, "", timing, 1, 1)
	return r.trials(ctx, g, s, todo)
}

// relabel repeats a finished row under the names that the sweep uses now:
// labels tell what varies, so they change when the sweep file does.
func (r *runner) relabel(old *row.Row, t plan.Trial) error {
	if old.Label == t.Label && old.Baseline == t.Baseline && old.Title == t.Title {
		return nil
	}
	renamed := *old
	renamed.Label, renamed.Baseline, renamed.Title = t.Label, t.Baseline, t.Title
	return r.w.Append(&renamed)
}

// trials runs todo with Jobs workers. The first error stops the others.
func (r *runner) trials(ctx context.Context, g int, s *trial.Subject, todo []plan.Trial) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	queue := make(chan plan.Trial)
	var wg sync.WaitGroup
	var each int64
	for _, t := range todo {
		each = max(each, s.Memory(t))
	}
	n, note := jobs(r.o.Jobs, len(todo), each, row.Memory())
	if note != "" {
		r.o.Progress.Note("%s", note)
	}
	for range n {
		wg.Go(func() {
			for t := range queue {
				if err := r.one(ctx, g, s, t); err != nil {
					cancel(err)
					return
				}
			}
		})
	}
feed:
	for _, t := range todo {
		select {
		case queue <- t:
		case <-ctx.Done():
			break feed
		}
	}
	close(queue)
	wg.Wait()
	return context.Cause(ctx)
}

// jobs is the number of trials to run side by side, and a remark where memory
// decides it. All arithmetic is done by goroutines on GOMAXPROCS threads, so more
// trials never mean more threads; a second one fills the gaps that serial parts
// of the first leave. each is what a trial takes of the machine's memory, 0 =
// unknown; a quarter of that is left to the system and the pages of weights.
func jobs(asked, trials int, each, memory int64) (n int, note string) {
	n = min(asked, trials)
	if asked < 1 {
		n = min(2, runtime.GOMAXPROCS(0), trials)
	}
	room := memory / 4 * 3
	if memory == 0 || int64(n)*each <= room {
		return n, ""
	}
	const gib = 1 << 30
	need := fmt.Sprintf("trials take up to %.1f GiB each, of the machine's %.1f GiB",
		float64(each)/gib, float64(memory)/gib)
	if asked > 0 {
		return n, fmt.Sprintf("%s: %d side by side, as asked, may be more than it holds", need, n)
	}
	for n > 1 && int64(n)*each > room {
		n--
	}
	if each > memory {
		return n, need + ": one may be more than it holds"
	}
	return n, fmt.Sprintf("%s: %d at a time", need, n)
}

// one runs t and writes its row. An error ends the sweep.
func (r *runner) one(ctx context.Context, g int, s *trial.Subject, t plan.Trial) error {
	start := time.Now()
	watched := trial.Watch(ctx, func(stage string, done, total int) { r.step(g, t.Label, stage, done, total) })
	out, err := s.Run(watched, t)
	if err != nil {
		return err
	}
	if t.Speed != nil && out.Status == row.OK {
		r.speed.Report(&t, out)
	}
	out.Env = r.env
	if err := out.Storable(); err != nil {
		out.Fail(err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.w.Append(out); err != nil {
		return fmt.Errorf("cannot save the row of %s: %w", t.Label, err)
	}
	r.res.Ran++
	if out.Status != row.OK {
		r.res.Failed++
	}
	if r.meter != nil {
		r.meter.finish(g, t.Label)
	}
	r.o.Progress.Done(out, time.Since(start))
	return nil
}

type silent struct{}

func (silent) Begin(int, int)               {}
func (silent) Done(*row.Row, time.Duration) {}
func (silent) Note(string, ...any)          {}
