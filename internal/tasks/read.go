package tasks

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The prompts are those of the task files of lm-evaluation-harness 0.4.13,
// whose names the comments give. A choice follows its context after one space.

// choose is an item that scores each choice after a common context.
func choose(context string, choices []string, answer int) Item {
	item := Item{Choices: choices, Answer: answer}
	for _, c := range choices {
		item.Requests = append(item.Requests, Request{context, " " + c})
	}
	return item
}

// readARC is arc/arc_easy.yaml.
func readARC(file string, data, _ []byte) ([]Item, error) {
	return jsonRecords(file, data, func(r *record) Item {
		question, key := r.text("question"), r.text("answerKey")
		var choices struct{ Text, Label []string }
		r.get("choices", &choices)
		if len(choices.Text) < 2 || len(choices.Text) != len(choices.Label) {
			r.fail("choices: %d texts and %d labels; want as many of both, and at least two",
				len(choices.Text), len(choices.Label))
		}
		answer := slices.Index(choices.Label, key)
		if answer < 0 {
			r.fail("answerKey %q is not one of the labels %q", key, choices.Label)
		}
		return choose("Question: "+question+"\nAnswer:", choices.Text, answer)
	})
}

// readPIQA is piqa/piqa.yaml.
func readPIQA(file string, data, labels []byte) ([]Item, error) {
	lines := strings.Fields(string(labels))
	n := 0
	items, err := jsonRecords(file, data, func(r *record) Item {
		goal, sol1, sol2 := r.text("goal"), r.text("sol1"), r.text("sol2")
		var answer int
		switch {
		case r.has("label"):
			answer = r.index("label", 2)
		case labels == nil:
			r.fail("label is missing, and there is no %s", labelsFile(file))
		case n >= len(lines):
			r.fail("%s has only %d labels", labelsFile(file), len(lines))
		default:
			if answer = slices.Index([]string{"0", "1"}, lines[n]); answer < 0 {
				r.fail("%s: label %d is %q, not 0 or 1", labelsFile(file), n+1, lines[n])
			}
		}
		n++
		return choose("Question: "+goal+"\nAnswer:", []string{sol1, sol2}, answer)
	})
	if err == nil && labels != nil && n != len(lines) {
		err = fmt.Errorf("%s: %d labels for the %d items of %s", labelsFile(file), len(lines), n, file)
	}
	return items, err
}

// labelsFile is where the labels of PIQA's file are published.
func labelsFile(file string) string { return strings.TrimSuffix(file, ".jsonl") + "-labels.lst" }

// readHellaSwag is hellaswag/hellaswag.yaml with its utils.py, or the text
// form, which has passed through such preparation.
func readHellaSwag(file string, data, _ []byte) ([]Item, error) {
	if !bytes.HasPrefix(bytes.TrimLeft(data, " \t\r\n"), []byte("{")) {
		return readHellaSwagText(file, data)
	}
	return jsonRecords(file, data, func(r *record) Item {
		context := r.text("activity_label") + ": " + r.text("ctx_a") + " " + capitalize(r.text("ctx_b"))
		var endings []string
		r.get("endings", &endings)
		if len(endings) < 2 {
			r.fail("endings: %d of them; want at least two", len(endings))
		}
		for i, e := range endings {
			endings[i] = prepareHellaSwag(e)
		}
		return choose(prepareHellaSwag(context), endings, r.index("label", len(endings)))
	})
}

func readHellaSwagText(file string, data []byte) ([]Item, error) {
	if err := checkUTF8(file, data); err != nil {
		return nil, err
	}
	lines := strings.Split(strings.TrimRight(string(data), "\n"), "\n")
	const step = 6
	var items []Item
	for i := 0; i < len(lines); i += step {
		if len(lines)-i < step {
			return nil, fmt.Errorf("%s:%d: an item has %d lines, here are %d", file, i+1, step, len(lines)-i)
		}
		answer := slices.Index([]string{"0", "1", "2", "3"}, lines[i+1])
		if answer < 0 {
			return nil, fmt.Errorf("%s:%d: label %.20q is not 0 to 3", file, i+2, lines[i+1])
		}
		item := choose(lines[i], lines[i+2:i+step:i+step], answer)
		item.At = fmt.Sprintf("%s:%d", file, i+1)
		items = append(items, item)
	}
	return items, nil
}

var bracketed = regexp.MustCompile(`\[.*?\]`)

// prepareHellaSwag is preprocess of hellaswag/utils.py: brackets are left over
// from WikiHow.
func prepareHellaSwag(s string) string {
	s = strings.TrimFunc(s, isSpace)
	s = strings.ReplaceAll(s, " [title]", ". ")
	s = bracketed.ReplaceAllString(s, "")
	return strings.ReplaceAll(s, "  ", " ")
}

// capitalize is Python's str.capitalize but for the few characters whose other
// case is more than one.
func capitalize(s string) string {
	first, n := utf8.DecodeRuneInString(s)
	if n == 0 {
		return ""
	}
	return string(unicode.ToTitle(first)) + strings.ToLower(s[n:])
}

// isSpace is Python's str.isspace.
func isSpace(r rune) bool { return unicode.IsSpace(r) || 0x1c <= r && r <= 0x1f }

