package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mosaicquant/mosaicquant/internal/bounded"
	"github.com/mosaicquant/mosaicquant/internal/row"
	"github.com/mosaicquant/mosaicquant/reports"
	"github.com/mosaicquant/mosaicquant/reports/stats"
)

// filledFiles are the documents with regions of rows, from the repository's root.
var filledFiles = []string{"README.md", "results/README.md"}

// maxDocument bounds a document to fill.
const maxDocument = 4 << 20

func docsCommand() *cobra.Command {
	var check bool
	cmd := &cobra.Command{
		Use:   "docs [FILE...]",
		Short: "Fill the tables and numbers of documents from committed rows",
		Long: `Docs fills the marked regions of Markdown files, by default of README.md and
results/README.md, from the rows of results folders. A region begins with a
comment that says what it holds and ends with one more:

  <!-- rows {ratio: [LABEL, LABEL], folder: results/reference/default} -->−6.1 %<!-- /rows -->

"go doc ./reports Region" describes the kinds: count, value, ratio, table, front,
league.
With --check nothing is written, and a region that is not current is an error.`,
		Example: `  go run ./experiments docs
  go run ./experiments docs --check results/README.md`,
		RunE: func(cmd *cobra.Command, args []string) error {
			root, err := repository(".")
			if err != nil {
				return err
			}
			files := args
			if len(files) == 0 {
				for _, f := range filledFiles {
					files = append(files, filepath.Join(root, filepath.FromSlash(f)))
				}
			}
			return fillDocuments(cmd.OutOrStdout(), root, files, check)
		},
	}
	cmd.Flags().BoolVar(&check, "check", false, "write nothing; fail where a region is not current")
	return cmd
}

// repository returns the root of the module that the folder dir is in.
func repository(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	for root := dir; ; root = filepath.Dir(root) {
		if _, err := os.Stat(filepath.Join(root, "go.mod")); err == nil {
			return root, nil
		}
		if root == filepath.Dir(root) {
			return "", fmt.Errorf("%s is in no folder with a go.mod: run this in the repository", dir)
		}
	}
}

// fillDocuments fills the regions of the files from the rows under root.
func fillDocuments(out io.Writer, root string, files []string, check bool) error {
	var stale []string
	for _, file := range files {
		old, err := bounded.ReadFile(file, maxDocument)
		if err != nil {
			return err
		}
		filled, n, err := reports.Fill(file, old, rowsUnder(root))
		if err != nil {
			return err
		}
		switch {
		case bytes.Equal(old, filled):
			fmt.Fprintf(out, "%s: %d regions, all current\n", file, n)
		case check:
			stale = append(stale, file+":"+fmt.Sprint(firstDifference(old, filled)))
		default:
			if err := row.WriteFile(file, filled); err != nil {
				return err
			}
			fmt.Fprintf(out, "%s: %d regions, filled\n", file, n)
		}
	}
	if stale != nil {
		return fmt.Errorf("numbers that are not those of the rows, first at %s: go run ./experiments docs",
			strings.Join(stale, ", "))
	}
	return nil
}

// firstDifference is the first line in which two texts differ.
func firstDifference(a, b []byte) int {
	x, y := bytes.Split(a, []byte("\n")), bytes.Split(b, []byte("\n"))
	for i := range x {
		if i >= len(y) || !bytes.Equal(x[i], y[i]) {
			return i + 1
		}
	}
	return len(x)
}

// rowsUnder reads the rows of the folders that match a pattern under root, each once.
func rowsUnder(root string) reports.Rows {
	read := map[string][]row.Row{}
	return func(pattern string) (map[string][]row.Row, error) {
		if !filepath.IsLocal(filepath.FromSlash(pattern)) {
			return nil, errors.New("is not a folder of the repository")
		}
		found, err := filepath.Glob(filepath.Join(root, filepath.FromSlash(pattern)))
		if err != nil {
			return nil, err
		}
		out := map[string][]row.Row{}
		for _, dir := range found {
			if _, ok := read[dir]; !ok {
				rows, _, err := row.ReadFolder(dir)
				if errors.Is(err, fs.ErrNotExist) && len(found) > 1 { // a pattern also matches files, and folders without rows
					continue
				}
				if err != nil {
					return nil, err
				}
				if err := addLimits(dir, rows); err != nil {
					return nil, err
				}
				read[dir] = rows
			}
			out[dir] = read[dir]
		}
		if len(out) == 0 {
			return nil, errors.New("no such folder of rows")
		}
		return out, nil
	}
}

// addLimits gives rows what the folder's limit.jsonl, where there is one, says of their
// trials: limit/db and limit/above, means over layers.
func addLimits(dir string, rows []row.Row) error {
	lines, err := row.ReadLimits(dir)
	if err != nil {
		return err
	}
	of := map[string]stats.LimitTrial{}
	for _, l := range stats.Limits(lines) {
		for _, t := range l.Trials {
			of[t.Label] = t
		}
	}
	for i := range rows {
		if t, ok := of[rows[i].Label]; ok {
			rows[i].Values = append(rows[i].Values, row.Value{Name: "limit/db", Unit: "dB", Value: t.DB},
				row.Value{Name: "limit/above", Unit: "bit/weight", Value: t.Above})
		}
	}
	return nil
}
