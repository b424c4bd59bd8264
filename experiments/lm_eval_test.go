package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

// TestLMEval reads what --lm-eval-json writes as the table of lm-evaluation-harness does.
func TestLMEval(t *testing.T) {
	file := filepath.Join(t.TempDir(), "new", "results.json")
	out, err := execute(t, "eval", "--tasks", "builtin:choice,builtin:cloze", "--limit", "8", "--json", "--lm-eval-json", file, "--cache", t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	var own struct {
		Tasks []struct {
			Name    string
			Metrics []struct {
				Name  string
				Value float64
				SE    *float64
			}
		}
	}
	if err := json.Unmarshal([]byte(out), &own); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var r struct {
		Results  map[string]map[string]any
		Versions map[string]float64
		Shots    map[string]int             `json:"n-shot"`
		Better   map[string]map[string]bool `json:"higher_is_better"`
		Samples  map[string]map[string]int  `json:"n-samples"`
	}
	if err := json.Unmarshal(data, &r); err != nil {
		t.Fatal(err)
	}
	if len(own.Tasks) != 2 || len(r.Results) != 2 {
		t.Fatalf("%d tasks, %d results", len(own.Tasks), len(r.Results))
	}
	for _, task := range own.Tasks {
		for _, m := range task.Metrics {
			got, ok := r.Results[task.Name][m.Name+",none"]
			if m.Name == "logprob" {
				if ok {
					t.Errorf("%s: has logprob, which the harness lacks", task.Name)
				}
				continue
			}
			if got != m.Value || r.Results[task.Name][m.Name+"_stderr,none"] != *m.SE || r.Better[task.Name][m.Name] != (m.Name != "perplexity") {
				t.Errorf("%s: %s is %v, want %v ± %v", task.Name, m.Name, got, m.Value, *m.SE)
			}
		}
		if r.Results[task.Name]["alias"] != task.Name || r.Versions[task.Name] != 1 || r.Shots[task.Name] != 0 || r.Samples[task.Name]["effective"] != 8 ||
			r.Samples[task.Name]["original"] <= 8 {
			t.Errorf("%s: %+v", task.Name, r)
		}
	}
}
