// Package bench times ZipperEngine and the variants it is compared with: products
// with layers of language models, and models that generate text end to end.
//
// # Protocol
//
// All variants of a product multiply the same random weights by the same
// activations. A repeat runs every variant once, in an order that is rotated
// from repeat to repeat, and samples the yardsticks (read bandwidth, peak rate)
// beside them, so that a disturbance of the machine affects all variants alike.
// The first run of each is a warm-up whose output is checked against a float64
// product of a sample of rows: a kernel that computes something else has no
// time. Medians have bootstrap intervals over the repeats; ratios are medians
// of the ratios within each repeat.
//
// Products that take less than two hundred steps of a GPU's clock are timed several in
// a row, each with the next copy of its weights: a repeat is then their mean. Before
// the repeats a GPU works for 200 ms.
//
// What the last-level cache holds when a product starts is a setting: flush
// (it has read something else), rotate (the product uses another copy of its
// weights each time, last touched longer ago than the cache reaches) or warm
// (whatever the variants before it left).
//
// # Rows
//
// Each variant of a product is one row of internal/row. Axes:
//
//	bench     product (or generate, see below)
//	engine    cpu, cuda
//	model     llama3-8b ..., absent for a plain shape
//	layer     qkv, o, gate_up, down, absent for a plain shape
//	shape     NxK
//	scheme    w4a8, w4a16, w4a4; of w16a16 that of its neighbours
//	variant   w16a16, dense4, separate, outlier16, zipper
//	group     weights that share a scale, or row
//	density   share of blocks with a residual, as a fraction
//	block     rxc, absent at density 0, as is
//	residual_scale  block, row or half; index of half: rows, bitmap or exact
//	outliers  share of weights that outlier16 keeps, where the file gives it
//	tokens    M
//	cache     flush, rotate, warm
//
// Values, each with Low and High, the 95 % bootstrap interval of the median:
//
//	time              s
//	bandwidth         B/s, weight bytes over time
//	bandwidth_share   of the read bandwidth, repeat by repeat
//	rate              FLOP/s, 2·M·N·K over time
//	rate_share        of the peak rate, repeat by repeat
//	time_over/dense4  time over that of the named variant, repeat by repeat;
//	                  one for every other variant of the product
//	read_bandwidth    B/s, the yardstick
//	peak_rate         FLOP/s, the yardstick
//	weight_bytes      B that one product reads of the weights (no interval)
//	output_nmse       of the check (no interval)
//
// Series, one entry per repeat: time, read_bandwidth, peak_rate. Row.Execution
// names engine, device, the requested and the engaged kernel, the cache and
// the yardsticks in words. A variant that the engine has no kernel for is a row
// with status failed that says so. Where the CPU stands in for an engine that
// could not be opened, the requested kernel names that engine and why, and a
// warning repeats it; kernels of the emulated CUDA device carry a warning, too.
// Row.Execution.State has the device's clocks right after the repeats, and before them.
//
// A prediction (Predict) is no measurement: its status is predicted, its axis
// bench "prediction", its engine "model", and its only value predicted_time.
//
// A model that reads a prompt and generates is one row per variant too. Axes: bench
// (generate), engine, model, scheme, variant, group, density, block, prompt, tokens,
// and batch, copies of the prompt that go on together, where it is not 1. Values:
// prefill_time, decode_time, and both together as generate_time (s), prefill_rate,
// decode_rate (token/s, of all copies), the times over those of another VARIANT,
// prefill_time_over/VARIANT and so on, all with intervals, and weight_bytes of the
// linear layers, which one token reads. Series: the times. Embeddings
// and output layer stay in 16 bits in all variants, the latter on the kernel of
// w16a16, and are part of the times. On a GPU (package cudallm) activations and the cache are
// in 16 bits, all variants are in memory together, and the layers of a random model are
// copies of one.
package bench
