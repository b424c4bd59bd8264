package reports

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/mosaicquant/mosaicquant/reports/format"
	"github.com/mosaicquant/mosaicquant/reports/stats"
)

// taskFinding sums the paired differences up.
func taskFinding(g *stats.Group) []finding {
	var n, lower, higher int
	var rows []*stats.Entry
	for _, e := range g.Entries {
		claimed := false
		for _, s := range e.Tasks {
			if s.Versus == nil || !s.Versus.Interval() {
				continue
			}
			n++
			if s.Holm < 1-stats.Level {
				claimed = true
				if s.Versus.Value < 0 {
					lower++
				} else {
					higher++
				}
			}
		}
		if claimed {
			rows = append(rows, e)
		}
	}
	if n == 0 {
		return nil
	}
	return []finding{{fmt.Sprintf("Zero-shot tasks, against the 16-bit weights item by item: lower in %d, higher in "+
		"%d, not distinguishable in %d of %s after Holm's correction.",
		lower, higher, n-lower-higher, format.Plural(n, "comparison", "comparisons")), rows}}
}

// taskMean writes the score with its standard error.
func taskMean(s *stats.TaskScore) string {
	text := taskNumber(s, s.Mean.Value)
	if s.Mean.Interval() {
		text += " ± " + taskNumber(s, s.Mean.SE)
	}
	return text
}

// taskVersus writes the difference to the 16-bit weights with its interval, and a
// star where it is claimed; "" where there is none.
func taskVersus(s *stats.TaskScore) string {
	if s == nil || s.Versus == nil {
		return ""
	}
	change := func(v float64) string {
		if s.Unit == "" {
			return format.Signed(100*v, 2)
		}
		return format.Signed(v, 4)
	}
	text := change(s.Versus.Value)
	if s.Versus.Interval() {
		if s.Holm < 1-stats.Level {
			text += "*"
		}
		text += " " + stats.Interval(*s.Versus, change)
	}
	return text
}

func taskNumber(s *stats.TaskScore, v float64) string {
	if s.Unit == "" {
		return format.Fixed(100*v, 2)
	}
	return format.Fixed(v, 4)
}

// taskHeading names the metric with its unit.
func taskHeading(s *stats.TaskScore) string {
	if s.Unit == "" {
		return s.Name + ", %"
	}
	return s.Name + ", " + s.Unit
}

// taskTables are the group's scores, a table for each task, in the order of TaskNames.
func taskTables(g *stats.Group) []block {
	var tasks []string
	scores := map[string][]string{}
	for _, name := range g.TaskNames {
		task, _, _ := strings.Cut(name, "/")
		if scores[task] == nil {
			tasks = append(tasks, task)
		}
		scores[task] = append(scores[task], name)
	}
	var out []block
	for _, task := range tasks {
		out = append(out, tableOf("Zero-shot task "+task, taskLines(g, scores[task]), ofRows, ofWords))
	}
	return out
}

// taskLines is a table of scores, head first.
func taskLines(g *stats.Group, names []string) [][]string {
	head := []string{"row", "label"}
	var lines [][]string
	for _, e := range g.Entries {
		line := []string{e.ID, e.Name}
		has := false
		for _, name := range names {
			s := e.Task(name)
			if s == nil {
				line = append(line, "")
			} else {
				line, has = append(line, taskMean(s)), true
			}
			if g.TaskReference != nil {
				line = append(line, taskVersus(s), taskFlips(s))
			}
		}
		if has {
			lines = append(lines, line)
		}
	}
	for _, name := range names {
		for _, e := range g.Entries {
			if s := e.Task(name); s != nil {
				_, heading, _ := strings.Cut(taskHeading(s), "/")
				head = append(head, heading)
				break
			}
		}
		if g.TaskReference != nil {
			head = append(head, "vs 16-bit weights", "items lost / gained")
		}
	}
	return withoutEmpty(append([][]string{head}, lines...))
}

// taskFlips says how many items changed from right to wrong and from wrong to right;
// "" where that is not known.
func taskFlips(s *stats.TaskScore) string {
	if s == nil || !s.Flips {
		return ""
	}
	return fmt.Sprintf("%d / %d", s.Lost, s.Gained)
}

const taskNote = "Mean over the items ± standard error. Differences to the row of 16-bit weights are paired item by " +
	"item, with 95 % intervals, in points where the score is in per cent. Items lost: right with 16-bit weights and " +
	"wrong in this row; gained: the other way round. * claimed after Holm's correction over these tables."

// taskCSV has a line for each score of each row, at full precision.
func taskCSV(t *stats.Table) []byte {
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	w.Write([]string{"row", "trial", "label", "score", "unit", "items", "mean", "se", "versus_16bit", "low", "high", "p",
		"p_holm", "lost", "gained"})
	for _, g := range t.Groups {
		for _, e := range g.Entries {
			for _, s := range e.Tasks {
				rec := append(formulaFree([]string{e.ID, e.Trial, e.Label, s.Name, s.Unit}), strconv.Itoa(len(s.Items)),
					full(s.Mean.Value), "", "", "", "", "", "", "", "")
				if s.Mean.Interval() {
					rec[7] = full(s.Mean.SE)
				}
				if v := s.Versus; v != nil {
					rec[8] = full(v.Value)
					if v.Interval() {
						rec[9], rec[10], rec[11], rec[12] = full(v.Low), full(v.High), full(v.P), full(s.Holm)
					}
				}
				if s.Flips {
					rec[13], rec[14] = strconv.Itoa(s.Lost), strconv.Itoa(s.Gained)
				}
				w.Write(rec)
			}
		}
	}
	w.Flush()
	return b.Bytes()
}

// hasTasks reports whether any row has a task score.
func hasTasks(t *stats.Table) bool {
	return slices.ContainsFunc(t.Groups, func(g *stats.Group) bool { return len(g.TaskNames) > 0 })
}
