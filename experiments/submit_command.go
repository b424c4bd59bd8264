package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mosaicquant/mosaicquant/experiments/plan"
	"github.com/mosaicquant/mosaicquant/experiments/slurm"
	"github.com/mosaicquant/mosaicquant/experiments/sweep"
	"github.com/mosaicquant/mosaicquant/experiments/trial"
	"github.com/mosaicquant/mosaicquant/internal/hf"
	"github.com/mosaicquant/mosaicquant/internal/row"
	"github.com/mosaicquant/mosaicquant/internal/store"
)

func submitCommand() *cobra.Command {
	var s submission
	var status, resubmit bool
	cmd := &cobra.Command{
		Use:   "submit",
		Short: "Run a sweep as jobs of a Slurm cluster",
		Long: `Submit gives Slurm three jobs: one that calibrates the models and runs them in 16
bits, an array whose tasks each run a slice of the trials once that is done, and one
that joins the rows and draws DIR/report.html once every slice has succeeded.

DIR, the cache, models and texts must be on a file system that all nodes see. The
program is copied to DIR/slurm, beside scripts and logs, so that all tasks run the
same one. A task that is requeued, preempted or started twice loses at most the
trial that it was running.

--status tells how far the trials of DIR are. --resubmit-failed submits the slices
that have failed or missing trials and no task in the queue, with the options of
the last time unless they are given again.`,
		Example: `  go run ./experiments submit -c my.yaml -o results/my --partition cpu --option cpus-per-task=16 --dry-run
  go run ./experiments submit -o results/my --status
  go run ./experiments submit -o results/my --resubmit-failed --time 12:00:00`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s.out, s.err = cmd.OutOrStdout(), cmd.ErrOrStderr()
			if status || resubmit {
				if s.config != "" {
					return errors.New("--status and --resubmit-failed go by the sweep file in DIR: give -o DIR and no -c")
				}
				if s.dir == "" {
					return errors.New("--status and --resubmit-failed need -o DIR")
				}
				if status {
					return s.status(cmd.Context())
				}
				return s.resubmit(cmd.Context(), cmd.Flags().Changed)
			}
			if s.config == "" {
				return errors.New("submit needs -c FILE, the sweep file")
			}
			return s.submit(cmd.Context())
		},
	}
	f := cmd.Flags()
	setFlag(cmd, &s.set)
	f.StringVarP(&s.config, "config", "c", "", "sweep `file`")
	f.StringVarP(&s.dir, "output", "o", "", "results `folder` (default results/NAME of the sweep)")
	f.StringVar(&s.cache, "cache", "", "cache `folder` that all nodes see (default: the user's cache folder)")
	f.IntVar(&s.perTask, "trials-per-task", 4, "about `K` trials for each task of the array")
	f.StringVar(&s.options.Partition, "partition", "", "partition")
	f.StringVar(&s.options.Account, "account", "", "account")
	f.StringVar(&s.options.Time, "time", "", "time `limit` of each task, such as 4:00:00")
	f.StringVar(&s.options.Gres, "gres", "", "generic `resources` of each slice, such as gpu:1")
	f.IntVar(&s.options.Limit, "array-limit", 0, "run at most `N` slices at a time")
	f.StringArrayVar(&s.options.More, "option", nil, "another sbatch `option`, such as mem=64G; may be repeated")
	f.BoolVar(&s.dryRun, "dry-run", false, "print the jobs and submit nothing")
	f.BoolVar(&status, "status", false, "tell how far the trials are")
	f.BoolVar(&resubmit, "resubmit-failed", false, "submit again what failed or is missing")
	cmd.MarkFlagsMutuallyExclusive("status", "resubmit-failed")
	cmd.MarkFlagsMutuallyExclusive("status", "dry-run")
	cmd.MarkFlagsMutuallyExclusive("resubmit-failed", "trials-per-task")
	return cmd
}

// submission is one run of the command.
type submission struct {
	config, dir, cache string
	set                []string // see readSweep
	perTask            int
	options            slurm.Options
	dryRun             bool
	out, err           io.Writer
}

// submit submits a whole sweep.
func (s *submission) submit(ctx context.Context) error {
	if s.perTask < 1 {
		return fmt.Errorf("--trials-per-task %d: want at least 1", s.perTask)
	}
	sw, err := readSweep(s.config, s.set...)
	if err != nil {
		return err
	}
	if s.dir == "" {
		s.dir = filepath.Join("results", sw.Name)
	}
	if s.cache == "" {
		if s.cache, err = store.DefaultDir(); err != nil {
			return err
		}
	}
	workDir, err := os.Getwd()
	if err != nil {
		return err
	}
	rec, err := slurm.ReadRecord(s.dir)
	if err != nil {
		return err
	}
	if rec == nil {
		rec = &slurm.Record{}
	}
	rec.WorkDir, rec.Slices, rec.Options = workDir, (len(sw.Trials)+s.perTask-1)/s.perTask, s.options
	if rec.Cache, err = filepath.Abs(s.cache); err != nil {
		return err
	}
	parts, err := s.slices(ctx, sw, rec)
	if err != nil {
		return err
	}
	if !s.dryRun {
		if err := slurm.Find(); err != nil {
			return err
		}
		tasks, err := slurm.Tasks(ctx, rec.Jobs())
		if err != nil {
			return err
		}
		if i := slices.IndexFunc(tasks, slurm.Task.Active); i >= 0 {
			return fmt.Errorf("%s: its job %s is still in the queue: --status tells of it, scancel ends it", s.dir, tasks[i].Job)
		}
	}
	var all []int
	for i := range parts {
		all = append(all, i+1)
	}
	return s.send(ctx, sw, rec, all, nil)
}

