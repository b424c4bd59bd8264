package slurm

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func study() *Study {
	return &Study{
		Name: "study", Program: "/shared/my results/it's/slurm/experiments-1", Dir: "/shared/my results/it's", Cache: "/shared/cache", WorkDir: "/home/me",
		Groups: 5, Slices: 75,
		Options: Options{Partition: "gpu", Account: "lab", Time: "4:00:00", Gres: "gpu:1", Limit: 20, More: []string{"cpus-per-task=16", "constraint=a|b", "exclusive"}},
	}
}

// TestJobs compares with testdata/jobs.golden; on a mismatch it writes
// jobs.got beside it.
func TestJobs(t *testing.T) {
	s := study()
	got := s.Prepare().String() + "\n" + s.Array([]int{1, 2, 3, 7, 74, 75}, "100").String() + "\n" + s.Merge("101", "55", "66").String()
	if err := s.Check(); err != nil {
		t.Error(err)
	}
	want, err := os.ReadFile("testdata/jobs.golden")
	if err != nil || got != string(want) {
		os.WriteFile("testdata/jobs.got", []byte(got), 0o644)
		t.Errorf("%v; the jobs differ from testdata/jobs.golden: see jobs.got\n%s", err, got)
	}
}

func TestCheck(t *testing.T) {
	for option, want := range map[string]string{
		"array=1-9":      "submit sets this one",
		"output=x":       "submit sets this one",
		"wrap=rm":        "submit sets this one",
		"--mem=1G":       "without its dashes",
		"mem 1G":         "NAME=VALUE",
		"":               "NAME=VALUE",
		"=":              "NAME=VALUE",
		"mem=1G\narray=": "line break",
		"mem=1G":         "",
	} {
		s := study()
		s.Options.More = []string{option}
		if err := s.Check(); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("option %q: error %v, want %q", option, err, want)
		}
	}
	s := study()
	s.Dir = `/shared/a\b`
	if err := s.Check(); err == nil || !strings.Contains(err.Error(), "backslash") {
		t.Errorf("error %v", err)
	}
	s.Dir = "/shared/%a 100%"
	if args := s.Merge("1").Args; !strings.Contains(strings.Join(args, "\n"), "--output=/shared/%%a 100%%/slurm/merge.log\n") {
		t.Errorf("%q", args)
	}
}

// TestScript runs the scripts of a study with hostile names in a shell: the
// program must get the names as they are, and nothing else may run.
func TestScript(t *testing.T) {
	if _, err := exec.LookPath("sh"); err != nil {
		t.Skip("needs sh")
	}
	for _, name := range []string{"plain", "two words", "it's", `a"b`, "$(touch pwned)", "`touch pwned`", "a\nb", "\n", "-n", "*", "~", "$HOME", `back\slash`, "; exit 1 #", "ü ", "'", "''", "%a"} {
		dir := t.TempDir()
		s := study()
		s.Dir = filepath.Join(dir, name, "x")
		s.Cache = filepath.Join(dir, "cache"+name)
		s.Program = filepath.Join(s.Dir, "program")
		if err := os.MkdirAll(s.Dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(s.Program, []byte("#!/bin/sh\nfor a; do printf '%s\\0' \"$a\"; done\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		config := filepath.Join(s.Dir, "config.yaml")
		for _, c := range []struct {
			job  Job
			want []string
		}{
			{s.Prepare(), []string{"sweep", "--prepare", "--slice", "3/5", "--config", config, "--cache", s.Cache}},
			{s.Array([]int{1}, "1"), []string{"sweep", "--slice", "3/75", "--config", config, "--output", s.Dir, "--cache", s.Cache}},
			{s.Merge("1"), []string{"merge", "--wait", "2m", s.Dir}},
		} {
			cmd := exec.Command("sh")
			cmd.Dir, cmd.Stdin, cmd.Env = dir, strings.NewReader(c.job.Script), append(os.Environ(), "SLURM_ARRAY_TASK_ID=3")
			out, err := cmd.CombinedOutput()
			if want := strings.Join(c.want, "\x00") + "\x00"; err != nil || string(out) != want {
				t.Errorf("%q: %v\ngot  %q\nwant %q", name, err, out, want)
			}
			// The shown call, run with another program for sbatch, gives its arguments.
			cmd = exec.Command("sh", "-c", "sbatch() { for a; do printf '%s\\0' \"$a\"; done; }\n"+strings.Replace(strings.TrimSuffix(c.job.String(), c.job.Script), " <"+c.job.Name+".sh\n\n", "\n", 1))
			out, err = cmd.CombinedOutput()
			if want := strings.Join(c.job.Args, "\x00") + "\x00"; err != nil || string(out) != want {
				t.Errorf("%q: %v\ngot  %q\nwant %q", name, err, out, want)
			}
		}
		if found, _ := filepath.Glob(filepath.Join(dir, "pwned")); len(found) > 0 {
			t.Errorf("%q ran as a command", name)
		}
	}
}

func TestRanges(t *testing.T) {
	for want, list := range map[string][]int{"": nil, "4": {4}, "1-2": {1, 2}, "1,3": {1, 3}, "1-3,5,7-8": {1, 2, 3, 5, 7, 8}} {
		if got := Ranges(list); got != want {
			t.Errorf("%v: %q, want %q", list, got, want)
		}
	}
}
