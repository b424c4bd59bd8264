package tasks

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/hf"
	"github.com/mosaicquant/mosaicquant/internal/llm"
	"github.com/mosaicquant/mosaicquant/internal/parallel"
)

// batchTokens is how many tokens go through the model at once, and logitFloats
// how many logits are held.
const (
	batchTokens = 2048
	logitFloats = 16 << 20
)

// Options are what scores depend on beside model and task.
type Options struct {
	// BOS is the token that begins every context; negative for none. The harness
	// puts one there by default (add_bos_token unset) where the tokenizer itself
	// adds BOS, as that of LLaMA 3 does and those of Qwen do not.
	BOS int32
	// MaxLength is how many tokens the model reads at most; longer requests
	// lose tokens at their beginning, BOS first. 0 is max_position_embeddings.
	MaxLength int
}

// Answer is what a model says to one item.
type Answer struct {
	LogLikelihoods []float64 // of each request, nat
	Greedy         []bool    // whether each token of it is the most likely one
	// The most likely choice, by log-likelihood and by that per character and
	// per UTF-8 byte of the choice; the first of equal ones.
	Choice, ChoiceByChar, ChoiceByByte int
}

// Result is the outcome of a task.
type Result struct {
	Task      *Task
	Answers   []Answer // one for each item
	Truncated int      // requests that lost tokens
	Metrics   []Metric // as Task.Metrics
}

// Score runs m over the items of t. A request without context tokens (an
// empty context without BOS) or without continuation tokens is an error that
// names its item, and so is a continuation beyond the maximum length.
func (t *Task) Score(ctx context.Context, m *llm.Model, tokenizer *hf.Tokenizer, o Options) (*Result, error) {
	if o.MaxLength == 0 {
		o.MaxLength = m.Config().MaxPositions
	}
	r := &Result{Task: t, Answers: make([]Answer, len(t.Items))}
	var queries []query
	for i, item := range t.Items {
		n := len(item.Requests)
		r.Answers[i].LogLikelihoods, r.Answers[i].Greedy = make([]float64, n), make([]bool, n)
		for j, req := range item.Requests {
			q, err := encode(tokenizer, req, o.BOS, o.MaxLength)
			if err != nil {
				return nil, fmt.Errorf("tasks: %s: request %d: %w", item.At, j, err)
			}
			if q.truncated {
				r.Truncated++
			}
			q.item, q.request = i, j
			queries = append(queries, q)
		}
	}
	groups := group(queries)
	// The longest come first, so that too little memory shows at once.
	slices.SortStableFunc(groups, func(a, b []query) int { return rows(b) - rows(a) })
	for len(groups) > 0 {
		n, total := 0, 0
		for n < len(groups) && (n == 0 || total+rows(groups[n]) <= batchTokens) {
			total += rows(groups[n])
			n++
		}
		if err := r.run(ctx, m, groups[:n]); err != nil {
			return nil, fmt.Errorf("tasks: %s: %w", t.Name, err)
		}
		groups = groups[n:]
	}
	for i := range r.Answers {
		r.Answers[i].choose(t.Items[i].Choices)
	}
	r.measure()
	return r, nil
}

// query is a request in tokens: the model reads input and is scored on
// predicting each of targets from what stands before it, the last one from all.
type query struct {
	input, targets []int32
	item, request  int
	truncated      bool
}

// encode splits the tokens of context and continuation together where those of
// the context alone end, as _encode_pair of the harness does: spaces at the end
// of a context belong to the continuation, whose first token they are part of.
func encode(tokenizer *hf.Tokenizer, r Request, bos int32, maxLength int) (query, error) {
	before := strings.TrimRightFunc(r.Context, isSpace)
	split := len(tokenizer.Encode(before))
	all := tokenizer.Encode(r.Context + r.Continuation)
	if bos >= 0 {
		all = slices.Insert(all, 0, bos)
		split++
	}
	if split == 0 {
		return query{}, fmt.Errorf("context %q has no tokens", r.Context)
	}
	if split >= len(all) {
		return query{}, fmt.Errorf("continuation %q has no tokens of its own", r.Continuation)
	}
	q := query{targets: all[split:]}
	if len(q.targets) > maxLength {
		return query{}, fmt.Errorf("continuation of %d tokens, the model reads %d", len(q.targets), maxLength)
	}
	if n := len(all) - (maxLength + 1); n > 0 {
		all, q.truncated = all[n:], true
	}
	q.input = all[:len(all)-1]
	return q, nil
}

