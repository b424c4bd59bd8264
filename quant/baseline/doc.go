// Package baseline has the methods that MosaicQuant is compared with beside RTN
// and GPTQ: SpQR, LLM.int8(), QUIK, Atom, SVDQuant, AWQ and SmoothQuant's factors.
package baseline
