package bench

import (
	"errors"
	"strings"
	"testing"
)

// TestFallback: the CPU that stands in for another engine says so.
func TestFallback(t *testing.T) {
	old, had := Engines["cuda"]
	defer func() {
		if delete(Engines, "cuda"); had {
			Engines["cuda"] = old
		}
	}()
	Engines["cuda"] = func() (Engine, error) { return nil, errors.New("no CUDA driver") }
	for _, name := range []string{"cuda", "auto"} {
		e, err := Open(name)
		if err != nil {
			t.Fatal(err)
		}
		if e.Name() != "cpu" || e.Requested() != name+" (no CUDA driver)" {
			t.Errorf("%s: engine %s, requested %s", name, e.Name(), e.Requested())
		}
		if w := e.(warner).Warning(); !strings.Contains(w, name+" was requested, cpu ran: no CUDA driver") {
			t.Error(w)
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}
}
