// Package trial runs the trials of a sweep: it opens a model, calibrates,
// quantizes, evaluates against the 16-bit model, and returns rows.
package trial

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"github.com/mosaicquant/mosaicquant/experiments/plan"
	"github.com/mosaicquant/mosaicquant/internal/builtin"
	"github.com/mosaicquant/mosaicquant/internal/hf"
	"github.com/mosaicquant/mosaicquant/internal/llm"
	"github.com/mosaicquant/mosaicquant/internal/store"
	"github.com/mosaicquant/mosaicquant/internal/tasks"
)

// epoch is part of every trial's identity. Raise it when a change of this
// program changes the numbers of an unchanged configuration.
const epoch = "3"

// Lab is what trials need of their surroundings.
type Lab struct {
	Store    *store.Store
	HubCache string    // folder for models from the hub
	Progress io.Writer // of downloads, and for remarks; nil tells nobody of these
}

// OpenModel finds the folder that ref names: builtin:NAME, hub:ORG/NAME, a folder in
// Hugging Face layout or a GGUF file.
func (l *Lab) OpenModel(ctx context.Context, ref string) (hf.Files, error) {
	if name, ok := strings.CutPrefix(ref, builtin.Prefix); ok {
		return builtin.Model(name)
	}
	if strings.HasPrefix(ref, "hub:") {
		if l.HubCache == "" {
			return nil, fmt.Errorf("model %s: there is no cache folder to download it to; name one with --cache", ref)
		}
		return hf.Hub(ctx, ref, l.HubCache, l.Progress)
	}
	info, err := os.Stat(ref)
	if err != nil {
		return nil, fmt.Errorf("model %s: %w; a model is builtin:NAME (%s), hub:ORG/NAME, a folder or a .gguf", ref, err, strings.Join(builtin.Models(), ", "))
	}
	if !info.IsDir() {
		if strings.HasSuffix(ref, ".gguf") {
			return hf.GGUF(ref), nil
		}
		return nil, fmt.Errorf("model %s: is a file; want a .gguf, or the folder that holds config.json", ref)
	}
	return hf.Dir(ref), nil
}

// Subject is what trials of one model, protocol, calibration and stress share: the
// model, the windows of the text, the 16-bit reference and the second moments.
// Its methods may be called concurrently.
type Subject struct {
	lab         *Lab
	name        string     // of the model, as the trial has it
	model       *llm.Model // with synthetic outliers where the trial asks for them
	linears     []llm.Linear
	tokenizer   *hf.Tokenizer
	protocol    plan.Protocol
	calibration plan.Calibration
	content     map[string]string
	change      *change // of basis; model and linears are in it once it is made
	basis       string  // which that is, or "" for the model as stored
	stressed    string  // the synthetic outliers that model has, or ""
	warnings    []string
	bos         int32 // the token that begins sequences, or -1

	tasks        []*tasks.Task
	windows      []window
	words, bytes int       // of the scored text
	calibrators  [][]int32 // calibration sequences

	heldOut *Subject // calibrates on windows of the text

	calibrating sync.Mutex // held while statistics are computed
}

// Open prepares a subject. It reads texts, config, tokenizer and every byte of
// the weights (for their hash), but computes nothing yet.
func (l *Lab) Open(ctx context.Context, t plan.Trial) (*Subject, error) {
	s, files, err := l.open(ctx, t)
	if err != nil {
		return nil, err
	}
	err = s.hash(files)
	if err == nil {
		err = s.stress(t.Stress)
	}
	if err == nil {
		err = s.sampleCalibration()
	}
	if err != nil {
		s.Close()
		return nil, err
	}
	s.turn(t)
	s.heldOut = s.newHeldOut()
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
	s := &Subject{
		lab: l, name: t.Model, model: model, linears: model.Linears(), protocol: t.Protocol, calibration: t.Calibration,
		content: map[string]string{"epoch": epoch},
	}
	s.notePrecision()
	if model.Config().Packed {
		err = plan.AboutSetting("model", fmt.Errorf("model %s: is quantized already; a sweep starts from 16-bit weights", t.Model))
	}
	if err == nil {
		err = plan.AboutSetting("model", s.readTokenizer(files, false))
	}
	if err == nil {
		err = plan.AboutSetting("protocol.text", s.cutText())
	}
	if err == nil {
		err = plan.AboutSetting("tasks", s.openTasks(t.TaskList(), 0))
	}
	if err != nil {
		model.Close()
		return nil, nil, err
	}
	return s, files, nil
}

// readTokenizer reads the tokenizer and finds the token that begins sequences. With
// asTokenizer, protocol.BOS is set to whether the tokenizer has one.
func (s *Subject) readTokenizer(files hf.Files, asTokenizer bool) error {
	tokenizer, err := hf.ReadTokenizer(files)
	if err != nil {
		return err
	}
	s.tokenizer = tokenizer
	s.bos = -1
	id, ok := tokenizer.BOS()
	if asTokenizer {
		s.protocol.BOS = ok
	}
	if s.protocol.BOS {
		if !ok {
			return fmt.Errorf("%s: protocol.bos is true, but the tokenizer has no BOS token; set bos: false", files.Name())
		}
		s.bos = id
	}
	return nil
}

