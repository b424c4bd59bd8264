package main

import (
	"io/fs"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mosaicquant/mosaicquant/configs"
	"github.com/mosaicquant/mosaicquant/experiments/bench"
	"github.com/mosaicquant/mosaicquant/internal/builtin"
	"github.com/mosaicquant/mosaicquant/internal/foreign"
	"github.com/mosaicquant/mosaicquant/internal/tasks"
	"github.com/mosaicquant/mosaicquant/reports"
)

// completeFlags teaches shells the values of flags, of cmd and all below it.
func completeFlags(cmd *cobra.Command) {
	for _, c := range cmd.Commands() {
		completeFlags(c)
	}
	for name, values := range map[string]func(*cobra.Command) []string{
		"config":      configNames,
		"trial":       trialLabels,
		"model":       func(*cobra.Command) []string { return builtinNames(builtin.Models()) },
		"text":        func(*cobra.Command) []string { return builtinNames(builtin.Texts()) },
		"tasks":       taskNames,
		"format":      formatNames,
		"activations": func(*cobra.Command) []string { return []string{"a16", "a8", "a4"} },
		"predict":     func(*cobra.Command) []string { return bench.PredictedDevices() },
		"assets":      func(*cobra.Command) []string { return []string{"npm", "none"} },
	} {
		if cmd.Flags().Lookup(name) == nil {
			continue
		}
		mode := cobra.ShellCompDirectiveNoFileComp
		if slices.Contains([]string{"config", "model", "text", "tasks", "assets"}, name) {
			mode = cobra.ShellCompDirectiveDefault // or a file
		}
		err := cmd.RegisterFlagCompletionFunc(name,
			func(c *cobra.Command, _ []string, begun string) ([]string, cobra.ShellCompDirective) {
				var fit []string
				for _, v := range values(c) {
					if strings.HasPrefix(v, begun) {
						fit = append(fit, v)
					}
				}
				return fit, mode
			})
		if err != nil {
			panic("complete: " + err.Error()) // the flag is there, and has no other
		}
	}
}

func builtinNames(names []string) []string {
	var out []string
	for _, n := range names {
		out = append(out, builtin.Prefix+n)
	}
	return out
}

func taskNames(*cobra.Command) []string {
	out := builtinNames(builtin.Tasks())
	for _, n := range tasks.Names() {
		out = append(out, n, n+"=")
	}
	return out
}

// configNames are the files that the program carries for cmd.
func configNames(cmd *cobra.Command) []string {
	files, err := fs.Glob(configs.Files, "*.yaml")
	if err != nil {
		return nil
	}
	var out []string
	for _, f := range files {
		if strings.HasPrefix(f, "kernels") == (cmd.Name() == "bench") {
			out = append(out, "configs/"+f)
		}
	}
	return out
}

// trialLabels are those of the sweep file that the command line names.
func trialLabels(cmd *cobra.Command) []string {
	f := cmd.Flags().Lookup("config")
	if f == nil {
		return nil
	}
	sw, err := readSweep(f.Value.String())
	if err != nil {
		return nil
	}
	var out []string
	for _, t := range sw.Trials {
		out = append(out, t.Label)
	}
	return out
}

func formatNames(cmd *cobra.Command) []string {
	switch cmd.Name() {
	case "compare":
		return reports.DiffFormats
	case "tables":
		return reports.TableFormats
	case "inspect":
		return inspectFormats
	case "quantize":
		return append([]string{"packed"}, foreign.Targets...)
	}
	return nil
}
