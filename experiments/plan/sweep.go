package plan

// Sweep is a validated sweep file.
type Sweep struct {
	Name string
	// Trials are distinct, in the order of the file: models outermost, methods
	// innermost. Their labels are set.
	Trials []Trial

	source *source
}
