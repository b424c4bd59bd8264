package stats

import (
	"fmt"
	"slices"
	"strings"
)

// TaskScore is one metric of a zero-shot task in a row.
type TaskScore struct {
	Name  string // "arc_easy/acc", as in the row
	Unit  string // "" for a share, which is shown in per cent
	Mean  Estimate
	Items []float64

	// Versus is the paired difference to the group's row of 16-bit weights,
	// item by item; nil where there is none or it saw other items.
	Versus *Estimate
	Holm   float64 // corrected over all such differences of the group

	// Lost and Gained count the items that the 16-bit weights got right and the row did
	// not, and the other way round, where the score is right or wrong and the row is
	// one trial. Flips tells that they are known.
	Lost, Gained int
	Flips        bool
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
		e.Tasks = append(e.Tasks, TaskScore{Name: v.Name, Unit: v.Unit, Mean: mean, Items: items})
	}
}

// flips counts the items whose answer changed, both ways: a score that stays the same
// may hide many.
func (s *TaskScore) flips(ref []float64) {
	lost, gained := 0, 0
	for i, v := range s.Items {
		if (v != 0 && v != 1) || (ref[i] != 0 && ref[i] != 1) {
			return
		}
		switch {
		case v < ref[i]:
			lost++
		case v > ref[i]:
			gained++
		}
	}
	s.Lost, s.Gained, s.Flips = lost, gained, true
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
			if e == g.TaskReference || ref == nil || len(ref.Items) != len(s.Items) {
				continue
			}
			ones := make([]float64, len(s.Items))
			for j := range ones {
				ones[j] = 1
			}
			if d, err := Difference(s.Items, ref.Items, ones); err == nil {
				s.Versus = &d
				s.flips(ref.Items)
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
