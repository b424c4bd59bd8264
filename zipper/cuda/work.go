//go:build cuda && linux && cgo

package cuda

import (
	"errors"
	"fmt"

	"github.com/mosaicquant/mosaicquant/internal/variants"
	"github.com/mosaicquant/mosaicquant/zipper/cuda/driver"
)

// Work puts kernels into the device's stream, one after the other. It is valid
// inside of Device.Do.
type Work struct {
	*driver.Context
	d *Device
}

// Do runs f where it may use the device. Buffers that f allocates live until they are
// freed; it must not call runtime.Goexit, as t.Fatal does.
func (d *Device) Do(f func(w *Work) error) error {
	return d.worker.Do(func(c *driver.Context) error { return f(&Work{c, d}) })
}

// Stream is where all work goes.
func (w *Work) Stream() *driver.Stream { return w.d.stream }

// BLAS returns cuBLAS, or why there is none.
func (w *Work) BLAS() (*driver.CuBLAS, error) {
	if w.d.blas == nil {
		return nil, w.d.blasErr
	}
	return w.d.blas, nil
}

// Reserve makes b at least size bytes long; what it held is lost, and fresh says so.
func (w *Work) Reserve(b *driver.Buffer, size int64) (fresh bool, err error) {
	if b.Size() >= size {
		return false, nil
	}
	if err = w.Free(b); err != nil {
		return true, err
	}
	*b, err = w.Alloc(max(16, size))
	return true, err
}

// Fill makes b a copy of data.
func (w *Work) Fill(b *driver.Buffer, data []byte) error { return upload(w.Context, b, data) }

// launch puts a kernel with so many threads of a block into the stream; 0 are all that it can have.
func (w *Work) launch(name string, grid driver.Dim, threads, shared int, args ...uint64) error {
	f, k, err := w.d.kernel(w.Context, name)
	if err != nil {
		return err
	}
	if threads == 0 {
		threads = k.threads
	}
	if shared == 0 {
		shared = k.shared
	}
	return f.Launch(w.d.stream, grid, driver.Dim{X: threads, Y: 1, Z: 1}, shared, args...)
}

// Multiply puts y [M,N] = X·Ŵᵀ into the stream. x has the codes of X as the layer's
// scheme reads them, xs their scales (ABI.md). The first product with so many tokens chooses
// its tile, for which it may have to wait.
func (w *Work) Multiply(l *Layer, y, x, xs driver.Buffer, m int) error {
	if l.variant == variants.W16A16 {
		return errors.New("cuda: a layer of 16 bits multiplies by cuBLAS")
	}
	known, ok := l.tiles[m]
	own := l.operands
	defer func() { l.operands = own }()
	l.operands = operands{xq: x, xs: xs, y: y, part: w.d.part, count: w.d.count, m: m, tile: known.tile,
		sparse: known.sparse}
	if l.ready() {
		l.x = x
	}
	if !ok {
		err := l.tune(w.Context)
		w.d.part, w.d.count = l.part, l.count
		if err != nil {
			return err
		}
		if l.tiles == nil {
			l.tiles = map[int]operands{}
		}
		l.tiles[m] = operands{tile: l.tile, sparse: l.sparse}
	}
	if err := l.matrix(w.Context, l.kind(), l.tile); err != nil {
		return err
	}
	switch {
	case l.separate():
		return l.matrix(w.Context, "sparse", l.sparse)
	case l.ptr.Size() > 0:
		return l.outliers(w.Context)
	}
	return nil
}

// Workspace is where products of Multiply keep the sums of their splits: other addresses than those of a graph
// make it useless.
func (w *Work) Workspace() [2]uint64 { return [2]uint64{w.d.part.Address(), w.d.count.Address()} }

// Scheme is how the layer reads its inputs.
func (l *Layer) Scheme() Scheme { return l.scheme }

// Name is what multiplies, without its tile: "w4a8_zip".
func (l *Layer) Name() string {
	name := string(l.scheme) + "_" + l.kind()
	if l.separate() {
		name += " + " + string(l.scheme) + "_sparse"
	}
	if l.ptr.Size() > 0 {
		name += " + outliers"
	}
	return name
}

