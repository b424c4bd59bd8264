package tasks

import (
	"math"
	"unicode/utf8"
)

// Names of metrics. Acc of a choice is the share of items whose right answer
// has the largest log-likelihood; AccNorm and AccBytes divide it by the length
// of the choice, in characters as the harness's acc_norm does, or in bytes as
// its acc_bytes. Acc of a word is the share that greedy decoding gets right.
// LogProb is the mean log-probability of the word (nat), Perplexity exp of its
// negative.
const (
	Acc        = "acc"
	AccNorm    = "acc_norm"
	AccBytes   = "acc_bytes"
	Perplexity = "perplexity"
	LogProb    = "logprob"
)

// Metric is one measured quantity of a task.
type Metric struct {
	Name  string
	Value float64
	// SE is the standard error of the mean over items, with n-1 degrees of
	// freedom as mean_stderr of the harness has it; that of Perplexity is
	// Perplexity times that of LogProb (to first order; the harness uses a
	// bootstrap). nil for a single item.
	SE *float64
	// Items has the value of each item, 0 or 1 of accuracies, nat of LogProb
	// and, as its mean is taken there, of Perplexity.
	Items []float64
}

// Metric returns the named metric of r, and whether it has it.
func (r *Result) Metric(name string) (Metric, bool) {
	for _, m := range r.Metrics {
		if m.Name == name {
			return m, true
		}
	}
	return Metric{}, false
}

// choose sets the choices from the log-likelihoods. An empty choice is as
// unlikely per character as can be (-Inf), as in the harness.
func (a *Answer) choose(choices []string) {
	byChar, byByte := make([]float64, len(choices)), make([]float64, len(choices))
	for i, c := range choices {
		byChar[i] = a.LogLikelihoods[i] / float64(utf8.RuneCountInString(c))
		byByte[i] = a.LogLikelihoods[i] / float64(len(c))
	}
	a.Choice, a.ChoiceByChar, a.ChoiceByByte = argmax(a.LogLikelihoods), argmax(byChar), argmax(byByte)
}

func argmax(v []float64) int {
	best := 0
	for i, x := range v {
		if x > v[best] {
			best = i
		}
	}
	return best
}

// measure computes the metrics from the answers.
func (r *Result) measure() {
	for _, name := range r.Task.Metrics {
		m := Metric{Name: name, Items: make([]float64, len(r.Answers))}
		for i, a := range r.Answers {
			m.Items[i] = a.value(name, r.Task.Items[i])
		}
		var se float64
		m.Value, se = meanSE(m.Items)
		if name == Perplexity {
			m.Value = math.Exp(-m.Value)
			se *= m.Value
		}
		if len(m.Items) > 1 {
			m.SE = &se
		}
		r.Metrics = append(r.Metrics, m)
	}
}

// value is what an item contributes to the named metric.
func (a *Answer) value(name string, item Item) float64 {
	var right bool
	switch name {
	case Perplexity, LogProb:
		return a.LogLikelihoods[0]
	case AccNorm:
		right = a.ChoiceByChar == item.Answer
	case AccBytes:
		right = a.ChoiceByByte == item.Answer
	case Acc:
		right = a.Choice == item.Answer
		if item.Choices == nil {
			right = a.Greedy[0]
		}
	default:
		panic("tasks: no metric " + name)
	}
	if right {
		return 1
	}
	return 0
}

// meanSE returns the mean of v and its standard error, NaN for one value.
func meanSE(v []float64) (mean, se float64) {
	n := float64(len(v))
	for _, x := range v {
		mean += x
	}
	mean /= n
	var square float64
	for _, x := range v {
		square += (x - mean) * (x - mean)
	}
	return mean, math.Sqrt(square/(n-1)) / math.Sqrt(n)
}
