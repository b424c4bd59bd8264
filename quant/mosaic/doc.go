// Package mosaic adds a block-sparse low-bit residual to a dense base: the method
// of MosaicQuant (arXiv 2606.15652), a residual that is quantized together with its
// base, the criteria that choose its blocks, and budgets that layers share.
package mosaic
