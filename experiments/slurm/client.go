package slurm

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
)

// ErrNoSlurm says that this machine has no sbatch.
var ErrNoSlurm = errors.New("sbatch is not in PATH: submit runs where Slurm's commands are, on a cluster's login " +
	"node; elsewhere, run \"experiments sweep --slice I/N\" on each machine and then \"experiments merge\"")

// Find tells whether sbatch is here.
func Find() error {
	if _, err := exec.LookPath("sbatch"); err != nil {
		return ErrNoSlurm
	}
	return nil
}

// Submit hands j to sbatch and returns the job's number.
func Submit(ctx context.Context, j Job) (id string, err error) {
	out, err := run(ctx, j.Script, "sbatch", j.Args...)
	if err != nil {
		return "", fmt.Errorf("job %s: %w", j.Name, err)
	}
	id, _, _ = strings.Cut(strings.TrimSpace(out), ";") // the cluster's name may follow
	if _, err := strconv.Atoi(id); err != nil {
		return "", fmt.Errorf("job %s: sbatch answered %q, want a job number", j.Name, out)
	}
	return id, nil
}

// Cancel ends jobs that should not have been submitted.
func Cancel(ctx context.Context, ids ...string) error {
	_, err := run(ctx, "", "scancel", ids...)
	return err
}

// Task is one task of a job as squeue tells of it.
type Task struct {
	Job   string
	Index int    // 0 where the job is no array
	State string // PENDING, RUNNING, FAILED ...
	Why   string // the reason of a state, such as Dependency
}

// Active tells whether the task may still do something.
func (t Task) Active() bool {
	switch t.State {
	case "BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY",
		"PREEMPTED", "REVOKED", "TIMEOUT":
		return false
	}
	return t.Why != "DependencyNeverSatisfied"
}

// Tasks asks squeue for the tasks of jobs. Those that ended some minutes ago
// are forgotten.
func Tasks(ctx context.Context, jobs []string) ([]Task, error) {
	if len(jobs) == 0 {
		return nil, nil
	}
	out, err := run(ctx, "", "squeue", "--noheader", "--array", "--states=all", "--format=%F|%K|%T|%r",
		"--jobs="+strings.Join(jobs, ","))
	if err != nil {
		if strings.Contains(err.Error(), "Invalid job id") { // the only one asked for is forgotten
			return nil, nil
		}
		return nil, err
	}
	var tasks []Task
	for line := range strings.Lines(out) {
		f := strings.SplitN(strings.TrimSpace(line), "|", 4)
		if len(f) != 4 {
			return nil, fmt.Errorf("squeue answered %q, want JOB|TASK|STATE|REASON", line)
		}
		t := Task{Job: f[0], State: f[2], Why: f[3]}
		if f[1] != "N/A" {
			if t.Index, err = strconv.Atoi(f[1]); err != nil {
				return nil, fmt.Errorf("squeue answered %q: task %q is no number", line, f[1])
			}
		}
		tasks = append(tasks, t)
	}
	return tasks, nil
}

// run runs a command and returns what it prints; its errors are in the error.
func run(ctx context.Context, stdin, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	var out, errs strings.Builder
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errs
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		if text := strings.TrimSpace(errs.String()); text != "" {
			return "", fmt.Errorf("%s: %s", name, text)
		}
		return "", fmt.Errorf("%s: %w", name, err)
	}
	return out.String(), nil
}
