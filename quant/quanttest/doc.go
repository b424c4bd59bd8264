// Package quanttest has the layers, comparisons and golden files that tests of
// quant and its rooms share.
package quanttest
