package main

import (
	"encoding/csv"
	"encoding/json"
	"image/png"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/mosaicquant/mosaicquant/experiments/trial"
	"github.com/mosaicquant/mosaicquant/internal/outliers"
	"github.com/mosaicquant/mosaicquant/reports"
)

// TestInspectCommand holds the forms of one inspection against each other.
func TestInspectCommand(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "inspected")
	table, err := execute(t, "inspect", "--tokens", "512", "-o", dir)
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(dir, "inspect.json"))
	if err != nil {
		t.Fatal(err)
	}
	var rep struct {
		Tokens               int
		Weights, Activations []inspectedRow
	}
	if err := json.Unmarshal(data, &rep); err != nil {
		t.Fatal(err)
	}
	if rep.Tokens != 512 || len(rep.Weights) != 42 || len(rep.Activations) != 24 {
		t.Fatalf("%d tokens, %d weights, %d activations", rep.Tokens, len(rep.Weights), len(rep.Activations))
	}
	f, err := os.Open(filepath.Join(dir, "inspect.csv"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines, err := csv.NewReader(f).ReadAll()
	if err != nil || len(lines) != 1+42+24 {
		t.Fatalf("%d lines: %v", len(lines), err)
	}
	for i, line := range lines[1:] {
		r := append(rep.Weights, rep.Activations...)[i]
		for j, key := range lines[0] {
			if want, ok := r.Values[key]; ok {
				if got, err := strconv.ParseFloat(line[j], 64); err != nil || math.Abs(got-want) > 1e-6*math.Abs(want) {
					t.Errorf("%s: %s is %q in CSV, %v in JSON", r.Name, key, line[j], want)
				}
			}
		}
		if line[1] != r.Name || !strings.Contains(table, strings.TrimPrefix(r.Name, "model.layers.")) {
			t.Errorf("line %d is %q, want %s", i, line, r.Name)
		}
	}
	for _, name := range []string{"weights-max_over_rms.png", "activations-kurtosis.png", "activations-channel_rms.png"} {
		f, err := os.Open(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		img, err := png.Decode(f)
		f.Close()
		if err != nil || img.Bounds().Dx() < 500 {
			t.Errorf("%s: %v", name, err)
		}
	}
	if out, err := execute(t, "inspect", "--text", "", "--format", "md"); err != nil || strings.Contains(out, "attn_in") || strings.Count(out, "\n| ") != 43 {
		t.Errorf("weights only: %v", err)
	}
	if _, err := execute(t, "inspect", "--format", "xml"); err == nil || !strings.Contains(err.Error(), "xml") {
		t.Errorf("error %v", err)
	}
}

// TestInspectedUndefined: what has no value is a dash, an empty cell or absent.
func TestInspectedUndefined(t *testing.T) {
	nan := math.NaN()
	r := &trial.Inspected{Weights: []trial.Outliers{{Name: "model.layers.0.w", Stats: outliers.Stats{
		Rows: 2, Cols: 2, Kurtosis: nan, MaxOverRMS: nan, RowPeak: nan, ColPeak: nan, ColRMS: nan, Top: []outliers.Channel{{Index: 0, Ratio: nan}}}}}}
	for _, format := range inspectFormats {
		var b strings.Builder
		if err := writeInspected(&b, r, format); err != nil {
			t.Fatal(err)
		}
		if s := b.String(); strings.Contains(s, "NaN") || format == "md" && strings.Count(s, "–") != 5 {
			t.Errorf("%s:\n%s", format, s)
		}
	}
	if h := heatMap(r.Weights, measures[0]); !h.Empty() || reports.WriteHeatMap(h, filepath.Join(t.TempDir(), "x.png")) == nil {
		t.Error("an empty heat map was drawn")
	}
}
