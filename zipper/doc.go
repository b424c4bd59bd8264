// Package zipper multiplies by quantized weights as they are stored: 4-bit
// codes are unpacked in registers, never to floats in memory, and MosaicQuant's
// sparse residual (arXiv 2606.15652, ZipperEngine) gets no pass of its own.
//
// The scheme is W4A8: Y = X·Ŵᵀ, X [M,K] quantized per token to int8 exactly as
// quant.A8 does, Ŵ [N,K] a symmetric 4-bit base with an optional 4-bit block
// residual. Products are summed as integers within a group or a block, then
// scaled and added in float32. Reference states the result in float64.
//
// # The stream
//
// Prepack lays Ŵ out as one stream of bytes per panel of 16 rows, which a kernel
// walks once from its first byte to its last:
//
//	panel  = tile ...                   K/(groups of a tile · G), the last one shorter
//	tile   = group ... [count strip ...]
//	group  = scales codes               32 + 64·ceil(G/8) bytes
//	scales = 16 half-precision numbers, of the rows of the panel
//	codes  = cell ...                   64 bytes for 16 rows x 8 columns
//	count  = number of strips, 4 bytes  only in the zipped stream
//	strip  = head scales chunk ...      2 + 2 or 2r' + 4r'·cells bytes
//	head   = row + 16·(first cell, counted from the start of its tile), 2 bytes
//
// A group is padded to whole cells and a panel to 16 rows. A tile has as many
// groups as make 128 columns, at least one; per-channel formats have one group.
//
// A cell keeps row r in bytes 4r..4r+3: byte 4r+i holds the code of column i in
// its low nibble and that of column 4+i in its high one. So the 16 rows lie in
// the 16 lanes of a 512-bit register, and VPDPBUSD multiplies a nibble of every
// byte by four activations that all lanes share.
//
// An r x c block of the residual is cut into strips of r' rows, r' = the largest
// power of two up to 16 that divides r, and all its columns; a strip belongs to
// the tile in which it begins, and follows that tile's codes. It repeats the
// scale of its block, or has the scales of its r' rows. A chunk generalises the
// cell: the r' rows of n = 16/r' cells (fewer in the last chunk) are
// 4r'·n bytes, dword q·r'+row holding columns 4q..4q+3 of the row in its low
// nibbles and columns 4n+4q..4n+4q+3 in its high ones. With r' = 16 a chunk is a
// cell; with r' = 1 it is 128 columns of one row.
//
// So int4 g128 takes 4.125 bits per weight, and a residual of 16x64 blocks
// 4.06 for every weight it covers.
//
// Kernels ascend: generic states what is computed, avx2 does 32 products at a
// time and avx512 64. They give the same bits. The environment variable
// MOSAICQUANT_CPU forces one, as in internal/gemm.
package zipper
