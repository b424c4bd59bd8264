package main

import (
	"github.com/spf13/cobra"

	"github.com/mosaicquant/mosaicquant/experiments/plan"
)

func keysCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "keys",
		Short:   "Print every key of a sweep file with its values, default and meaning",
		Example: "  go run ./experiments keys",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return plan.Document(cmd.OutOrStdout()) },
	}
}
