package reports

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/mosaicquant/mosaicquant/internal/row"
	"github.com/mosaicquant/mosaicquant/reports/format"
	"github.com/mosaicquant/mosaicquant/reports/stats"
)

// Region is what a marked region of a Markdown file is filled with, out of committed
// rows. A region is what stands between
//
//	<!-- rows {value: kl_mean, folder: results/reference/default, row: tiny-llama3 rtn g32} -->
//
// and <!-- /rows -->; what stands in braces is YAML, in one line or several. It has
// exactly one of Count, Value, Ratio, Table, Front and League. Rows are named by their labels,
// folders from the repository's root.
type Region struct {
	Folder string `yaml:"folder"`
	// Count is trials (rows of sweeps with status ok), distinct (those of different
	// trial), tokens (scored in each row; all must agree) or windows (likewise). Folders
	// are patterns, of which "results/reference/*" is one.
	Count   string   `yaml:"count"`
	Folders []string `yaml:"folders"`
	Value   string   `yaml:"value"` // name of a value of Row
	Row     string   `yaml:"row"`
	// Ratio is of the mean KL of two rows, paired by window, as a change with its
	// interval: the first over the second.
	Ratio []string      `yaml:"ratio"`
	Table []RegionLine  `yaml:"table"`
	Of    []RegionField `yaml:"columns"` // of Table, beside the line's name
	// Front is the group of rows, as the page titles it, whose front of bits and
	// divergence is listed.
	Front  string        `yaml:"front"`
	League *LeagueRegion `yaml:"league"`
	// Digits are the significant digits of a value, 3 where it is 0; Decimals, where
	// given, are those behind the point.
	Digits   int  `yaml:"digits"`
	Decimals *int `yaml:"decimals"`
}

// RegionLine is a line of a table: its name, and the rows that it is about, "/" between
// their numbers. A row's label is this and what the column adds.
type RegionLine struct {
	Name string   `yaml:"name"`
	Rows []string `yaml:"rows"`
}

// RegionField is a column of a table.
type RegionField struct {
	Name     string `yaml:"name"`
	Value    string `yaml:"value"`  // name of a value
	Before   string `yaml:"before"` // of each row's label, with a space
	After    string `yaml:"after"`
	Digits   int    `yaml:"digits"`
	Decimals *int   `yaml:"decimals"`
	Best     bool   `yaml:"best"` // the lowest number of the column is bold
	// Interval shows the interval of a value that was timed; a row without is an error.
	Interval bool `yaml:"interval"`
}

// Rows reads the rows of folders for Fill. A pattern may match several folders; one
// that matches none is an error.
type Rows func(pattern string) (map[string][]row.Row, error)

var (
	regionStart = regexp.MustCompile(`(?s)<!--\s*rows\s+(\{.*?\})\s*-->`)
	regionEnd   = "<!-- /rows -->"
)

// Fill returns text with each marked region filled from rows, and how many there are.
// Errors name the file, line and field.
func Fill(name string, text []byte, rows Rows) ([]byte, int, error) {
	f := &filler{read: rows, tables: map[string]*stats.Table{}}
	var out bytes.Buffer
	regions := 0
	rest := text
	fail := func(err error) error {
		line := 1 + bytes.Count(text[:len(text)-len(rest)], []byte("\n"))
		return fmt.Errorf("%s:%d: region of rows: %w", name, line, err)
	}
	for {
		at := regionStart.FindSubmatchIndex(rest)
		end := bytes.Index(rest, []byte(regionEnd))
		if at == nil {
			if end >= 0 {
				rest = rest[end:]
				return nil, 0, fail(errors.New("it ends without having begun"))
			}
			out.Write(rest)
			return out.Bytes(), regions, nil
		}
		out.Write(rest[:at[1]])
		spec := rest[at[2]:at[3]]
		rest = rest[at[0]:]
		if end -= at[0]; end < 0 || regionStart.Match(rest[at[1]-at[0]:max(end, at[1]-at[0])]) {
			return nil, 0, fail(fmt.Errorf("it does not end with %s", regionEnd))
		}
		var r Region
		d := yaml.NewDecoder(bytes.NewReader(spec))
		d.KnownFields(true)
		if err := d.Decode(&r); err != nil {
			return nil, 0, fail(fmt.Errorf("%s", strings.ReplaceAll(err.Error(), "\n", " ")))
		}
		filled, err := f.fill(&r)
		if err != nil {
			return nil, 0, fail(err)
		}
		out.WriteString(filled + regionEnd)
		rest = rest[end+len(regionEnd):]
		regions++
	}
}

// filler keeps what was read of folders.
type filler struct {
	read   Rows
	tables map[string]*stats.Table
}

