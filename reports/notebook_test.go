package reports

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"image/png"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/mosaicquant/mosaicquant/reports/rowtest"
	"github.com/mosaicquant/mosaicquant/reports/stats"
)

// parsed is a notebook as the schema of nbformat 4.5 has it; unknown fields
// are errors.
type parsed struct {
	Cells []struct {
		Type     string         `json:"cell_type"`
		ID       string         `json:"id"`
		Metadata map[string]any `json:"metadata"`
		Source   []string       `json:"source"`
		Count    *int           `json:"execution_count"`
		Outputs  []struct {
			Type     string                     `json:"output_type"`
			Data     map[string]json.RawMessage `json:"data"`
			Metadata map[string]any             `json:"metadata"`
		} `json:"outputs"`
	} `json:"cells"`
	Metadata map[string]any `json:"metadata"`
	Major    int            `json:"nbformat"`
	Minor    int            `json:"nbformat_minor"`
}

func readNotebook(t *testing.T, data []byte) parsed {
	t.Helper()
	var nb parsed
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&nb); err != nil {
		t.Fatal(err)
	}
	if nb.Major != 4 || nb.Minor != 5 || nb.Metadata["kernelspec"] == nil {
		t.Errorf("nbformat %d.%d, metadata %v", nb.Major, nb.Minor, nb.Metadata)
	}
	ids := map[string]bool{}
	for i, c := range nb.Cells {
		if !regexp.MustCompile(`^[a-zA-Z0-9_-]{1,64}$`).MatchString(c.ID) || ids[c.ID] {
			t.Errorf("cell %d: ID %q is taken or not allowed", i, c.ID)
		}
		ids[c.ID] = true
		if c.Metadata == nil || c.Source == nil || c.Type != "code" && c.Type != "markdown" {
			t.Errorf("cell %s: type %q, metadata %v, source %v", c.ID, c.Type, c.Metadata, c.Source)
		}
		if (c.Type == "code") != (c.Outputs != nil) || c.Count != nil {
			t.Errorf("cell %s of type %s has outputs %v, count %v", c.ID, c.Type, c.Outputs != nil, c.Count)
		}
		for j, l := range c.Source {
			if strings.HasSuffix(l, "\n") == (j == len(c.Source)-1) || strings.Count(l, "\n") > 1 {
				t.Errorf("cell %s: line %d is %q", c.ID, j, l)
			}
		}
		for _, o := range c.Outputs {
			if o.Type != "display_data" || o.Metadata == nil || o.Data["text/plain"] == nil || o.Data["image/png"] == nil {
				t.Errorf("cell %s: output %s of %d forms", c.ID, o.Type, len(o.Data))
			}
		}
	}
	return nb
}

func TestNotebook(t *testing.T) {
	dir := t.TempDir()
	in := syntheticInput()
	in.Folder, in.Draw = "results/synthetic", "go run ./experiments report results/synthetic"
	if err := Write(dir, in); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(dir, "report.ipynb"))
	if err != nil {
		t.Fatal(err)
	}
	nb := readNotebook(t, data)
	tables, pictures, commands := 0, 0, 0
	for _, c := range nb.Cells {
		for _, l := range c.Source {
			if c.Type == "markdown" && strings.HasPrefix(l, "| --- ") {
				tables++
			}
			if c.Type == "code" && strings.HasPrefix(l, "!") {
				commands++
				if !strings.HasPrefix(l, "!go run ./experiments ") {
					t.Errorf("cell %s: %q", c.ID, l)
				}
			}
		}
		for _, o := range c.Outputs {
			pictures++
			var text string
			if err := json.Unmarshal(o.Data["image/png"], &text); err != nil {
				t.Fatal(err)
			}
			file, err := base64.StdEncoding.DecodeString(text)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := png.Decode(bytes.NewReader(file)); err != nil {
				t.Error(err)
			}
			want := `Image(folder / "plots/` + strings.TrimPrefix(c.ID, "figure-") + `.png")`
			if strings.TrimSuffix(c.Source[0], "\n") != want {
				t.Errorf("cell %s shows %q, want %q", c.ID, c.Source, want)
			}
		}
	}
	if want := 2 + min(len(in.Rows), trialLimit); tables != 14 || pictures != 18 || commands != want {
		t.Errorf("%d tables, %d pictures, %d commands; want 14, 18, %d", tables, pictures, commands, want)
	}
	if code := strings.Join(nb.Cells[1].Source, "") + "\n"; code != notebookSetup {
		t.Errorf("the notebook's first code is %q", code)
	}
	if rows := nb.Cells[2].Source; rows[0] != "folder = find(\"results/synthetic\")\n" {
		t.Errorf("the notebook reads %q", rows)
	}

	md, err := os.ReadFile(filepath.Join(dir, "report.md"))
	if err != nil {
		t.Fatal(err)
	}
	links := regexp.MustCompile(`!\[[^\]]+\]\(([^)]+)\)`).FindAllSubmatch(md, -1)
	for _, l := range links {
		if _, err := os.Stat(filepath.Join(dir, filepath.FromSlash(string(l[1])))); err != nil {
			t.Errorf("report.md: %v", err)
		}
	}
	if len(links) != 18 {
		t.Errorf("report.md links %d figures, want 18", len(links))
	}
	for _, bad := range []string{"NaN", "%!"} {
		if bytes.Contains(md, []byte(bad)) { // pictures may spell anything
			t.Errorf("report.md holds %q", bad)
		}
	}

	slices.Reverse(in.Rows)
	again := t.TempDir()
	if err := Write(again, in); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]byte{"report.ipynb": data, "report.md": md} {
		if got, err := os.ReadFile(filepath.Join(again, name)); err != nil || !bytes.Equal(got, want) {
			t.Errorf("the order of rows changes %s: %v", name, err)
		}
	}
}

// TestHostileNotebook puts markup into labels, titles and settings.
func TestHostileNotebook(t *testing.T) {
	in := hostileFolders()[0]
	in.Question, in.Config = rowtest.Evil, "```\n"+rowtest.Evil+"\n````\n<b>"
	in.Folder, in.Command = "a\"b", "go run\n"+rowtest.Evil
	in.Warnings = []string{rowtest.Evil}
	for i := range in.Rows {
		in.Commands = map[string]string{in.Rows[i].Trial: rowtest.Evil}
	}
	in = in.visible()
	nb := readNotebook(t, documentOf(stats.Build(in.Rows), in).notebook(in.Folder, map[string][]byte{}))
	settings := 0
	for _, c := range nb.Cells {
		source := strings.Join(c.Source, "")
		if c.ID == "settings" {
			settings++
			if !strings.Contains(source, "\n`````yaml\n") || !strings.HasSuffix(source, "\n`````") {
				t.Errorf("the settings can end their fence: %q", source)
			}
			continue
		}
		if c.Type == "markdown" {
			if m := regexp.MustCompile(`(^|[^\\])[<&]`).FindString(source); m != "" {
				t.Errorf("cell %s has unescaped markup: %q", c.ID, source)
			}
		} else if strings.Contains(source, "\n!ls") || strings.Contains(source, "\n%%bash") {
			t.Errorf("cell %s runs a label: %q", c.ID, source)
		}
	}
	if settings != 1 {
		t.Errorf("%d cells of settings", settings)
	}
}
