package main

import (
	"cmp"
	"fmt"
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
	return &cobra.Command{
		Use:   "doctor",
		Short: "Show what this machine offers: CPU features, kernels, caches, versions",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			e := row.Capture(gemm.Kernel(), gemm.Features())
			dirty := ""
			if e.Dirty != nil && *e.Dirty {
				dirty = ", with uncommitted changes"
			}
			cache, err := store.DefaultDir()
			if err != nil {
				cache = "none: " + err.Error()
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintf(w, "source\t%s%s\n", e.Commit, dirty)
			fmt.Fprintf(w, "Go\t%s %s/%s\n", e.Go, e.OS, e.Arch)
			fmt.Fprintf(w, "CPU\t%s, %d cores, GOMAXPROCS %d\n", e.CPU, e.Cores, e.GOMAXPROCS)
			fmt.Fprintf(w, "memory\t%.1f GiB\n", float64(e.Memory)/(1<<30))
			fmt.Fprintf(w, "CPU features\t%s\n", strings.Join(e.Features, " "))
			fmt.Fprintf(w, "float32 kernels\t%s\n", strings.Join(gemm.Kernels(), " "))
			fmt.Fprintf(w, "kernel in use\t%s (MOSAICQUANT_CPU forces one)\n", e.Kernel)
			for _, line := range bench.CUDAStatus() {
				fmt.Fprintf(w, "engine cuda\t%s\n", line)
			}
			fmt.Fprintf(w, "cache\t%s\n", cache)
			fmt.Fprintf(w, "builtin models\t%s\n", cmp.Or(strings.Join(builtin.Models(), ", "), "none: this program was built without them"))
			fmt.Fprintf(w, "builtin texts\t%s\n", strings.Join(builtin.Texts(), ", "))
			fmt.Fprintf(w, "builtin tasks\t%s\n", strings.Join(builtin.Tasks(), ", "))
			return w.Flush()
		},
	}
}