// fill returns what belongs into r.
func (f *filler) fill(r *Region) (string, error) {
	kinds := map[string]bool{"count": r.Count != "", "value": r.Value != "", "ratio": r.Ratio != nil,
		"table": r.Table != nil, "front": r.Front != "", "league": r.League != nil}
	n := 0
	for _, has := range kinds {
		if has {
			n++
		}
	}
	if n != 1 {
		return "", fmt.Errorf("%d of count, value, ratio, table, front and league are given, want one", n)
	}
	if r.Count != "" {
		return f.count(r)
	}
	t, err := f.table(r.Folder)
	if err != nil {
		return "", err
	}
	switch {
	case r.Value != "":
		return valueOf(t, r.Row, r.Value, r.Digits, r.Decimals)
	case r.Ratio != nil:
		return ratioOf(t, r.Ratio)
	case r.Table != nil:
		return tableRegion(t, r)
	case r.League != nil:
		return f.league(t, r.League)
	}
	return frontRegion(t, r.Front)
}

// table is the folder's rows, analysed.
func (f *filler) table(folder string) (*stats.Table, error) {
	if folder == "" {
		return nil, errors.New("folder is missing")
	}
	if t := f.tables[folder]; t != nil {
		return t, nil
	}
	found, err := f.read(folder)
	if err != nil {
		return nil, fmt.Errorf("folder %q: %w", folder, err)
	}
	if len(found) != 1 {
		return nil, fmt.Errorf("folder %q is %d folders, want one", folder, len(found))
	}
	for _, rows := range found {
		f.tables[folder] = stats.Build(rows)
	}
	return f.tables[folder], nil
}

// league fills a region of a league of t's rows.
func (f *filler) league(t *stats.Table, spec *LeagueRegion) (string, error) {
	var times *stats.Table
	if spec.Times != "" {
		var err error
		if times, err = f.table(spec.Times); err != nil {
			return "", fmt.Errorf("league: times: %w", err)
		}
	}
	return leagueRegion(t, times, spec)
}

// count fills a region of a count.
func (f *filler) count(r *Region) (string, error) {
	patterns := r.Folders
	if r.Folder != "" {
		patterns = append(patterns, r.Folder)
	}
	if len(patterns) == 0 {
		return "", errors.New("folders is missing")
	}
	trials := map[string]bool{}
	seen, all, common := map[string]bool{}, 0, -1
	for _, pattern := range patterns {
		found, err := f.read(pattern)
		if err != nil {
			return "", fmt.Errorf("folders %q: %w", pattern, err)
		}
		for folder, rows := range found {
			if seen[folder] {
				continue
			}
			seen[folder] = true
			for _, x := range row.Merge(rows) {
				if x.Status != row.OK || x.Axes["bench"] != "" {
					continue
				}
				all++
				trials[x.Trial] = true
				n := len(x.Windows(row.WindowTokens))
				if r.Count == "tokens" {
					n = 0
					for _, v := range x.Windows(row.WindowTokens) {
						n += int(v)
					}
				}
				if common >= 0 && n != common && (r.Count == "tokens" || r.Count == "windows") {
					return "", fmt.Errorf("count %s: rows have %d and, in %s, %d", r.Count, common, folder, n)
				}
				common = n
			}
		}
	}
	switch r.Count {
	case "trials":
		return thousands(all), nil
	case "distinct":
		return thousands(len(trials)), nil
	case "tokens", "windows":
		if common < 0 {
			return "", errors.New("there are no rows to count in")
		}
		return thousands(common), nil
	}
	return "", fmt.Errorf("count %q is not one of trials, distinct, tokens, windows", r.Count)
}

