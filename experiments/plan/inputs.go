package plan

import (
	"slices"

	"gopkg.in/yaml.v3"

	"github.com/mosaicquant/mosaicquant/experiments/kinds"
)

// Kinds of the settings of activations. Their empty strings are what the names of
// activations say, which came first and have no mark in the identity of a trial.
var (
	inputGroup = kinds.Kind{Zero: "", Quote: true, Form: "`default`, whole number from 1, or `row`",
		Read: func(n *yaml.Node) (any, error) {
			if n.ShortTag() == "!!str" && n.Value == "default" {
				return "", nil
			}
			v, err := kinds.GroupSize.Read(n)
			if err != nil && n.ShortTag() == "!!str" { // as it is kept
				number := *n
				number.Tag = "!!int"
				v, err = kinds.GroupSize.Read(&number)
			}
			if err != nil {
				return nil, err
			}
			return kinds.GroupSize.Write(v), nil
		},
		Write: func(v any) string {
			if v == "" {
				return "default"
			}
			return v.(string)
		},
	}
	inputZero  = kinds.DefaultWord(true, "symmetric", "asymmetric")
	inputScale = kinds.DefaultWord(true, "dynamic", "static", "searched")
)

// integerInputs reports whether the inputs of t are rounded to integers.
func integerInputs(t *Trial) bool { return t.Activations == "a8" || t.Activations == "a4" }

// keepsChannels reports whether the method of t keeps whole channels apart.
func keepsChannels(t *Trial) bool {
	return slices.Contains([]string{"quik", "atom", "llmint8"}, t.Method.Name())
}
