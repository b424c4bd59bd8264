package main

import (
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"

	"github.com/mosaicquant/mosaicquant/experiments/plan"
)

// namesHelp tells how a trial is named on a command line.
const namesHelp = "its label, its number in --dry-run, its row in a report (r17) or its id"

var (
	reportRow = regexp.MustCompile(`^r[0-9]+$`)
	planned   = regexp.MustCompile(`^[0-9]{1,6}$`)
)

// trialNames turns names of trials of sw into labels and ids. Rows of a report are
// those of the first of dirs that has rows.
func trialNames(sw *plan.Sweep, names []string, dirs ...string) ([]string, error) {
	var out []string
	for _, name := range names {
		switch {
		case slices.ContainsFunc(sw.Trials, func(t plan.Trial) bool { return t.Label == name }):
		case reportRow.MatchString(name):
			id, err := rowID(name, dirs)
			if err != nil {
				return nil, err
			}
			name = id
		case planned.MatchString(name):
			var order []plan.Trial // as --dry-run has them
			for _, group := range plan.Groups(sw.Trials) {
				order = append(order, group...)
			}
			n, err := strconv.Atoi(name)
			if err != nil || n < 1 || n > len(order) {
				return nil, fmt.Errorf("--trial %s: the sweep has the trials 1 to %d", name, len(order))
			}
			name = order[n-1].Label
		}
		out = append(out, name)
	}
	return out, nil
}

// rowID returns the trial of the row that the report of one of dirs calls name.
func rowID(name string, dirs []string) (string, error) {
	for _, dir := range dirs {
		in, err := readFolder(dir)
		if err != nil {
			continue // it has no rows
		}
		count := 0
		for _, g := range in.Table().Groups {
			for _, e := range g.Entries {
				if count++; e.ID == name {
					return e.Trial, nil
				}
			}
		}
		return "", fmt.Errorf("--trial %s: the report of %s has %d rows", name, dir, count)
	}
	return "", fmt.Errorf("--trial %s: is a row of a report, and there are no rows in %s", name,
		filepath.Join(dirs[0], "rows.jsonl"))
}
