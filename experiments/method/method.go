// Package method is the registry of quantization methods: what a sweep file can
// name, one file for each. To add a method, write its file and add it to All;
// parsing, defaults, errors, labels, trial identities, estimates of time and
// memory, the question of kernels, and docs/keys.md follow from what it says.
//
// Read method.go for what a method says, settings.go for how its settings are
// kept, keys.go for the keys that methods share, and gptq.go for a method.
package method

import (
	"fmt"
	"slices"

	"github.com/mosaicquant/mosaicquant/experiments/kinds"
	"github.com/mosaicquant/mosaicquant/quant"
)

// All are the methods, in the order in which they are explained.
var All = []*Method{none, rtn, gptq, spqr, mosaicQuant, quik, atom, llmint8, svdquant, trellisCoded, vptq, gobo, olive, adadim,
	checkpoint}

// Method is a quantization method of sweep files.
type Method struct {
	Name    string
	Summary string // one line for docs/keys.md, without a full stop
	Source  string // the paper, such as "arXiv:2210.17323"; empty where there is none
	Look    Look   // how reports draw it
	// Variants are what reports tell apart within the method, and draw in ways of
	// their own; nil for nothing.
	Variants []Variant
	// Keys are its settings. A key comes after those that decide whether it
	// applies; products, labels and identities follow this order.
	Keys []*Key
	// Rules name settings that contradict each other.
	Rules []Rule
	// Build returns the quantizer for settings that Keys and Rules accept; nil
	// where the method leaves the weights in 16 bits, or reads them.
	Build func(Settings) (quant.Quantizer, error)
	// Reads is the key that names a checkpoint whose weights are taken as they are;
	// empty for methods that compute theirs.
	Reads string
	// Format returns the format of the dense base; nil for that of the keys format and
	// group.
	Format func(Settings) (quant.Format, error)
	// Parts adds to the form of a layer what the method keeps beside the base;
	// nil for nothing. Parts that depend on the data are added.
	Parts func(Settings, *quant.Form)
	// Cost tells what the method takes beside rounding to nearest; nil for nothing.
	Cost func(Settings) Cost
}

// Look is how reports draw the rows of a method. Legends and tables list methods in
// the order of All.
type Look struct {
	Color  string // "#rrggbb", distinct with any colour vision, as those of Okabe and Ito (2008)
	Marker string // circle, square, triangle, diamond, down, star, plus or cross
	Last   bool   // listed after all methods that are not, and drawn on top of them
}

// Variant is a part of a method's rows with a look of its own. Its name is that of the
// rows' family in reports: "mosaic on gptq".
type Variant struct {
	Family string
	Look   Look
}

// Key is one setting of a method. Methods that share a key by name share its kind
// and label; default and conditions may differ.
type Key struct {
	Name     string
	Means    string // one line for docs/keys.md, without a full stop
	Defaults string // the default in words, where it depends on other settings
	Kind     kinds.Kind
	Default  func(Settings) any // nil: the file must give a value
	// Applies says whether the key has a meaning beside earlier settings; nil:
	// always. Needs says in words what it takes.
	Applies func(Settings) bool
	Needs   string
	// ForInputs marks a key of the method none that changes rounded inputs alone.
	ForInputs bool
	Label     func(any) string // how a value appears in labels
	Quiet     bool             // it appears only where it differs from its default
	Instead   string           // a key that may be given in place of this one
}

// Rule is a combination of settings that cannot be.
type Rule struct {
	Key   string // to blame
	Fails func(Settings) bool
	Says  string // what follows the value of the key in the error
}

// Cost is what a method takes beside rounding every weight to nearest once.
type Cost struct {
	Searches float64 // rounds of rounding to nearest and measuring the output error
	Tries    float64 // times that a weight is rounded while scales or blocks are searched for
	Sampled  float64 // the same for a sample of the layer's weights, all of it together
	Loop     bool    // it factors H and runs GPTQ's column loop
	Refine   float64 // rounds of coordinate descent over the codes of an integer base
	Scored   bool    // it scores residual blocks
	Greedy   float64 // share of the blocks that are taken one by one under the full H
	Again    float64 // runs without refinement that come before, to share a budget between layers
	Encode   float64 // seconds of one core for a weight, beside all others
	Squares  int64   // bytes for an element of H [K,K] while a layer is quantized, beside H
	Copies   int64   // bytes for a weight, beside two copies in float64
}

// Find returns the method of that name, nil without one.
func Find(name string) *Method {
	for _, m := range All {
		if m.Name == name {
			return m
		}
	}
	return nil
}

// Names returns the names of All.
func Names() []string {
	var names []string
	for _, m := range All {
		names = append(names, m.Name)
	}
	return names
}

// Key returns the key of that name, nil without one.
func (m *Method) Key(name string) *Key {
	for _, k := range m.Keys {
		if k.Name == name {
			return k
		}
	}
	return nil
}

// Quantizes reports whether the method gives quantized weights.
func (m *Method) Quantizes() bool { return m.Build != nil || m.Reads != "" }

// KeyNames returns the names of the keys of all methods, each once, such that
// the keys of every method stand in its own order. Of what may come next, what
// is named first in All comes first.
func KeyNames() []string {
	var all []string
	for _, m := range All {
		for _, k := range m.Keys {
			if !slices.Contains(all, k.Name) {
				all = append(all, k.Name)
			}
		}
	}
	var order []string
	ready := func(name string) bool { // all that stand before name are in order
		for _, m := range All {
			for _, k := range m.Keys {
				if k.Name == name {
					break
				}
				if m.Key(name) != nil && !slices.Contains(order, k.Name) {
					return false
				}
			}
		}
		return true
	}
	for len(order) < len(all) {
		i := slices.IndexFunc(all, func(n string) bool { return !slices.Contains(order, n) && ready(n) })
		if i < 0 {
			panic(fmt.Sprintf("method: keys of methods contradict each other in their order after %v", order))
		}
		order = append(order, all[i])
	}
	return order
}