// readWinoGrande is winogrande/default.yaml with preprocess_winogrande.py:
// each option fills the blank in the context, and what follows the blank is
// the continuation (partial evaluation, Trinh and Le 2018, arXiv:1806.02847).
func readWinoGrande(file string, data, _ []byte) ([]Item, error) {
	return jsonRecords(file, data, func(r *record) Item {
		var sentence string
		var options [2]string
		var answer int
		if r.has("instruction") {
			sentence, options, answer = unwrap(r)
		} else {
			sentence = r.text("sentence")
			options = [2]string{r.text("option1"), r.text("option2")}
			key := r.text("answer")
			if answer = slices.Index([]string{"1", "2"}, key); answer < 0 {
				r.fail("answer %q is not 1 or 2", key)
			}
		}
		before, after, ok := strings.Cut(sentence, "_")
		if !ok {
			r.fail("sentence %.60q has no blank (_)", sentence)
		}
		item := Item{Answer: answer}
		for _, o := range options {
			item.Requests = append(item.Requests, Request{before + o, " " + strings.TrimFunc(after, isSpace)})
			item.Choices = append(item.Choices, before+o)
		}
		return item
	})
}

var wrapped = regexp.MustCompile(
	`(?s)^Please choose the correct answer to fill in the blank to complete the given sentence: (.*)\n\n` +
		`Option1: (.*) Option2: (.*) Answer format: option1/option2$`)

// unwrap recovers a WinoGrande item from a prompt of LLM-Adapters (Hu et al.
// 2023, arXiv:2304.01933).
func unwrap(r *record) (sentence string, options [2]string, answer int) {
	text, key := r.text("instruction"), r.text("answer")
	m := wrapped.FindStringSubmatch(text)
	if m == nil || strings.Contains(m[2]+m[3], " Option2: ") {
		r.fail("instruction %.60q is not a WinoGrande prompt of LLM-Adapters", text)
		return "", options, 0
	}
	if answer = slices.Index([]string{"option1", "option2"}, key); answer < 0 {
		r.fail("answer %q is not option1 or option2", key)
	}
	return m[1], [2]string{m[2], m[3]}, answer
}

// readBoolQ is super_glue/boolq/default.yaml; the original files have answer, a truth
// value, in place of label.
func readBoolQ(file string, data, _ []byte) ([]Item, error) {
	return jsonRecords(file, data, func(r *record) Item {
		passage, question := r.text("passage"), r.text("question")
		answer := 0
		if r.has("label") {
			answer = r.index("label", 2)
		} else {
			var yes bool
			if r.get("answer", &yes); yes {
				answer = 1
			}
		}
		return choose(passage+"\nQuestion: "+question+"?\nAnswer:", []string{"no", "yes"}, answer)
	})
}

// readOpenBookQA is openbookqa/openbookqa.yaml, which has no facts in its prompts.
func readOpenBookQA(file string, data, _ []byte) ([]Item, error) {
	return jsonRecords(file, data, func(r *record) Item {
		question, key := r.text("question_stem"), strings.TrimLeftFunc(r.text("answerKey"), isSpace)
		var choices struct{ Text, Label []string }
		r.get("choices", &choices)
		if len(choices.Text) < 2 || len(choices.Text) != len(choices.Label) {
			r.fail("choices: %d texts and %d labels; want as many of both, and at least two",
				len(choices.Text), len(choices.Label))
		}
		answer := slices.Index(choices.Label, key)
		if answer < 0 {
			r.fail("answerKey %q is not one of the labels %q", key, choices.Label)
		}
		return choose(question, choices.Text, answer)
	})
}

// readMMLU is mmlu/continuation: the answers themselves are scored, not their letters.
// Items of all subjects may stand in one file; each names its own.
func readMMLU(file string, data, _ []byte) ([]Item, error) {
	return jsonRecords(file, data, func(r *record) Item {
		subject, question := r.text("subject"), strings.TrimFunc(r.text("question"), isSpace)
		var choices []string
		r.get("choices", &choices)
		if len(choices) < 2 {
			r.fail("choices: %d of them; want at least two", len(choices))
		}
		context := "The following are questions (with answers) about " + strings.ReplaceAll(subject, "_", " ") + ".\n\n" +
			"Question: " + question + "\nAnswer:"
		return choose(context, choices, r.index("answer", len(choices)))
	})
}

// readLAMBADA is lambada/lambada_openai.yaml: the last word is what follows
// the last space.
func readLAMBADA(file string, data, _ []byte) ([]Item, error) {
	return jsonRecords(file, data, func(r *record) Item {
		text := r.text("text")
		i := strings.LastIndexByte(text, ' ')
		if i < 1 || i == len(text)-1 {
			r.fail("text %.60q does not end with a space and a word", text)
			return Item{}
		}
		return Item{Requests: []Request{{text[:i], text[i:]}}}
	})
}

// readChoice reads the builtin choice.jsonl.
func readChoice(file string, data, _ []byte) ([]Item, error) {
	return jsonRecords(file, data, func(r *record) Item {
		context := r.text("context")
		var choices []string
		r.get("choices", &choices)
		if len(choices) < 2 {
			r.fail("choices: %d of them; want at least two", len(choices))
		}
		return choose(context, choices, r.index("answer", len(choices)))
	})
}
