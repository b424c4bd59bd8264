package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// printedPages is how many pages of A4 a printed report has at most.
const printedPages = 8

// smallestPrint is the smallest size of printed letters, in points.
const smallestPrint = 6

// uses are the names of what exercise does, in order.
var uses = []string{"tabs", "folds", "contents", "sorting", "filter", "heads", "tips", "colours", "widths",
	"print"}

// exercise uses the page as a reader does: tabs, folds, contents, sorting and filters,
// at three widths and on paper. It says what there was to use; what does not do what
// it should is an error.
func exercise(s *session, shots string) (used []string, err error) {
	for i, use := range []func() (bool, error){s.tabs, s.folds, s.contents, s.sorting, s.filter, s.heads, s.tips,
		s.colours, s.widths,
		func() (bool, error) { return s.print(shots) }} {
		ok, err := use()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", uses[i], err)
		}
		if ok {
			used = append(used, uses[i])
		}
	}
	if len(s.console) > 0 {
		return nil, fmt.Errorf("the console says: %s", strings.Join(s.console, "; "))
	}
	return used, nil
}

// tabs clicks every tab: the sections of its group alone are in sight.
func (s *session) tabs() (bool, error) {
	var n int
	if err := s.eval(`document.querySelectorAll("[role=tab]").length`, &n); err != nil || n < 2 {
		return false, err
	}
	check := func(want int) error {
		var shown []string
		err := s.eval(`Array.from(document.querySelectorAll("section[data-group]")).filter(e => e.offsetHeight > 0).
			map(e => e.dataset.group)`, &shown)
		if err != nil {
			return err
		}
		if len(shown) == 0 || slices.ContainsFunc(shown, func(g string) bool { return g != fmt.Sprint(want) }) {
			return fmt.Errorf("with tab %d there are sections of %v in sight", want, shown)
		}
		return nil
	}
	for i := n; i > 0; i-- {
		if err := s.click(fmt.Sprintf(`document.querySelectorAll("[role=tab]")[%d]`, i-1)); err != nil {
			return false, err
		}
		if err := check(i); err != nil {
			return false, err
		}
	}
	if err := s.key("ArrowRight", 39); err != nil {
		return false, err
	}
	if err := check(2); err != nil {
		return false, fmt.Errorf("by the keyboard: %w", err)
	}
	return true, s.click(`document.querySelector("[role=tab]")`)
}

// folds opens and closes every section that is folded and in sight.
func (s *session) folds() (bool, error) {
	var keys []string
	err := s.eval(`document.querySelectorAll("section > details.fold:not([open])").
		forEach(e => { e.dataset.was = "folded"; })`, nil)
	if err != nil {
		return false, err
	}
	err = s.eval(`Array.from(document.querySelectorAll("section > details.fold:not([open])")).
		filter(e => e.offsetHeight > 0).map(e => e.parentNode.id)`, &keys)
	if err != nil || len(keys) == 0 {
		return false, err
	}
	for _, key := range keys {
		var heights [3]float64
		fold := fmt.Sprintf(`document.querySelector("#%s > details.fold")`, key)
		for i := range heights {
			if i > 0 {
				if err := s.click(fold + `.querySelector("summary")`); err != nil {
					return false, fmt.Errorf("%s: %w", key, err)
				}
			}
			if err := s.eval(fold+`.offsetHeight`, &heights[i]); err != nil {
				return false, err
			}
		}
		if !(heights[1] > heights[0]+10) || heights[2] != heights[0] {
			return false, fmt.Errorf("section %s is %v high, then %v open, then %v", key,
				heights[0], heights[1], heights[2])
		}
	}
	return true, nil
}

// contents follows a link of the contents into something folded, whose heading is then
// in sight.
func (s *session) contents() (bool, error) {
	const link = `Array.from(document.querySelectorAll("#contents a")).filter(a => a.offsetHeight > 0).
		find(a => document.querySelector(a.hash + " > details.fold:not([open])"))`
	var hash string
	if err := s.eval(`(`+link+` || {hash: ""}).hash`, &hash); err != nil || hash == "" {
		return false, err
	}
	if err := s.click(link); err != nil {
		return false, err
	}
	open := fmt.Sprintf(`(() => { const e = document.querySelector("%s > details.fold");
		const top = e.getBoundingClientRect().top; return e.open && top >= 0 && top < 800; })()`, hash)
	return true, s.until("the section of "+hash+" is open and in sight", open) // an event of its own opens it
}

// theTable is the first table of methods in sight with lines enough to filter.
const theTable = `Array.from(document.querySelectorAll("table.rows")).
	find(t => t.offsetHeight > 0 && t.tBodies[0].rows.length >= 6 &&
		/row\s*method/.test(t.tHead.textContent) && t.tHead.textContent.includes("KL mean, nat/token"))`

