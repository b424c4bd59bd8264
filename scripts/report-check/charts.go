package main

import (
	"fmt"
	"regexp"
	"time"
)

// tip is what a tooltip says of a point: the row, and a value with its interval last.
var tip = regexp.MustCompile(`^.+, [0-9][0-9.e+-]*( \[[0-9.e+-]+, [0-9.e+-]+\])?$`)

// tips points the mouse at one mark of each chart, at two widths: a tooltip appears with label,
// bits, value and interval and no more, inside the window.
func (s *session) tips() (bool, error) {
	var keys []string // of figures that are no part of another tab, all unfolded
	err := s.eval(`(() => {
		document.querySelectorAll("section > details.fold").forEach(d => { d.open = true; });
		return Array.from(document.querySelectorAll("figure[data-drawn=chart]")).
			filter(f => f.offsetHeight > 0).map(f => f.dataset.figure);
	})()`, &keys)
	if err != nil || len(keys) == 0 {
		return false, err
	}
	for _, width := range []int{1280, 390} {
		if err := s.size(width, 900); err != nil {
			return false, err
		}
		for _, key := range keys {
			if err := s.hover(key); err != nil {
				return false, fmt.Errorf("chart %s, at a width of %d: %w", key, width, err)
			}
		}
	}
	return true, s.size(1280, 900)
}

// hover is tips for one chart.
func (s *session) hover(key string) error {
	var at struct {
		X, Y float64
		Name string
	}
	// the mark that is farthest from all others, so that none lies above it
	err := s.eval(fmt.Sprintf(`(() => {
		const box = document.querySelector("figure[data-figure='%s'] .chart");
		box.scrollIntoView({block: "center"});
		const chart = echarts.getInstanceByDom(box), marks = [];
		chart.resize();
		chart.getOption().series.forEach((line, i) => { if (line.type === "scatter") line.data.forEach(p => {
			const [x, y] = chart.convertToPixel({seriesIndex: i}, p.value);
			marks.push({x, y, name: p.name}); }); });
		const apart = m => Math.min(...marks.filter(o => o !== m).map(o => Math.hypot(o.x - m.x, o.y - m.y)), 1e9);
		const best = marks.reduce((a, b) => apart(a) >= apart(b) ? a : b);
		const r = box.getBoundingClientRect();
		return {X: r.x + best.x, Y: r.y + best.y, Name: best.name};
	})()`, key), &at)
	if err != nil {
		return err
	}
	shown := fmt.Sprintf(`Array.from(document.querySelectorAll("figure[data-figure='%s'] .chart > div")).
		find(d => d.style.pointerEvents === "none" && d.style.visibility !== "hidden" && d.textContent.trim())`, key)
	for tries := 0; ; tries++ { // the chart takes its new size when the browser has the time
		for _, x := range []float64{at.X - 40, at.X} { // a mouse comes from somewhere
			err := s.call("Input.dispatchMouseEvent", object{"type": "mouseMoved", "x": x, "y": at.Y}, nil)
			if err != nil {
				return err
			}
		}
		var is bool
		if err := s.eval(`!!(`+shown+`)`, &is); err != nil {
			return err
		}
		if is {
			break
		}
		if tries == 50 {
			return fmt.Errorf("there is no tooltip of %s at %.0f, %.0f", at.Name, at.X, at.Y)
		}
		time.Sleep(100 * time.Millisecond)
	}
	inside := `(() => { const r = (` + shown + `).getBoundingClientRect();
		return r.left >= 0 && r.right <= innerWidth + 1; })()`
	if err := s.until("the tooltip has moved into the window", inside); err != nil { // it glides
		return err
	}
	var says struct {
		Text string
		Out  bool
	}
	err = s.eval(`(() => { const d = `+shown+`, r = d.getBoundingClientRect();
		return {Text: d.textContent.trim(), Out: r.left < 0 || r.right > innerWidth + 1}; })()`, &says)
	if err != nil {
		return err
	}
	if says.Text != at.Name || !tip.MatchString(says.Text) {
		return fmt.Errorf("at the mark of %q the tooltip says %q", at.Name, says.Text)
	}
	if says.Out {
		return fmt.Errorf("the tooltip %q sticks out of the window", says.Text)
	}
	return nil
}

// colours wants the parts of the ledger in colours of their own, as the browser draws
// them: those of the legend differ, and the bars have no others.
func (s *session) colours() (bool, error) {
	var c struct{ Legend, Bars []string }
	// the squares of the legend come first, then the lines of the axes, then the bars
	err := s.eval(`(() => {
		const svg = document.querySelector("#fig-ledger svg"), out = {Legend: [], Bars: []};
		let axes = false;
		for (const e of svg ? svg.querySelectorAll("path") : []) {
			const fill = getComputedStyle(e).fill;
			if (fill === "none") axes = true;
			else (axes ? out.Bars : out.Legend).push(fill);
		}
		return out;
	})()`, &c)
	if err != nil || len(c.Bars) == 0 {
		return false, err
	}
	legend := map[string]bool{}
	for _, fill := range c.Legend {
		if legend[fill] {
			return false, fmt.Errorf("two parts of the ledger are drawn in %s", fill)
		}
		legend[fill] = true
	}
	for _, fill := range c.Bars {
		if !legend[fill] {
			return false, fmt.Errorf("the ledger has a bar in %s; its legend has %v", fill, c.Legend)
		}
	}
	return true, nil
}
