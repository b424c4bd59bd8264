// Package baseline has the methods that MosaicQuant is compared with beside RTN
// and GPTQ: SpQR, LLM.int8(), QUIK, Atom, SVDQuant, AWQ and SmoothQuant's factors.
//
//   - SpQR (spqr.go) keeps single weights in 16 bits beside GPTQ's base.
//   - Mixed (mixed.go) keeps whole input channels: LLM.int8(), QUIK and Atom.
//   - SVDQuant (svdquant.go) adds a low-rank branch.
//   - AWQ (awq.go) searches scales of channels; SmoothScales (smooth.go) computes them, and
//     SmoothSite (smoothsearch.go) compares those of SmoothQuant+ and OS+.
package baseline
