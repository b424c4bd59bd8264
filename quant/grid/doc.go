// Package grid finds the grid of a group of weights: its scale, its zero or
// offset and, for any4, the levels of its row. Rules say how the scale is found
// (Scale); a Fitter applies one to the groups of a matrix; Pack stores codes with
// their grids. Which code a weight gets is decided in package solve.
package grid
