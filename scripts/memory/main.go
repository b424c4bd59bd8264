//go:build linux

// Command memory runs a command and keeps a row of the most memory that it had at once:
//
//	go run ./scripts/memory -label "GPTQ g128" -o DIR -- experiments sweep -c FILE
//
// It reads /proc/PID/status every 20 ms, of the command's own process alone. The values
// are the largest of the process's anonymous memory (Go's heap), of its pages of mapped
// files, which the system may drop at any time, and of both at once.
package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/row"
)

// every is the time between two looks.
const every = 20 * time.Millisecond

// fields are the lines of /proc/PID/status that are kept, and the values they become.
var fields = []struct{ line, value string }{
	{"RssAnon:", "anonymous_memory"}, {"RssFile:", "mapped_memory"}, {"VmRSS:", "resident_memory"},
}

func main() {
	label := flag.String("label", "", "`name` of the row")
	out := flag.String("o", "", "`folder` of rows.jsonl")
	flag.Parse()
	if *label == "" || *out == "" || flag.NArg() == 0 {
		flag.Usage()
		os.Exit(2)
	}
	if err := run(*label, *out, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "memory:", err)
		os.Exit(1)
	}
}

func run(label, out string, command []string) error {
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	start := time.Now()
	if err := cmd.Start(); err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	peaks, err := watch(fmt.Sprintf("/proc/%d/status", cmd.Process.Pid), done)
	if err != nil {
		return fmt.Errorf("%s: %w", command[0], err)
	}
	r, err := rowOf(label, command, peaks, start)
	if err != nil {
		return err
	}
	return keep(out, r)
}

// watch returns the largest of each field, in MiB, until the command is done.
func watch(status string, done <-chan error) (peaks []float64, err error) {
	peaks = make([]float64, len(fields))
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case err := <-done:
			if err == nil && peaks[0] == 0 {
				err = errors.New("ended before it was looked at")
			}
			return peaks, err
		case <-tick.C:
			data, err := os.ReadFile(status)
			if err != nil {
				continue // it just ended
			}
			for i, f := range fields {
				peaks[i] = max(peaks[i], kilobytes(data, f.line)/1024)
			}
		}
	}
}

// kilobytes is the number after name in a status file, 0 without one.
func kilobytes(status []byte, name string) float64 {
	_, rest, _ := bytes.Cut(status, []byte("\n"+name))
	line, _, _ := bytes.Cut(rest, []byte(" kB"))
	n, err := strconv.ParseFloat(string(bytes.TrimSpace(line)), 64)
	if err != nil {
		return 0
	}
	return n
}

func rowOf(label string, command []string, peaks []float64, start time.Time) (*row.Row, error) {
	command[0] = filepath.Base(command[0])
	config, err := json.Marshal(map[string]any{"memory": label, "command": command})
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(config)
	r := &row.Row{Schema: row.Schema, Trial: hex.EncodeToString(sum[:8]), Label: label,
		Axes: map[string]string{"bench": "memory", "what": label}, Config: config, Status: row.OK,
		Start: start.UTC().Format(time.RFC3339)}
	for i, f := range fields {
		r.Values = append(r.Values, row.Value{Name: f.value, Value: peaks[i], Unit: "MiB"})
	}
	return r, nil
}

func keep(dir string, r *row.Row) error {
	w, _, err := row.OpenWriter(dir)
	if err != nil {
		return err
	}
	defer w.Close()
	if r.Env, err = row.SaveEnvironment(dir, row.Capture(gemm.Kernel(), gemm.Features())); err != nil {
		return err
	}
	return w.Append(r)
}
