package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
)

// identity returns the trial of what r did, and the configuration that it is the hash of.
func identity(p *product, r *runner) (trial string, config json.RawMessage, err error) {
	config, err = json.Marshal(struct {
		*product
		Engine  string `json:"engine"`
		Variant string `json:"variant"`
		Kernel  string `json:"kernel"`
	}{p, r.engine, r.name, r.kernel})
	sum := sha256.Sum256(config)
	return hex.EncodeToString(sum[:8]), config, err
}
