//go:build cuda && linux && cgo

package cuda

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/parallel"
	"github.com/mosaicquant/mosaicquant/internal/variants"
	"github.com/mosaicquant/mosaicquant/quant"
	"github.com/mosaicquant/mosaicquant/zipper/cuda/driver"
)

// Layer is a weight matrix on a device, ready to multiply in one variant.
type Layer struct {
	d       *Device
	n, k    int
	scheme  Scheme
	variant string
	options Options
	layout  *Layout // without its buffers; nil for w16a16

	w, s, index, r, ptr, cols, values driver.Buffer // weights

	operands                  // of the loaded input
	tiles    map[int]operands // by M, of Work.Multiply: tiles alone
}

// operands are what a product needs beside weights.
type operands struct {
	x, xq, xs, y, part, count driver.Buffer

	m      int
	tile   Tile // of the base or of both
	sparse Tile // of the residual's own kernel
}

// NewLayer puts l on the device for a variant. The layout is not kept: its
// buffers are copied. What has no kernel is an error.
func (d *Device) NewLayer(l *Layout, variant string, o Options) (*Layer, error) {
	if o.Input < Float32 || o.Input > BFloat16 || o.Output < Float32 || o.Output > BFloat16 {
		return nil, fmt.Errorf("cuda: types %d and %d", o.Input, o.Output)
	}
	meta := *l
	meta.W, meta.S, meta.Index, meta.R, meta.Ptr, meta.Cols, meta.Values = nil, nil, nil, nil, nil, nil, nil
	y := &Layer{d: d, n: l.N, k: l.K, scheme: l.Scheme, variant: variant, options: o, layout: &meta}
	type copied struct {
		to   *driver.Buffer
		from []byte
	}
	weights := []copied{{&y.w, l.W}, {&y.s, l.S}}
	switch variant {
	case variants.Dense4:
	case variants.Zipper, variants.Separate:
		if l.Rides() && variant == variants.Separate {
			return nil, errors.New("cuda: no kernel of its own for a residual that rides in the base: see NewSeparable")
		}
		if l.Rides() {
			weights = append(weights, copied{&y.r, l.R})
		}
		if l.Index != nil {
			weights = append(weights, copied{&y.index, l.Index}, copied{&y.r, l.R})
		}
	case variants.Outlier16:
		if l.Scheme == W4A4 {
			return nil, fmt.Errorf("cuda: no kernel for outliers under %s", l.Scheme)
		}
		if l.Ptr != nil {
			weights = append(weights, copied{&y.ptr, l.Ptr}, copied{&y.cols, l.Cols}, copied{&y.values, l.Values})
		}
	default:
		return nil, fmt.Errorf("cuda: unknown variant %q", variant)
	}
	err := d.worker.Do(func(c *driver.Context) error {
		for _, b := range weights {
			if err := upload(c, b.to, b.from); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, errors.Join(err, y.Close())
	}
	return y, nil
}

// NewLayer16 puts q on the device in bfloat16, for cuBLAS.
func (d *Device) NewLayer16(q *quant.Quantized, o Options) (*Layer, error) {
	if d.blas == nil {
		return nil, d.blasErr
	}
	n, k := q.Dims()
	l := &Layer{d: d, n: n, k: k, variant: variants.W16A16, options: Options{Input: BFloat16, Output: BFloat16}}
	const rows = 64
	w := make([]byte, 2*n*k)
	parallel.Each(ceilDiv(n, rows), func(i int) {
		part := gemm.NewMatrix(min(rows, n-i*rows), k)
		q.Load(part, i*rows, 0)
		copy(w[2*i*rows*k:], encode(part, k, BFloat16))
	})
	if err := d.worker.Do(func(c *driver.Context) error { return upload(c, &l.w, w) }); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// upload makes b a copy of data, which may be empty: kernels take no null pointer.
func upload(c *driver.Context, b *driver.Buffer, data []byte) (err error) {
	if err = c.Free(b); err != nil {
		return err
	}
	if *b, err = c.Alloc(max(16, int64(len(data)))); err != nil {
		return err
	}
	return c.Upload(*b, 0, data)
}

// Close frees the layer's memory.
func (l *Layer) Close() error {
	return l.d.worker.Do(func(c *driver.Context) error {
		var err error
		for _, b := range []*driver.Buffer{&l.w, &l.s, &l.index, &l.r, &l.ptr, &l.cols, &l.values, &l.x, &l.xq, &l.xs,
			&l.y, &l.part, &l.count} {
			err = errors.Join(err, c.Free(b))
		}
		return err
	})
}

// Bytes is what one product with m tokens reads of the weights.
func (l *Layer) Bytes(m int) int64 {
	var n int64
	for _, b := range []driver.Buffer{l.w, l.s, l.index, l.r, l.ptr, l.cols, l.values} {
		n += b.Size()
	}
	return n
}

// kind is the matrix kernel that multiplies by the base.
func (l *Layer) kind() string {
	kind := "dense"
	if l.variant == variants.Zipper && l.index.Size() > 0 {
		kind = "zip"
	}
	rides := l.variant == variants.Zipper && l.layout.Rides()
	if rides {
		kind = "ride"
	}
	if g := l.layout.Group; g == 32 || rides && g == 64 {
		kind += strconv.Itoa(g)
	}
	return kind
}

// Load uploads x [M,K] in the type of the layer's input, and chooses the tiles
// of the kernels for its M.
func (l *Layer) Load(x gemm.Matrix) error {
	if x.Cols != l.k || x.Rows < 1 {
		return fmt.Errorf("cuda: input of %dx%d for weights of %dx%d", x.Rows, x.Cols, l.n, l.k)
	}
	l.m = x.Rows
	ld := l.k
	if l.variant != variants.W16A16 {
		ld = l.columns()
	}
	return l.d.worker.Do(func(c *driver.Context) error {
		if err := upload(c, &l.x, encode(x, ld, l.options.Input)); err != nil {
			return err
		}
		outputs := int64(l.m) * int64(l.n) * int64(l.options.Output.bytes())
		if err := l.resize(c, &l.y, outputs); err != nil {
			return err
		}
		// What is not written shall not look like a result.
		if err := l.d.stream.Fill(l.y, 0, l.y.Size(), 0xff); err != nil {
			return err
		}
		if l.variant == variants.W16A16 {
			return l.d.stream.Synchronize()
		}
		if err := l.resize(c, &l.xq, int64(l.m)*int64(l.codeBytes())); err != nil {
			return err
		}
		if err := l.resize(c, &l.xs, 4*int64(l.m)*int64(ceilDiv(l.columns(), a4Group))); err != nil {
			return err
		}
		return l.choose(c)
	})
}

// a4Group is the number of channels that share a scale in quant.A4.
const a4Group = 128

// columns is K with its padding.
func (l *Layer) columns() int { return tileCols * l.layout.Tiles }

// codeBytes is the size of a token as the matrix kernels read it.
func (l *Layer) codeBytes() int {
	switch l.scheme {
	case W4A8:
		return l.columns()
	case W4A4:
		return l.columns() / 2
	}
	return 2 * l.columns()
}

// resize makes b at least size bytes long; what it held is lost.
func (l *Layer) resize(c *driver.Context, b *driver.Buffer, size int64) (err error) {
	if b.Size() >= size {
		return nil
	}
	if err = c.Free(b); err != nil {
		return err
	}
	*b, err = c.Alloc(max(16, size))
	return err
}

// choose sets the tiles of the loaded input.
func (l *Layer) choose(c *driver.Context) error {
	if err := l.quantize(c); err != nil {
		return err
	}
	return l.tune(c)
}

// tune sets the tiles: as the options say, or the fastest of those that suit.
func (l *Layer) tune(c *driver.Context) error {
	d := l.d
	candidates, err := l.candidates(l.kind(), true)
	if err != nil {
		return err
	}
	sparse := []Tile{{}}
	if l.separate() {
		if sparse, err = l.candidates("sparse", false); err != nil {
			return err
		}
	}
	// The two kernels of Separate do not overlap, so each is chosen by itself.
	l.sparse = sparse[0]
	run := func(t Tile) error { return l.matrix(c, l.kind(), t) }
	if l.tile, err = l.fastest(c, l.kind(), candidates, run); err != nil {
		return err
	}
	if l.separate() {
		l.sparse, err = l.fastest(c, "sparse", sparse, func(t Tile) error { return l.matrix(c, "sparse", t) })
	}
	return errors.Join(err, d.stream.Synchronize())
}

func (l *Layer) separate() bool { return l.variant == variants.Separate && l.index.Size() > 0 }

// candidates lists the tiles to try.
func (l *Layer) candidates(kind string, split bool) ([]Tile, error) {
	tokens := l.d.tokens(l.scheme, kind)
	if len(tokens) == 0 {
		return nil, fmt.Errorf("cuda: no %s kernel for %s", kind, l.scheme)
	}
	forced := l.options.Tile
	if kind == "sparse" {
		forced = l.options.sparse
	}
	if forced.Tokens > 0 {
		if _, ok := l.d.table[l.name(kind, forced)]; !ok {
			return nil, fmt.Errorf("cuda: no kernel %s", l.name(kind, forced))
		}
		return []Tile{forced}, nil
	}
	rows := l.d.table[l.name(kind, Tile{Tokens: tokens[0]})].rows
	all := tiles(tokens, rows, l.m, l.n, l.layout.Tiles, l.d.Info.SMs, split)
	if l.d.Info.Emulated { // its times say nothing
		all = all[:1]
	}
	return all, nil
}

// tuning is what the fastest tile of a kernel depends on, on one device.
type tuning struct {
	kernel          string // without its tile
	m, n, k, group  int
	rform, residual int // of the layout; its bytes stand for its density
	input, output   Type
}

// fastest times every tile a few times on a flushed cache. Copies of a layer and
// later loads of as many tokens take the tile that won for the first.
func (l *Layer) fastest(c *driver.Context, kind string, all []Tile, run func(Tile) error) (best Tile, err error) {
	const repeats = 5
	if len(all) == 1 {
		return all[0], l.workspace(c, all[0])
	}
	key := tuning{string(l.scheme) + "_" + kind, l.m, l.n, l.k, l.layout.Group, int(l.layout.RForm), int(l.r.Size()),
		l.options.Input, l.options.Output}
	if t, ok := l.d.tuned[key]; ok {
		return t, l.workspace(c, t)
	}
	shortest := time.Duration(1<<63 - 1)
	for _, t := range all {
		if err := l.workspace(c, t); err != nil {
			return t, err
		}
		least := shortest
		for i := range 1 + repeats {
			if err := l.d.flush(c); err != nil {
				return t, err
			}
			took, err := l.d.timed(c, 1, func() error { return run(t) })
			if err != nil {
				return t, err
			}
			if i > 0 && took < least {
				least = took
			}
		}
		if least < shortest {
			shortest, best = least, t
		}
	}
	l.d.tuned[key] = best
	// The workspace may have grown for a tile that lost; its counters are zero.
	return best, nil
}

// workspace makes room for the partial sums of a split.
func (l *Layer) workspace(c *driver.Context, t Tile) error {
	if t.Splits < 2 {
		return nil
	}
	k := l.d.table[l.name(l.kind(), t)]
	blocks := int64(ceilDiv(l.n, k.rows)) * int64(ceilDiv(l.m, k.tokens))
	if err := l.resize(c, &l.part, 4*blocks*int64(t.Splits)*int64(k.tokens*k.rows)); err != nil {
		return err
	}
	if l.count.Size() < 4*blocks {
		if err := l.resize(c, &l.count, 4*blocks); err != nil {
			return err
		}
	}
	return l.d.stream.Fill(l.count, 0, l.count.Size(), 0)
}

// name is the kernel of a kind and tile: one whose sums are of 128 columns where the groups
// allow it and there is one.
func (l *Layer) name(kind string, t Tile) string {
	name := func(kind string) string { return fmt.Sprintf("%s_%s_t%d", l.scheme, kind, t.Tokens) }
	if l.layout.Group%segmentCols == 0 && l.layout.Tiles*tileCols%segmentCols == 0 {
		if _, ok := l.d.table[name(kind+"128")]; ok {
			return name(kind + "128")
		}
	}
	return name(kind)
}

// Run computes Y = X·Ŵᵀ once, rounding of X included, and returns the time that
// it took on the device. The driver's clock has steps of half a microsecond: see
// RunAll for a finer one.
func (l *Layer) Run() (time.Duration, error) { return l.d.RunAll([]*Layer{l}) }

// RunAll is Run of one layer after the other, with nothing between them, and
// returns the time of all. A layer may come more than once.
func (d *Device) RunAll(layers []*Layer) (took time.Duration, err error) {
	kernels := 0
	for _, l := range layers {
		kernels += l.kernels()
	}
	err = d.worker.Do(func(c *driver.Context) (err error) {
		took, err = d.timed(c, kernels, func() error {
			for _, l := range layers {
				if err := l.launch(c); err != nil {
					return err
				}
			}
			return nil
		})
		return err
	})
	return took, err
}

// kernels is how many of them a product is.
func (l *Layer) kernels() int {
	n := 1
	if l.variant != variants.W16A16 && !l.ready() {
		n++
	}
	if l.variant != variants.W16A16 && (l.separate() || l.ptr.Size() > 0) {
		n++
	}
	return n
}

// launch puts the whole product into the stream.
func (l *Layer) launch(c *driver.Context) error {
	if l.variant == variants.W16A16 {
		return l.d.blas.GEMM(l.y, l.x, l.w, l.m, l.n, l.k)
	}
	if err := l.quantize(c); err != nil {
		return err
	}
	if err := l.matrix(c, l.kind(), l.tile); err != nil {
		return err
	}
	if l.separate() {
		return l.matrix(c, "sparse", l.sparse)
	}
	if l.ptr.Size() > 0 {
		return l.outliers(c)
	}
	return nil
}

// ready reports whether x already is what the matrix kernels read.
func (l *Layer) ready() bool {
	return l.scheme == W4A16Half && l.options.Input == Half || l.scheme == W4A16BF16 && l.options.Input == BFloat16
}

// quantize turns the input into what the scheme multiplies.
func (l *Layer) quantize(c *driver.Context) error {
	ldx := uint64(l.columns() * l.options.Input.bytes())
	input := []uint64{l.x.Address(), uint64(l.options.Input), ldx, uint64(l.m), uint64(l.k), uint64(l.layout.Tiles)}
	xq, ldq := l.xq.Address(), uint64(l.codeBytes())
	grid := driver.Dim{X: l.m, Y: 1, Z: 1}
	switch {
	case l.ready():
		return nil
	case l.scheme == W4A8:
		return l.run(c, "quantize_a8", grid, append([]uint64{xq, ldq, l.xs.Address()}, input...)...)
	case l.scheme == W4A4:
		return l.run(c, "quantize_a4", grid, append(append([]uint64{xq, ldq, l.xs.Address()}, input...), a4Group)...)
	case l.scheme == W4A16Half:
		return l.run(c, "convert_a16", grid, append([]uint64{xq, ldq, uint64(Half)}, input...)...)
	}
	return l.run(c, "convert_a16", grid, append([]uint64{xq, ldq, uint64(BFloat16)}, input...)...)
}

// codes is the address of what the matrix kernels read, and its scales.
func (l *Layer) codes() (x, xs uint64) {
	if l.ready() {
		return l.x.Address(), 0
	}
	if l.scheme == W4A8 || l.scheme == W4A4 {
		return l.xq.Address(), l.xs.Address()
	}
	return l.xq.Address(), 0
}

// matrix launches a matrix kernel.
func (l *Layer) matrix(c *driver.Context, kind string, t Tile) error {
	k := l.d.table[l.name(kind, t)]
	x, xs := l.codes()
	var xgroup uint64
	if l.scheme == W4A4 {
		xgroup = a4Group
	}
	w, s := l.w.Address(), l.s.Address()
	index, r := l.index.Address(), l.r.Address()
	switch kind {
	case "sparse":
		w, s = 0, 0
	case "dense", "dense32":
		index, r = 0, 0
	}
	var part, count uint64
	if t.Splits > 1 {
		part, count = l.part.Address(), l.count.Address()
	}
	return l.run(c, k.name, driver.Dim{X: ceilDiv(l.n, k.rows), Y: ceilDiv(l.m, k.tokens), Z: t.Splits},
		l.y.Address(), uint64(l.options.Output), x, uint64(l.codeBytes()), xs, xgroup, w, s, uint64(l.layout.Group),
		index, r, uint64(l.layout.RForm), uint64(l.m), uint64(l.n), uint64(l.layout.Tiles), part, count)
}

// outliers launches the product with the outliers, which adds to y.
func (l *Layer) outliers(c *driver.Context) error {
	x, xs := l.codes()
	xtype := map[Scheme]uint64{W4A16Half: uint64(Half), W4A16BF16: uint64(BFloat16), W4A8: 3}[l.scheme]
	k := l.d.table["outliers"]
	return l.run(c, k.name, driver.Dim{X: ceilDiv(l.n, k.rows), Y: ceilDiv(l.m, k.tokens), Z: 1},
		l.y.Address(), uint64(l.options.Output), x, xtype, uint64(l.codeBytes()), xs,
		l.ptr.Address(), l.cols.Address(), l.values.Address(), uint64(l.m), uint64(l.n))
}

func (l *Layer) run(c *driver.Context, name string, grid driver.Dim, args ...uint64) error {
	f, k, err := l.d.kernel(c, name)
	if err != nil {
		return err
	}
	return f.Launch(l.d.stream, grid, driver.Dim{X: k.threads, Y: 1, Z: 1}, k.shared, args...)
}

// Kernel names what the loaded input engages: kernels with their tiles, or cuBLAS.
func (l *Layer) Kernel() string {
	if l.variant == variants.W16A16 {
		v := l.d.blas.Version
		return fmt.Sprintf("cuBLAS %d.%d.%d bf16", v/10000, v/100%100, v%100)
	}
	var parts []string
	switch {
	case l.scheme == W4A8:
		parts = append(parts, "quantize_a8")
	case l.scheme == W4A4:
		parts = append(parts, "quantize_a4")
	case !l.ready():
		parts = append(parts, "convert_a16")
	}
	launched := func(kind string, t Tile) string {
		name := l.name(kind, t)
		return fmt.Sprintf("%s %s", name[:strings.LastIndexByte(name, '_')], t)
	}
	parts = append(parts, launched(l.kind(), l.tile))
	if l.separate() {
		parts = append(parts, launched("sparse", l.sparse))
	}
	if l.ptr.Size() > 0 {
		parts = append(parts, "outliers")
	}
	name := strings.Join(parts, " + ")
	if l.scheme == W4A4 && !strings.HasPrefix(l.d.Info.Capability, "8.") { // Ampere and Ada have 4-bit tensor cores
		name += " (s4 products emulated by this device)"
	}
	return name
}

// Output returns Y [M,N] of the last Run.
func (l *Layer) Output() (y gemm.Matrix, err error) {
	b := make([]byte, l.m*l.n*l.options.Output.bytes())
	if err := l.d.worker.Do(func(c *driver.Context) error { return c.Download(b, l.y, 0) }); err != nil {
		return gemm.Matrix{}, err
	}
	return decode(b, l.m, l.n, l.options.Output), nil
}
