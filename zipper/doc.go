// Package zipper multiplies by quantized weights as they are stored: 4-bit
// codes are unpacked in registers, never to floats in memory, and MosaicQuant's
// sparse residual (arXiv 2606.15652, ZipperEngine) gets no pass of its own.
//
// Y = X·Ŵᵀ, X [M,K], Ŵ [N,K] a base of up to 4 bits with an optional block
// residual of as many. PrepackFor chooses the scheme by the format of the
// activations:
//
//   - W4A8: X is quantized per token to int8 exactly as quant.A8 does. Products are
//     summed as integers within a group or a block, then scaled and added in
//     float32.
//   - W4A4: the same with quant.A4, int4 with a scale for every 128 channels of a
//     token. It computes what int4 units would, on int8 units: what it shows is
//     accuracy, its speed is that of W4A8.
//   - W4A16: X stays float32, codes become float32 in registers.
//
// # Formats of the base
//
// Integers of 2 to 8 bits, symmetric, affine or with scales of two levels (quant.Bilevel,
// quant.QoQ4, quant.IntScale4, quant.SDR4), and those whose levels are few multiples of one
// step (FP4, MXFP4, NVFP4, MXINT4, NVINT4, SEQ4, IF4, MXINT8, FP6E2M3), run as integers in all
// three schemes. The levels of NF4, NF4DQ, BnbFP4, Any4 and AnyFew, Power4, FP8, FP8E5M2,
// MXFP8 and FP6 are multiples of no step, nor are the zeros of HQQ4. Rounded to 8 bits they
// would be another grid than the stored one. So with W4A8 and W4A4 X is rounded as
// quant.A8 or quant.A4 says, and multiplied in float32: accuracy is exactly that of what
// is stored, and speed that of W4A16.
//
// A code of 5 to 8 bits takes a byte in the stream, and a cell 128: first columns 0
// to 3 of 16 rows, then the others. The byte is the number of steps, 128 larger than it
// is, or an E4M3 number, which those of FP6 are as well, or an E5M2 one. Codes of Any4, whose levels
// differ from row to row, lie row by row; see tables.go.
//
// Trellis codes (quant.Trellis: QTIP's and EXL3's) run in float32 as well, without a
// residual. The states of 16 rows are found by shifts, and their values computed in registers; see
// trellis.go. A stream has as many bytes as the stored form. Formats whose scales are
// quant.OtherScaling (FireQ4, Codebook, Pairs, AdaDim) have no kernel otherwise; Takes refuses them.
//
// Scales are stored in the stream as in quant, with as many bits, and decoded in
// registers. A code of 2 or 3 bits takes 4 in the stream.
//
// Reference states the results in float64.
//
// The variants that Zipped is compared with execute the same matrix in other ways: Dense4
// without the residual, Separate with the residual in a pass of its own. Outlier16
// is a 4-bit base with 16-bit outliers, W16A16 bfloat16 weights (PrepackBF16).
//
// # What is kept beside
//
// Channel scales (AWQ, SmoothQuant) divide X before it is rounded. Whole channels
// apart (LLM.int8(), QUIK, Atom) are rounded by themselves and multiplied in float32,
// and so is a low-rank branch (SVDQuant), by X as it was rounded. These are passes of
// their own over float32 copies, not fused: exact, and slower than their bytes.
//
// # The stream
//
// PrepackFor lays Ŵ out as one stream of bytes per panel of 16 rows, which a kernel
// walks once from its first byte to its last:
//
//	panel  = [prefix] tile ...          K/(groups of a tile · G), the last one shorter
//	tile   = group ... [count strip ...]
//	group  = scales codes               32 + 64·ceil(G/8) bytes with half-precision scales
//	scales = those of 16 rows, with zeros where they have their own; see head in base.go
//	codes  = cell ...                   64 bytes for 16 rows x 8 columns, 128 if codes are bytes
//	count  = number of strips, 4 bytes  only in the zipped stream
//	strip  = head scales chunk ...      2 + 2 or 2r' + 4r'·cells bytes
//	head   = row + 16·(first cell, counted from the start of its tile), 2 bytes
//
// A group is padded to whole cells and a panel to 16 rows; the last group of a row
// may be shorter. A tile has as many groups as make 128 columns, at least one;
// per-channel formats have one group. The prefix is what the panel's scales are relative to
// (NF4DQ, QoQ4), or the levels of its rows (Any4).
//
// A cell keeps row r in bytes 4r..4r+3: byte 4r+i holds the code of column i in
// its low nibble and that of column 4+i in its high one. So the 16 rows lie in
// the 16 lanes of a 512-bit register, and VPDPBUSD multiplies a nibble of every
// byte by four activations that all lanes share.
//
// An r x c block of the residual is cut into strips of r' rows, r' = the largest
// power of two up to 16 that divides r, and all its columns; a strip belongs to
// the tile in which it begins, and follows that tile's codes. It covers whole cells, with
// codes of zero beside its columns, so a column alone costs as much as eight. It repeats the
// scale of its block, or has the scales of its r' rows. A chunk generalises the
// cell: the r' rows of n = 16/r' cells (fewer in the last chunk) are
// 4r'·n bytes, dword q·r'+row holding columns 4q..4q+3 of the row in its low
// nibbles and columns 4n+4q..4n+4q+3 in its high ones. With r' = 16 a chunk is a
// cell; with r' = 1 it is 128 columns of one row.
//
// So int4 g128 takes 4.125 bits per weight, and a residual of 16x64 blocks
// 4.06 for every weight it covers.
//
// # A residual that rides in the codes
//
// A residual tied to the scales of its base (quant.Residual.BaseScales) needs no
// product of its own where both are integers in one unit. PrepackFor lays it out so,
// for Zipped with quant.A8 or quant.A4, if
//
//   - the base is one of integers: symmetric, affine or Bilevel;
//   - codes have 2 bits and stand for -1, 0 and 1;
//   - the ratio is a half, one, one and a half ... or eight steps;
//   - blocks have a multiple of 8 columns and begin on a cell, so groups are of a
//     multiple of 8 columns or the whole row.
//
// Weights.Rides tells. Everything else is executed in strips. What a quantizer
// must guarantee is the ratio: a whole number of half steps, in half precision
// (quant.Residual.HalfSteps, residual_scale: half in a sweep).
//
// In units of half a step, base and residual are 2(u-8) + h·v with h = 2·ratio: at most
// 30 for a ratio of 7.5, so it is exact in int8, and steps are not rounded. A group
// is then
//
//	group = scales mask ... codes word ...
//	mask  = 2 bytes for every cell: a bit for each row that has a word
//	word  = 2 bytes: a row's 8 codes of a cell, 4 pairs of columns i and 4+i
//
// So a 1x8 block costs 16 bits for its codes and every eight weights a bit: at 10 % of
// the blocks of int4 g128 8 % more bytes than the base alone. Kernels expand words to
// the lanes of their rows, look two codes up at a time, and add them to the nibbles.
// A product with very many tokens does that once for all of them (widen), and keeps
// the bytes in the L2 cache.
//
// Where the index is quant.IndexExact, blocks are 1x8 and groups divide 128 columns or are
// divided by them, words lie in records instead, of a fixed size for every 128 columns of
// the panel, behind the head of the first group in which those begin:
//
//	group  = scales [record ...] codes
//	record = slot ...           one for each of the k blocks that a row keeps there
//	slot   = places word ...    8 bytes, half a byte for each row, and 16 words
//
// So a block costs 20 bits and a cell nothing: a stream has as many bytes as the stored
// form. Kernels multiply the codes of the base, doubled, as those of any other matrix. Then
// they gather, slot by slot, the activations that the words of 16 rows meet, from a copy
// that has them by segments (gather), and add their products to the same integers. This
// form rides with float32 activations as well. AVX2 and the generic kernel widen it always,
// and run it in Go with float32 activations.
//
// With quant.A4 groups and blocks of more than 128 columns are cut there, and
// their scales repeated. Bfloat16 weights are panels of 16 rows too; see
// PrepackBF16. Outliers are compressed sparse rows of 4 bytes per outlier; of 8 where
// the base has no level of zero (affine, Bilevel), so that what is stored is the
// difference to its weight, in two half-precision parts.
//
// # Kernels
//
// Kernels ascend: generic states what is computed, avx2 does 32 products at a
// time and avx512 64. With integer activations they give the same bits. The
// environment variable MOSAICQUANT_CPU forces one, as in internal/gemm. Other
// processors, arm64 among them, run the generic one.
//
// A panel is multiplied by up to 8 tokens in one pass of avx512, 2 of avx2.
//
// # Speed
//
// results/reference/kernels has times of whole layers with their intervals, and
// results/README.md the table of them ("What the kernels show"). With one token a residual on
// 16x64 blocks costs what its bytes cost, in one stream or in two. Streams lie on large
// pages, where the system has any: on small ones their rate depends on where they came to
// lie, by more than any difference between variants.
//
// With more tokens kernels wait for the integer units. A strip costs its products and, for
// every token, 5 instructions that begin and end a sum. Thin strips cost much more, because
// each fills only a part of a register (1x32 a quarter) and is summed across lanes for
// itself. Several of them in one register, with a row for each in the head, would be the
// remedy.
//
// The figures below have no committed rows. They are what BenchmarkPanel (the cache) and
// BenchmarkThin (ratios) printed on 2 cores of an AMD EPYC (Zen 5, AVX-512 VNNI) that was busy with
// other work: for orders of magnitude.
//
// A panel of 4096 columns that stays in the cache, in ns at best, by format, and with a
// residual of 1x8 blocks that rides in the codes, 10 % of them; read is bytes over the time
// with M = 1, in GB/s, where memory gave each of the two cores 20:
//
//	W4A8 M                    1  read      4      8     16
//	int4 g128               286   118    671   1186
//	int4 affine g128        340   100    776   1316
//	int4b g16               922    41   1642   2709
//	fp4 g128                320   106    696   1206
//	mxfp4                   446    78    861   1487
//	nvfp4                   691    53   1076   1808
//	int4 g128, 1x8 riding   656    56   1032   1497   2568
//
//	W4A16 M                   1  read      4      8
//	int4 g128               932    36   2078   4021
//	int4b g16              1382    27   2704   4762
//	nf4 g128                946    36   2083   4026
//	nf4dq g16              1547    24   2930   4792
//	nvfp4                  1032    36   2314   4296
//
// Other forms the same way. Groups of two cells wait for their heads; if4 chooses between two tables:
//
//	W4A8 M                    1  read      4      8
//	sdr4 g128               350    95    741   1242
//	sdr4 g16                841    41   1222   1952
//	if4                    1412    26   1732   2173
//
//	W4A16 M                   1  read      4      8     16
//	hqq4 g64                971    38   2153   4206
//	power4 g32              951    39   2193   4156
//	any3, any4 g128        1402    25   3065   5568
//	if4                    1943    19   3345   5187
//	trellis of 4 bits, 1mad  2193  15   4747   6800  11427
//	                   mul1  3525   9   5828   7962  12519
//	                  3inst  4957   7   7612   9334  13871
//
// Trellis codes wait for vector instructions, not for bytes: with 2 bits they take as long as
// with 4. 16 weights take 8 (1mad), 12 (mul1) and 15 instructions (3inst), of which this machine
// does between 3 and 4 a cycle; those of mul1 and 3inst that round to half precision are 4. Over int4
// g128, processor time of 14336x4096 on one core beside much other work, states of 16 bits, with
// 95 % intervals; int4 came in part from the cache:
//
//	M                        1                   4                  16                 512
//	W4A16 1mad 2.14 [2.04, 2.26]  2.41 [2.36, 2.73]  1.49 [1.44, 1.60]
//	      mul1 3.39 [3.26, 3.54]  2.88 [2.79, 2.98]  1.63 [1.55, 1.73]  1.19 [1.18, 1.21]
//	     3inst 4.83 [4.79, 5.08]  3.62 [3.56, 3.69]  1.76 [1.72, 1.81]
//	W4A8  1mad 2.47 [2.37, 2.59]  5.61 [5.05, 5.68]
//	      mul1 3.93 [3.84, 4.28]  6.67 [6.25, 6.97]
//	     3inst 5.67 [5.45, 6.33]  8.35 [7.42, 8.76]
//
// With W4A8 int4 runs on the integer units, trellis codes do not. With M = 1 a kernel multiplies
// what it decodes at once; with more, levels of 256 columns lie in the L1 cache for all tokens.
//
// Processor time of whole products on one core, riding over the base, medians of up to
// 400 products in turns from the caches with 95 % intervals:
//
//	M                        4                    16                  512
//	2048x4096   1.42 [1.41, 1.42]   1.08 [1.08, 1.09]   1.08 [1.07, 1.09]
//	512x14336   1.41 [1.40, 1.42]   1.08 [1.07, 1.08]   1.04 [0.99, 1.11]
//
// With few tokens that matters only to the extent that memory does not set the pace. From
// 256 on the residual is added once for all.
//
// The same from memory, one core, beside much other work, 12.5 % of the blocks, W4A8; 61
// to 81 turns, 11 with 512 tokens:
//
//	M                               1                   4                  16                 512
//	14336x4096 bitmap    1.14 [1.12, 1.16]   1.26 [1.24, 1.29]   1.09 [1.08, 1.10]   1.15 [1.13, 1.16]
//	           records   1.11 [1.09, 1.13]   1.18 [1.16, 1.19]   1.17 [1.16, 1.18]   1.15 [1.13, 1.17]
//	4096x14336 bitmap    1.14 [1.11, 1.16]   1.22 [1.16, 1.29]   1.10 [1.07, 1.13]   1.29 [1.19, 1.37]
//	           records   1.13 [1.08, 1.16]   1.19 [1.11, 1.23]   1.23 [1.21, 1.26]   1.30 [1.25, 1.41]
//
// The bitmap has 1.09 times the bytes of the base and records 1.08. From 64 tokens on records
// are widened too, and activations are not gathered for them. A panel of 4096 columns in the
// cache takes 1.28 times the base with records and 4 tokens, 1.24 times with 8. What 512 tokens
// lose beyond the product, which takes 1.05 times as long, is room in the L2 cache: a widened
// panel of 14336 columns with 16 tokens and their sums is 690 KiB, and other work on the
// machine takes its share.
//
// Processor time of other formats with one token over int4 g128, one core: int4 affine, qoq4
// and intscale4 0.97 to 1.06, mxint8, int8 affine and fp6e2m3 1.9 to 2.0 with 2.0 times the
// bytes, fp6 2.9, any4 g128 1.6 and any4 g32 3.6. E4M3 numbers below 2^-6 are float32
// subnormals on their way, which this machine multiplies slowly: fp8 takes 3 to 6 times as
// long where codes are random; in weights they are rare.
//
// Separate reads the same bytes, so it can lose only what a second pass costs
// besides: activations once more, from the cache, Y once more, and another wait for
// the slowest core. On a CPU one stream gains little over two.
//
// There is no separate path for prefills, because unpacking is not what they wait
// for: with 8 tokens a cell takes 16 VPDPBUSD and 3 instructions that unpack it. Codes
// unpacked once for more tokens would only be more bytes to read, and blocks of columns of
// activations that fit the L1 cache cost time instead of gaining.
package zipper