// thousands writes n with commas.
func thousands(n int) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// entryOf is the row of t with that label.
func entryOf(t *stats.Table, label string) (*stats.Entry, error) {
	var found []*stats.Entry
	var near string
	for _, e := range t.Entries() {
		if e.Label == label {
			found = append(found, e)
		}
		if near == "" || distance(e.Label, label) < distance(near, label) {
			near = e.Label
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return nil, fmt.Errorf("no row is called %q; the nearest is %q", label, near)
	}
	return nil, fmt.Errorf("%d rows are called %q", len(found), label)
}

// distance counts the words that only one of two labels has.
func distance(a, b string) int {
	x, y := strings.Fields(a), strings.Fields(b)
	n := 0
	for _, w := range x {
		if !slices.Contains(y, w) {
			n++
		}
	}
	for _, w := range y {
		if !slices.Contains(x, w) {
			n++
		}
	}
	return n
}

// numberOf is the named value of the row of that label.
func numberOf(t *stats.Table, label, value string) (float64, error) {
	e, err := entryOf(t, label)
	if err != nil {
		return 0, err
	}
	v, ok := e.Value(value)
	if !ok {
		return 0, fmt.Errorf("row %q has no value %q", label, value)
	}
	return v, nil
}

func valueOf(t *stats.Table, label, value string, digits int, decimals *int) (string, error) {
	v, err := numberOf(t, label, value)
	if err != nil {
		return "", err
	}
	return briefNumber(v, digits, decimals), nil
}

// briefNumber writes v with the given decimals, or else with so many significant digits
// (0: three), and without the zero before a point.
func briefNumber(v float64, digits int, decimals *int) string {
	places := cmp.Or(digits, 3) - 1
	switch {
	case decimals != nil:
		places = *decimals
	case v != 0:
		places = max(0, places-int(math.Floor(math.Log10(math.Abs(v)))))
	}
	scale := math.Pow(10, float64(places))
	s := format.Fixed(math.Round(v*scale)/scale, places) // 4.125 to 4.13, as people round
	s, negative := strings.CutPrefix(s, "−")
	if strings.HasPrefix(s, "0.") {
		s = s[1:]
	}
	if negative {
		s = "−" + s
	}
	return s
}

// ratioOf is the change of the divergence from the second row to the first.
func ratioOf(t *stats.Table, labels []string) (string, error) {
	if len(labels) != 2 {
		return "", fmt.Errorf("ratio has %d rows, want 2", len(labels))
	}
	var rows [2]*stats.Entry
	for i, l := range labels {
		e, err := entryOf(t, l)
		if err != nil {
			return "", err
		}
		rows[i] = e
	}
	est, err := stats.KLRatio(rows[0], rows[1])
	if err != nil {
		return "", fmt.Errorf("ratio of %q and %q: %w", labels[0], labels[1], err)
	}
	return stats.WithInterval(est, format.Percent), nil
}

// tableRegion fills a region of a table.
func tableRegion(t *stats.Table, r *Region) (string, error) {
	if len(r.Of) == 0 {
		return "", errors.New("a table has no columns")
	}
	head, rule := []string{""}, "|---|"
	for _, c := range r.Of {
		head, rule = append(head, c.Name), rule+"---:|"
	}
	cells := make([][]string, len(r.Table))
	for i, l := range r.Table {
		cells[i] = []string{l.Name}
	}
	for _, c := range r.Of {
		best, lowest := -1, math.Inf(1)
		for i, l := range r.Table {
			var parts []string
			for _, label := range l.Rows {
				v, text, err := c.cell(t, label)
				if err != nil {
					return "", fmt.Errorf("table, line %q, column %q: %w", l.Name, c.Name, err)
				}
				if c.Best && v < lowest {
					best, lowest = i, v
				}
				parts = append(parts, text)
			}
			cells[i] = append(cells[i], strings.Join(slices.Compact(parts), " / "))
		}
		if best >= 0 && len(r.Table[best].Rows) == 1 {
			last := len(cells[best]) - 1
			cells[best][last] = "**" + cells[best][last] + "**"
		}
	}
	var b strings.Builder
	b.WriteString("\n| " + strings.Join(head, " | ") + " |\n" + rule + "\n")
	for _, l := range cells {
		b.WriteString("| " + strings.Join(l, " | ") + " |\n")
	}
	return b.String(), nil
}

// cell is the column's number of the row of that label, and how it is written.
func (c *RegionField) cell(t *stats.Table, label string) (float64, string, error) {
	label = strings.TrimSpace(c.Before + " " + label + " " + c.After)
	e, err := entryOf(t, label)
	if err != nil {
		return 0, "", err
	}
	v, ok := e.Row.Value(c.Value)
	switch {
	case !ok:
		return 0, "", fmt.Errorf("row %q has no value %q", label, c.Value)
	case c.Interval && (v.Low == nil || v.High == nil):
		return 0, "", fmt.Errorf("value %q of row %q has no interval", c.Value, label)
	}
	brief := func(x float64) string { return briefNumber(x, c.Digits, c.Decimals) }
	if c.Interval {
		return v.Value, brief(v.Value) + " [" + brief(*v.Low) + ", " + brief(*v.High) + "]", nil
	}
	return v.Value, brief(v.Value), nil
}

// frontRegion lists the front of the group whose title is that of a tab of the page.
func frontRegion(t *stats.Table, title string) (string, error) {
	titles := shortTitles(t)
	i := slices.Index(titles, title)
	if i < 0 {
		return "", fmt.Errorf("front: no group is called %q; there are %q", title, titles)
	}
	var b strings.Builder
	b.WriteString("\n| row | bits | KL, nat/token | against the baseline |\n|---|---:|---:|---:|\n")
	two := 2
	for _, e := range t.Groups[i].Front {
		versus := ""
		if e.Versus != nil && e.Versus.KLRatio != nil {
			versus = stats.WithInterval(*e.Versus.KLRatio, format.Percent)
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", inMarkdown(e.Name), briefNumber(e.Bits, 0, &two),
			stats.WithInterval(*e.KL, func(v float64) string { return briefNumber(v, 0, nil) }), versus)
	}
	return b.String(), nil
}
