package tasks

import (
	"context"
	"math"
	"slices"
	"strings"
	"testing"
)

const bos = 4094 // of tiny-llama3

// TestEncode checks where requests are split and how they are shortened.
func TestEncode(t *testing.T) {
	_, tokenizer := openTiny(t)
	r := Request{"The cat sat on the  ", "mat and slept"}
	before, all := tokenizer.Encode("The cat sat on the"), tokenizer.Encode("The cat sat on the  mat and slept")
	q, err := encode(tokenizer, r, -1, 256)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(q.input, all[:len(all)-1]) || !slices.Equal(q.targets, all[len(before):]) || q.truncated {
		t.Errorf("without BOS: %+v", q)
	}
	if got := tokenizer.Decode(q.targets); got != "  mat and slept" {
		t.Errorf("the spaces did not move: %q", got)
	}
	q, err = encode(tokenizer, r, bos, 256)
	if err != nil {
		t.Fatal(err)
	}
	if q.input[0] != bos || !slices.Equal(q.input[1:], all[:len(all)-1]) || !slices.Equal(q.targets, all[len(before):]) {
		t.Errorf("with BOS: %+v", q)
	}
	// As long as the model reads: nothing is lost. One less: BOS is.
	n := len(all)
	for _, c := range []struct {
		max, length int
		truncated   bool
		first       int32
	}{{n, n, false, bos}, {n - 1, n - 1, true, all[0]}, {n - 2, n - 2, true, all[1]}} {
		q, err := encode(tokenizer, r, bos, c.max)
		if err != nil {
			t.Fatal(err)
		}
		if len(q.input) != c.length || q.truncated != c.truncated || q.input[0] != c.first || !slices.Equal(q.targets, all[len(before):]) {
			t.Errorf("max %d: %+v", c.max, q)
		}
	}
	for _, c := range []struct {
		r    Request
		max  int
		want string
	}{
		{Request{"", " word"}, 256, "context \"\" has no tokens"},
		{Request{"word", ""}, 256, "has no tokens of its own"},
		{r, 2, "the model reads 2"},
	} {
		if _, err := encode(tokenizer, c.r, -1, c.max); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: error %v, want %q", c.r, err, c.want)
		}
	}
}

// TestBatches checks that an answer does not depend on what else is asked, up
// to the rounding of products of other shapes.
func TestBatches(t *testing.T) {
	m, tokenizer := openTiny(t)
	task, err := Open("builtin:choice")
	if err != nil {
		t.Fatal(err)
	}
	task.Limit(60) // several batches
	all, err := task.Score(context.Background(), m, tokenizer, Options{BOS: bos})
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range []int{0, 31, 59} {
		one := *task
		one.Items = task.Items[i : i+1]
		r, err := one.Score(context.Background(), m, tokenizer, Options{BOS: bos})
		if err != nil {
			t.Fatal(err)
		}
		for j, ll := range r.Answers[0].LogLikelihoods {
			if d := math.Abs(ll - all.Answers[i].LogLikelihoods[j]); !(d < 1e-4) {
				t.Errorf("item %d, choice %d: %v alone, %v among others", i, j, ll, all.Answers[i].LogLikelihoods[j])
			}
		}
		if r.Metrics[0].SE != nil {
			t.Error("a single item has a standard error")
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := task.Score(ctx, m, tokenizer, Options{BOS: bos}); err == nil {
		t.Error("a cancelled context gave a result")
	}
}

// TestMetrics computes by hand a case in which the three choices differ.
func TestMetrics(t *testing.T) {
	choices := []string{"ab", "äöü", "abcdefgh", ""}
	r := &Result{
		Task: &Task{Metrics: choiceMetrics, Items: []Item{{Choices: choices, Answer: 0}, {Choices: choices, Answer: 2}}},
		// Per character -3, -2.1, -2.5, -Inf; per byte -3, -1.05, -2.5, -Inf.
		Answers: []Answer{{LogLikelihoods: []float64{-6, -6.3, -20, -7}}, {LogLikelihoods: []float64{-6, -15, -20, -7}}},
	}
	for i := range r.Answers {
		r.Answers[i].choose(choices)
	}
	r.measure()
	if a := r.Answers[0]; a.Choice != 0 || a.ChoiceByChar != 1 || a.ChoiceByByte != 1 {
		t.Errorf("%+v", a)
	}
	// Per character -5 and -2.5, but -2.5 per byte of both: the first wins.
	if a := r.Answers[1]; a.Choice != 0 || a.ChoiceByChar != 2 || a.ChoiceByByte != 1 {
		t.Errorf("%+v", a)
	}
	for i, want := range []struct{ value, se float64 }{{0.5, 0.5}, {0.5, 0.5}, {0, 0}} {
		if m := r.Metrics[i]; m.Value != want.value || !(math.Abs(*m.SE-want.se) < 1e-15) {
			t.Errorf("%s = %v ± %v, want %v", m.Name, m.Value, *m.SE, want)
		}
	}

	word := &Result{
		Task:    &Task{Metrics: wordMetrics, Items: make([]Item, 2)},
		Answers: []Answer{{LogLikelihoods: []float64{-1}, Greedy: []bool{true}}, {LogLikelihoods: []float64{-3}, Greedy: []bool{false}}},
	}
	word.measure()
	for i, want := range []struct{ value, se float64 }{{0.5, 0.5}, {math.Exp(2), math.Exp(2)}, {-2, 1}} {
		if m := word.Metrics[i]; !(math.Abs(m.Value-want.value) < 1e-14) || !(math.Abs(*m.SE-want.se) < 1e-14) {
			t.Errorf("%s = %v ± %v, want %v", m.Name, m.Value, *m.SE, want)
		}
	}
}

func TestLogProb(t *testing.T) {
	// 1000 would overflow exp.
	p, greedy := logProb([]float32{1000, 999, 1000, -1000}, 0)
	if want := -math.Log(2 + math.Exp(-1)); !(math.Abs(p-want) < 1e-14) || !greedy {
		t.Errorf("%v %v, want %v", p, greedy, want)
	}
	if _, greedy := logProb([]float32{1, 2, 2}, 2); greedy {
		t.Error("the second of equal logits counts as greedy")
	}
}
