// Package figures draws what package stats found, as PNG and SVG (gonum/plot) and
// as options for interactive charts (go-echarts). A function that draws a group
// of rows returns nil where the rows do not support the figure; it never returns
// an empty frame.
//
// Styles say how each method looks. They come from the caller: there is no list of
// methods here.
package figures
