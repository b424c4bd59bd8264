package cuda

import (
	"fmt"
	"strconv"
	"strings"
)

// kernel is a line of kernels/table.tsv: what a launch needs to know.
type kernel struct {
	name, image                   string
	tokens, rows, threads, shared int
}

// readTable reads the lines of a table whose first line names the columns.
func readTable(text string) (map[string]kernel, error) {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	for len(lines) > 0 && strings.HasPrefix(lines[0], "#") {
		lines = lines[1:]
	}
	column := map[string]int{}
	for i, name := range strings.Split(lines[0], "\t") {
		column[name] = i
	}
	for _, name := range []string{"name", "image", "tokens", "rows", "threads", "smem"} {
		if _, ok := column[name]; !ok {
			return nil, fmt.Errorf("kernels/table.tsv: no column %s", name)
		}
	}
	all := map[string]kernel{}
	for _, line := range lines[1:] {
		fields := strings.Split(line, "\t")
		if len(fields) != len(column) {
			return nil, fmt.Errorf("kernels/table.tsv: %d fields in %q, want %d", len(fields), line, len(column))
		}
		var k kernel
		for name, to := range map[string]*int{"tokens": &k.tokens, "rows": &k.rows, "threads": &k.threads,
			"smem": &k.shared} {
			var err error
			if *to, err = strconv.Atoi(fields[column[name]]); err != nil {
				return nil, fmt.Errorf("kernels/table.tsv: %s of %q: %w", name, line, err)
			}
		}
		k.name, k.image = fields[column["name"]], fields[column["image"]]
		all[k.name] = k
	}
	return all, nil
}
