package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/mosaicquant/mosaicquant/experiments/sweep"
	"github.com/mosaicquant/mosaicquant/internal/row"
)

// progress shows a sweep as a line for each trial. On a terminal one more line stands
// below them and says how far the sweep is: see bar. Both kinds fit the terminal's
// columns, so that nothing wraps. What is written to it goes above that line.
type progress struct {
	out     io.Writer
	columns func() int // of the terminal; nil where out is none

	mu     sync.Mutex
	status string // the last line of the terminal
	drawn  time.Time
	run, n int
}

// bar is a progress on a terminal, which wants to know of every step.
type bar struct{ *progress }

// newProgress returns the progress for out, and the same as a sweep should tell it.
func newProgress(out io.Writer) (*progress, sweep.Progress) {
	p := &progress{out: out}
	f, ok := out.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return p, p
	}
	p.columns = func() int {
		width, _, err := term.GetSize(int(f.Fd()))
		if err != nil || width < 20 {
			return 80
		}
		return width
	}
	return p, bar{p}
}

// Begin implements sweep.Progress.
func (p *progress) Begin(run, finished int) {
	p.mu.Lock()
	first := p.run == 0
	p.run = run
	p.mu.Unlock()
	if first && finished > 0 {
		p.Note("%d trials are finished already", finished)
	}
	if p.columns != nil && run > p.n {
		p.show(fmt.Sprintf("%d/%d", p.n, run))
	}
}

// redraw is the least time between two states of the last line.
const redraw = 100 * time.Millisecond

// Step implements sweep.Watcher.
func (b bar) Step(s sweep.Step) {
	if time.Since(b.drawn) >= redraw {
		b.show(stepLine(s, b.n, b.run))
	}
}

// stepLine is "12/66 [======>         ]  41%, 2m10s left: quantizing 12/42, gptq g32".
func stepLine(s sweep.Step, n, run int) string {
	const width = 16
	full := min(max(int(s.Share*width), 0), width)
	head := ""
	if full < width {
		head = ">"
	}
	line := fmt.Sprintf("%d/%d [%-*s] %3.0f%%, %s left", n, run, width, strings.Repeat("=", full)+head, 100*s.Share,
		roundly(s.Left))
	if s.Label == "" {
		return fmt.Sprintf("%s: %s", line, s.Stage)
	}
	return fmt.Sprintf("%s: %s %d/%d, %s", line, s.Stage, s.Done, s.Total, s.Label)
}

// roundly returns d as people say it.
func roundly(d time.Duration) string {
	switch {
	case d < 10*time.Second:
		return d.Round(time.Second).String()
	case d < time.Hour:
		return d.Round(5 * time.Second).String()
	}
	return strings.TrimSuffix(d.Round(time.Minute).String(), "0s")
}

// Done implements sweep.Progress.
func (p *progress) Done(r *row.Row, took time.Duration) {
	p.n++
	head := fmt.Sprintf("[%*d/%d] ", len(fmt.Sprint(p.run)), p.n, p.run)
	if p.columns == nil {
		p.line(head + describe(r, took, 0))
		return
	}
	p.line(shorten(head+describe(r, took, max(p.room()-len(head), 1)), p.room()))
}

// room is how many columns a line may have, 0 where there is no limit.
func (p *progress) room() int {
	if p.columns == nil {
		return 0
	}
	return p.columns() - 1 // the last column makes some terminals wrap
}

// wide is what a line of describe takes beside its label, and narrow without
// perplexity and agreement.
const wide, narrow = 61, 33

// describe returns the row as one line of at most some columns; 0: of any length.
func describe(r *row.Row, took time.Duration, columns int) string {
	if r.Status != row.OK {
		return shorten(fmt.Sprintf("%-44s FAILED: %s", r.Label, strings.ReplaceAll(r.Error, "\n", " ")), columns)
	}
	value := func(format, name string, scale float64) string {
		v, ok := r.Value(name)
		if !ok {
			return "-"
		}
		return fmt.Sprintf(format, scale*v.Value)
	}
	bits, kl := value("%.3f", row.BitsPerWeight, 1), value("%.5f", row.KLMean, 1)
	if columns > 0 && columns < 24+wide {
		label := max(columns-narrow, 8)
		return fmt.Sprintf("%-*s %6s bits  KL %7s %6.1fs", label, shorten(r.Label, label), bits, kl, took.Seconds())
	}
	label := 44
	if columns > 0 {
		label = min(label, columns-wide)
	}
	return fmt.Sprintf("%-*s %6s bits  ppl %8s  KL %s  top-1 %5s%%  %5.1fs", label, fit(r.Label, label, columns), bits,
		value("%.3f", row.PPLToken, 1), kl, value("%.1f", row.Top1, 100), took.Seconds())
}

// fit shortens text to n columns if the columns of the line are limited.
func fit(text string, n, columns int) string {
	if columns == 0 {
		return text
	}
	return shorten(text, n)
}

// shorten cuts text to n columns, with a mark where it is cut; 0 leaves it alone.
func shorten(text string, n int) string {
	r := []rune(text)
	if n <= 0 || len(r) <= n {
		return text
	}
	return string(r[:n-1]) + "…"
}

// Note implements sweep.Progress.
func (p *progress) Note(format string, args ...any) { p.line(fmt.Sprintf("note: "+format, args...)) }

// line writes a line above the last one.
func (p *progress) line(text string) { fmt.Fprintln(p, text) }

// Write implements io.Writer for whole lines.
func (p *progress) Write(data []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.status != "" {
		fmt.Fprint(p.out, "\r\x1b[K")
	}
	n, err := p.out.Write(data)
	if p.status != "" && strings.HasSuffix(string(data), "\n") {
		fmt.Fprint(p.out, p.status)
	}
	return n, err
}

// show replaces the last line.
func (p *progress) show(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.status, p.drawn = shorten(text, p.room()), time.Now()
	fmt.Fprint(p.out, "\r\x1b[K"+p.status)
}

// end takes the last line away.
func (p *progress) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.status != "" {
		fmt.Fprint(p.out, "\r\x1b[K")
		p.status = ""
	}
}
