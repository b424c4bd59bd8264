package main

import (
	"bytes"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/mosaicquant/mosaicquant/experiments/sweep"
	"github.com/mosaicquant/mosaicquant/internal/row"
)

// TestProgressColumns: on a terminal no line is wider than it, and the last line comes
// back after each row.
func TestProgressColumns(t *testing.T) {
	r := &row.Row{Label: strings.Repeat("mosaic gptq g128 10% ", 5), Status: row.OK, Values: []row.Value{
		{Name: row.BitsPerWeight, Value: 4.5}, {Name: row.PPLToken, Value: 1234.5}, {Name: row.KLMean, Value: 0.12345}, {Name: row.Top1, Value: 0.9}}}
	failed := &row.Row{Label: "rtn", Status: row.Failed, Error: strings.Repeat("why ", 50)}
	for _, columns := range []int{40, 80, 120, 200} {
		var out bytes.Buffer
		p := &progress{out: &out, columns: func() int { return columns }}
		b := bar{p}
		b.Begin(66, 0)
		step := sweep.Step{Label: r.Label, Stage: "quantizing", Done: 12, Total: 42, Share: 0.41, Left: 130 * time.Second}
		p.drawn = time.Time{}
		b.Step(step)
		b.Done(r, 3*time.Second)
		b.Done(failed, 3*time.Second)
		text := out.String()
		for _, line := range regexp.MustCompile("\\r\\x1b\\[K|\n").Split(text, -1) {
			if n := len([]rune(line)); n >= columns {
				t.Errorf("%d columns: a line has %d: %q", columns, n, line)
			}
		}
		if !strings.HasSuffix(text, p.status) || p.status == "" || !strings.HasPrefix(p.status, "0/66 [======>") {
			t.Errorf("%d columns: the last line is %q", columns, text[strings.LastIndex(text, "\n")+1:])
		}
		if columns == 80 && (!strings.Contains(text, "41%, 2m10s left: quantizing 12/42, mosaic") || !strings.Contains(text, "4.500 bits  KL 0.12345    3.0s\n")) {
			t.Errorf("80 columns: %q", text)
		}
		b.end()
		if !strings.HasSuffix(out.String(), "\r\x1b[K") {
			t.Error("the last line stays at the end")
		}
	}
	var plain bytes.Buffer
	p, watch := newProgress(&plain)
	if _, ok := watch.(sweep.Watcher); ok {
		t.Error("what is no terminal watches every step")
	}
	p.Begin(5, 2)
	p.Done(r, time.Second)
	if got := plain.String(); strings.Contains(got, "\x1b") || !strings.HasPrefix(got, "note: 2 trials are finished already\n[1/5] "+r.Label) || !strings.Contains(got, "top-1  90.0%") {
		t.Errorf("no terminal: %q", got)
	}
}
