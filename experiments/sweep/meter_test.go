package sweep

import (
	"fmt"
	"testing"
	"time"

	"github.com/mosaicquant/mosaicquant/experiments/trial"
)

// TestMeter: whatever estimates are wrong by, the time left is soon right within a
// factor of two, and what need not run is not waited for.
func TestMeter(t *testing.T) {
	for _, wrong := range []float64{0.2, 1, 6} { // what things take over their estimates
		now := time.Unix(0, 0)
		m := newMeter(func() time.Time { return now })
		m.plan(part{0, "", trial.Calibrating}, 5)
		var labels []string
		for i := range 20 {
			labels = append(labels, fmt.Sprint("trial ", i))
			m.plan(part{0, labels[i], trial.Quantizing}, float64(1+i%3))
			m.plan(part{0, labels[i], trial.Evaluating}, 2)
		}
		m.finish(0, labels[19]) // has a row
		rest := wrong * m.total
		for l := range 5 {
			now = now.Add(time.Duration(wrong * float64(time.Second)))
			rest -= wrong
			m.step(part{0, labels[0], trial.Calibrating}, l+1, 5)
		}
		for i, label := range labels[:19] {
			for _, stage := range []string{trial.Quantizing, trial.Evaluating} {
				for l := range 4 {
					took := wrong * m.parts[part{0, label, stage}].seconds / 4
					now, rest = now.Add(time.Duration(took*float64(time.Second))), rest-took
					m.step(part{0, label, stage}, l+1, 4)
					share, left := m.read()
					if i > 2 && rest > 1e-3 && (left.Seconds() > 2*rest || left.Seconds() < rest/2) {
						t.Errorf("%v times: %s %s: %v left of %.1f s at %.0f %%", wrong, label, stage, left, rest, 100*share)
					}
				}
			}
			m.finish(0, label)
		}
		if share, left := m.read(); share < 0.999 || left > time.Millisecond {
			t.Errorf("at the end %v %%, %v left", 100*share, left)
		}
	}
	m := newMeter(time.Now)
	m.plan(part{1, "", trial.Learning}, 30)
	m.plan(part{1, "", trial.Calibrating}, 10)
	m.step(part{1, "a", trial.Learning}, 50, 100)
	if share, _ := m.read(); share != 15.0/40 {
		t.Errorf("share %v with half of the learning done", share)
	}
	m.step(part{1, "a", trial.Calibrating}, 1, 2) // the cache had the rest
	if share, _ := m.read(); share != 20.0/25 {
		t.Errorf("share %v with half of the calibration done", share)
	}
	m = newMeter(time.Now)
	m.plan(part{0, "", trial.Learning}, 50)
	m.plan(part{0, "", trial.Calibrating}, 100)
	m.plan(part{0, "a", trial.Quantizing}, 1)
	m.step(part{0, "a", trial.Quantizing}, 1, 2) // the cache has the calibration
	if share, _ := m.read(); share != 0.5 {
		t.Errorf("share %v, want half of the trial", share)
	}
}
