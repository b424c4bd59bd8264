package plan

import "github.com/mosaicquant/mosaicquant/experiments/method"

// Groups divides trials into those that share model, protocol, calibration,
// stress, basis, transform, prefix, engine and tasks, and with them all preparation, and whether the
// output layer is quantized; and inputs, where the transform is learned under them. Groups
// and their trials keep their order.
func Groups(trials []Trial) [][]Trial {
	type inputs struct { // that a transform is learned under
		format, group, zero string
		clip                float64
	}
	type transform struct {
		name         string
		seed         uint64
		block, steps int
		inputs       inputs
	}
	type subject struct {
		model       string
		protocol    Protocol
		calibration Calibration
		stress      Stress
		basis       string
		seed        uint64
		transform   transform
		prefix      string
		engine      string
		tasks       string
		head        bool
	}
	var groups [][]Trial
	at := map[subject]int{}
	for _, t := range trials {
		var under inputs
		if underInputs(&t) {
			under = inputs{t.Activations, t.ActivationsGroup, t.ActivationsZero, t.ActivationsClip}
		}
		s := subject{t.Model, t.Protocol, t.Calibration, t.Stress, t.Basis, t.BasisSeed,
			transform{t.Transform, t.TransformSeed, t.TransformBlock, t.TransformSteps, under}, t.Prefix, t.Engine, t.Tasks,
			t.Method.Bool(method.LMHead)}
		i, ok := at[s]
		if !ok {
			i = len(groups)
			at[s] = i
			groups = append(groups, nil)
		}
		groups[i] = append(groups[i], t)
	}
	return groups
}
