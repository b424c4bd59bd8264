// Package slurm runs a sweep as jobs of a Slurm cluster: one that prepares what
// trials share, an array of slices that depends on it, and one that joins their
// rows. It writes the jobs, hands them to sbatch and asks squeue about them.
package slurm

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// Folder is the subfolder of a results folder for scripts, logs, the program
// and the record of submissions.
const Folder = "slurm"

// Options are what a cluster wants to know; empty ones are left to it.
type Options struct {
	Partition string `json:"partition,omitempty"`
	Account   string `json:"account,omitempty"`
	Time      string `json:"time,omitempty"` // limit of each task, as sbatch reads it
	Gres      string `json:"gres,omitempty"` // of each task of the array
	Limit     int    `json:"array_limit,omitempty"`
	// More are other options of sbatch, NAME=VALUE or NAME.
	More []string `json:"more,omitempty"`
}

// Check tells what of s would break the jobs.
func (s *Study) Check() error {
	if strings.Contains(s.Dir, `\`) {
		return fmt.Errorf("results folder %q: sbatch takes a backslash in the name of a log for something else", s.Dir)
	}
	o := s.Options
	for _, v := range append([]string{o.Partition, o.Account, o.Time, o.Gres}, o.More...) {
		if strings.ContainsFunc(v, unicode.IsControl) {
			return fmt.Errorf("option %.80q of sbatch: has a line break or another control character", v)
		}
	}
	ours := []string{"array", "chdir", "dependency", "job-name", "kill-on-invalid-dep", "no-requeue",
		"open-mode", "output", "parsable", "requeue", "wait", "wrap"}
	for _, m := range s.Options.More {
		name, _, _ := strings.Cut(m, "=")
		if name == "" || name[0] == '-' || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz-") != "" {
			return fmt.Errorf("--option %q: want NAME=VALUE or NAME, a long option of sbatch without its dashes, such as "+
				"mem=32G",
				m)
		}
		if slices.Contains(ours, name) {
			return fmt.Errorf("--option %q: submit sets this one", m)
		}
	}
	return nil
}

// Study is a sweep to run. Paths are absolute and seen alike by all machines.
type Study struct {
	Name    string // of letters, digits, '.', '_' and '-'
	Program string // the experiments command
	Dir     string // results folder, with its config.yaml
	Cache   string
	WorkDir string // where relative paths of the sweep begin
	Groups  int    // tasks that prepare
	Slices  int
	Options Options
}

// Job is one call of sbatch.
type Job struct {
	Name   string // prepare, slices or merge
	Args   []string
	Script string // read by sbatch on its standard input
}

// Prepare is the job that puts what slices share into the cache.
func (s *Study) Prepare() Job {
	return s.job("prepare", []string{"--array=" + Ranges(count(s.Groups)), s.log("prepare-%a"), "--requeue"},
		"The second moments and the 16-bit reference that the slices share.",
		"sweep", "--prepare", "--slice", task(s.Groups), "--config", Quote(filepath.Join(s.Dir, "config.yaml")),
		"--cache", Quote(s.Cache))
}

// Array is the job that runs the given slices once the job after has succeeded.
func (s *Study) Array(slices []int, after string) Job {
	array := "--array=" + Ranges(slices)
	if s.Options.Limit > 0 {
		array += "%" + strconv.Itoa(s.Options.Limit)
	}
	args := []string{array, s.log("slices-%a"), "--requeue", "--dependency=afterok:" + after}
	if g := s.Options.Gres; g != "" {
		args = append(args, "--gres="+g)
	}
	return s.job("slices", args, "One slice of the trials. It may run again, or twice at a time: rows are joined.",
		"sweep", "--slice", task(s.Slices), "--config", Quote(filepath.Join(s.Dir, "config.yaml")),
		"--output", Quote(s.Dir), "--cache", Quote(s.Cache))
}

// Merge is the job that joins the rows and draws the report once the job after
// has succeeded and the others have ended.
func (s *Study) Merge(after string, others ...string) Job {
	dependency := "--dependency=afterok:" + after
	if len(others) > 0 {
		dependency += ",afterany:" + strings.Join(others, ":")
	}
	return s.job("merge", []string{dependency, s.log("merge"), "--requeue"},
		"Joins the rows of all slices and draws the report.",
		"merge", "--wait", "2m", Quote(s.Dir))
}

// job writes a job. Everything that depends on the user's names goes to sbatch
// as an argument of its own, or into the script in quotes.
func (s *Study) job(name string, args []string, about string, command ...string) Job {
	all := []string{"--parsable", "--job-name=" + s.Name + "-" + name, "--chdir=" + s.WorkDir,
		"--open-mode=append", "--kill-on-invalid-dep=yes"}
	all = append(all, args...)
	for _, o := range []struct{ name, value string }{{"partition", s.Options.Partition}, {"account", s.Options.Account},
		{"time", s.Options.Time}} {
		if o.value != "" {
			all = append(all, "--"+o.name+"="+o.value)
		}
	}
	for _, o := range s.Options.More {
		all = append(all, "--"+o)
	}
	// exec: Slurm signals the processes of the task, and the shell would die of
	// a SIGTERM that the program uses to end well.
	script := fmt.Sprintf("#!/bin/sh\n# %s\nexec %s %s\n", about, Quote(s.Program), strings.Join(command, " "))
	return Job{Name: name, Args: all, Script: script}
}

// log is the option for a log of the given name, in which %a is the number of
// the task; in the folder's name % means itself.
func (s *Study) log(name string) string {
	return "--output=" + filepath.Join(strings.ReplaceAll(filepath.Join(s.Dir, Folder), "%", "%%"), name+".log")
}

// String shows the call and the script as a shell would read them.
func (j Job) String() string {
	var words []string
	for _, a := range j.Args {
		words = append(words, Quote(a))
	}
	return fmt.Sprintf("sbatch %s <%s.sh\n\n%s", strings.Join(words, " "), j.Name, j.Script)
}

// task is the slice of n that a task of an array runs.
func task(n int) string { return fmt.Sprintf(`"$SLURM_ARRAY_TASK_ID/%d"`, n) }

// Quote makes s one word of a POSIX shell.
func Quote(s string) string {
	const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./=:,%+@"
	if s != "" && strings.Trim(s, plain) == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// Ranges writes ascending numbers as sbatch --array does: 1-3,7.
func Ranges(list []int) string {
	var parts []string
	for i := 0; i < len(list); {
		j := i
		for j+1 < len(list) && list[j+1] == list[j]+1 {
			j++
		}
		part := strconv.Itoa(list[i])
		if j > i {
			part += "-" + strconv.Itoa(list[j])
		}
		parts = append(parts, part)
		i = j + 1
	}
	return strings.Join(parts, ",")
}

// count returns 1 to n.
func count(n int) []int {
	list := make([]int, n)
	for i := range list {
		list[i] = i + 1
	}
	return list
}
