package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mosaicquant/mosaicquant/experiments/plan"
	"github.com/mosaicquant/mosaicquant/internal/bounded"
	"github.com/mosaicquant/mosaicquant/internal/row"
)

func mergeCommand() *cobra.Command {
	var out string
	var wait time.Duration
	cmd := &cobra.Command{
		Use:   "merge DIR | -o OUT SOURCE...",
		Short: "Join the rows of slices, or of any results folders and row files",
		Long: `Merge DIR ends a sweep that ran in slices: when every trial of DIR/config.yaml has a
row, it joins them in DIR/rows.jsonl, moves the slices' files to DIR/rows/joined and
draws the report. While trials are missing it names them and changes nothing.

With -o it joins the rows of any results folders and row files in the new folder
OUT, complete or not, with their environments, and with their config.yaml where
all have the same.

Rows with the same trial ID and equal content are taken once, a finished one before
failed ones. Content is all but times, environment and label. Rows with the same
trial ID and different content are an error that names both: machines with other
float32 kernels, say, round differently.`,
		Example: `  go run ./experiments merge results/study
  go run ./experiments merge -o results/all results/llama results/qwen backup/rows.jsonl`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if cmd.Flags().Changed("output") {
				return mergeInto(cmd.OutOrStdout(), out, args)
			}
			if len(args) > 1 {
				return errors.New("more than one source needs -o OUT")
			}
			return finishSlices(cmd.Context(), cmd.OutOrStdout(), args[0], wait)
		},
	}
	cmd.Flags().StringVarP(&out, "output", "o", "", "new results `folder`")
	cmd.Flags().DurationVar(&wait, "wait", 0,
		"look again for missing rows for this `time`: network file systems show new files late")
	cmd.MarkFlagsMutuallyExclusive("output", "wait")
	return cmd
}

// finishSlices joins the rows of the sweep in dir and draws its report.
func finishSlices(ctx context.Context, out io.Writer, dir string, wait time.Duration) (err error) {
	sw, err := readSweep(filepath.Join(dir, "config.yaml"))
	if err != nil {
		return fmt.Errorf("%w; -o OUT joins rows without a sweep file", err)
	}
	w, warning, err := row.OpenWriter(dir) // keeps a sweep into dir out
	switch {
	case errors.Is(err, row.ErrNoLocks): // then no sweep but slices can run in dir
	case err != nil:
		return err
	default:
		defer func() {
			rows := filepath.Join(dir, row.File)
			if info, e := os.Stat(rows); err != nil && e == nil && info.Size() == 0 {
				os.Remove(rows) // created by the lock; no other process has it open
			}
			w.Close()
		}()
	}
	if warning != "" {
		fmt.Fprintln(out, "note:", warning)
	}
	var files []string
	var joined *row.Joined
	for end := time.Now().Add(wait); ; {
		if files, err = row.Files(dir); err != nil {
			return err
		}
		if joined, err = row.Join(files...); err != nil {
			return explain(err, files)
		}
		missing := missingTrials(sw, joined)
		if len(missing) == 0 {
			break
		}
		if time.Now().After(end) {
			return fmt.Errorf("%s: %d of %d trials have no row yet, nothing is joined: %s", dir, len(missing), len(sw.Trials),
				some(missing))
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Second):
		}
	}
	if err := saveJoined(out, dir, joined, files); err != nil {
		return err
	}
	if err := row.Retire(dir, files); err != nil {
		return err
	}
	if err := writeReport(ctx, out, dir, ""); err != nil {
		return err
	}
	fmt.Fprintf(out, "\n%s; report: %s\n", countJoined(joined), filepath.Join(dir, "report.html"))
	if joined.Failed > 0 {
		return trialsFailed(fmt.Errorf("%d of %d trials failed; the report and %s say why", joined.Failed, joined.Len(),
			filepath.Join(dir, row.File)))
	}
	return nil
}

