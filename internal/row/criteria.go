package row

import (
	"fmt"
	"path/filepath"
)

// CriteriaFile is the name of the criteria studies in a results folder: one
// Criteria per line, all layers of a study together. A file is replaced as a
// whole when a study is finished.
const CriteriaFile = "criteria.jsonl"

// Criteria tells how criteria choose the residual blocks of one linear layer.
// All of them see the same residual on the same base. Distortion is tr(E·H·Eᵀ);
// its H is that of the calibration, or of held-out activations: those of the
// evaluated text.
type Criteria struct {
	Schema int    `json:"schema"`
	Study  string `json:"study"` // content hash of all that the study depends on
	Label  string `json:"label"` // of the settings, unique within the file
	// Axes are the settings, as in Row, without criterion, density and budget.
	Axes map[string]string `json:"axes"`
	Env  string            `json:"env"` // key into env.json of the same folder

	Layer  string `json:"layer"` // "model.layers.0.self_attn.q_proj"
	N      int    `json:"n"`
	K      int    `json:"k"`
	Blocks int    `json:"blocks"`
	// BaseError and BaseHeldOut are tr(E·H·Eᵀ)/tr(W·H·Wᵀ) of the base alone.
	BaseError   float64           `json:"base_error"`
	BaseHeldOut float64           `json:"base_held_out"`
	Densities   []float64         `json:"densities"` // shares of the blocks; the order of all lists below
	Criteria    []CriterionResult `json:"criteria"`
	Warnings    []string          `json:"warnings,omitempty"`
}

// CriterionResult is what one criterion chose in a layer.
type CriterionResult struct {
	Name string `json:"name"`
	// Recovered and HeldOut are the shares of the base's distortion that the
	// residual on the chosen blocks recovers, by density, under the calibration's
	// H and the held-out one. The distance to the oracle is the difference to
	// HeldOut of the criterion oracle.
	Recovered []float64 `json:"recovered"`
	HeldOut   []float64 `json:"held_out"`
	// Spearman is the rank correlation of the scores of all blocks with those of
	// other criteria, by name. Greedy has no scores; oracle's are the measured
	// gains of single blocks.
	Spearman map[string]float64 `json:"spearman,omitempty"`
	// Overlap is the share of the chosen blocks that the other criterion chooses
	// too, by name and density; the Jaccard index is v/(2-v).
	Overlap map[string][]float64 `json:"overlap"`
}

// ReadCriteria reads the studies of the folder dir, packed or not; a folder without any has none.
func ReadCriteria(dir string) ([]Criteria, error) {
	return readLines(filepath.Join(dir, CriteriaFile), "a study of criteria", func(c *Criteria) int { return c.Schema })
}

// WriteCriteria replaces the studies of the folder dir.
func WriteCriteria(dir string, list []Criteria) error {
	return writeLines(filepath.Join(dir, CriteriaFile), list, func(c *Criteria) string {
		return fmt.Sprintf("study %s, layer %s", c.Study, c.Layer)
	})
}
