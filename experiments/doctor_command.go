package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/mosaicquant/mosaicquant/experiments/bench"
	"github.com/mosaicquant/mosaicquant/internal/builtin"
	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/row"
	"github.com/mosaicquant/mosaicquant/internal/store"
)

func doctorCommand() *cobra.Command {
	var cache string
	var clean, asJSON bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Show what this machine offers: CPU features, kernels, caches, versions",
		Long: `Doctor shows the source and Go version of this program, CPU features and kernels,
the engine cuda, the cache and how large it is, and what the program carries.

With --clean it empties the cache of what is computed again when it is needed:
calibrations, references, layers of runs that did not end. Models from the hub stay.`,
		Example: `  go run ./experiments doctor
  go run ./experiments doctor --clean`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			facts, err := machineFacts(cache, clean)
			if err != nil {
				return err
			}
			if asJSON {
				m := map[string]string{}
				for _, f := range facts {
					m[f[0]] = f[1]
				}
				enc := json.NewEncoder(cmd.OutOrStdout())
				enc.SetIndent("", " ")
				return enc.Encode(m)
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			for _, f := range facts {
				fmt.Fprintf(w, "%s\t%s\n", f[0], f[1])
			}
			return w.Flush()
		},
	}
	cmd.Flags().StringVar(&cache, "cache", "", "cache `folder` (default: the user's cache folder)")
	cmd.Flags().BoolVar(&clean, "clean", false, "empty the cache, but for models from the hub")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON: an object of names and values")
	return cmd
}

// machineFacts returns names and values, in order. With clean it empties the cache first.
func machineFacts(cache string, clean bool) ([][2]string, error) {
	e := row.Capture(gemm.Kernel(), gemm.Features())
	source := e.Commit
	if e.Dirty != nil && *e.Dirty {
		source += ", with uncommitted changes"
	}
	facts := [][2]string{
		{"source", source},
		{"Go", fmt.Sprintf("%s %s/%s", e.Go, e.OS, e.Arch)},
		{"CPU", fmt.Sprintf("%s, %d cores, GOMAXPROCS %d", e.CPU, e.Cores, e.GOMAXPROCS)},
		{"memory", fmt.Sprintf("%.1f GiB", float64(e.Memory)/(1<<30))},
		{"CPU features", strings.Join(e.Features, " ")},
		{"float32 kernels", strings.Join(gemm.Kernels(), " ")},
		{"kernel in use", e.Kernel + " (MOSAICQUANT_CPU forces one)"},
		{"engine cuda", strings.Join(bench.CUDAStatus(), "; ")},
	}
	state, err := cacheState(cache, clean)
	if err != nil {
		return nil, err
	}
	return append(append(facts, state...),
		[2]string{"builtin models",
			cmp.Or(strings.Join(builtin.Models(), ", "), "none: this program was built without them")},
		[2]string{"builtin texts", strings.Join(builtin.Texts(), ", ")},
		[2]string{"builtin tasks", strings.Join(builtin.Tasks(), ", ")}), nil
}

// cacheState tells where the cache is, what it holds, and what cleaning it freed.
func cacheState(cache string, clean bool) ([][2]string, error) {
	if cache == "" {
		dir, err := store.DefaultDir()
		if err != nil {
			return [][2]string{{"cache", "none: " + err.Error()}}, nil
		}
		cache = dir
	}
	facts := [][2]string{{"cache", cache}}
	dir := filepath.Join(cache, "store")
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return append(facts, [2]string{"cache size", "empty"}), nil
	}
	st, err := store.Open(dir, func(string) {})
	if err != nil {
		return nil, err
	}
	if clean {
		freed, err := st.Clean(func(store.Item) bool { return true })
		if err != nil {
			return nil, err
		}
		facts = append(facts, [2]string{"freed", mebibytes(freed)})
	}
	items, err := st.List()
	if err != nil {
		return nil, err
	}
	var total int64
	kinds := map[string]int64{}
	for _, i := range items {
		total += i.Bytes
		kinds[i.Kind] += i.Bytes
	}
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(kinds)) {
		parts = append(parts, k+" "+mebibytes(kinds[k]))
	}
	size := mebibytes(total)
	if len(parts) > 0 {
		size += " (" + strings.Join(parts, ", ") + ")"
	}
	return append(facts, [2]string{"cache size", size}), nil
}
