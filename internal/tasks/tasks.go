// Package tasks evaluates language models on zero-shot tasks as
// lm-evaluation-harness 0.4 does: ARC, HellaSwag, PIQA, WinoGrande, LAMBADA, BoolQ,
// OpenBookQA and MMLU's continuation form from local files, and the builtin sets.
//
// A task is a list of items, an item one request (context, continuation) for
// each of its choices, or a single one where a word is to be predicted. A
// model answers a request with the log-likelihood of the continuation.
package tasks

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/mosaicquant/mosaicquant/internal/bounded"
	"github.com/mosaicquant/mosaicquant/internal/builtin"
)

// Request asks for the log-likelihood of Continuation, which begins with the
// delimiter where there is one, after Context.
type Request struct{ Context, Continuation string }

// Item is one question.
type Item struct {
	At       string // "FILE:LINE", for errors
	Requests []Request
	// Choices are the answers as acc_norm and acc_bytes measure them, one for
	// each request; nil where a word is to be predicted.
	Choices []string
	Answer  int // index of the right choice
}

// Task is a task as read from its file.
type Task struct {
	Name string // "arc_easy"
	Ref  string // as given to Open
	// SHA256 is that of the files, and of the labels where they have their own.
	SHA256  string
	Metrics []string // that are reported, in order
	Items   []Item
	All     int // items that the file has, whatever Limit keeps
}

// Limit keeps the first n items; 0 keeps all.
func (t *Task) Limit(n int) {
	if n > 0 && n < len(t.Items) {
		t.Items = t.Items[:n]
	}
}

// format is how a task is written and what it reports.
type format struct {
	name    string
	read    func(file string, data, labels []byte) ([]Item, error)
	metrics []string
	hub     []dataset // where the hub has it, as lm-evaluation-harness takes it or took it
}

var (
	choiceMetrics = []string{Acc, AccNorm, AccBytes}
	// As a choice of WinoGrande is part of the context and the continuation
	// always the same, a normalised accuracy has no meaning there.
	partialMetrics = []string{Acc}
	wordMetrics    = []string{Acc, Perplexity, LogProb}
)

var formats = []format{
	{"arc_easy", readARC, choiceMetrics, []dataset{{"allenai/ai2_arc", "ARC-Easy", "test"}}},
	{"arc_challenge", readARC, choiceMetrics, []dataset{{"allenai/ai2_arc", "ARC-Challenge", "test"}}},
	{"hellaswag", readHellaSwag, choiceMetrics, []dataset{{"Rowan/hellaswag", "", "validation"}}},
	{"piqa", readPIQA, choiceMetrics, []dataset{{"baber/piqa", "", "validation"}, {"ybisk/piqa", "", "validation"}}},
	{"winogrande", readWinoGrande, partialMetrics, []dataset{{"allenai/winogrande", "winogrande_xl", "validation"}}},
	{"lambada", readLAMBADA, wordMetrics, []dataset{{"EleutherAI/lambada_openai", "", "test"}}},
	{"boolq", readBoolQ, []string{Acc},
		[]dataset{{"aps/super_glue", "boolq", "validation"}, {"google/boolq", "", "validation"}}},
	{"openbookqa", readOpenBookQA, choiceMetrics, []dataset{{"allenai/openbookqa", "main", "test"}}},
	{"mmlu_continuation", readMMLU, choiceMetrics, []dataset{{"cais/mmlu", "all", "test"}}},
}

// builtins are the sets of internal/builtin.
var builtins = []format{
	{"choice", readChoice, choiceMetrics, nil},
	{"cloze", readLAMBADA, wordMetrics, nil},
}

// Names lists the tasks that Open reads from a file.
func Names() []string {
	var list []string
	for _, f := range formats {
		list = append(list, f.name)
	}
	return list
}

// Open reads the task that ref names: "builtin:choice", "builtin:cloze", TASK=FILE with
// one of Names, or TASK alone, whose data set is then taken from Hugging Face's cache on
// this machine. FILE may be Parquet with the same columns in place of JSON lines:
//
//   - arc_easy, arc_challenge: JSON lines with question, choices {text, label}
//     and answerKey;
//   - hellaswag: JSON lines with activity_label, ctx_a, ctx_b, endings and
//     label, or text of six lines an item: context, label, four endings, which
//     is taken as it stands;
//   - piqa: JSON lines with goal, sol1, sol2 and label; without label, FILE
//     less its ".jsonl" plus "-labels.lst" has one a line;
//   - winogrande: JSON lines with sentence, option1, option2 and answer, or a
//     JSON array of LLM-Adapters prompts, which have these in instruction;
//   - lambada: JSON lines with text;
//   - boolq: JSON lines with passage, question and label, or answer true or false;
//   - openbookqa: JSON lines with question_stem, choices {text, label} and answerKey;
//   - mmlu_continuation: JSON lines with subject, question, choices and answer, a number.
//
// An error names file, line and field; rows of Parquet count as lines, from 1.
func Open(ref string) (*Task, error) {
	if name, ok := strings.CutPrefix(ref, builtin.Prefix); ok {
		i := slices.IndexFunc(builtins, func(f format) bool { return f.name == name })
		if i < 0 {
			return nil, fmt.Errorf("tasks: no builtin task %q; there are: choice, cloze", name)
		}
		data, err := builtin.Task(name)
		if err != nil {
			return nil, err
		}
		return parse(builtins[i], ref, ref, data, data, nil)
	}
	name, file, ok := strings.Cut(ref, "=")
	i := slices.IndexFunc(formats, func(f format) bool { return f.name == name })
	if i < 0 || ok && file == "" {
		return nil, fmt.Errorf("tasks: %q is neither builtin:choice or builtin:cloze nor TASK=FILE or TASK with a task of %s",
			ref, strings.Join(Names(), ", "))
	}
	files := []string{file}
	if !ok {
		var err error
		if files, err = cached(name, formats[i].hub); err != nil {
			return nil, fmt.Errorf("tasks: %s: %w", name, err)
		}
		file = files[0]
	}
	data, raw, err := readLines(files)
	if err != nil {
		return nil, fmt.Errorf("tasks: %s: %w", name, err)
	}
	var labels []byte
	if name == "piqa" && ok {
		labels, err = bounded.ReadFile(labelsFile(file), maxFile)
		if err != nil && !os.IsNotExist(err) {
			return nil, fmt.Errorf("tasks: %s: %w", name, err)
		}
	}
	return parse(formats[i], ref, file, data, raw, labels)
}

// maxFile bounds the bytes of a task's file.
const maxFile = 1 << 30

// parse reads data, of files whose bytes are raw.
func parse(f format, ref, file string, data, raw, labels []byte) (*Task, error) {
	items, err := f.read(file, data, labels)
	if err != nil {
		return nil, fmt.Errorf("tasks: %w", err)
	}
	if len(items) == 0 {
		return nil, fmt.Errorf("tasks: %s: no items", file)
	}
	sum := sha256.New()
	sum.Write(raw)
	sum.Write(labels)
	return &Task{Name: f.name, Ref: ref, SHA256: hex.EncodeToString(sum.Sum(nil)), Metrics: f.metrics, Items: items,
		All: len(items)}, nil
}