// column returns the cells of a column of the table, of the lines in sight.
func (s *session) column(name string) (cells []string, err error) {
	err = s.eval(fmt.Sprintf(`(() => { const t = %s;
		const at = Array.from(t.tHead.rows[0].cells).findIndex(c => c.textContent.trim() === "%s");
		return Array.from(t.tBodies[0].rows).filter(r => r.offsetHeight > 0).map(r => r.cells[at].textContent.trim());
	})()`, theTable, name), &cells)
	return cells, err
}

// sorting clicks the heading of a column three times: up, down, as it was.
func (s *session) sorting() (bool, error) {
	var has bool
	if err := s.eval(`!!(`+theTable+`)`, &has); err != nil || !has {
		return false, err
	}
	const name = "KL mean, nat/token"
	before, err := s.column(name)
	if err != nil {
		return false, err
	}
	number := func(text string) (v float64) {
		fmt.Sscan(text, &v)
		return v
	}
	compare := func(a, b string) int { return int(1e9 * (number(a) - number(b))) }
	up := slices.Clone(before)
	slices.SortStableFunc(up, compare)
	down := slices.Clone(before)
	slices.SortStableFunc(down, func(a, b string) int { return compare(b, a) })
	for i, want := range [][]string{up, down, before} {
		head := `Array.from(%s.tHead.rows[0].cells).find(c => c.textContent.trim() === "%s")`
		err := s.click(fmt.Sprintf(head, theTable, name))
		if err != nil {
			return false, err
		}
		got, err := s.column(name)
		if err != nil {
			return false, err
		}
		if !slices.EqualFunc(got, want, func(a, b string) bool { return number(a) == number(b) }) {
			return false, fmt.Errorf("after %d clicks on %s it holds %v, want %v", i+1, name, got, want)
		}
	}
	return true, nil
}

// filter shows lines with words, then lines with a value that is clicked, then all.
func (s *session) filter() (bool, error) {
	var has bool
	if err := s.eval(`!!(`+theTable+`)`, &has); err != nil || !has {
		return false, err
	}
	all, err := s.column("method")
	if err != nil {
		return false, err
	}
	const box = theTable + `.parentNode.parentNode.querySelector(".filter input")`
	const cell = theTable + `.tBodies[0].rows[0].cells[1]`
	value := all[0]
	count := 0
	for _, v := range all {
		if v == value {
			count++
		}
	}
	check := func(doing string, want int) error {
		got, err := s.column("method")
		if err == nil && len(got) != want {
			err = fmt.Errorf("after %s there are %d lines of %d, want %d", doing, len(got), len(all), want)
		}
		return err
	}
	if err := s.click(box); err != nil {
		return false, err
	}
	if err := s.write("nothing-like-this"); err != nil {
		return false, err
	}
	if err := check("typing what is nowhere", 0); err != nil {
		return false, err
	}
	if err := s.eval(box+`.select()`, nil); err != nil {
		return false, err
	}
	if err := s.key("Backspace", 8); err != nil {
		return false, err
	}
	if err := check("emptying the box", len(all)); err != nil {
		return false, err
	}
	if err := s.click(cell); err != nil {
		return false, err
	}
	if err := check("a click on "+value, count); err != nil {
		return false, err
	}
	if err := s.click(theTable + `.parentNode.parentNode.querySelector(".filter button")`); err != nil {
		return false, err
	}
	return true, check("a click on its chip", len(all))
}

// heads scrolls a table in its box: the head and the first column stay.
func (s *session) heads() (bool, error) {
	if err := s.size(800, 400); err != nil { // any table is larger
		return false, err
	}
	var at struct{ Head, Column, Left, Top float64 }
	err := s.eval(`(() => { const t = `+theTable+`; if (!t) return null;
		const box = t.parentNode; box.scrollIntoView(); box.scrollTop = 60; box.scrollLeft = 60;
		const b = box.getBoundingClientRect(), h = t.tHead.rows[0].cells[3].getBoundingClientRect();
		const c = t.tBodies[0].rows[3].cells[0].getBoundingClientRect();
		return {Head: h.top - b.top, Column: c.left - b.left, Left: box.scrollLeft, Top: box.scrollTop}; })()`, &at)
	if err != nil {
		return false, err
	}
	if at.Left+at.Top == 0 {
		return false, nil
	}
	if at.Head < -2 || at.Head > 3 || at.Column < -2 || at.Column > 3 {
		err = fmt.Errorf("scrolled by %v and %v, the head is %v below the top of its box and the first column %v off its "+
			"left",
			at.Left, at.Top, at.Head, at.Column)
	}
	return true, err
}

