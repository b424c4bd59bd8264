package main

import (
	"bytes"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mosaicquant/mosaicquant/reports"
)

func tablesCommand() *cobra.Command {
	var format string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "tables DIR...",
		Short: "Print the paper's tables with our figures beside the reported ones",
		Long: `Tables prints the MosaicQuant paper's tables, as reported, and beside each figure
what the results folders measured for that model and scheme, with its row; empty
where they hold none. The results of each folder follow.

LaTeX tables need the package booktabs.`,
		Example: `  go run ./experiments tables results/default
  go run ./experiments tables results/llama results/qwen --format latex > tables.tex`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := knownFormat(format, reports.TableFormats); err != nil {
				return err
			}
			names := map[string]int{}
			for _, dir := range args {
				names[filepath.Base(dir)]++
			}
			var folders []reports.Input
			for _, dir := range args {
				in, err := readFolder(dir)
				if err != nil {
					return err
				}
				if in.Title = filepath.Base(dir); names[in.Title] > 1 {
					in.Title = filepath.ToSlash(filepath.Clean(dir))
				}
				folders = append(folders, in)
			}
			if !asJSON {
				return reports.Tables(cmd.OutOrStdout(), folders, format)
			}
			var b bytes.Buffer
			if err := reports.Tables(&b, folders, "csv"); err != nil {
				return err
			}
			return writeRecords(cmd.OutOrStdout(), b.Bytes())
		},
	}
	cmd.Flags().StringVar(&format, "format", "md", "output `format`: "+strings.Join(reports.TableFormats, ", "))
	jsonFlag(cmd, &asJSON)
	cmd.MarkFlagsMutuallyExclusive("json", "format")
	return cmd
}