// slices divides the trials as the tasks will, which also finds out whether
// models and texts are there, and fetches those from the hub: nodes that
// compute often have no network.
func (s *submission) slices(ctx context.Context, sw *plan.Sweep, rec *slurm.Record) ([][]plan.Trial, error) {
	models, _ := hf.HubCache() // a model of the hub says what is missing
	lab := &trial.Lab{HubCache: models, Progress: s.err}
	parts, err := sweep.Slices(ctx, lab, sw.Trials, rec.Slices)
	return parts, sw.Locate(err)
}

// send submits the given slices with the jobs around them. others are jobs that
// still run slices.
func (s *submission) send(ctx context.Context, sw *plan.Sweep, rec *slurm.Record, tasks []int, others []string) error {
	dir, err := filepath.Abs(s.dir)
	if err != nil {
		return err
	}
	program, image, err := ownProgram(dir)
	if err != nil {
		return err
	}
	study := &slurm.Study{
		Name: sw.Name, Program: program, Dir: dir, Cache: rec.Cache, WorkDir: rec.WorkDir,
		Groups: len(plan.Groups(sw.Trials)), Slices: rec.Slices, Options: rec.Options,
	}
	if err := study.Check(); err != nil {
		return err
	}
	if s.dryRun {
		fmt.Fprintf(s.out, "%s\n%s\n%s", study.Prepare(), study.Array(tasks, "PREPARE"), study.Merge("SLICES", others...))
		return nil
	}
	if err := slurm.Find(); err != nil {
		return err
	}
	if err := sweep.SaveConfig(dir, sw); err != nil {
		return err
	}
	if err := saveProgram(program, image); err != nil {
		return err
	}
	sent, err := s.sendJobs(ctx, study, tasks, others)
	if err != nil {
		return err
	}
	rec.Submissions = append(rec.Submissions, *sent)
	data, err := json.MarshalIndent(rec, "", "  ")
	if err != nil {
		return err
	}
	if err := row.WriteFile(slurm.RecordFile(dir), append(data, '\n')); err != nil {
		return fmt.Errorf("jobs %s, %s and %s are submitted, but --status will not know of them: %w", sent.Prepare,
			sent.Array, sent.Merge, err)
	}
	fmt.Fprintf(s.out, "submitted %d slices: jobs %s (prepare), %s (slices %s) and %s (merge); logs in %s\n",
		len(tasks), sent.Prepare, sent.Array, sent.Tasks, sent.Merge, filepath.Join(s.dir, slurm.Folder))
	return nil
}

// sendJobs submits the three jobs, or none.
func (s *submission) sendJobs(ctx context.Context, study *slurm.Study, tasks []int,
	others []string) (*slurm.Submission, error) {
	var ids []string
	for _, next := range []func() slurm.Job{
		study.Prepare,
		func() slurm.Job { return study.Array(tasks, ids[0]) },
		func() slurm.Job { return study.Merge(ids[1], others...) },
	} {
		job := next()
		err := row.WriteFile(filepath.Join(study.Dir, slurm.Folder, job.Name+".sh"), []byte(job.Script))
		var id string
		if err == nil {
			id, err = slurm.Submit(ctx, job)
		}
		if err != nil {
			if len(ids) > 0 {
				if e := slurm.Cancel(context.WithoutCancel(ctx), ids...); e != nil {
					err = fmt.Errorf("%w; jobs %s are submitted and could not be cancelled: %w", err, strings.Join(ids, " "), e)
				}
			}
			return nil, err
		}
		ids = append(ids, id)
	}
	return &slurm.Submission{
		Time: time.Now().UTC().Format(time.RFC3339), Tasks: slurm.Ranges(tasks),
		Prepare: ids[0], Array: ids[1], Merge: ids[2],
	}, nil
}

// ownProgram reads this program and names its copy in dir after its content: a
// node may still run the one of an earlier submission.
func ownProgram(dir string) (path string, image []byte, err error) {
	self, err := os.Executable()
	if err != nil {
		return "", nil, err
	}
	if image, err = os.ReadFile(self); err != nil {
		return "", nil, err
	}
	sum := sha256.Sum256(image)
	return filepath.Join(dir, slurm.Folder, "experiments-"+hex.EncodeToString(sum[:6])), image, nil
}

