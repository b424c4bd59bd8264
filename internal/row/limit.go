package row

import (
	"fmt"
	"path/filepath"
)

// LimitFile is the name of the studies of limits in a results folder: one Limit per line,
// all layers of a trial together.
const LimitFile = "limit.jsonl"

// Limit compares a quantized layer with the rate–distortion bound of a Gaussian source,
// see package quant/rate. Errors are tr(E·H·Eᵀ)/tr(W·H·Wᵀ) under the H of the evaluated
// text.
type Limit struct {
	Schema int               `json:"schema"`
	Study  string            `json:"study"` // content hash of all that the study depends on
	Label  string            `json:"label"` // of the trial
	Axes   map[string]string `json:"axes"`  // of the trial, as in Row
	Env    string            `json:"env"`   // key into env.json of the same folder

	Layer  string `json:"layer"`
	N      int    `json:"n"`
	K      int    `json:"k"`
	Tokens int    `json:"tokens"` // that H comes from
	// Energy is tr(W·H·Wᵀ): what the errors of layers are shares of.
	Energy        float64 `json:"energy"`
	BitsPerWeight float64 `json:"bits_per_weight"`
	Error         float64 `json:"error"`
	Bound         float64 `json:"bound"`      // least error at BitsPerWeight
	BoundBits     float64 `json:"bound_bits"` // bits at which the bound is Error
	// Curve is the bound at CurveBits.
	CurveBits []float64 `json:"curve_bits"`
	Curve     []float64 `json:"curve"`
}

// ReadLimits reads the studies of the folder dir, packed or not; a folder without any has none.
func ReadLimits(dir string) ([]Limit, error) {
	return readLines(filepath.Join(dir, LimitFile), "a study of limits", func(l *Limit) int { return l.Schema })
}

// WriteLimits replaces the studies of the folder dir.
func WriteLimits(dir string, list []Limit) error {
	return writeLines(filepath.Join(dir, LimitFile), list, func(l *Limit) string {
		return fmt.Sprintf("study %s, layer %s", l.Study, l.Layer)
	})
}
