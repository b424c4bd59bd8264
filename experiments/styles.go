package main

import "github.com/mosaicquant/mosaicquant/reports/figures"

// methodStyles is how reports draw the methods, in the order of legends and
// tables. A method that is not here looks as its name decides.
var methodStyles = figures.Styles{
	{Family: "none", Color: "#595959", Marker: "cross"},
	{Family: "rtn", Color: "#56b4e9", Marker: "circle"},
	{Family: "gptq", Color: "#0072b2", Marker: "square"},
	{Family: "spqr", Color: "#009e73", Marker: "triangle"},
	{Family: "llmint8", Color: "#808080", Marker: "square"},
	{Family: "quik", Color: "#8c6d1f", Marker: "plus"},
	{Family: "atom", Color: "#cc79a7", Marker: "down"},
	{Family: "svdquant", Color: "#993366", Marker: "circle"},
	{Family: "checkpoint", Color: "#000000", Marker: "down"},
	{Family: "mosaic", Color: "#d55e00", Marker: "diamond"},
	{Family: "mosaic on rtn", Color: "#e69f00", Marker: "diamond"},
	{Family: "mosaic on gptq", Color: "#d55e00", Marker: "star"},
}
