package reports

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"path"
	"strings"
)

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
	folder string            // where the report is, from the repository's root
	png    map[string][]byte // the figures as drawn, by key
	text   strings.Builder   // Markdown that is not in a cell yet
	key    string            // of the section
	texts  int               // cells of Markdown that it has
}

// notebook writes d as a notebook whose outputs are there already: text and
// tables as Markdown, each figure and each command as a cell of code.
func (d *document) notebook(folder string, png map[string][]byte) []byte {
	w := &notebookWriter{folder: folder, png: png}
	for i, s := range d.Sections {
		w.key, w.texts = s.Key, 0
		w.text.WriteString(s.heading(i == 0))
		w.blocks(s.Blocks)
		w.flush()
		if i == 0 && folder != "" { // Jupyter starts in the notebook's folder
			w.code("root", "%cd .."+strings.Repeat("/..", strings.Count(path.Clean(folder), "/")))
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
				w.code("trial-"+c.Row, c.comment(), shell(c.Command))
			}
		default:
			w.markdown(blockMarkdown(b))
		}
	}
}

// figure shows the drawing that is stored, and reads it from its file when run.
func (w *notebookWriter) figure(f drawing) {
	w.markdown(inMarkdown(f.Caption) + "\n")
	file, err := json.Marshal(path.Join(w.folder, "plots", f.Key+".png"))
	if err != nil {
		panic("reports: file name: " + err.Error()) // a string
	}
	c := w.code("figure-"+f.Key, "from IPython.display import Image", "Image("+string(file)+")")
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
	w.cells = append(w.cells, ipynbCell{Type: "markdown", ID: id, Metadata: map[string]any{}, Source: linesOf(w.text.String())})
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