// Row is where a row of activations goes, and how it is rounded first.
type Row struct {
	To, Scales, Rest driver.Buffer // Scales of codes, Rest of a SplitBF16
	Type             RowType
	Round            int // 8 as quant.A8, 4 as quant.A4, 0 not at all
}

// RowType is a type of Row, with the numbers of kernels/ABI.md.
type RowType int

const (
	RowFloat32  RowType = 0 // K columns, no padding
	RowHalf     RowType = 1
	RowBFloat16 RowType = 2
	RowInt8     RowType = 3 // codes of quant.A8
	RowInt4     RowType = 4 // codes of quant.A4
	// SplitBF16 is bfloat16 in To, and in Rest, also bfloat16, what that leaves: both together
	// have 16 significant bits.
	SplitBF16 RowType = 5
)

// Stride is the bytes from a row of k columns to the next.
func (t RowType) Stride(k int) int {
	columns := tileCols * ceilDiv(k, tileCols)
	switch t {
	case RowFloat32:
		return 4 * k
	case RowInt8:
		return columns
	case RowInt4:
		return columns / 2
	}
	return 2 * columns
}

// ScaleBytes is the size of the scales of a row.
func (t RowType) ScaleBytes(k int) int {
	switch t {
	case RowInt8:
		return 4
	case RowInt4:
		return 4 * ceilDiv(tileCols*ceilDiv(k, tileCols), a4Group)
	}
	return 0
}

// args are the parameters of a kernel for rows of k columns.
func (r *Row) args(k int) []uint64 {
	return []uint64{r.To.Address(), uint64(r.Type.Stride(k)), uint64(r.Type), r.Scales.Address(), r.Rest.Address(),
		uint64(r.Round)}
}

// fits panics where m rows of k columns do not fit.
func (r *Row) fits(m, k int) {
	need := func(b driver.Buffer, size int) {
		if b.Size() < int64(m)*int64(size) {
			panic(fmt.Sprintf("cuda: %d rows of %d bytes in a buffer of %d", m, size, b.Size()))
		}
	}
	need(r.To, r.Type.Stride(k))
	need(r.Scales, r.Type.ScaleBytes(k))
	if r.Type == SplitBF16 {
		need(r.Rest, r.Type.Stride(k))
	}
}

// MaxRow is the widest row that RowKernels have: it stays in registers.
const MaxRow = 16 << 10

// rowThreads is how many threads have a row of k columns, 16 each.
func rowThreads(k int) int { return 32 * max(1, ceilDiv(k, 512)) }

// rows launches a kernel with a block for each of m rows of k columns.
func (w *Work) rows(name string, m, k int, args ...uint64) error {
	if k%8 != 0 || k > MaxRow {
		return fmt.Errorf("cuda: rows of %d columns, want a multiple of 8 and at most %d", k, MaxRow)
	}
	return w.launch(name, driver.Dim{X: m, Y: 1, Z: 1}, rowThreads(k), 0, args...)
}

// Values are numbers that a product wrote: rows Stride elements apart, and a bias [K] in float32.
// The zero Values are none.
type Values struct {
	At, Bias driver.Buffer
	Offset   int // elements to the first
	Stride   int
	Type     Type
}

func (v *Values) address() uint64 {
	if v.At.Size() == 0 {
		return 0
	}
	return v.At.Address() + uint64(v.Offset*v.Type.bytes())
}

// Embed sets x [m,k], float32, to rows ids (u32 [m]) of a table of k columns.
func (w *Work) Embed(x, table driver.Buffer, t Type, ids driver.Buffer, m, k int) error {
	return w.rows("embed", m, k, x.Address(), table.Address(), uint64(t), ids.Address(), uint64(m), uint64(k))
}

// Norm adds H to the residual stream X [.,K], float32, where there is one, and writes RMSNorm(X)
// with the gain [K], or X itself without one. Rows, u32 [M], are those that are read; without it the first M.
// A row that is not finite is noted in Bad (see Bad) as of Stage.
type Norm struct {
	X, Gain, Rows, Bad driver.Buffer
	H                  Values // contiguous
	Eps                float32
	M, K, Stage        int
	Out                Row
}

