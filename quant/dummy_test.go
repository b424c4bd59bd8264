package quant

import "testing"

// dummy is a whole format: all that a new one needs to be stored, decoded, fitted,
// counted and quantized to. A real one has its row in rows, and a Kind.
var dummy = row{name: "dummy2", least: 2, most: 2, levels: dummyLevels, scaling: halfScales, table: levelTable(dummyLevels)}

var dummyLevels = NewLevels([]float64{-1, 0, .5, 1})

// WithDummy returns the dummy format with groups of g, which exists until t ends.
func WithDummy(t *testing.T, g int) Format {
	rows = append(rows, dummy) // the one line
	t.Cleanup(func() { rows = rows[:len(rows)-1] })
	return Format{Bits: 2, Group: g, Kind: Kind(len(rows) - 1)}
}
