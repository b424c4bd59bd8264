package plan

import (
	"slices"

	"github.com/mosaicquant/mosaicquant/experiments/kinds"
)

// Transform is a change of basis that a sweep file can name. It leaves what the
// model computes in 16 bits as it is.
type Transform struct {
	Name    string
	Summary string   // one line for docs/keys.md, without a full stop
	Source  string   // the paper; empty where there is none
	Keys    []string // of seed, block and steps, those that it has
	Steps   int      // by default
	// Online tells whose inputs are turned while the model runs: "" of no layer,
	// "inner" of o_proj, down_proj or both, "all" of every layer.
	Online string
	// Inputs tells that it is learned under the inputs of the trial, which must be rounded.
	Inputs bool
}

// Transforms are all changes of basis, in the order in which they are explained.
var Transforms = []*Transform{
	{Name: "folded", Summary: "The gains of norms are folded into the weights that read them"},
	{Name: "rotated", Keys: []string{"seed"},
		Summary: "Folded, and the residual stream turned by a random orthogonal matrix"},
	{Name: "quarot", Source: "arXiv:2404.00456", Keys: []string{"seed"}, Online: "inner",
		Summary: "Folded, and Hadamard transforms of the residual stream with random signs, of each head of the values, " +
			"and, while the model runs, across the heads before o_proj and before down_proj"},
	{Name: "block-hadamard", Source: "arXiv:2509.23202", Keys: []string{"block"}, Online: "all",
		Summary: "A Hadamard transform of each block of channels of every input while the model runs, as MR-GPTQ has it"},
	{Name: "duquant", Source: "arXiv:2406.01721", Keys: []string{"seed", "block", "steps"}, Online: "all", Steps: 256,
		Summary: "Smoothed with alpha 0.6; then a rotation of blocks, a permutation and a second rotation of every input " +
			"while the model runs, found greedily"},
	{Name: "kurtail", Source: "arXiv:2503.01483", Keys: []string{"seed", "steps"}, Online: "inner", Steps: 100,
		Summary: "Folded, and rotations of the residual stream and of the values that are learned to bring the kurtosis of " +
			"inputs near 1.8; a Hadamard transform before down_proj while the model runs"},
	{Name: "spinquant", Source: "arXiv:2405.16406", Keys: []string{"seed", "steps"}, Online: "inner", Steps: 100,
		Inputs: true,
		Summary: "Folded, and rotations of the residual stream and of the values that are learned by the gradient of the " +
			"model's loss under rounded inputs, on the calibration text; a Hadamard transform before down_proj while the " +
			"model runs"},
	{Name: "resq", Source: "arXiv:2412.14363", Keys: []string{"seed"}, Online: "inner",
		Summary: "Folded, and the residual stream and the values turned to their principal axes, the eighth of largest " +
			"variance last; a Hadamard transform before down_proj while the model runs"},
}

// TransformOf returns the transform of that name, nil without one.
func TransformOf(name string) *Transform {
	for _, t := range Transforms {
		if t.Name == name {
			return t
		}
	}
	return nil
}

// transform is that of a trial; the empty string is none, which came first and has
// no mark in the identity of a trial.
var transform = kinds.DefaultWord(true, transformNames()...)

func transformNames() []string {
	names := []string{"none"}
	for _, t := range Transforms {
		names = append(names, t.Name)
	}
	return names
}

// transforms tells of a trial whether its transform has the key.
func transforms(key string) func(*Trial) bool {
	return func(t *Trial) bool {
		k := TransformOf(t.Transform)
		return k != nil && slices.Contains(k.Keys, key)
	}
}

// underInputs reports whether the transform of t is learned under its inputs.
func underInputs(t *Trial) bool {
	k := TransformOf(t.Transform)
	return k != nil && k.Inputs
}

// smoothed reports whether the method of t scales channels.
func smoothed(t *Trial) bool { return t.Method.Smooths() }
