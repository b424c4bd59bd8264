package plan

// Groups divides trials into those that share model, protocol, calibration,
// stress, basis and tasks, and with them all preparation. Groups and their trials keep
// their order.
func Groups(trials []Trial) [][]Trial {
	type subject struct {
		model       string
		protocol    Protocol
		calibration Calibration
		stress      Stress
		basis       string
		seed        uint64
		tasks       string
	}
	var groups [][]Trial
	at := map[subject]int{}
	for _, t := range trials {
		s := subject{t.Model, t.Protocol, t.Calibration, t.Stress, t.Basis, t.BasisSeed, t.Tasks}
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
