package bench

import "fmt"

// fallback is the CPU in place of an engine that could not be opened. It says so
// in every row: what was requested is the other engine, what runs the CPU's.
type fallback struct {
	Engine
	wanted string
	why    error
}

// Requested is the engine that was asked for, and why it does not run.
func (f *fallback) Requested() string { return fmt.Sprintf("%s (%v)", f.wanted, f.why) }

// Warning is for readers of the rows.
func (f *fallback) Warning() string {
	return fmt.Sprintf("%s was requested, %s ran: %v", f.wanted, f.Name(), f.why)
}

// warner is an engine that has something to say in every row.
type warner interface{ Warning() string }
