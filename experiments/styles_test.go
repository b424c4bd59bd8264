package main

import "testing"

// TestStyles: reports can draw the look of every method.
func TestStyles(t *testing.T) {
	if err := methodStyles().Check(); err != nil {
		t.Error(err)
	}
}
