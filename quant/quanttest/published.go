package quanttest

import (
	"encoding/json"
	"os"
	"testing"
)

// Published is what scripts/golden/published.py wrote: results of the authors'
// and of other published implementations.
type Published struct {
	Microscaling map[string]struct{ Scales, Values []float64 }
	SmoothQuant  []struct {
		Alpha          float64
		Scales, Weight []float64
	}
	GPTQ []struct {
		Group     int
		ActOrder  bool `json:"act_order"`
		Dynamic   bool
		Objective float64
		Row       []float64 // row 3
	}
	AWQ []struct {
		Affine                    bool
		Losses, Scales, Clip, Row []float64
	}
	Int8 struct{ Codes, Largest []float64 }
	Any4 struct{ Tables, Scales, Zeros, Values []float64 }
	SpQR struct {
		Bilevel3 []float64 `json:"bilevel 3"`
		Bilevel4 []float64 `json:"bilevel 4"`
		Gains    []float64 // rows 2..5
	}
}

func ReadPublished(t *testing.T) (p Published) {
	t.Helper()
	data, err := os.ReadFile("../testdata/published.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &p); err != nil {
		t.Fatal(err)
	}
	return p
}
