package main

import (
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
)

// fakeSlurm puts sbatch, squeue and scancel in front of PATH. sbatch numbers its
// jobs, and fails where the file "refuse" names the job; squeue prints the file
// "queue"; all calls are in the returned folder's "calls".
func fakeSlurm(t *testing.T) string {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("needs sh")
	}
	dir := t.TempDir()
	for name, script := range map[string]string{
		"sbatch": `echo "sbatch $*" >>calls
cat >script.$(($(wc -l <calls)))
if [ -s refuse ] && echo "$*" | grep -q -f refuse; then echo "sbatch: error: invalid partition" >&2; exit 1; fi
grep -c ^sbatch calls`,
		"squeue":  `echo "squeue $*" >>calls; cat queue 2>/dev/null; true`,
		"scancel": `echo "scancel $*" >>calls`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\ncd '"+dir+"'\n"+script+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
	return dir
}

func TestSubmitCommand(t *testing.T) {
	fake, dir := fakeSlurm(t), t.TempDir()
	put := func(name, text string) {
		if err := os.WriteFile(filepath.Join(fake, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	// calls returns what was called since the last time.
	calls := func() string {
		data, _ := os.ReadFile(filepath.Join(fake, "calls"))
		put("calls", "")
		return string(data)
	}
	fails := func(want string, args ...string) {
		t.Helper()
		if _, err := execute(t, args...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want %q", args, err, want)
		}
	}
	cache, out := filepath.Join(dir, "cache"), filepath.Join(dir, "out folder")
	submit := []string{"submit", "-c", "../configs/smoke.yaml", "-o", out, "--cache", cache, "--trials-per-task", "2", "--partition", "cpu"}

	text, err := execute(t, append(submit, "--dry-run")...)
	if err != nil || strings.Count(text, "sbatch ") != 3 || !strings.Contains(text, "--array=1-3") || calls() != "" {
		t.Fatal(err, text)
	}
	if _, err := os.Stat(out); err == nil {
		t.Error("a dry run wrote something")
	}
	fails("submit sets this one", append(submit, "--option", "array=1")...)
	fails("want at least 1", append(submit, "--trials-per-task", "0")...)
	fails("needs -c FILE", "submit")
	fails("need -o DIR", "submit", "--status")
	fails("no -c", append(submit, "--status")...)
	fails("no sweep was submitted", "submit", "-o", out, "--status")

	put("refuse", "slices")
	fails("job slices: sbatch: sbatch: error: invalid partition", submit...)
	if got := calls(); !strings.HasSuffix(got, "scancel 1\n") || strings.Count(got, "sbatch") != 2 {
		t.Errorf("calls %q: want the first job cancelled", got)
	}
	fails("no sweep was submitted", "submit", "-o", out, "--status")

	put("refuse", "")
	if text, err = execute(t, submit...); err != nil || !strings.Contains(text, "submitted 3 slices: jobs 1 (prepare), 2 (slices 1-3) and 3 (merge)") {
		t.Fatal(err, text)
	}
	if got := calls(); !regexp.MustCompile(`(?s)name=smoke-prepare.*name=smoke-slices.*--dependency=afterok:1 .*name=smoke-merge.*--dependency=afterok:2 `).MatchString(got) || strings.Count(got, "--partition=cpu") != 3 {
		t.Errorf("calls %q", got)
	}
	for _, name := range []string{"config.yaml", "slurm/prepare.sh", "slurm/slices.sh", "slurm/merge.sh", "slurm/jobs.json"} {
		if _, err := os.Stat(filepath.Join(out, name)); err != nil {
			t.Error(err)
		}
	}
	programs, _ := filepath.Glob(filepath.Join(out, "slurm", "experiments-*"))
	if info, err := os.Stat(strings.Join(programs, " ")); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("programs %q: %v", programs, err)
	}
	script, _ := os.ReadFile(filepath.Join(out, "slurm", "slices.sh"))
	if sent, _ := os.ReadFile(filepath.Join(fake, "script.2")); string(sent) != string(script) || !strings.Contains(string(sent), "SLURM_ARRAY_TASK_ID/3") {
		t.Errorf("slices.sh is %q, sbatch got %q", script, sent)
	}
	put("queue", "2|1|RUNNING|None\n2|2|PENDING|Resources\n3|N/A|PENDING|Dependency\n")
	fails("its job 2 is still in the queue", submit...)

	// The first slice runs, the second fails, the third is still to run.
	if _, err := execute(t, "sweep", "-c", filepath.Join(out, "config.yaml"), "-o", out, "--cache", cache, "--slice", "1/3"); err != nil {
		t.Fatal(err)
	}
	put("queue", "2|1|COMPLETED|None\n2|2|FAILED|NonZeroExitCode\n2|3|PENDING|Resources\n3|N/A|PENDING|Dependency\n")
	text, err = execute(t, "submit", "-o", out, "--status")
	for _, want := range []string{"slice 1/3", "job 2_1 COMPLETED", "job 2_2 FAILED", "job 2_3 PENDING", "merge\tjob 3 PENDING (Dependency)", "of 5 trials finished, 0 failed"} {
		if err != nil || !strings.Contains(text, want) {
			t.Errorf("%v: no %q in the status\n%s", err, want, text)
		}
	}
	fails("trials have no row yet", "merge", out)
	calls()
	text, err = execute(t, "submit", "-o", out, "--resubmit-failed", "--dry-run", "--time", "9:00")
	if got := calls(); err != nil || strings.Contains(got, "sbatch") || !strings.Contains(text, "--array=2 ") || !strings.Contains(text, "afterany:2") || !strings.Contains(text, "--partition=cpu --time=9:00") {
		t.Errorf("%v: resubmission\n%s\n%s", err, text, got)
	}
	put("queue", "")
	if text, err = execute(t, "submit", "-o", out, "--resubmit-failed"); err != nil || !strings.Contains(text, "submitted 2 slices: jobs") || !strings.Contains(calls(), "--array=2-3 ") {
		t.Fatal(err, text)
	}
	for _, slice := range []string{"2/3", "3/3"} {
		if _, err := execute(t, "sweep", "-c", filepath.Join(out, "config.yaml"), "-o", out, "--cache", cache, "--slice", slice); err != nil {
			t.Fatal(err)
		}
	}
	if text, err = execute(t, "submit", "-o", out, "--resubmit-failed"); err != nil || !strings.Contains(text, "nothing to submit: 3 slices are finished") {
		t.Error(err, text)
	}
	if text, err = execute(t, "merge", out); err != nil || !strings.Contains(text, "5 trials joined (0 failed, 0 rows repeated or replaced)") {
		t.Fatal(err, text)
	}
	first, _ := os.ReadFile(filepath.Join(out, "report.html"))
	if _, err = execute(t, "merge", out); err != nil { // the job is requeued
		t.Fatal(err)
	}
	if again, _ := os.ReadFile(filepath.Join(out, "report.html")); string(again) != string(first) {
		t.Error("merging once more changed the report")
	}

	t.Setenv("PATH", t.TempDir())
	fails("sbatch is not in PATH", append(submit, "-o", filepath.Join(dir, "other"))...)
	if _, err := os.Stat(filepath.Join(dir, "other")); err == nil {
		t.Error("submit wrote something where there is no sbatch")
	}
}

func TestMergeCommand(t *testing.T) {
	dir := t.TempDir()
	a, b, cache := filepath.Join(dir, "a"), filepath.Join(dir, "b"), filepath.Join(dir, "cache")
	for out, slice := range map[string]string{a: "1/2", b: "2/2"} {
		if _, err := execute(t, "sweep", "-c", "../configs/smoke.yaml", "-o", out, "--cache", cache, "--slice", slice); err != nil {
			t.Fatal(err)
		}
	}
	rows, _ := filepath.Glob(filepath.Join(b, "rows", "*.jsonl"))
	if len(rows) != 1 {
		t.Fatal(rows)
	}
	all := filepath.Join(dir, "all")
	text, err := execute(t, "merge", "-o", all, a, rows[0], b)
	if err != nil || !strings.Contains(text, "5 trials joined") {
		t.Fatal(err, text)
	}
	for _, name := range []string{"config.yaml", "env.json", "rows.jsonl"} {
		if _, err := os.Stat(filepath.Join(all, name)); err != nil {
			t.Error(err)
		}
	}
	for _, args := range [][]string{{"report", a}, {"report", all}, {"tables", a, b}, {"compare", all, all}} {
		if _, err := execute(t, args...); err != nil {
			t.Errorf("%q: %v", args, err)
		}
	}
	// A folder whose slices disagree still has a report, which says so; it
	// cannot be merged.
	data, err := os.ReadFile(rows[0])
	if err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(b, "rows", "z.jsonl")
	changed := regexp.MustCompile(`"nll","value":[0-9]`).ReplaceAllString(string(data), `"nll","value":9`)
	if changed == string(data) {
		t.Fatal("no row has an nll")
	}
	if err := os.WriteFile(other, []byte(changed), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := execute(t, "report", b); err != nil {
		t.Error(err)
	}
	page, _ := os.ReadFile(filepath.Join(b, "report.md"))
	if !strings.Contains(string(page), "differ: values") {
		t.Error("the report does not tell that two rows differ")
	}
	for _, c := range []struct {
		want string
		args []string
	}{
		{rows[0] + ":1 and " + other + ":1 differ: values[nll].value", []string{"merge", "-o", filepath.Join(dir, "new"), b}},
		{"holds rows already", []string{"merge", "-o", all, a}},
		{"more than one source needs -o", []string{"merge", a, b}},
		{"trials have no row yet", []string{"merge", a}},
		{"config.yaml", []string{"merge", dir}},
		{"nowhere", []string{"merge", "-o", filepath.Join(dir, "new"), filepath.Join(dir, "nowhere")}},
		{"is no slice", []string{"sweep", "-c", "../configs/smoke.yaml", "-o", a, "--slice", "3/2"}},
		{"5 trials cannot be divided into 6 slices", []string{"sweep", "-c", "../configs/smoke.yaml", "-o", a, "--slice", "1/6"}},
		{"[fresh slice]", []string{"sweep", "-c", "../configs/smoke.yaml", "-o", a, "--slice", "1/2", "--fresh"}},
	} {
		if _, err := execute(t, c.args...); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: error %v, want %q", c.args, err, c.want)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "new")); err == nil {
		t.Error("a merge that failed left a folder")
	}
}
