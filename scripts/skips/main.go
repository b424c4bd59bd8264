// Skips reads the events of `go test -json` and prints what `go test` prints: a line per
// package, and the output of tests that failed. What was skipped, and why, goes to a
// file, one line per reason with the number of tests.
//
//	go test -json ./... | go run ./scripts/skips FILE
//
// It exits with 1 where a package failed.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: go test -json ./... | skips FILE")
		os.Exit(2)
	}
	summary, failed, err := read(os.Stdin, os.Stdout)
	if err == nil {
		err = os.WriteFile(os.Args[1], []byte(summary), 0o644)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "skips:", err)
		os.Exit(2)
	}
	if failed {
		os.Exit(1)
	}
}

// event is one of test2json.
type event struct {
	Action, Package, Test, Output string
}

// place is the file and line that begin a message of a test.
var place = regexp.MustCompile(`^\s*[\w.-]+\.go:\d+: `)

// read copies to out what go test would print of the events in r, and returns what was
// skipped and whether a package failed. Lines that are no events (of a failed build) are
// copied as they are.
func read(r io.Reader, out io.Writer) (summary string, failed bool, err error) {
	outputs := map[string][]string{} // of tests that run, by package and name
	reasons := map[string][]string{} // names of skipped tests, by reason
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil || e.Action == "" {
			fmt.Fprintln(out, lines.Text())
			continue
		}
		key := e.Package + " " + e.Test
		switch {
		case e.Action == "output" && e.Test == "" || e.Action == "build-output":
			if e.Output != "PASS\n" && !strings.HasPrefix(e.Output, "testing: warning") {
				fmt.Fprint(out, e.Output)
			}
		case e.Action == "output":
			outputs[key] = append(outputs[key], e.Output)
		case e.Action == "fail" && e.Test == "" || e.Action == "build-fail":
			failed = true
		case e.Action == "fail":
			fmt.Fprint(out, strings.Join(outputs[key], ""))
			delete(outputs, key)
		case e.Action == "skip" && e.Test != "":
			reason := why(outputs[key])
			reasons[reason] = append(reasons[reason], e.Test)
			delete(outputs, key)
		case e.Action == "pass":
			delete(outputs, key)
		}
	}
	return describe(reasons), failed, lines.Err()
}

// why is the message of a skipped test: the last line that a place begins.
func why(output []string) string {
	for _, line := range slices.Backward(output) {
		if p := place.FindString(line); p != "" {
			return strings.TrimSpace(line[len(p):])
		}
	}
	return "no reason given"
}

func describe(reasons map[string][]string) string {
	type entry struct {
		reason string
		tests  []string
	}
	var list []entry
	total := 0
	for reason, tests := range reasons {
		list = append(list, entry{reason, tests})
		total += len(tests)
	}
	if total == 0 {
		return "no test was skipped\n"
	}
	slices.SortFunc(list, func(a, b entry) int {
		if d := len(b.tests) - len(a.tests); d != 0 {
			return d
		}
		return strings.Compare(a.reason, b.reason)
	})
	var b strings.Builder
	fmt.Fprintf(&b, "%d tests were skipped:\n", total)
	for _, e := range list {
		names := e.tests[:min(3, len(e.tests))]
		more := ""
		if len(e.tests) > len(names) {
			more = ", …"
		}
		fmt.Fprintf(&b, "%5d  %s (%s%s)\n", len(e.tests), e.reason, strings.Join(names, ", "), more)
	}
	return b.String()
}