// Norm puts n into the stream.
func (w *Work) Norm(n Norm) error {
	n.Out.fits(n.M, n.K)
	args := []uint64{n.X.Address(), n.H.address(), uint64(n.H.Type), n.H.Bias.Address(), n.Gain.Address(),
		float(n.Eps), n.Rows.Address(), uint64(n.M), uint64(n.K), uint64(ceilDiv(n.K, tileCols))}
	args = append(append(args, n.Out.args(n.K)...), n.Bad.Address(), uint64(n.Stage))
	return w.rows("norm", n.M, n.K, args...)
}

// SwiGLU writes silu(gate)·up of m rows of k columns.
func (w *Work) SwiGLU(gate, up Values, m, k int, out Row) error {
	out.fits(m, k)
	if gate.Stride != up.Stride || gate.Type != up.Type {
		return errors.New("cuda: gate and up have different strides or types")
	}
	args := []uint64{gate.address(), up.address(), uint64(gate.Type), uint64(gate.Stride), gate.Bias.Address(),
		up.Bias.Address(), uint64(m), uint64(k), uint64(ceilDiv(k, tileCols))}
	return w.rows("swiglu", m, k, append(args, out.args(k)...)...)
}

// Accumulate adds the second n numbers of y, float32, to the first n.
func (w *Work) Accumulate(y driver.Buffer, n int) error {
	if n%4 != 0 || y.Size() < 8*int64(n) {
		panic(fmt.Sprintf("cuda: %d numbers and as many again in %d bytes", n, y.Size()))
	}
	blocks := min(ceilDiv(n, 1024), 8*w.d.Info.SMs)
	return w.launch("accumulate", driver.Dim{X: blocks, Y: 1, Z: 1}, 0, 0, y.Address(), uint64(n))
}

// Heads are the shapes of attention and its cache of one layer: K and V [slots, KVHeads,
// Room, Dim] of Type, float32 or half.
type Heads struct {
	K, V                      driver.Buffer
	Type                      Type
	Heads, KVHeads, Dim, Room int
	Window                    int // tokens that a token sees, its own included; 0: all
	// Slot and Pos, u32, are the sequence of a token in the cache and its place there.
	Slot, Pos driver.Buffer
}

// Limits of attention.
const (
	MaxHeadDim  = 256 // a multiple of 8
	MaxSharing  = 16  // query heads of a key head
	attendRows  = 16
	attendKeys  = 32
	flashRows   = 64
	maxAttended = 64 // splits
)

// Check reports what the kernels do not take.
func (h *Heads) Check() error {
	switch {
	case h.Dim%8 != 0 || h.Dim > MaxHeadDim:
		return fmt.Errorf("cuda: heads of %d elements, want a multiple of 8 and at most %d", h.Dim, MaxHeadDim)
	case h.Heads%h.KVHeads != 0 || h.Heads/h.KVHeads > MaxSharing:
		return fmt.Errorf("cuda: %d query heads for %d key heads, want at most %d for each", h.Heads, h.KVHeads,
			MaxSharing)
	}
	return nil
}

// Rope is what becomes of queries, keys and values of M tokens: biases, RMSNorm of heads where there are gains,
// rotation by Table (cosines and sines of each position, [positions, Dim], float32).
// Queries go to Q [M, Heads, Dim] of the cache's type, divided by √Dim.
type Rope struct {
	Query, Key, Value   Values
	QGain, KGain, Table driver.Buffer
	Eps                 float32
	M                   int
	Q                   driver.Buffer
}

// Rope puts r into the stream.
func (w *Work) Rope(r Rope, h *Heads) error {
	t := r.Query.Type
	if r.Key.Type != t || r.Value.Type != t {
		return errors.New("cuda: queries, keys and values have different types")
	}
	return w.launch("rope", driver.Dim{X: r.M, Y: ceilDiv(h.Heads+2*h.KVHeads, 8), Z: 1}, 0, 0,
		r.Query.address(), r.Key.address(), r.Value.address(), uint64(t), uint64(r.Query.Stride), uint64(r.Key.Stride),
		uint64(r.Value.Stride), r.Query.Bias.Address(), r.Key.Bias.Address(), r.Value.Bias.Address(), r.QGain.Address(),
		r.KGain.Address(), float(r.Eps), r.Table.Address(), h.Slot.Address(), h.Pos.Address(), r.Q.Address(),
		h.K.Address(), h.V.Address(), uint64(h.Type), uint64(r.M), uint64(h.Heads), uint64(h.KVHeads), uint64(h.Dim),
		uint64(h.Room))
}

