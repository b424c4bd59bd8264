package tasks

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func write(t testing.TB, dir, name, text string) string {
	t.Helper()
	file := filepath.Join(dir, name)
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestOpen reads one item of every form.
func TestOpen(t *testing.T) {
	const prompt = `"Please choose the correct answer to fill in the blank to complete the given sentence: The cup was not in the box as the _ was too big.\n\nOption1: cup Option2: box Answer format: option1/option2"`
	cup := Item{
		Requests: []Request{{"The cup was not in the box as the cup", " was too big."}, {"The cup was not in the box as the box", " was too big."}},
		Choices:  []string{"The cup was not in the box as the cup", "The cup was not in the box as the box"},
	}
	hella := choose("Baking: A man bakes. Then he sings", []string{"a song.", "bread"}, 1)
	for _, c := range []struct {
		name, task, text, labels string
		want                     Item
	}{
		{"arc", "arc_easy", `{"question":"Why?","choices":{"text":["a","b","c"],"label":["1","2","3"]},"answerKey":"3"}`, "",
			choose("Question: Why?\nAnswer:", []string{"a", "b", "c"}, 2)},
		{"piqa", "piqa", `{"goal":"g","sol1":"a","sol2":"b","label":1}`, "", choose("Question: g\nAnswer:", []string{"a", "b"}, 1)},
		{"piqa with a file of labels", "piqa", `{"goal":"g","sol1":"a","sol2":"b "}`, "1\n", choose("Question: g\nAnswer:", []string{"a", "b "}, 1)},
		{"hellaswag, label in quotes", "hellaswag", `{"activity_label":"Baking","ctx_a":"A man bakes [step] . [title] Then","ctx_b":"HE sings","endings":[" a song.","[x] bread"],"label":"1"}`, "",
			choose("Baking: A man bakes .. Then He sings", []string{"a song.", " bread"}, 1)},
		{"hellaswag, label a number", "hellaswag", `{"activity_label":"Baking","ctx_a":"A man bakes. Then he sings","ctx_b":"","endings":["a song.","bread"],"label":1}`, "", hella},
		{"hellaswag text", "hellaswag", "Context [x]\n2\na\nb\n c\nd\n", "", choose("Context [x]", []string{"a", "b", " c", "d"}, 2)},
		{"winogrande", "winogrande", `{"sentence":"The cup was not in the box as the _ was too big. ","option1":"cup","option2":"box","answer":"1"}`, "", cup},
		{"winogrande in prompts", "winogrande", "[\n {\"instruction\":" + prompt + `,"input":"","output":"x","answer":"option1"}]` + "\n", "", cup},
		{"boolq", "boolq", `{"question":"is it so","passage":"It is.","idx":0,"label":1}`, "", choose("It is.\nQuestion: is it so?\nAnswer:", []string{"no", "yes"}, 1)},
		{"boolq as published", "boolq", `{"question":"is it so","title":"x","answer":false,"passage":"It is."}`, "",
			choose("It is.\nQuestion: is it so?\nAnswer:", []string{"no", "yes"}, 0)},
		{"openbookqa", "openbookqa", `{"id":"7","question_stem":"The sun is","choices":{"text":["a star","a planet"],"label":["A","B"]},"answerKey":" A"}`, "",
			choose("The sun is", []string{"a star", "a planet"}, 0)},
		{"mmlu", "mmlu_continuation", `{"question":" What is 1+1? ","subject":"high_school_mathematics","choices":["0","1","2","3"],"answer":2}`, "",
			choose("The following are questions (with answers) about high school mathematics.\n\nQuestion: What is 1+1?\nAnswer:", []string{"0", "1", "2", "3"}, 2)},
		{"lambada", "lambada", `{"text":"one two  three"}`, "", Item{Requests: []Request{{"one two ", " three"}}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			file := write(t, dir, "x.jsonl", c.text)
			if c.labels != "" {
				write(t, dir, "x-labels.lst", c.labels)
			}
			task, err := Open(c.task + "=" + file)
			if err != nil {
				t.Fatal(err)
			}
			if len(task.Items) != 1 {
				t.Fatalf("%d items", len(task.Items))
			}
			line := ":1"
			if c.text[0] == '[' {
				line = ":2"
			}
			if got := task.Items[0].At; got != file+line {
				t.Errorf("item is at %s, want %s", got, file+line)
			}
			c.want.At = file + line
			if !reflect.DeepEqual(task.Items[0], c.want) {
				t.Errorf("got  %q\nwant %q", task.Items[0], c.want)
			}
		})
	}
}

func TestOpenErrors(t *testing.T) {
	const arc = `{"question":"q","choices":{"text":["a","b"],"label":["A","B"]},"answerKey":"A"}` + "\n"
	for _, c := range []struct{ task, text, labels, want string }{
		{"arc_easy", arc + "\n" + strings.Replace(arc, `"answerKey":"A"`, `"answerKey":"C"`, 1), "", `x.jsonl:3: answerKey "C" is not one of the labels ["A" "B"]`},
		{"arc_easy", arc + strings.Replace(arc, "question", "stem", 1), "", "x.jsonl:2: question is missing"},
		{"arc_easy", strings.Replace(arc, `["A","B"]`, `["A"]`, 1), "", "x.jsonl:1: choices: 2 texts and 1 labels"},
		{"arc_easy", arc + "{", "", "x.jsonl:2: unexpected EOF"},
		{"arc_easy", arc + "]", "", "x.jsonl:2"},
		{"arc_easy", "", "", "no items"},
		{"arc_easy", arc + "\n{\"question\":\"\xff\"}", "", "x.jsonl:3: byte 0xff is not UTF-8"},
		{"piqa", `{"goal":"g","sol1":"a","sol2":"b"}`, "", "x.jsonl:1: label is missing, and there is no "},
		{"piqa", `{"goal":"g","sol1":"a","sol2":"b","label":2}`, "", `x.jsonl:1: label "2" is not 0 to 1`},
		{"piqa", `{"goal":"g","sol1":"a","sol2":"b"}`, "0\n1\n", "x-labels.lst: 2 labels for the 1 items"},
		{"piqa", `{"goal":"g","sol1":"a","sol2":"b"}`, "7\n", `x-labels.lst: label 1 is "7"`},
		{"piqa", `{"goal":"g","sol1":"a","sol2":3}`, "1\n", "x.jsonl:1: sol2: json"},
		{"hellaswag", "a\n0\nb\nc\n", "", "x.jsonl:1: an item has 6 lines, here are 4"},
		{"hellaswag", "a\n4\nb\nc\nd\ne\n", "", `x.jsonl:2: label "4" is not 0 to 3`},
		{"hellaswag", `{"activity_label":"a","ctx_a":"b","ctx_b":"c","endings":["x","y"],"label":""}`, "", "x.jsonl:1: label"},
		{"winogrande", `{"sentence":"no blank","option1":"a","option2":"b","answer":"1"}`, "", `x.jsonl:1: sentence "no blank" has no blank`},
		{"winogrande", `{"sentence":"a _","option1":"a","option2":"b","answer":""}`, "", `x.jsonl:1: answer "" is not 1 or 2`},
		{"winogrande", "[\n\n{\"instruction\":\"Which?\",\"answer\":\"option1\"}]", "", `x.jsonl:3: instruction "Which?" is not a WinoGrande prompt`},
		{"winogrande", `[{"sentence":"a _ b","option1":"a","option2":"b","answer":"1"}`, "", "x.jsonl:1: EOF"},
		{"lambada", `{"text":"word"}`, "", `x.jsonl:1: text "word" does not end with a space and a word`},
		{"lambada", `{"text":"a word "}`, "", "does not end with"},
		{"gsm8k", "", "", "is neither builtin:choice"},
	} {
		dir := t.TempDir()
		file := write(t, dir, "x.jsonl", c.text)
		if c.labels != "" {
			write(t, dir, "x-labels.lst", c.labels)
		}
		_, err := Open(c.task + "=" + file)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %.60q: error %v, want %q", c.task, c.text, err, c.want)
		}
	}
	for ref, want := range map[string]string{
		"builtin:arc":        "no builtin task",
		"arc_hard":           "is neither",
		"arc_easy=":          "is neither",
		"piqa=/no/such/file": "no such file",
	} {
		if _, err := Open(ref); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", ref, err, want)
		}
	}
}

