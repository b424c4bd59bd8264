package reports

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// TaskScore is one metric of a zero-shot task in a row.
type TaskScore struct {
	Name  string // "arc_easy/acc", as in the row
	Unit  string // "" for a share, which is shown in per cent
	Mean  Estimate
	items []float64

	// Versus is the paired difference to the group's row of 16-bit weights,
	// item by item; nil where there is none or it saw other items.
	Versus *Estimate
	Holm   float64 // corrected over all such differences of the group
}

// Task returns the named score of e, or nil.
func (e *Entry) Task(name string) *TaskScore {
	for i := range e.Tasks {
		if e.Tasks[i].Name == name {
			return &e.Tasks[i]
		}
	}
	return nil
}

// taskScores reads the scores of e that have a value for each item.
func (e *Entry) taskScores() {
	for _, v := range e.Values {
		items := e.Windows(v.Name)
		if !strings.Contains(v.Name, "/") || len(items) == 0 {
			continue
		}
		ones := make([]float64, len(items))
		for i := range ones {
			ones[i] = 1
		}
		mean, err := Mean(items, ones)
		if err != nil {
			e.Warnings = append(e.Warnings, fmt.Sprintf("%s: %v: not shown", v.Name, err))
			continue
		}
		e.Tasks = append(e.Tasks, TaskScore{Name: v.Name, Unit: v.Unit, Mean: mean, items: items})
	}
}

// compareTasks pairs the task scores of the group with those of its row of
// 16-bit weights.
func (g *Group) compareTasks() {
	for _, e := range g.Entries {
		for _, s := range e.Tasks {
			if !slices.Contains(g.TaskNames, s.Name) {
				g.TaskNames = append(g.TaskNames, s.Name)
			}
		}
		if e.Reference && len(e.Tasks) > 0 {
			if g.TaskReference != nil {
				return // two of them: no telling which
			}
			g.TaskReference = e
		}
	}
	if g.TaskReference == nil {
		return
	}
	var made []*TaskScore
	for _, e := range g.Entries {
		for i := range e.Tasks {
			s := &e.Tasks[i]
			ref := g.TaskReference.Task(s.Name)
			if e == g.TaskReference || ref == nil || len(ref.items) != len(s.items) {
				continue
			}
			ones := make([]float64, len(s.items))
			for j := range ones {
				ones[j] = 1
			}
			if d, err := Difference(s.items, ref.items, ones); err == nil {
				s.Versus = &d
				made = append(made, s)
			}
		}
	}
	ps := make([]float64, len(made))
	for i, s := range made {
		ps[i] = s.Versus.P
	}
	for i, p := range Holm(ps) {
		made[i].Holm = p
	}
}

// taskFinding sums the paired differences up.
func (g *Group) taskFinding() []finding {
	var n, lower, higher int
	var rows []*Entry
	for _, e := range g.Entries {
		claimed := false
		for _, s := range e.Tasks {
			if s.Versus == nil || !s.Versus.Interval() {
				continue
			}
			n++
			if s.Holm < 1-Level {
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
	return []finding{{fmt.Sprintf("Zero-shot tasks, against the 16-bit weights item by item: lower in %d, higher in %d, not distinguishable in %d of %s after Holm's correction.",
		lower, higher, n-lower-higher, plural(n, "comparison", "comparisons")), rows}}
}

// mean writes the score with its standard error.
func (s *TaskScore) mean() string {
	text := s.number(s.Mean.Value)
	if s.Mean.Interval() {
		text += " ± " + s.number(s.Mean.SE)
	}
	return text
}

// versus writes the difference to the 16-bit weights with its interval, and a
// star where it is claimed; "" where there is none.
func (s *TaskScore) versus() string {
	if s == nil || s.Versus == nil {
		return ""
	}
	change := func(v float64) string {
		if s.Unit == "" {
			return signed(100*v, 2)
		}
		return signed(v, 4)
	}
	text := change(s.Versus.Value)
	if s.Versus.Interval() {
		if s.Holm < 1-Level {
			text += "*"
		}
		text += " " + interval(*s.Versus, change)
	}
	return text
}

func (s *TaskScore) number(v float64) string {
	if s.Unit == "" {
		return fixed(100*v, 2)
	}
	return fixed(v, 4)
}

// heading names the metric with its unit.
func (s *TaskScore) heading() string {
	if s.Unit == "" {
		return s.Name + ", %"
	}
	return s.Name + ", " + s.Unit
}

// taskLines is the group's table of task scores, head first; nil without any.
func (g *Group) taskLines() [][]string {
	if len(g.TaskNames) == 0 {
		return nil
	}
	head := []string{"row", "label"}
	var lines [][]string
	for _, e := range g.Entries {
		if len(e.Tasks) == 0 {
			continue
		}
		line := []string{e.ID, e.Name}
		for _, name := range g.TaskNames {
			s := e.Task(name)
			if s == nil {
				line = append(line, "")
			} else {
				line = append(line, s.mean())
			}
			if g.TaskReference != nil {
				line = append(line, s.versus())
			}
		}
		lines = append(lines, line)
	}
	for _, name := range g.TaskNames {
		for _, e := range g.Entries {
			if s := e.Task(name); s != nil {
				head = append(head, s.heading())
				break
			}
		}
		if g.TaskReference != nil {
			head = append(head, "vs 16-bit weights")
		}
	}
	return append([][]string{head}, lines...)
}

const taskNote = "Mean over the items ± standard error. Differences to the row of 16-bit weights are paired item by item, with 95 % intervals, in points where the score is in per cent; * claimed after Holm's correction over this table."

// taskCSV has a line for each score of each row, at full precision.
func (t *Table) taskCSV() []byte {
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	w.Write([]string{"row", "trial", "label", "score", "unit", "items", "mean", "se", "versus_16bit", "low", "high", "p", "p_holm"})
	for _, g := range t.Groups {
		for _, e := range g.Entries {
			for _, s := range e.Tasks {
				rec := append(cells([]string{e.ID, e.Trial, e.Label, s.Name, s.Unit}), strconv.Itoa(len(s.items)), full(s.Mean.Value), "", "", "", "", "", "")
				if s.Mean.Interval() {
					rec[7] = full(s.Mean.SE)
				}
				if v := s.Versus; v != nil {
					rec[8] = full(v.Value)
					if v.Interval() {
						rec[9], rec[10], rec[11], rec[12] = full(v.Low), full(v.High), full(v.P), full(s.Holm)
					}
				}
				w.Write(rec)
			}
		}
	}
	w.Flush()
	return b.Bytes()
}

// hasTasks reports whether any row has a task score.
func (t *Table) hasTasks() bool {
	return slices.ContainsFunc(t.Groups, func(g *Group) bool { return len(g.TaskNames) > 0 })
}
