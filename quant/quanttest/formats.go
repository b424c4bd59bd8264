package quanttest

import (
	"encoding/json"
	"os"
	"testing"
)

// Formats is what scripts/golden/formats.py wrote.
type Formats struct {
	Values map[string][]float32
	E4M3   []float64
	Any4   []struct {
		Seed                uint64
		FromStart           float64 `json:"from_start"`
		Best, Median, Worst float64
	}
	AWQ   []float64
	NF4DQ []float64
}

// ReadFormats returns what bitsandbytes, ml_dtypes, scikit-learn and numpy made of
// matrices that tests draw again.
func ReadFormats(t *testing.T) (golden Formats) {
	t.Helper()
	data, err := os.ReadFile("../testdata/formats.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &golden); err != nil {
		t.Fatal(err)
	}
	if len(golden.E4M3) != 127 || len(golden.Any4) != 2 || len(golden.AWQ) != 20 {
		t.Fatal("the golden file lacks something")
	}
	return golden
}
