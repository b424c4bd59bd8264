package sweep

import (
	"time"

	"github.com/mosaicquant/mosaicquant/experiments/trial"
)

// Step tells how far a sweep is.
type Step struct {
	Label       string // of the trial that has come further
	Stage       string // one of package trial
	Done, Total int    // layers, windows or tasks of the stage
	Share       float64
	Left        time.Duration // what the rest will take
}

// meter tells how much of a sweep is done and how long the rest will take: the
// estimates of all trials, times what those parts that are done took beside theirs.
// What a group learns, and its calibration, are work of its own, which a cache may spare.
type meter struct {
	now   func() time.Time
	start time.Time
	total float64 // estimated seconds of all that is not finished
	done  float64
	parts map[part]*portion
}

// part is a stage of a trial, or what a group of trials shares: learning and calibration.
type part struct {
	group int
	label string // empty for what is shared
	stage string
}

// portion is the estimate of a part and how much of that is done.
type portion struct{ seconds, done float64 }

// timing is the stage that times layers in the forms of the trials.
const timing = "timing"

// settle is the share of the whole that must be done until the pace so far counts as
// much as the estimates.
const settle = 0.02

func newMeter(now func() time.Time) *meter {
	return &meter{now: now, start: now(), parts: map[part]*portion{}}
}

// plan adds a part of the given estimate.
func (m *meter) plan(p part, seconds float64) {
	if seconds > 0 && m.parts[p] == nil {
		m.parts[p] = &portion{seconds: seconds}
		m.total += seconds
	}
}

// step notes that done of total of a part are done.
func (m *meter) step(p part, done, total int) {
	// What comes before a stage and has not been told of came from the cache.
	learning, calibrating := part{group: p.group, stage: trial.Learning}, part{group: p.group, stage: trial.Calibrating}
	switch p.stage {
	case timing:
	case trial.Learning:
		p.label = ""
	case trial.Calibrating:
		p.label = ""
		m.drop(learning)
	default:
		m.drop(learning)
		m.drop(calibrating)
	}
	if x := m.parts[p]; x != nil && total > 0 {
		now := x.seconds * float64(done) / float64(total)
		m.done += now - x.done
		x.done = now
	}
}

// drop takes what is not done of a part off the whole.
func (m *meter) drop(p part) {
	if x := m.parts[p]; x != nil {
		m.total -= x.seconds - x.done
		x.seconds = x.done
	}
}

// finish drops what is left of a trial.
func (m *meter) finish(group int, label string) {
	for _, stage := range []string{trial.Budgeting, trial.Quantizing, trial.Evaluating, trial.Answering} {
		m.drop(part{group, label, stage})
	}
}

// read returns the share that is done and the time that the rest will take.
func (m *meter) read() (share float64, left time.Duration) {
	if m.total <= 0 {
		return 1, 0
	}
	prior := settle * m.total
	pace := (m.now().Sub(m.start).Seconds() + prior) / (m.done + prior)
	return m.done / m.total, time.Duration(max(0, m.total-m.done) * pace * float64(time.Second))
}
