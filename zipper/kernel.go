package zipper

import (
	"fmt"
	"os"
	"strings"
)

// A kernel is one way to do the inner loops; kernel_generic.go states in Go
// what each function computes. All kernels give the
// same bits where activations are integers.
type kernel struct {
	name string

	// panels multiply a panel by 1 and by more tokens, in ascending order.
	panels [schemes]panelKernels

	// maxAbs and quantize take multiples of lanes.
	lanes    int
	maxAbs   func(x []float32) uint32
	quantize func(dst []byte, x []float32, scale float32, top int32)

	// sparse adds to y[i] the product of x with row i of a matrix in compressed
	// sparse rows: outliers ptr[i] up to ptr[i+1] of cols and vals. sparseLanes
	// sets out[i*sparseWidth+t] to the product with x[·*sparseWidth+t].
	sparse      func(ptr []uint32, cols, vals []uint16, x, y []float32)
	sparseLanes func(ptr []uint32, cols, vals []uint16, x, out []float32)
	sparseWidth int

	// riding are panels for residuals that ride in codes. widen writes such a panel of
	// shape s to dst, as bytes, which widened multiply: it pays from so many tokens on.
	riding, widened [schemes]panelKernels
	widen           func(dst, src []byte, s *shape, lanes *laneTable)
	widenFrom       int
	// exact are panels with records. Without float activations they multiply fewer than
	// exactUpTo tokens; more are multiplied by the widened form.
	exact     [schemes]panelKernels
	exactUpTo int
	// bytes are panels of codes of a byte.
	bytes [schemes]panelKernels

	// decode writes the levels of so many tiles of trellis codes at src: 16 rows of a column
	// after those of the one before. decoded add products with them to out; of a shape they
	// read groupCells alone. decodeOne does both for one token, whose activations are x; nil:
	// there is none.
	decode    func(dst []float32, src []byte, tiles int, t *trellis)
	decodeOne func(out []float32, src, x []byte, tiles int, t *trellis)
	decoded   panelKernels

	// sum takes a multiple of 256 bytes.
	sum func(p []byte) uint64
}

// panelKernel sets out[t*16+row] to the product of the panel at w, of the given
// shape and lanes, with token t < tokens: activations from x[t*ld] on, their
// sums s.sums bytes later. The product lacks the scale of the token.
type panelKernel struct {
	tokens int
	mul    func(w, x []byte, ld int, s *shape, lanes *laneTable, out []float32)
}

type panelKernels []panelKernel

// covering returns the smallest kernel for that many tokens, or the largest of no
// more. One of 16 tokens that has a use for fewer than 12 counts as too large.
func (k panelKernels) covering(tokens int) panelKernel {
	best := k[0]
	for _, p := range k {
		if p.tokens >= tokens && (p.tokens <= 8 || 4*tokens >= 3*p.tokens) {
			return p
		}
		if p.tokens <= tokens {
			best = p
		}
	}
	return best
}

// panelsFor returns the panel kernels that multiply by w, and whether by its widened
// form.
func (k *kernel) panelsFor(w *Weights, tokens int) (p panelKernels, widened bool) {
	switch {
	case w.trellis != nil:
		return k.decoded, false
	case w.codec.wide:
		return k.bytes[w.scheme], false
	case !w.Rides():
		return k.panels[w.scheme], false
	case w.main.shape.mode == cellsExact && w.scheme.float():
		return k.exact[w.scheme], false
	case w.main.shape.mode == cellsExact && tokens < k.exactUpTo:
		return k.exact[w.scheme], false
	case tokens >= k.widenFrom || w.main.shape.mode == cellsExact:
		return k.widened[w.scheme], true
	}
	return k.riding[w.scheme], false
}

// padded returns the number of tokens that the panel kernels touch.
func (k panelKernels) padded(tokens int) int {
	n := 0
	for n < tokens {
		n += k.covering(tokens - n).tokens
	}
	return n
}

// cpuVariable forces a kernel by name, here as in internal/gemm: a name that is
// unknown or that this CPU cannot run is an error, see CheckKernel.
const cpuVariable = "MOSAICQUANT_CPU"

// active is the kernel in use: set at start, and by tests. Where the variable names
// none, wrong says so, and active is the fastest one.
var active, wrong = start()

func start() (*kernel, error) {
	all := kernels()
	k, err := choose(os.Getenv(cpuVariable), all)
	if err != nil {
		return all[0], err
	}
	return k, nil
}

// CheckKernel returns an error if the environment variable MOSAICQUANT_CPU names a
// kernel that this build does not have for this CPU. Programs call it first: the
// fastest kernel would run in place of that one.
func CheckKernel() error { return wrong }

// choose returns the named kernel, or the first one if name is empty.
func choose(name string, available []*kernel) (*kernel, error) {
	if name == "" {
		return available[0], nil
	}
	var names []string
	for _, k := range available {
		if k.name == name {
			return k, nil
		}
		names = append(names, k.name)
	}
	return nil, fmt.Errorf("zipper: %s=%q: this build on this CPU has %s", cpuVariable, name, strings.Join(names, ", "))
}

// Kernel returns the name of the kernel in use: avx512, avx2 or generic.
func Kernel() string { return active.name }
