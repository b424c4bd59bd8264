package slurm

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Record is what submit remembers of a study, in DIR/slurm/jobs.json.
type Record struct {
	WorkDir     string       `json:"work_dir"`
	Cache       string       `json:"cache"`
	Slices      int          `json:"slices"`
	Options     Options      `json:"options"`
	Submissions []Submission `json:"submissions"`
}

// Submission is a set of jobs, by their numbers.
type Submission struct {
	Time    string `json:"time"` // RFC 3339, UTC
	Tasks   string `json:"tasks"`
	Prepare string `json:"prepare"`
	Array   string `json:"array"`
	Merge   string `json:"merge"`
}

// Jobs returns the numbers of all jobs.
func (r *Record) Jobs() []string {
	var ids []string
	for _, s := range r.Submissions {
		ids = append(ids, s.Prepare, s.Array, s.Merge)
	}
	return ids
}

// RecordFile is the record's file in the results folder dir.
func RecordFile(dir string) string { return filepath.Join(dir, Folder, "jobs.json") }

// ReadRecord reads the record of the results folder dir, nil where nothing was
// submitted.
func ReadRecord(dir string) (*Record, error) {
	data, err := os.ReadFile(RecordFile(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var r Record
	if err := json.Unmarshal(data, &r); err != nil {
		return nil, fmt.Errorf("%s: %w", RecordFile(dir), err)
	}
	if r.Slices < 1 {
		return nil, fmt.Errorf("%s: slices is %d, want at least 1", RecordFile(dir), r.Slices)
	}
	return &r, nil
}