func saveProgram(path string, image []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	if err := row.WriteFile(path, image); err != nil {
		return err
	}
	return os.Chmod(path, 0o755)
}

// progressOfSlice counts the trials of a slice.
type progressOfSlice struct {
	trials, finished, failed int
	task                     *slurm.Task // the last one that squeue knows
}

// survey reads how far the submitted sweep in s.dir is.
func (s *submission) survey(ctx context.Context) (*plan.Sweep, *slurm.Record, []progressOfSlice, []slurm.Task, error) {
	rec, err := slurm.ReadRecord(s.dir)
	if err == nil && rec == nil {
		err = fmt.Errorf("%s: no sweep was submitted into it", s.dir)
	}
	if err != nil {
		return nil, nil, nil, nil, err
	}
	sw, err := readSweep(filepath.Join(s.dir, "config.yaml"))
	if err != nil {
		return nil, nil, nil, nil, err
	}
	parts, err := s.slices(ctx, sw, rec)
	if err != nil {
		return nil, nil, nil, nil, err
	}
	files, err := row.Files(s.dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, nil, nil, nil, err
	}
	joined, err := row.Join(files...)
	if err != nil {
		return nil, nil, nil, nil, explain(err, files)
	}
	tasks, err := slurm.Tasks(ctx, rec.Jobs())
	if err != nil {
		return nil, nil, nil, nil, err
	}
	list := make([]progressOfSlice, len(parts))
	for i, part := range parts {
		p := &list[i]
		p.trials = len(part)
		for _, t := range part {
			switch statusOf(t, joined) {
			case row.OK:
				p.finished++
			case row.Failed:
				p.failed++
			}
		}
		for _, sub := range rec.Submissions {
			for _, t := range tasks {
				if t.Job == sub.Array && t.Index == i+1 {
					p.task = &t
				}
			}
		}
	}
	return sw, rec, list, tasks, nil
}

// status prints how far the slices and jobs are.
func (s *submission) status(ctx context.Context) error {
	sw, rec, list, tasks, err := s.survey(ctx)
	if err != nil {
		return err
	}
	var sum progressOfSlice
	for i, p := range list {
		sum.finished += p.finished
		sum.failed += p.failed
		job := ""
		if p.task != nil {
			job = fmt.Sprintf("job %s_%d %s", p.task.Job, p.task.Index, p.task.State)
		}
		fmt.Fprintf(s.out, "slice %s\t%d of %d finished, %d failed\t%s\n", sweep.Slice{I: i + 1, N: len(list)}, p.finished,
			p.trials, p.failed, job)
	}
	last := rec.Submissions[len(rec.Submissions)-1]
	for _, job := range []struct{ name, id string }{{"prepare", last.Prepare}, {"merge", last.Merge}} {
		state := "not in the queue"
		for _, t := range tasks {
			if t.Job == job.id {
				state = t.State
				if t.Why != "None" && t.Active() {
					state += " (" + t.Why + ")"
				}
			}
		}
		fmt.Fprintf(s.out, "%s\tjob %s %s\n", job.name, job.id, state)
	}
	fmt.Fprintf(s.out, "%s: %d of %d trials finished, %d failed, %d without a row\n",
		s.dir, sum.finished, len(sw.Trials), sum.failed, len(sw.Trials)-sum.finished-sum.failed)
	return nil
}

// resubmit submits what failed or is missing and not in the queue. given tells
// which flags the user gave.
func (s *submission) resubmit(ctx context.Context, given func(string) bool) error {
	sw, rec, list, tasks, err := s.survey(ctx)
	if err != nil {
		return err
	}
	s.override(&rec.Options, given)
	if given("cache") {
		if rec.Cache, err = filepath.Abs(s.cache); err != nil {
			return err
		}
	}
	var again []int
	waiting := 0
	for i, p := range list {
		switch {
		case p.finished == p.trials:
		case p.task != nil && p.task.Active():
			waiting++
		default:
			again = append(again, i+1)
		}
	}
	if len(again) == 0 {
		fmt.Fprintf(s.out, "nothing to submit: %d slices are finished, %d in the queue\n", len(list)-waiting, waiting)
		return nil
	}
	var others []string
	for _, sub := range rec.Submissions {
		if slices.ContainsFunc(tasks, func(t slurm.Task) bool { return t.Job == sub.Array && t.Active() }) {
			others = append(others, sub.Array)
		}
	}
	return s.send(ctx, sw, rec, again, others)
}

// override replaces the options that the user gave.
func (s *submission) override(o *slurm.Options, given func(string) bool) {
	for _, v := range []struct {
		flag     string
		old, new *string
	}{
		{"partition", &o.Partition, &s.options.Partition}, {"account", &o.Account, &s.options.Account},
		{"time", &o.Time, &s.options.Time}, {"gres", &o.Gres, &s.options.Gres},
	} {
		if given(v.flag) {
			*v.old = *v.new
		}
	}
	if given("array-limit") {
		o.Limit = s.options.Limit
	}
	if given("option") {
		o.More = s.options.More
	}
}
