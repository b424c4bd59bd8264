package slurm

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// fake puts a shell script of the given name in front of PATH.
func fake(t *testing.T, name, script string) {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("needs sh")
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
}

func TestSubmit(t *testing.T) {
	job := Job{Name: "slices", Args: []string{"--array=1", "a b"}, Script: "echo\n"}
	for _, c := range []struct{ script, id, want string }{
		{"cat >/dev/null; echo 12", "12", ""},
		{"echo '12;north'", "12", ""},
		{`[ "$(cat)" = echo ] && [ "$2" = "a b" ] && echo 7`, "7", ""},
		{"echo 'sbatch: error: invalid partition specified: gpu' >&2; exit 1", "", "job slices: sbatch: sbatch: error: invalid partition specified: gpu"},
		{"exit 3", "", "exit status 3"},
		{"echo Submitted batch job", "", "want a job number"},
		{"", "", "want a job number"},
	} {
		fake(t, "sbatch", c.script)
		id, err := Submit(t.Context(), job)
		if id != c.id || (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %q, %v", c.script, id, err)
		}
	}
	if err := Find(); err != nil {
		t.Error(err)
	}
	fake(t, "sbatch", "exec sleep 60")
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := Submit(ctx, job); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
	t.Setenv("PATH", t.TempDir())
	if err := Find(); err != ErrNoSlurm {
		t.Errorf("error %v", err)
	}
	if _, err := Submit(t.Context(), job); err == nil || !strings.Contains(err.Error(), "sbatch") {
		t.Errorf("error %v", err)
	}
}

func TestTasks(t *testing.T) {
	fake(t, "squeue", `for a; do [ "$a" = --jobs=5,6 ] && printf '5|12|RUNNING|None\n6|N/A|PENDING|Dependency\n5|3|TIMEOUT|TimeLimit\n6|N/A|PENDING|DependencyNeverSatisfied\n'; done`)
	got, err := Tasks(t.Context(), []string{"5", "6"})
	want := []Task{{"5", 12, "RUNNING", "None"}, {"6", 0, "PENDING", "Dependency"}, {"5", 3, "TIMEOUT", "TimeLimit"}, {"6", 0, "PENDING", "DependencyNeverSatisfied"}}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
	for i, active := range []bool{true, true, false, false} {
		if want[i].Active() != active {
			t.Errorf("%+v: active %v", want[i], !active)
		}
	}
	fake(t, "squeue", "echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1")
	if got, err := Tasks(t.Context(), []string{"5"}); err != nil || got != nil {
		t.Errorf("forgotten: %v, %v", got, err)
	}
	for script, want := range map[string]string{
		"echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1": "Unable to contact",
		"echo what":               "want JOB|TASK",
		"echo '1|x|RUNNING|None'": `"x" is no number`,
	} {
		fake(t, "squeue", script)
		if _, err := Tasks(t.Context(), []string{"5"}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v", script, err)
		}
	}
	t.Setenv("PATH", t.TempDir())
	if got, err := Tasks(t.Context(), nil); err != nil || got != nil { // nothing to ask
		t.Errorf("%v, %v", got, err)
	}
}

func TestRecord(t *testing.T) {
	dir := t.TempDir()
	if r, err := ReadRecord(dir); r != nil || err != nil {
		t.Errorf("%+v, %v", r, err)
	}
	if err := os.Mkdir(filepath.Join(dir, Folder), 0o755); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{"{": "unexpected end", "{}": "slices is 0", "null": "slices is 0"} {
		if err := os.WriteFile(RecordFile(dir), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadRecord(dir); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "jobs.json") {
			t.Errorf("%s: error %v", text, err)
		}
	}
}