// notePrecision warns of a model whose file holds quantized weights.
func (s *Subject) notePrecision() {
	if c := s.model.Checkpoint(); c.Quantized() && !s.model.Config().Packed {
		s.warnings = append(s.warnings, fmt.Sprintf("the model's weights came as %s: what is called 16-bit here is these, decoded", c.Precision()))
	}
}

// hash hashes what the model is made of.
func (s *Subject) hash(files hf.Files) error {
	s.content["model"] = s.lab.weightsHash(s.model.Checkpoint())
	for _, name := range []string{"config.json", "tokenizer.json"} {
		blob, err := files.Open(name)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(blob.Data)
		s.content[name] = hex.EncodeToString(sum[:])
		if err := blob.Close(); err != nil {
			return err
		}
	}
	return nil
}

// weightsHash returns the SHA-256 of the weights; that of files is computed
// once and kept until they change.
func (l *Lab) weightsHash(c *hf.Checkpoint) string {
	stamp := c.Stamp()
	if stamp == "" {
		return c.SHA256()
	}
	key := store.NewKey("sha256", 1, stamp)
	hash, err := store.Do(context.Background(), l.Store, key, bytesCodec, func(context.Context) ([]byte, error) {
		return []byte(c.SHA256()), nil
	})
	if sum, e := hex.DecodeString(string(hash)); err != nil || e != nil || len(sum) != sha256.Size {
		return c.SHA256()
	}
	return string(hash)
}

// encode returns the tokens of text, all of which the model must have: tokenizers
// may have more than it.
func (s *Subject) encode(text string) ([]int32, error) {
	tokens := s.tokenizer.Encode(text)
	for i, id := range tokens {
		if v := s.model.Config().VocabSize; int(id) >= v {
			return nil, fmt.Errorf("%s: token %d is %q with id %d, the model's vocabulary has %d", s.name, i, s.tokenizer.Decode(tokens[i:i+1]), id, v)
		}
	}
	return tokens, nil
}

// cutText reads the text of the protocol and cuts it into windows.
func (s *Subject) cutText() error {
	text, sha, err := readText(s.protocol.Text)
	if err != nil {
		return fmt.Errorf("protocol.text: %w", err)
	}
	s.content["text"] = sha
	tokens, err := s.encode(text)
	if err != nil {
		return fmt.Errorf("%w (text %s)", err, s.protocol.Text)
	}
	if s.windows, err = cut(tokens, s.protocol.Context, s.protocol.Stride, s.bos, s.protocol.Tokens); err != nil {
		return fmt.Errorf("%w (text %s)", err, s.protocol.Text)
	}
	if limit := s.model.Config().MaxPositions; s.protocol.Context > limit {
		s.warnings = append(s.warnings, fmt.Sprintf("protocol.context %d is beyond the %d positions the model was trained for", s.protocol.Context, limit))
	}
	s.words, s.bytes = extent(s.windows, s.tokenizer.Decode)
	return nil
}

// openTasks reads the tasks and the first limit items of each (0 = all).
func (s *Subject) openTasks(refs []string, limit int) error {
	for _, ref := range refs {
		t, err := tasks.Open(ref)
		if err != nil {
			return err
		}
		t.Limit(limit)
		s.tasks = append(s.tasks, t)
		s.content["task "+t.Name] = t.SHA256
	}
	return nil
}

// sampleCalibration reads the calibration text and draws its sequences.
func (s *Subject) sampleCalibration() error {
	text, sha, err := readText(s.calibration.Text)
	if err != nil {
		return plan.AboutSetting("calibration.text", fmt.Errorf("calibration.text: %w", err))
	}
	s.content["calibration"] = sha
	if sha == s.content["text"] {
		s.warnings = append(s.warnings, "calibrated on the evaluated text itself: a bound, not a fair setting")
	}
	tokens, err := s.encode(text)
	if err != nil {
		return fmt.Errorf("%w (text %s)", err, s.calibration.Text)
	}
	s.calibrators, err = sample(tokens, s.calibration, s.bos)
	if err != nil {
		return plan.AboutSetting("calibration.tokens", fmt.Errorf("%w (text %s)", err, s.calibration.Text))
	}
	return nil
}

// note tells of what a reader of the log may want to know.
func (s *Subject) note(format string, args ...any) {
	if s.lab.Progress != nil {
		fmt.Fprintf(s.lab.Progress, "note: "+format+"\n", args...)
	}
}

// Close releases the model.
func (s *Subject) Close() error { return s.model.Close() }

// ID identifies the trial t of this subject by its settings and the content of
// everything they name.
func (s *Subject) ID(t plan.Trial) string { return plan.ID(t, s.content) }

// Tokens is the number of scored tokens, and of calibration tokens.
func (s *Subject) Tokens() (scored, calibration int) {
	for _, w := range s.windows {
		scored += w.scored()
	}
	for _, c := range s.calibrators {
		calibration += len(c)
	}
	return scored, calibration
}
