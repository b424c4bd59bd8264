package trial

import (
	"io"
	"time"

	"github.com/mosaicquant/mosaicquant/internal/store"
)

// storingShare is how many times as long as it took to store something the work must
// go on before more of it is stored.
const storingShare = 10

// pace tells when work should be stored, so that a kill loses little and storing costs
// little: when it has gone on for a while, and storingShare times as long as the last
// time that something was stored.
type pace struct {
	since time.Time
	cost  time.Duration
}

func newPace() pace { return pace{since: time.Now()} }

// due reports whether at least the time least has passed, and enough for the cost; 0 is
// always enough.
func (p *pace) due(least time.Duration) bool {
	return least == 0 || time.Since(p.since) > max(least, storingShare*p.cost)
}

// stored notes that what began to be stored at start is stored.
func (p *pace) stored(start time.Time) {
	p.since = time.Now()
	p.cost = p.since.Sub(start)
}

// keeper stores results of a trial, layers or scores, each time that its pace says so.
// A trial that is killed again and again still ends, if each run lasts a little longer
// than its start. It is for one goroutine.
type keeper struct {
	store   *store.Store
	pace    pace
	pending []pending
}

type pending struct {
	key   store.Key
	write func(io.Writer) error
}

func newKeeper(s *store.Store) *keeper { return &keeper{store: s, pace: newPace()} }

// add stores what write writes, now or with a later value.
func (k *keeper) add(key store.Key, write func(io.Writer) error) error {
	k.pending = append(k.pending, pending{key, write})
	if !k.pace.due(keepLayer) {
		return nil
	}
	start := time.Now()
	for _, p := range k.pending {
		if _, err := k.store.Keep(p.key, p.write); err != nil {
			return err
		}
	}
	k.pending = nil
	k.pace.stored(start)
	return nil
}