// sideways are the tables in sight and in folds that are wider than their boxes.
const sideways = `(() => {
	const folded = Array.from(document.querySelectorAll("section details:not([open])"));
	folded.forEach(d => { d.open = true; });
	const out = Array.from(document.querySelectorAll(".scroll")).
		filter(e => e.offsetHeight > 0 && e.scrollWidth > e.clientWidth + 1).
		map(e => e.closest("section").id + ", " + e.getAttribute("aria-label") + ": " + e.scrollWidth + " of " + e.clientWidth);
	folded.forEach(d => { d.open = false; });
	return out;
})()`

// widths wants no part of the page to be wider than the window and, where there is room
// for it, no table wider than its box, in any tab.
func (s *session) widths() (bool, error) {
	var tabs int
	if err := s.eval(`document.querySelectorAll("[role=tab]").length`, &tabs); err != nil {
		return false, err
	}
	for _, width := range []int{390, 1280, 1920} {
		if err := s.size(width, 900); err != nil {
			return false, err
		}
		for tab := range max(tabs, 1) {
			if tabs > 0 {
				if err := s.eval(fmt.Sprintf(`document.querySelectorAll("[role=tab]")[%d].click()`, tab), nil); err != nil {
					return false, err
				}
			}
			if err := s.fits(width); err != nil {
				return false, fmt.Errorf("tab %d: %w", tab+1, err)
			}
		}
	}
	if tabs > 0 {
		if err := s.eval(`document.querySelector("[role=tab]").click()`, nil); err != nil {
			return false, err
		}
	}
	return true, s.size(1280, 900)
}

// fits is widths at one width and in one tab.
func (s *session) fits(width int) error {
	var wide []string
	err := s.eval(`(() => { const w = document.documentElement.clientWidth;
		const inBox = e => e.closest(".scroll, pre, .drawing, .chart, svg, #contents");
		const out = Array.from(document.querySelectorAll("body *")).
			filter(e => !inBox(e.parentElement) && e.getBoundingClientRect().right > w + 1);
		return out.slice(0, 3).map(e => e.outerHTML.slice(0, 100)).
			concat(document.documentElement.scrollWidth > w ? ["the page scrolls sideways"] : []); })()`, &wide)
	if err == nil && len(wide) > 0 {
		err = fmt.Errorf("at a width of %d these stick out: %s", width, strings.Join(wide, "; "))
	}
	if err != nil || width < 1280 {
		return err
	}
	if err := s.eval(sideways, &wide); err != nil {
		return err
	}
	if len(wide) > 0 {
		return fmt.Errorf("at a width of %d these tables scroll sideways: %s", width, strings.Join(wide, "; "))
	}
	return nil
}

var pdfPage = regexp.MustCompile(`/Type\s*/Page\b`)

// print prints the page: few pages, and letters that can be read.
func (s *session) print(shots string) (bool, error) {
	// as it is opened, not as it was left: what was unfolded is folded again
	err := s.eval(`document.querySelectorAll("section > details.fold[open]").
		forEach(e => { e.open = e.dataset.was !== "folded"; })`, nil)
	if err != nil {
		return false, err
	}
	data, err := s.pdf()
	if err != nil {
		return false, err
	}
	if err := os.WriteFile(filepath.Join(shots, "page.pdf"), data, 0o644); err != nil {
		return false, err
	}
	if !bytes.HasPrefix(data, []byte("%PDF")) {
		return false, errors.New("what is printed is no PDF")
	}
	if n := len(pdfPage.FindAll(data, -1)); n == 0 || n > printedPages {
		return false, fmt.Errorf("%d pages, want 1 to %d", n, printedPages)
	}
	if err := s.call("Emulation.setEmulatedMedia", object{"media": "print"}, nil); err != nil {
		return false, err
	}
	if err := s.size(703, 1000); err != nil { // A4 less its margins
		return false, err
	}
	var small []string
	err = s.eval(fmt.Sprintf(`(() => {
		const found = new Map(), walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
		for (let n = walk.nextNode(); n; n = walk.nextNode()) {
			const e = n.parentElement;
			if (!n.data.trim() || !e.getClientRects().length || e.closest("script, style")) continue;
			const m = e.getScreenCTM ? e.getScreenCTM() : null;
			const points = parseFloat(getComputedStyle(e).fontSize) * (m ? Math.hypot(m.a, m.b) : 1) * 0.75;
			if (points < %v) found.set(points.toFixed(1), n.data.trim().slice(0, 40));
		}
		return Array.from(found, f => f[0] + " pt: " + f[1]);
	})()`, smallestPrint), &small)
	if err == nil && len(small) > 0 {
		err = fmt.Errorf("letters too small to read: %s", strings.Join(small[:min(3, len(small))], "; "))
	}
	return true, err
}
