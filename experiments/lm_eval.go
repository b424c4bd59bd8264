package main

import (
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/mosaicquant/mosaicquant/experiments/trial"
	"github.com/mosaicquant/mosaicquant/internal/tasks"
)

// lmEvalNames are the tasks of lm-evaluation-harness 0.4.13 that have another name
// there, lmEvalVersions those whose version is not 1.
var (
	lmEvalNames    = map[string]string{"lambada": "lambada_openai"}
	lmEvalVersions = map[string]float64{"boolq": 2}
)

// writeLMEval writes the tasks of e to a new or existing file in the layout of the
// results that lm-evaluation-harness writes, as far as its table tools read it.
func writeLMEval(path string, e *trial.Evaluated) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := encodeLMEval(f, e, time.Now()); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

func encodeLMEval(w io.Writer, e *trial.Evaluated, now time.Time) error {
	type object = map[string]any
	results, subtasks, configs, versions := object{}, object{}, object{}, object{}
	shots, better, samples := object{}, object{}, object{}
	for _, r := range e.Tasks {
		name, version := r.Task.Name, 1.0
		if n := lmEvalNames[name]; n != "" {
			name = n
		}
		if v := lmEvalVersions[name]; v > 0 {
			version = v
		}
		values, up := object{"alias": name, "sample_len": len(r.Task.Items)}, object{}
		for _, m := range r.Metrics {
			if m.Name == tasks.LogProb {
				continue // the harness has none
			}
			values[m.Name+",none"], values[m.Name+"_stderr,none"] = m.Value, "N/A"
			if m.SE != nil {
				values[m.Name+"_stderr,none"] = *m.SE
			}
			up[m.Name] = m.Name != tasks.Perplexity
		}
		results[name], subtasks[name], versions[name], shots[name], better[name] = values, []string{}, version, 0, up
		samples[name] = object{"original": r.Task.All, "effective": len(r.Task.Items)}
		configs[name] = object{"task": name, "num_fewshot": 0,
			"metadata": object{"version": version, "sha256": r.Task.SHA256}}
	}
	asked := e.Evaluation
	var limit any
	if asked.Limit > 0 {
		limit = asked.Limit
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(object{
		"results": results, "group_subtasks": subtasks, "configs": configs, "versions": versions, "n-shot": shots,
		"higher_is_better": better, "n-samples": samples, "date": float64(now.UnixMilli()) / 1000, "model_name": asked.Model,
		"config": object{"model": "mosaicquant",
			"model_args": object{"pretrained": asked.Model, "activations": asked.Activations,
				"add_bos_token": asked.Protocol.BOS, "max_length": asked.MaxLength}, "limit": limit},
	})
}