// mergeInto joins the rows of sources in the new folder dir.
func mergeInto(out io.Writer, dir string, sources []string) error {
	if _, err := row.Files(dir); !errors.Is(err, fs.ErrNotExist) {
		if err != nil {
			return err
		}
		return fmt.Errorf("-o %s: holds rows already; name it as a source and a new folder as -o", dir)
	}
	var files, folders []string
	for _, source := range sources {
		info, err := os.Stat(source)
		if err != nil {
			return err
		}
		if !info.IsDir() {
			files = append(files, source)
			continue
		}
		folders = append(folders, source)
		more, err := row.Files(source)
		if err != nil {
			return err
		}
		files = append(files, more...)
	}
	joined, err := row.Join(files...)
	if err != nil {
		return explain(err, files)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := saveJoined(out, dir, joined, files); err != nil {
		return err
	}
	same, err := commonConfig(folders)
	if err != nil {
		return err
	}
	if same != nil {
		if err := row.WriteFile(filepath.Join(dir, "config.yaml"), same); err != nil {
			return err
		}
	} else {
		fmt.Fprintln(out, "note: the sources do not share one config.yaml, so the joined folder has none")
	}
	fmt.Fprintf(out, "%s: %s\n", countJoined(joined), filepath.Join(dir, row.File))
	return nil
}

// commonConfig returns the config.yaml that all folders have, nil where they
// differ or one has none.
func commonConfig(folders []string) ([]byte, error) {
	var same []byte
	for i, dir := range folders {
		config, err := bounded.ReadFile(filepath.Join(dir, "config.yaml"), maxSweepFile)
		if errors.Is(err, fs.ErrNotExist) || err == nil && i > 0 && !bytes.Equal(config, same) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		same = config
	}
	return same, nil
}

// saveJoined writes the environments and the rows of files to dir. Each file is
// replaced as a whole, environments first: no row is ever without its own.
func saveJoined(out io.Writer, dir string, joined *row.Joined, files []string) error {
	for _, text := range joined.Warnings {
		fmt.Fprintln(out, "note:", text)
	}
	env, err := environmentsOf(append(files, filepath.Join(dir, row.File)))
	if err != nil {
		return err
	}
	if err := row.SaveEnvironments(dir, env); err != nil {
		return err
	}
	return row.WriteFileFrom(filepath.Join(dir, row.File), joined)
}

// environmentsOf reads the environments of the folders that hold files.
func environmentsOf(files []string) (map[string]row.Environment, error) {
	all, seen := map[string]row.Environment{}, map[string]bool{}
	for _, file := range files {
		dir := filepath.Dir(file)
		if filepath.Base(dir) == row.Parts {
			dir = filepath.Dir(dir)
		}
		if seen[dir] {
			continue
		}
		seen[dir] = true
		env, err := row.ReadEnvironments(dir)
		if err != nil {
			return nil, err
		}
		maps.Copy(all, env)
	}
	return all, nil
}

// explain adds to a conflict what may have caused it.
func explain(err error, files []string) error {
	var c *row.ConflictError
	if !errors.As(err, &c) {
		return err
	}
	env, e := environmentsOf(files)
	if e != nil {
		return errors.Join(err, e)
	}
	a, knownA := env[c.Env[0]]
	b, knownB := env[c.Env[1]]
	if knownA && knownB && a.Kernel != b.Kernel {
		return fmt.Errorf("%w (computed with the kernels %s and %s, which round differently); remove one of the two lines",
			err, a.Kernel, b.Kernel)
	}
	return fmt.Errorf("%w; remove one of the two lines", err)
}

// missingTrials returns the labels of the planned trials that have no row. It
// goes by their settings: IDs take the models and texts to compute.
func missingTrials(sw *plan.Sweep, joined *row.Joined) []string {
	var missing []string
	for _, t := range sw.Trials {
		if statusOf(t, joined) == "" {
			missing = append(missing, t.Label)
		}
	}
	return missing
}

// statusOf is the status of the row of t, empty where there is none.
func statusOf(t plan.Trial, joined *row.Joined) row.Status {
	config, err := json.Marshal(t)
	if err != nil {
		panic("experiments: " + err.Error()) // it could not have been parsed
	}
	return joined.Status(config)
}

// some lists a few of names.
func some(names []string) string {
	const few = 4
	if len(names) <= few {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:few], ", "), len(names)-few)
}

func countJoined(j *row.Joined) string {
	return fmt.Sprintf("%d trials joined (%d failed, %d rows repeated or replaced)", j.Len(), j.Failed, j.Repeated)
}
