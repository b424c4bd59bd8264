package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strconv"

	"github.com/spf13/cobra"
)

// jsonFlag adds --json to cmd.
func jsonFlag(cmd *cobra.Command, asJSON *bool) {
	cmd.Flags().BoolVar(asJSON, "json", false, "print JSON: a list with an object for each line of the table")
}

// writeRecords writes a table, as CSV with a line of names, as a list of JSON objects.
// Numbers are numbers, and an empty cell is left out.
func writeRecords(w io.Writer, table []byte) error {
	lines, err := csv.NewReader(bytes.NewReader(table)).ReadAll()
	if err != nil {
		return err
	}
	if len(lines) == 0 {
		return fmt.Errorf("a table without columns")
	}
	records := []map[string]any{}
	for _, line := range lines[1:] {
		r := map[string]any{}
		for i, cell := range line {
			v, err := strconv.ParseFloat(cell, 64)
			switch {
			case cell == "":
			case err == nil && !math.IsInf(v, 0) && !math.IsNaN(v) && json.Valid([]byte(cell)):
				r[lines[0][i]] = json.Number(cell)
			default:
				r[lines[0][i]] = cell
			}
		}
		records = append(records, r)
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", " ")
	return enc.Encode(records)
}