// TokensOfTile is how many tokens of a sequence a tile of attention has at most.
func (h *Heads) TokensOfTile() int {
	rows := attendRows
	if h.flash() {
		rows = flashRows
	}
	return rows / (h.Heads / h.KVHeads)
}

// flash reports whether tiles have a kernel on tensor cores.
func (h *Heads) flash() bool { return h.Type == Half && (h.Dim == 64 || h.Dim == 128) }

// Attend puts softmax(q·Kᵀ)·V of m tokens into the stream, and rounds it to out, rows of Heads·Dim columns. tiles,
// u32 [count,2], are the first token and the number of tokens of pieces of sequences; without
// it each token is one. Keys are cut in splits pieces, whose sums part (float32 [splits, m, Heads,
// Dim]) and stats ([splits, m, Heads, 2]) hold.
func (w *Work) Attend(h *Heads, q driver.Buffer, m int, tiles driver.Buffer, count, splits int,
	part, stats driver.Buffer, out Row) error {
	width := h.Heads * h.Dim
	out.fits(m, width)
	if splits < 1 || splits > maxAttended || part.Size() < 4*int64(splits*m*width) ||
		stats.Size() < 8*int64(splits*m*h.Heads) {
		panic(fmt.Sprintf("cuda: %d splits of %d tokens in %d and %d bytes", splits, m, part.Size(), stats.Size()))
	}
	if tiles.Size() == 0 {
		count = m
	}
	if tiles.Size() > 0 && h.flash() {
		err := w.launch(fmt.Sprintf("flash_d%d", h.Dim), driver.Dim{X: splits, Y: h.KVHeads, Z: count}, 0, 0,
			part.Address(), stats.Address(), q.Address(), h.K.Address(), h.V.Address(), tiles.Address(), h.Slot.Address(),
			h.Pos.Address(), uint64(h.Window), uint64(m), uint64(h.Heads), uint64(h.KVHeads), uint64(h.Room))
		return errors.Join(err, w.combine(h, m, splits, part, stats, out))
	}
	shared := 4 * (attendRows*h.Dim + attendKeys*(h.Dim+1) + attendRows*attendKeys + attendRows)
	err := w.launch("attend", driver.Dim{X: splits, Y: h.KVHeads, Z: count}, 0, shared,
		part.Address(), stats.Address(), q.Address(), h.K.Address(), h.V.Address(), uint64(h.Type), tiles.Address(),
		h.Slot.Address(), h.Pos.Address(), uint64(h.Window), uint64(m), uint64(h.Heads), uint64(h.KVHeads), uint64(h.Dim),
		uint64(h.Room))
	return errors.Join(err, w.combine(h, m, splits, part, stats, out))
}

// combine joins the splits.
func (w *Work) combine(h *Heads, m, splits int, part, stats driver.Buffer, out Row) error {
	width := h.Heads * h.Dim
	args := []uint64{part.Address(), stats.Address(), uint64(splits), uint64(m), uint64(h.Heads), uint64(h.Dim),
		uint64(ceilDiv(width, tileCols))}
	return w.rows("combine", m, width, append(args, out.args(width)...)...)
}

// Greedy sets ids (u32 [rows]) to the index of the largest of n logits of each row, the first of equal ones,
// adds one to pos (u32 [rows]), and writes the ids to row pos of out (u32 [., rows]).
// Logits that are not finite are noted in bad as of stage.
func (w *Work) Greedy(ids, pos, out, logits driver.Buffer, rows, n int, bad driver.Buffer, stage int) error {
	return w.launch("greedy", driver.Dim{X: rows, Y: 1, Z: 1}, 0, 0, ids.Address(), pos.Address(), out.Address(),
		logits.Address(), uint64(n), bad.Address(), uint64(stage))
}

// Bad reads where a model was not finite first: the stage and the row. b has 8 bytes, which are zero where
// there was none. All work must be done.
func (w *Work) Bad(b driver.Buffer) (stage, row int, ok bool, err error) {
	var v [8]byte
	if err := w.Download(v[:], b, 0); err != nil {
		return 0, 0, false, err
	}
	low, high := le32(v[:4]), le32(v[4:])
	return int(high), int(low) - 1, low != 0, nil
}
