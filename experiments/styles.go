package main

import (
	"slices"

	"github.com/mosaicquant/mosaicquant/experiments/method"
	"github.com/mosaicquant/mosaicquant/reports/figures"
)

// methodStyles is how reports draw the methods, in the order of legends and tables:
// that of the registry.
func methodStyles() figures.Styles {
	var first, last figures.Styles
	for _, m := range method.All {
		list := &first
		if m.Look.Last {
			list = &last
		}
		*list = append(*list, figures.Style{Family: m.Name, Color: m.Look.Color, Marker: m.Look.Marker})
		for _, v := range m.Variants {
			*list = append(*list, figures.Style{Family: v.Family, Color: v.Look.Color, Marker: v.Look.Marker})
		}
	}
	return slices.Concat(first, last)
}
