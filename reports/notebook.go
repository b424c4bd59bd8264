package reports

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"html"
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

// notebook writes blocks as a notebook whose outputs are there already.
func notebook(blocks []block) []byte {
	nb := ipynb{NBFormat: 4, NBFormatMin: 5, Metadata: map[string]any{
		"kernelspec":    map[string]any{"display_name": "Python 3", "language": "python", "name": "python3"},
		"language_info": map[string]any{"name": "python"},
	}}
	for _, b := range blocks {
		c := ipynbCell{Type: "markdown", ID: b.key, Metadata: map[string]any{}, Source: linesOf(b.text)}
		if b.text == "" {
			c.Type, c.Source = "code", linesOf(strings.Join(b.code, "\n"))
			c.ipynbCode = &ipynbCode{Outputs: []ipynbOutput{}}
			for _, o := range b.shows {
				c.Outputs = append(c.Outputs, ipynbOutput{"display_data", o.data(), map[string]any{}})
			}
		}
		nb.Cells = append(nb.Cells, c)
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetIndent("", " ")
	if err := e.Encode(nb); err != nil {
		panic("reports: notebook: " + err.Error()) // strings and numbers
	}
	return b.Bytes()
}

// linesOf splits s as the format wants it: every line with its newline.
func linesOf(s string) []string {
	if s == "" {
		return []string{}
	}
	return strings.SplitAfter(strings.TrimSuffix(s, "\n"), "\n")
}

// data is o in the forms that a notebook shows.
func (o output) data() map[string]any {
	if o.figure != nil {
		return map[string]any{"image/png": base64.StdEncoding.EncodeToString(o.png), "text/plain": linesOf(o.figure.Title)}
	}
	var h, t strings.Builder
	h.WriteString("<table>\n<caption>" + html.EscapeString(o.title) + "</caption>\n")
	for i, l := range o.table {
		tag := "td"
		if i == 0 {
			tag = "th"
		}
		h.WriteString("<tr>")
		for _, c := range l {
			h.WriteString("<" + tag + ">" + html.EscapeString(c) + "</" + tag + ">")
		}
		h.WriteString("</tr>\n")
	}
	h.WriteString("</table>\n")
	t.WriteString(o.title + "\n")
	plain := make([][]string, len(o.table))
	for i, l := range o.table {
		plain[i] = append([]string(nil), l...) // align pads in place
	}
	align(&t, plain)
	return map[string]any{"text/html": linesOf(h.String()), "text/plain": linesOf(t.String())}
}