// group gathers the queries of each item, which stand together and begin with the same
// tokens where they are choices in one context.
func group(queries []query) [][]query {
	var groups [][]query
	for len(queries) > 0 {
		n := 1
		for n < len(queries) && queries[n].item == queries[0].item {
			n++
		}
		groups = append(groups, queries[:n])
		queries = queries[n:]
	}
	return groups
}

// common is how many tokens all inputs of a group begin with.
func common(group []query) int {
	n := len(group[0].input)
	for _, q := range group[1:] {
		i := 0
		for i < min(n, len(q.input)) && q.input[i] == group[0].input[i] {
			i++
		}
		n = i
	}
	return n
}

// rows is how many tokens of a group go through the model.
func rows(group []query) int {
	n := common(group)
	total := n
	for _, q := range group {
		total += len(q.input) - n
	}
	return total
}

// run answers the queries of one batch. What the queries of a group begin with goes
// through the model once.
func (r *Result) run(ctx context.Context, m *llm.Model, groups [][]query) error {
	var seqs [][]int32
	var after []int
	var targets []int32
	var at []int // the hidden row that predicts each target
	var queries []query
	end := 0
	for _, group := range groups {
		n := common(group)
		begin, prefix := end, len(seqs)
		seqs, after = append(seqs, group[0].input[:n]), append(after, -1)
		end += n
		for _, q := range group {
			rest := q.input[n:]
			for p := len(q.input) - len(q.targets); p < len(q.input); p++ {
				if p < n {
					at = append(at, begin+p)
				} else {
					at = append(at, end+p-n)
				}
			}
			targets = append(targets, q.targets...)
			if len(rest) > 0 {
				seqs, after = append(seqs, rest), append(after, prefix)
				end += len(rest)
			}
		}
		queries = append(queries, group...)
	}
	hidden, err := m.HiddenAfter(ctx, seqs, after)
	if err != nil {
		return err
	}
	// The rows that predict a continuation, gathered for one product.
	rows := gemm.NewMatrix(len(targets), hidden.Cols)
	for i, row := range at {
		copy(rows.Row(i), hidden.Row(row))
	}
	scores := make([]float64, len(targets))
	greedy := make([]bool, len(targets))
	vocab := m.Config().VocabSize
	step := max(1, logitFloats/vocab)
	logits := gemm.NewMatrix(min(step, len(targets)), vocab)
	for a := 0; a < len(targets); a += step {
		if err := ctx.Err(); err != nil {
			return err
		}
		b := min(a+step, len(targets))
		part := logits.View(0, b-a, 0, vocab)
		if err := m.Logits(part, rows.View(a, b, 0, rows.Cols)); err != nil {
			return err
		}
		parallel.Each(b-a, func(i int) { scores[a+i], greedy[a+i] = logProb(part.Row(i), targets[a+i]) })
	}
	n := 0
	for _, q := range queries {
		answer := &r.Answers[q.item]
		var sum float64
		all := true
		for range q.targets {
			sum += scores[n]
			all = all && greedy[n]
			n++
		}
		answer.LogLikelihoods[q.request], answer.Greedy[q.request] = sum, all
	}
	return nil
}

// logProb returns the log of softmax(logits)[target], and whether target is
// the most likely token, the first of equal ones.
func logProb(logits []float32, target int32) (float64, bool) {
	largest := gemm.Largest(logits)
	var sum float64
	var e [512]float64
	for at := 0; at < len(logits); at += len(e) {
		part := logits[at:min(at+len(e), len(logits))]
		llm.Exp64(e[:], part, float64(largest))
		for _, v := range e[:len(part)] {
			sum += v
		}
	}
	return float64(logits[target]) - float64(largest) - math.Log(sum), slices.Index(logits, largest) == int(target)
}
