package sweep

import (
	"runtime"
	"strings"
	"testing"
)

// TestJobs: memory lowers the number of trials that is chosen, not one that was
// asked for, and says so; a quarter of it stays free.
func TestJobs(t *testing.T) {
	const gib = 1 << 30
	two := min(2, runtime.GOMAXPROCS(0))
	for _, c := range []struct {
		asked, trials int
		each, memory  int64
		want          int
		note          string
	}{
		{0, 5, gib, 4 * gib, two, ""},
		{0, 1, gib, 4 * gib, 1, ""},
		{0, 5, 3 * gib / 2, 4 * gib, two, ""}, // two take the three quarters
		{0, 5, 2 * gib, 4 * gib, 1, ": 1 at a time"},
		{0, 5, 5 * gib, 4 * gib, 1, "more than it holds"},
		{0, 5, 50 * gib, 0, two, ""}, // nobody knows the memory
		{3, 5, gib, 8 * gib, 3, ""},
		{3, 2, gib, 8 * gib, 2, ""},
		{3, 5, 3 * gib, 8 * gib, 3, "3 side by side, as asked, may be more than it holds"},
	} {
		if two == 1 && strings.Contains(c.note, "at a time") {
			c.note = ""
		}
		n, note := jobs(c.asked, c.trials, c.each, c.memory)
		if n != c.want || !strings.Contains(note, c.note) || (note == "") != (c.note == "") {
			t.Errorf("jobs(%d, %d, %d, %d) = %d, %q; want %d, %q", c.asked, c.trials, c.each, c.memory, n, note, c.want, c.note)
		}
	}
}