// TestBuiltinSets checks the shape that text/README.md promises.
func TestBuiltinSets(t *testing.T) {
	choice, err := Open("builtin:choice")
	if err != nil {
		t.Fatal(err)
	}
	count := [4]int{}
	for _, item := range choice.Items {
		if len(item.Choices) != 4 {
			t.Fatalf("%s: %d choices", item.At, len(item.Choices))
		}
		count[item.Answer]++
	}
	if count != [4]int{51, 51, 51, 51} {
		t.Errorf("answers are distributed as %v", count)
	}
	cloze, err := Open("builtin:cloze")
	if err != nil {
		t.Fatal(err)
	}
	if len(cloze.Items) != 206 {
		t.Errorf("cloze has %d items", len(cloze.Items))
	}
	cloze.Limit(0)
	cloze.Limit(300)
	if len(cloze.Items) != 206 {
		t.Errorf("limits above the size left %d items", len(cloze.Items))
	}
	if cloze.Limit(3); len(cloze.Items) != 3 {
		t.Errorf("limit 3 left %d items", len(cloze.Items))
	}
}

// FuzzRead feeds every reader: no panic, and what is read has a request for
// each choice and an answer among them.
func FuzzRead(f *testing.F) {
	f.Add(`{"question":"q","choices":{"text":["a","b"],"label":["A","B"]},"answerKey":"A"}`, "0\n")
	f.Add(`{"goal":"g","sol1":"a","sol2":"b"}`, "1\n")
	f.Add(`{"activity_label":"a","ctx_a":"b","ctx_b":"ß","endings":["x","y"],"label":"1"}`, "")
	f.Add("c\n0\na\nb\nc\nd\n", "")
	f.Add(`[{"sentence":"a _ b","option1":"a","option2":"b","answer":"2"}]`, "")
	f.Add(`{"text":"one two"}`, "")
	f.Add(`{"context":"c","choices":["a","b"],"answer":0}`, "")
	f.Fuzz(func(t *testing.T, data, labels string) {
		for _, format := range append(formats[:len(formats):len(formats)], builtins...) {
			items, err := format.read("x", []byte(data), []byte(labels))
			if err != nil {
				continue
			}
			for _, item := range items {
				n := len(item.Requests)
				if n == 0 || item.Answer < 0 || item.Answer >= n || item.Choices != nil && len(item.Choices) != n || !strings.HasPrefix(item.At, "x:") {
					t.Fatalf("%s: %q gives %+v", format.name, data, item)
				}
			}
		}
	})
}
