package reports

import (
	"bytes"
	"cmp"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/mosaicquant/mosaicquant/reports/stats"
)

// notebookSetup is the notebook's first cell: it finds and reads the rows.
//
//go:embed notebook.py
var notebookSetup string

// The Jupyter notebook format, 4.5: what of it we write.
type (
	ipynb struct {
		Cells       []ipynbCell    `json:"cells"`
		Metadata    map[string]any `json:"metadata"`
		NBFormat    int            `json:"nbformat"`
		NBFormatMin int            `json:"nbformat_minor"`
	}
	ipynbCell struct {
		Type       string         `json:"cell_type"`
		ID         string         `json:"id"`
		Metadata   map[string]any `json:"metadata"`
		Source     []string       `json:"source"`
		*ipynbCode                // of code cells alone
	}
	ipynbCode struct {
		ExecutionCount *int          `json:"execution_count"`
		Outputs        []ipynbOutput `json:"outputs"`
	}
	ipynbOutput struct {
		Type     string         `json:"output_type"`
		Data     map[string]any `json:"data"`
		Metadata map[string]any `json:"metadata"`
	}
)

// notebookWriter collects the cells of a document.
type notebookWriter struct {
	cells  []ipynbCell
	groups []docGroup
	group  int               // of the section
	png    map[string][]byte // the figures as drawn, by key
	text   strings.Builder   // Markdown that is not in a cell yet
	key    string            // of the section
	texts  int               // cells of Markdown that it has
}

// notebook writes d as a notebook whose outputs are there already: text and
// tables as Markdown, each figure and each command as a cell of code.
func (d *document) notebook(folder string, png map[string][]byte) []byte {
	w := &notebookWriter{groups: d.Groups, png: png}
	for i, s := range d.Sections {
		w.key, w.texts, w.group = s.Key, 0, s.Group
		w.text.WriteString(s.heading(i == 0))
		w.blocks(s.Blocks)
		w.flush()
		if i == 0 {
			w.code("setup", strings.TrimSuffix(notebookSetup, "\n"))
			w.code("rows", "folder = find("+pythonText(cmp.Or(folder, "."))+")",
				`root = next((p for p in [folder, *folder.parents] if (p / "go.mod").exists()), folder)`,
				"%cd {root}", "rows = read(folder)", "df = table(rows)", "df.head()")
		}
	}
	nb := ipynb{NBFormat: 4, NBFormatMin: 5, Cells: w.cells, Metadata: map[string]any{
		"kernelspec":    map[string]any{"display_name": "Python 3", "language": "python", "name": "python3"},
		"language_info": map[string]any{"name": "python"},
	}}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetIndent("", " ")
	if err := e.Encode(nb); err != nil {
		panic("reports: notebook: " + err.Error()) // strings and numbers
	}
	return b.Bytes()
}

func (w *notebookWriter) blocks(blocks []block) {
	for _, b := range blocks {
		switch b := b.(type) {
		case command:
			w.code(b.Key, shell(b.Text))
		case drawing:
			w.figure(b)
		case strip:
			for _, d := range b {
				w.figure(d)
			}
		case details:
			w.blocks(b.Blocks)
		case trials:
			first, note := b.runnable()
			w.markdown(note)
			for _, c := range first {
				w.code("trial-"+c.Key, c.comment(), shell(c.Command))
			}
		default:
			w.markdown(blockMarkdown(b))
		}
	}
}

// drawnAgain is the line of Python that draws the figure from the rows, for those that
// pandas can draw in a line.
func (w *notebookWriter) drawnAgain(key string) string {
	if w.group == 0 {
		return ""
	}
	rows := "where(df, **" + w.groups[w.group-1].python() + ")"
	key = strings.TrimSuffix(key, fmt.Sprintf("-%d", w.group))
	if key == "kl-bits" {
		return "over(" + rows + `, "bits_per_weight", "bits per weight, as stored")`
	}
	if m, ok := strings.CutPrefix(key, "kl-time-m"); ok {
		return "over(timed(" + rows + ", " + pythonText("M="+m) + `), "time", ` +
			pythonText("time / 16-bit weights, M="+m) + ")"
	}
	return ""
}

