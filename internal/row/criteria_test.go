package row

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestCriteriaFile(t *testing.T) {
	dir := t.TempDir()
	if list, err := ReadCriteria(dir); err != nil || list != nil {
		t.Fatalf("a folder without studies has %v, %v", list, err)
	}
	want := []Criteria{
		{Schema: 1, Study: "a", Label: "one", Axes: map[string]string{"block": "1x16"}, Layer: "l0", N: 2, K: 3, Blocks: 6, Densities: []float64{0.1},
			Criteria: []CriterionResult{{Name: "delta", Recovered: []float64{0.5}, HeldOut: []float64{-0.1},
				Spearman: map[string]float64{"full": 1}, Overlap: map[string][]float64{"full": {0.25}}}}},
		{Schema: 1, Study: "a", Layer: "l1"},
	}
	if err := WriteCriteria(dir, want); err != nil {
		t.Fatal(err)
	}
	if got, err := ReadCriteria(dir); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
	for text, message := range map[string]string{`{"schema":2}`: "newer", `{"schema":1}` + "\n{": ":2: not a study", `{}`: ":1: schema is 0"} {
		if err := os.WriteFile(filepath.Join(dir, CriteriaFile), []byte(text+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadCriteria(dir); err == nil || !strings.Contains(err.Error(), message) {
			t.Errorf("%s: error %v", text, err)
		}
	}
}
