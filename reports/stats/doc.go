// Package stats analyses the rows of a sweep: Build sorts them into groups that
// may be compared and fills in the estimates, the comparisons with a baseline
// (compare.go), with rivals at equal bits (equal_bits.go) and at equal time
// (equal_time.go), the Pareto front (pareto.go) and the effects of settings
// (effects.go). Compare matches the rows of two sweeps.
//
// # Statistics
//
// The unit of replication is the evaluation window: tokens of one window share
// their context, so they are not independent, and every standard error here is
// clustered by window. With t_i scored tokens and a sum x_i in window i of n,
// a mean per token is the ratio Σx/Σt, and its variance comes from the
// linearised contributions e_i = (x_i - r·t_i)/t̄ (Cochran, Sampling
// Techniques, 3rd ed., §6.4; equal to the jackknife to first order):
//
//	SE² = Σ(e_i - ē)² / (n(n-1)),   interval = value ± t(n-1, 0.975)·SE
//
// Two rows of one model and protocol saw the same windows, so they are always
// compared in pairs: the contributions are subtracted window by window before
// squaring, which removes the (large) share of the variance that is the
// difficulty of the text. Ratios (of perplexities, of divergences) are
// differences of logarithms and their intervals are mapped back.
//
// What the intervals cover is the choice of windows from texts like this one:
// not other texts, other calibration samples or other models. Windows that
// follow each other in a text may still be correlated; each comparison carries
// the lag-1 autocorrelation of its contributions, and the page says where it
// is larger than chance would make it.
//
// Claims are made from families of comparisons with p-values corrected by Holm
// (1979); plain intervals are shown for each comparison on its own and say so.
package stats