// groupAxes are the axes whose values say which group a row belongs to.
var groupAxes = []string{"model", "basis", "basis_seed", "stress", "protocol", "activations"}

// docGroup is a group of rows as a document knows it.
type docGroup struct {
	Title string
	axes  map[string]string // of its rows; those that rows of other groups have alone are missing
	all   []string          // names of such axes in any group
}

// groupsOf are the groups of t.
func groupsOf(t *stats.Table) []docGroup {
	of := func(axis string) bool {
		section, _, _ := strings.Cut(axis, ".")
		return slices.Contains(groupAxes, section)
	}
	var out []docGroup
	var all []string
	for i, title := range shortTitles(t) {
		g := docGroup{Title: cmp.Or(title, t.Groups[i].Title()), axes: map[string]string{}}
		for k, v := range t.Groups[i].Entries[0].Axes {
			if of(k) {
				g.axes[k] = v
				all = append(all, k)
			}
		}
		out = append(out, g)
	}
	slices.Sort(all)
	for i := range out {
		out[i].all = slices.Compact(all)
	}
	return out
}

// python writes the group as a dictionary of axes.
func (g docGroup) python() string {
	var parts []string
	for _, k := range g.all {
		v := "None"
		if text, ok := g.axes[k]; ok {
			v = pythonText(text)
		}
		parts = append(parts, pythonText(k)+": "+v)
	}
	return "{" + strings.Join(parts, ", ") + "}"
}

// pythonText is s as a string of Python, which reads JSON's.
func pythonText(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		panic("reports: text: " + err.Error()) // a string
	}
	return string(b)
}

// figure shows the drawing that is stored; when run it reads its file and, where the
// rows suffice, draws it again.
func (w *notebookWriter) figure(f drawing) {
	w.markdown(inMarkdown(f.Caption) + "\n")
	lines := []string{"Image(folder / " + pythonText("plots/"+f.Key+".png") + ")"}
	if again := w.drawnAgain(f.Key); again != "" {
		lines = append(lines, again)
	}
	c := w.code("figure-"+f.Key, lines...)
	c.Outputs = append(c.Outputs, ipynbOutput{Type: "display_data", Metadata: map[string]any{},
		Data: map[string]any{"image/png": base64.StdEncoding.EncodeToString(w.png[f.Key]), "text/plain": linesOf(f.Title)}})
}

func (w *notebookWriter) markdown(s string) {
	if w.text.Len() > 0 {
		w.text.WriteString("\n")
	}
	w.text.WriteString(s)
}

// code adds a cell of code after the text so far.
func (w *notebookWriter) code(id string, lines ...string) *ipynbCode {
	w.flush()
	c := &ipynbCode{Outputs: []ipynbOutput{}}
	w.cells = append(w.cells, ipynbCell{Type: "code", ID: id, Metadata: map[string]any{},
		Source: linesOf(strings.Join(lines, "\n")), ipynbCode: c})
	return c
}

// flush makes a cell of the Markdown so far.
func (w *notebookWriter) flush() {
	if w.text.Len() == 0 {
		return
	}
	id := w.key
	if w.texts++; w.texts > 1 {
		id = fmt.Sprintf("%s-part-%d", w.key, w.texts)
	}
	w.cells = append(w.cells,
		ipynbCell{Type: "markdown", ID: id, Metadata: map[string]any{}, Source: linesOf(w.text.String())})
	w.text.Reset()
}

// shell is a command as a notebook's line.
func shell(command string) string { return "!" + strings.ReplaceAll(command, "\n", " ") }

// linesOf splits s as the format wants it: every line with its newline.
func linesOf(s string) []string {
	if s == "" {
		return []string{}
	}
	return strings.SplitAfter(strings.TrimSuffix(s, "\n"), "\n")
}
