// Package trial runs the trials of a sweep. It opens a model, calibrates, quantizes,
// evaluates against the 16-bit model, and returns rows.
//
// A Lab opens a Subject, which trials share, and which joins four parts:
//
//   - source (source.go): the 16-bit model, and its changes before calibration:
//     synthetic outliers (stress.go), a prefix (prefix.go) and a change of basis
//     (transform.go);
//   - calibrator (calibrate.go, smooth.go, smoothsearch.go): statistics of the inputs of
//     linear layers, and SmoothQuant's scales or those of a search;
//   - quantization (quantization.go, budget.go): a loop that yields the quantized layers
//     of a trial, each with its own settings;
//   - evaluator (evaluator.go, score.go): perplexity, KL divergence and tasks of any
//     model against that of the source.
//
// Subject.Run (run.go) joins them to a row; imported.go takes the layers of a checkpoint
// in place of a quantization. quantized.go says what each layer runs on.
package trial

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"strings"

	"github.com/mosaicquant/mosaicquant/experiments/method"
	"github.com/mosaicquant/mosaicquant/experiments/plan"
	"github.com/mosaicquant/mosaicquant/internal/builtin"
	"github.com/mosaicquant/mosaicquant/internal/hf"
	"github.com/mosaicquant/mosaicquant/internal/llm"
	"github.com/mosaicquant/mosaicquant/internal/store"
)

// revision is part of every trial's identity, under its older name epoch. Raise it when
// a change of this program changes the numbers of an unchanged configuration.
const revision = "3"

// Lab is what trials need of their surroundings.
type Lab struct {
	Store    *store.Store
	HubCache string    // folder for models from the hub
	Progress io.Writer // receives the progress of downloads, and remarks; may be nil
}

// OpenModel finds the folder that ref names: builtin:NAME, hub:ORG/NAME, a folder in
// Hugging Face layout or a GGUF file.
func (l *Lab) OpenModel(ctx context.Context, ref string) (hf.Files, error) {
	if name, ok := strings.CutPrefix(ref, builtin.Prefix); ok {
		return builtin.Model(name)
	}
	if strings.HasPrefix(ref, "hub:") {
		if l.HubCache == "" {
			return nil, fmt.Errorf("model %s: there is no folder to download it to; set HF_HUB_CACHE", ref)
		}
		return hf.Hub(ctx, ref, l.HubCache, l.Progress)
	}
	info, err := os.Stat(ref)
	if err != nil {
		return nil, fmt.Errorf("model %s: %w; a model is builtin:NAME (%s), hub:ORG/NAME, a folder or a .gguf",
			ref, err, strings.Join(builtin.Models(), ", "))
	}
	if !info.IsDir() {
		if strings.HasSuffix(ref, ".gguf") {
			return hf.GGUF(ref), nil
		}
		return nil, fmt.Errorf("model %s: is a file; want a .gguf, or the folder that holds config.json", ref)
	}
	return hf.Dir(ref), nil
}

// Subject is what trials of one model, protocol, calibration, basis and stress share.
// It opens its parts and joins them: the model, the calibrator, the evaluator, and a
// quantization for each trial. Its methods may be called concurrently.
type Subject struct {
	source     *source
	calibrated *calibrator // on the calibration text
	heldOut    *calibrator // on windows of the evaluated text
	inputs     *evaluatedInputs
	evaluator  *evaluator
	content    map[string]string // SHA-256 of all that a trial names, and the revision
	imported   checkpoints       // that methods name
}

// Open prepares a subject. It reads texts, config, tokenizer and every byte of
// the weights (for their hash), but computes nothing yet.
func (l *Lab) Open(ctx context.Context, t plan.Trial) (*Subject, error) {
	s, files, err := l.open(ctx, t)
	if err != nil {
		return nil, err
	}
	err = s.source.hash(files)
	if err == nil {
		err = s.source.stress(t.Stress)
	}
	if err == nil {
		err = s.calibrated.sample()
	}
	if err != nil {
		s.Close()
		return nil, err
	}
	if s.calibrated.text == s.evaluator.text {
		s.source.warn("calibrated on the evaluated text itself: a bound, not a fair setting")
	}
	s.source.notePrefix(t)
	s.source.turn(t)
	s.heldOut = s.evaluator.heldOut(t.Calibration)
	s.inputs = &evaluatedInputs{evaluator: s.evaluator}
	s.content = map[string]string{"epoch": revision, "text": s.evaluator.text, "calibration": s.calibrated.text}
	maps.Copy(s.content, s.source.content)
	for _, task := range s.evaluator.tasks {
		s.content["task "+task.Name] = task.SHA256
	}
	return s, nil
}

// open reads what a trial is evaluated on and the model's header, but neither
// its weights nor the calibration text: enough for an estimate.
func (l *Lab) open(ctx context.Context, t plan.Trial) (*Subject, hf.Files, error) {
	files, err := l.OpenModel(ctx, t.Model)
	if err != nil {
		return nil, nil, plan.AboutSetting("model", err)
	}
	model, err := llm.Open(files)
	if err != nil {
		return nil, nil, plan.AboutSetting("model", err)
	}
	src := l.newSource(t.Model, model)
	src.listOutput(t.Method.Bool(method.LMHead))
	s := &Subject{
		source: src, calibrated: &calibrator{source: src, settings: t.Calibration},
		evaluator: &evaluator{source: src, protocol: t.Protocol, engine: t.Engine},
	}
	if name := files.Name(); strings.HasPrefix(t.Model, hf.HubPrefix) && name != t.Model {
		src.warn("the model is %s", name) // a branch may be another commit tomorrow
	}
	if model.Config().Packed {
		err = plan.AboutSetting("model", fmt.Errorf("model %s: is quantized already; a sweep starts from 16-bit weights",
			t.Model))
	}
	if err == nil {
		err = plan.AboutSetting("model", src.readTokenizer(files, t.Protocol.BOS, false))
	}
	if err == nil {
		err = plan.AboutSetting("protocol.text", s.evaluator.cutText())
	}
	if err == nil {
		err = plan.AboutSetting("tasks", s.evaluator.openTasks(t.TaskList(), 0))
	}
	if err != nil {
		model.Close()
		return nil, nil, err
	}
	return s, files, nil
}

// Close releases the model.
func (s *Subject) Close() error { return s.source.model.Close() }

// ID identifies the trial t of this subject by its settings and the content of
// everything they name.
func (s *Subject) ID(t plan.Trial) string {
	path := t.Method.Checkpoint()
	if path == "" {
		return plan.ID(t, s.content)
	}
	content := maps.Clone(s.content)
	content["checkpoint"] = s.imported.hash(s.source.lab, path)
	return plan.ID(t, content)
}

// Tokens is the number of scored tokens, and of calibration tokens.
func (s *Subject) Tokens() (scored, calibration int) {
	return s.evaluator.tokens(), s.calibrated.tokens()
}
