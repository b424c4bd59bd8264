package trial

import (
	"fmt"
	"math"

	"github.com/mosaicquant/mosaicquant/internal/row"
)

// derived is a value that is a function of measured ones, and how it is made.
type derived struct {
	row.Value
	how string
}

// addDefined adds the values that are finite. One that is not, because it is beyond
// the largest float64 or a ratio to nothing, has no definition: it is missing, and a
// warning says so.
func addDefined(r *row.Row, values ...derived) {
	for _, v := range values {
		if math.IsNaN(v.Value.Value) || math.IsInf(v.Value.Value, 0) {
			r.Warnings = append(r.Warnings, fmt.Sprintf("%s is missing: %s", v.Name, v.how))
			continue
		}
		r.Values = append(r.Values, v.Value)
	}
}
