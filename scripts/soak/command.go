package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/mosaicquant/mosaicquant/internal/row"
)

// patience is how long a command may take that nobody kills.
const patience = 3 * time.Minute

// soak is the state of all rounds.
type soak struct {
	dir, program, config, one string
	took, quantizing          time.Duration // by the undisturbed sweep and quantize
	want                      map[string]map[string]float64
	nll                       float64 // of the undisturbed packed checkpoint
	rng                       *rand.Rand
}

// ended is how a command ended.
type ended struct {
	code   int // -1 where a signal ended it
	killed bool
	output string
}

// start runs the command with args and kills it after life, if that is not 0. What a
// shell is given in limit is set before.
func (s *soak) start(life time.Duration, signal os.Signal, limit string, args ...string) (ended, error) {
	cmd := exec.Command(s.program, args...)
	if limit != "" {
		cmd = exec.Command("sh", append([]string{"-c", limit + `; exec "$0" "$@"`, s.program}, args...)...)
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		return ended{}, err
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	e := ended{}
	end := time.After(patience)
	var kill <-chan time.Time
	if life > 0 {
		kill = time.After(life)
	}
	for waiting := true; waiting; {
		select {
		case err := <-done:
			waiting = false
			var exit *exec.ExitError
			if err != nil && !errors.As(err, &exit) {
				return e, err
			}
		case <-kill:
			e.killed = true
			if err := cmd.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
				return e, err
			}
		case <-end:
			cmd.Process.Kill()
			<-done
			return e, fmt.Errorf("%q hangs: nothing after %s\n%s", args, patience, tail(out.String()))
		}
	}
	e.code, e.output = cmd.ProcessState.ExitCode(), out.String()
	if e.code == 2 || strings.Contains(e.output, "goroutine ") || strings.Contains(e.output, "panic:") {
		return e, fmt.Errorf("%q broke down with code %d:\n%s", args, e.code, tail(e.output))
	}
	return e, nil
}

// finish runs the command with args to its end, which must be good.
func (s *soak) finish(args ...string) (string, error) {
	e, err := s.start(0, nil, "", args...)
	if err == nil && e.code != 0 {
		err = fmt.Errorf("%q ended with code %d:\n%s", args, e.code, tail(e.output))
	}
	return e.output, err
}

// storm starts the command with args again and again, each time for a random while, and
// then without an end. It returns the number of starts.
func (s *soak) storm(starts int, between func() error, args ...string) (int, error) {
	signals := []os.Signal{os.Kill, os.Kill, syscall.SIGTERM, os.Interrupt}
	for n := 1; n <= starts; n++ {
		life := 50*time.Millisecond + time.Duration(s.rng.Float64()*0.7*float64(s.took))
		e, err := s.start(life, signals[s.rng.IntN(len(signals))], "", args...)
		if err != nil {
			return n, err
		}
		if !e.killed && e.code != 0 {
			return n, fmt.Errorf("%q ended with code %d:\n%s", args, e.code, tail(e.output))
		}
		if between != nil {
			if err := between(); err != nil {
				return n, err
			}
		}
		if e.code == 0 {
			return n, nil
		}
	}
	_, err := s.finish(args...)
	return starts + 1, err
}

// undisturbed runs what the rounds are compared with.
func (s *soak) undisturbed() error {
	results, cache := filepath.Join(s.dir, "want"), filepath.Join(s.dir, "want-cache")
	start := time.Now()
	if _, err := s.finish("sweep", "-c", s.config, "-o", results, "--cache", cache); err != nil {
		return err
	}
	s.took = time.Since(start)
	var err error
	if s.want, err = values(results); err != nil {
		return err
	}
	packed := filepath.Join(s.dir, "want-packed")
	start = time.Now()
	if _, err := s.finish("quantize", "-c", s.one, "-o", packed, "--cache", cache); err != nil {
		return err
	}
	s.quantizing = time.Since(start)
	if s.nll, err = s.evaluate(packed, cache); err != nil {
		return err
	}
	fmt.Printf("undisturbed: %d trials in %.1fs\n", len(s.want), s.took.Seconds())
	return nil
}

// evaluate returns the NLL of the model in dir.
func (s *soak) evaluate(dir, cache string) (float64, error) {
	out, err := s.finish("eval", "-m", dir, "--cache", cache, "--text", "builtin:heldout", "--context", "64", "--tokens",
		"512", "--json")
	if err != nil {
		return 0, err
	}
	var rep struct{ Text struct{ Values []row.Value } }
	if err := json.Unmarshal([]byte(out), &rep); err != nil {
		return 0, err
	}
	for _, v := range rep.Text.Values {
		if v.Name == row.NLL {
			return v.Value, nil
		}
	}
	return 0, fmt.Errorf("eval gives no %s:\n%s", row.NLL, tail(out))
}

// values returns what was measured in the results folder dir but for times: by label of
// the trial and name of the value. A failed row is an error.
func values(dir string) (map[string]map[string]float64, error) {
	rows, _, err := row.ReadFolder(dir)
	if err != nil {
		return nil, err
	}
	all := map[string]map[string]float64{}
	for _, r := range row.Merge(rows) {
		if r.Status != row.OK {
			return nil, fmt.Errorf("%s: %s failed: %s", dir, r.Label, r.Error)
		}
		all[r.Label] = map[string]float64{}
		for _, v := range r.Values {
			if v.Unit != "s" {
				all[r.Label][v.Name] = v.Value
			}
		}
	}
	return all, nil
}

// compare compares the results in dir with those of the undisturbed run.
func (s *soak) compare(dir string) error {
	got, err := values(dir)
	if err != nil {
		return err
	}
	if len(got) != len(s.want) {
		return fmt.Errorf("%s has %d trials, undisturbed %d", dir, len(got), len(s.want))
	}
	for label, want := range s.want {
		if len(got[label]) != len(want) {
			return fmt.Errorf("%s: %s has %d values, undisturbed %d", dir, label, len(got[label]), len(want))
		}
		for name, w := range want {
			if g, ok := got[label][name]; !ok || g != w {
				return fmt.Errorf("%s: %s of %s is %v, undisturbed %v", dir, name, label, g, w)
			}
		}
	}
	return nil
}

func tail(text string) string { return text[max(0, len(text)-3000):] }
