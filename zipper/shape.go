package zipper

import (
	"fmt"
	"math"
	"math/bits"

	"github.com/mosaicquant/mosaicquant/quant"
)

const (
	panelRows = 16
	cellCols  = 8
	cellBytes = panelRows * cellCols / 2
	// tileCols is the least width of a tile.
	tileCols = 128
	// maxK keeps the integer sums of a row, at most 15·127·K, below 2³¹.
	maxK = 1 << 20
	// maxWideK does it for codes of a byte.
	maxWideK = 1 << 16
	// maxOffset is the largest first cell that the head of a strip can hold.
	maxOffset = 1<<12 - 1
	zeroCode  = 8
)

// shape describes a stream to the kernels; they read it as an array of ints,
// so _gen/panel.go lists the same fields.
type shape struct {
	groups     int // of a panel; 0 in a stream of strips alone
	tileGroups int
	groupCells int
	strips     int // 1 if tiles carry a count and strips
	stripRows  int
	stripCells int
	stripHead  int // bytes of head and scales
	fullChunks int // of a strip
	chunkCells int
	tailCells  int // of the last chunk, 0 if all are full
	tailBytes  int
	tailMask   int // a bit for every dword of the last chunk
	rowMask    int // stripRows ones
	sums       int // bytes from an activation to the sums of its token

	// Float activations: bytes of x from a piece of a narrow strip to the next,
	// for pieces of 16 dwords in pairs and of 8 dwords in fours.
	stepOdd, stepEven                    int
	step2First, step2Second, step2Fourth int

	lastCells int // of the last group
	head      int // how groups store their scales
	headBytes int
	prefix    int // bytes before the first group of a panel
	mode      int // how cells of the base are read, see cellsPlain

	// Of cellsExact: slots of a record, its bytes, and the bytes from an activation to the
	// segment's activations as gather writes them.
	slots, recordBytes, gathered int

	stripCols int // columns of W that a strip covers; the kernels do not read it
}

// grid maps columns of W to positions in the padded stream.
// Columns of a group share a scale in the stream: in quant's form they may be a
// part of a larger group, of stored columns.
type grid struct{ k, group, stored int }

func newGrid(f quant.Format, k int, a quant.Activations) grid {
	g := grid{k, f.Group, f.Group}
	if f.Group == 0 || f.Group > k {
		g = grid{k, k, k}
	}
	if a.Group > 0 && g.group > a.Group {
		g.group = a.Group
	}
	return g
}

func (g grid) groups() int       { return ceilDiv(g.k, g.group) }
func (g grid) storedGroups() int { return ceilDiv(g.k, g.stored) }
func (g grid) groupCells() int   { return ceilDiv(g.group, cellCols) }

// lastCells is the number of cells of the last group, which may be shorter.
func (g grid) lastCells() int { return ceilDiv(g.k-(g.groups()-1)*g.group, cellCols) }
func (g grid) cells() int     { return (g.groups()-1)*g.groupCells() + g.lastCells() }

// cellsOf returns the number of cells of a group.
func (g grid) cellsOf(group int) int {
	if group == g.groups()-1 {
		return g.lastCells()
	}
	return g.groupCells()
}

// position returns where column k lies, cellCols positions to a cell.
func (g grid) position(k int) int {
	return k/g.group*g.groupCells()*cellCols + k%g.group
}

// column returns the column at a position, or -1 in the padding.
func (g grid) column(position int) int {
	width := g.groupCells() * cellCols
	k, in := position/width*g.group, position%width
	if in >= g.group || k >= g.k {
		return -1
	}
	return k + in
}

// denseShape is the shape of a stream without strips.
func denseShape(g grid, c *codec) shape {
	s := shape{groups: g.groups(), groupCells: g.groupCells(), lastCells: g.lastCells(),
		tileGroups: max(1, tileCols/(g.groupCells()*cellCols)),
		head:       int(c.head), headBytes: c.head.bytes(), prefix: c.prefix(g.storedGroups())}
	switch {
	case c.e4m3:
		s.mode = cellsE4M3
	case c.wide:
		s.mode = cellsBytes
	case c.tables:
		s.mode = cellsTables
	case c.trellis:
		s.mode = cellsTrellis
	case c.choice:
		s.mode = cellsChoice
	case c.levels != stripLevels:
		s.mode = cellsLookUp
	}
	return s
}

// tileCells is the number of cells between the starts of two tiles.
func (s *shape) tileCells() int { return s.tileGroups * s.groupCells }

// cellsOf is the number of cells of a group.
func (s *shape) cellsOf(group int) int {
	if group == s.groups-1 {
		return s.lastCells
	}
	return s.groupCells
}

// zip adds strips of r's blocks, of that many columns, to every tile of s.
func (s *shape) zip(g grid, r *quant.Residual, cols int) {
	s.strips, s.stripCols = 1, cols
	s.stripRows = min(panelRows, r.BlockRows&-r.BlockRows)
	for k := 0; k < g.k; k += cols {
		last := g.position(min(k+cols, g.k) - 1)
		s.stripCells = max(s.stripCells, last/cellCols-g.position(k)/cellCols+1)
	}
	s.stripHead = 2 + 2
	if r.RowScales {
		s.stripHead = 2 + 2*s.stripRows
	}
	s.chunkCells = panelRows / s.stripRows
	s.fullChunks = s.stripCells / s.chunkCells
	s.tailCells = s.stripCells % s.chunkCells
	s.tailBytes = 4 * s.stripRows * s.tailCells
	s.tailMask = 1<<(s.stripRows*s.tailCells) - 1
	s.rowMask = 1<<s.stripRows - 1
	switch s.stripRows {
	case 1, 2, 4:
		s.stepOdd = 64 / s.stripRows
		s.stepEven = s.stepOdd
	case 8:
		s.stepEven = 16
	}
	switch s.stripRows {
	case 1, 2:
		s.step2First = 32 / s.stripRows
		s.step2Second, s.step2Fourth = s.step2First, s.step2First
	case 4:
		s.step2Second, s.step2Fourth = 16, 16
	case 8:
		s.step2Fourth = 16
	}
}

// stripBytes is the size of a strip with its head.
func (s *shape) stripBytes() int { return s.stripHead + 4*s.stripRows*s.stripCells }

// laneTable tells the kernels about lanes, 16 of them in each of its parts.
type laneTable [laneParts * panelRows]int32

// The parts of a laneTable. Lane l = q·stripRows+row of a chunk of a narrow strip
// is the l of the first four; the next three are for float activations.
const (
	laneDword     = iota // the dword of the activations that lane l meets, q
	laneScale            // its scale in the strip
	laneRow              // the first row of the strip of row l
	laneTail             // -1 if it lies in the last chunk, which is not full, else 0
	laneQuad             // the lane, of the activations of a piece, that lane l of the piece meets
	laneSum              // where the sum of row l is found at last, with 16 lanes
	laneSum2             // and with 8
	laneStrip            // values of the nibbles of strips, float32
	laneSigns            // eights for every nibble
	laneNumber           // the numbers of 32 lanes, in two parts
	_                    //
	laneEighth           // 1/8, float32
	laneLevel            // values of the nibbles of the base, float32
	laneDoubled          // bytes of them for integer kernels, four times
	laneUnit             // unit of scales, float32
	laneShift            // what brings the code of row l, one of eight in a dword, to the top: 4 bits each or 3
	laneGroups           // l·groups of a row in the stored form, for headDouble
	laneMean             // mean of its scales, float32
	laneOne              // 1, float32
	laneRideLow          // what a nibble of a riding residual adds to a low nibble, bytes, four times
	laneRideHigh         // and to a high one
	laneBelow            // a bit for each of the rows before row l
	laneNibble           // what brings the half byte of row l, one of eight in a dword, to the top
	laneAloneLow         // what a nibble of an exact residual stands for in half steps: bytes, four times
	laneAloneHigh        // and its upper half
	laneStepLow          // the same in steps, float32
	laneStepHigh         //
	laneWhole            // unit of the scales of headWhole, float32
	laneTops             // the upper bit of every byte
	laneE4M3             // sign, and exponent and mantissa of an E4M3 number as float32 has them, or an E5M2 one
	laneE4M3Unit         // what the number that these bits are is multiplied by, float32
	laneE4M3Shift        // how far the byte is shifted to there from the top of a lane
	laneScales           // the 256 values of their bytes, float32
	laneParts     = laneScales + 16
)

func (t *laneTable) part(i int) []int32 { return t[i*panelRows:][:panelRows] }

func (s *shape) laneTable(rowScales bool) (t laneTable) {
	for l := range panelRows {
		t.part(laneStrip)[l] = int32(math.Float32bits(stripLevels[l]))
		t.part(laneBelow)[l] = 1<<l - 1
		t.part(laneNibble)[l] = int32(28 - 4*(l%8))
		t.part(laneSigns)[l] = -0x77777778 // 0x88888888
		t.part(laneTops)[l] = -0x7f7f7f80  // 0x80808080
		t.part(laneEighth)[l], t.part(laneOne)[l] = 0x3e000000, 0x3f800000
		t.part(laneNumber)[l], t.part(laneNumber + 1)[l] = int32(l), int32(panelRows+l)
	}
	if s.strips == 0 {
		return t
	}
	shift := bits.TrailingZeros(uint(s.stripRows))
	for l := range panelRows {
		row := l & (s.stripRows - 1)
		t.part(laneDword)[l] = int32(l >> shift)
		if rowScales {
			t.part(laneScale)[l] = int32(row)
		}
		t.part(laneRow)[l] = int32(l &^ (s.stripRows - 1))
		t.part(laneTail)[l] = -int32(s.tailMask >> l & 1)
		t.part(laneQuad)[l] = int32(l/4>>shift*4 + l%4)
		t.part(laneSum)[l] = int32(4 * row)
		t.part(laneSum2)[l] = int32(row%2*4 + row/2)
	}
	return t
}

// base sets the parts of a base with so many groups in a row of its stored form; mean and
// whole are what headDouble and headWhole need of the matrix.
func (t *laneTable) base(c *codec, groups int, mean, whole float32) {
	bits := 4
	if c.head == headBilevel {
		bits = 3
	}
	for l := range panelRows {
		t.part(laneLevel)[l] = int32(math.Float32bits(c.levels[l]))
		t.part(laneUnit)[l] = int32(math.Float32bits(c.unit))
		t.part(laneShift)[l] = int32(32 - bits*(l%8+1))
		t.part(laneGroups)[l] = int32(l * groups)
		t.part(laneMean)[l] = int32(math.Float32bits(mean))
		t.part(laneWhole)[l] = int32(math.Float32bits(whole))
		mask, unit, shift := -0x78100000, 0x7b800000, 4 // 0x87f00000, 2^120
		if c.e5m2 {
			mask, unit, shift = -0x70200000, 0x77800000, 3 // 0x8fe00000, 2^112
		}
		t.part(laneE4M3)[l], t.part(laneE4M3Unit)[l], t.part(laneE4M3Shift)[l] = int32(mask), int32(unit), int32(shift)
		first := l % 4 * 4
		t.part(laneDoubled)[l] = int32(uint32(c.double(first)) | uint32(c.double(first+1))<<8 |
			uint32(c.double(first+2))<<16 | uint32(c.double(first+3))<<24)
	}
	if c.head == headDouble {
		for b, v := range scaleLevels {
			t[laneScales*panelRows+b] = int32(math.Float32bits(v))
		}
	}
	if c.head == headE4M3 || c.head == headChoice { // halves of E4M3's bits are 2^-8 of them
		for l := range panelRows {
			t.part(laneUnit)[l] = int32(math.Float32bits(c.unit * 256))
		}
	}
}

// Takes reports why no kernel executes weights of form f by variant v with
// activations a, or nil if one does. It is the list of what this package can
// do: bases of all formats but those of quant.OtherScaling, with any group, alone, with
// residuals of 2 to 4 bits or with 16-bit outliers; trellis codes, without a residual. Each
// of these may have scales of channels, whole channels and a low-rank branch beside it.
func Takes(f quant.Form, v Variant, a quant.Activations) error {
	b, r := f.Base, f.Residual
	switch {
	case b.Bits > 4 && f.K > maxWideK:
		return fmt.Errorf("zipper: base format %s: %d columns, sums reach %d", b, f.K, maxWideK)
	case b.Kind == quant.Trellis && r != nil:
		return fmt.Errorf("zipper: base format %s with a block residual: it has no kernel", b)
	case b.Scaling() == quant.OtherScaling && b.Kind != quant.Trellis:
		return fmt.Errorf("zipper: base format %s: its scales or levels have no kernel", b)
	case f.K > maxK:
		return fmt.Errorf("zipper: weights of %dx%d, want at least 1x1 and at most %d columns", f.N, f.K, maxK)
	case a != quant.A16 && a != quant.A8 && a != quant.A4:
		return fmt.Errorf("zipper: activations %s have no kernel", a)
	case a.Bits > 0 && a.Bits < f.InputBits:
		return fmt.Errorf("zipper: inputs rounded to %s where the layer wants %d bits: they have no kernel", a, f.InputBits)
	case v == Outlier16 && !f.Outliers:
		return fmt.Errorf("zipper: no outliers for variant %s", v)
	case v == Outlier16 && r != nil:
		return fmt.Errorf("zipper: variant %s with a block residual", v)
	case f.Outliers && v != Outlier16 && v != Dense4:
		return fmt.Errorf("zipper: variant %s has no kernel for outliers", v)
	case f.Outliers && v == Outlier16 && f.K > 1<<16:
		return fmt.Errorf("zipper: outliers in %d columns, indices reach %d", f.K, 1<<16)
	}
	if r != nil && (r.Bits < 2 || r.Bits > 4) {
		return fmt.Errorf("zipper: residual bits=%d: only 2 to 4 have kernels", r.Bits)
	}
	return takesActivations(f, a)
}

// takesActivations demands that no group meets activations of two scales, or can be
// cut where the next scale begins.
func takesActivations(f quant.Form, a quant.Activations) error {
	if a.Group == 0 || needsFloat(f.Base) {
		return nil
	}
	fits := func(cols int) bool { return a.Group%cols == 0 || cols%a.Group == 0 }
	// A row, or a group that is one, can be cut anywhere.
	if group := f.Base.Group; group > 0 && !fits(group) && (f.K == 0 || f.K > max(group, a.Group)) {
		return fmt.Errorf("zipper: groups of %d weights with activations %s: neither divides the other", group, a)
	}
	return nil
}

// check reports what the stream cannot hold, and parts of q that do not fit each
// other.
func check(q *quant.Quantized, v Variant, a quant.Activations) error {
	b := q.Base
	if b.N < 1 || b.K < 1 {
		return fmt.Errorf("zipper: weights of %dx%d, want at least 1x1 and at most %d columns", b.N, b.K, maxK)
	}
	if r := q.Residual; r != nil && (r.N != b.N || r.K != b.K) {
		return fmt.Errorf("zipper: residual of %dx%d on a base of %dx%d", r.N, r.K, b.N, b.K)
	}
	if o := q.Outliers; o != nil && (o.N != b.N || o.K != b.K) {
		return fmt.Errorf("zipper: outliers of %dx%d on a base of %dx%d", o.N, o.K, b.N, b.K)
	}
	if err := Takes(q.Form(), v, a); err != nil {
		return err
	}
	if k := b.Format.Kind; (k == quant.IF4 || k == quant.Power4) && len(b.Tensor) != 1 {
		return fmt.Errorf("zipper: base format %s without the scale or exponent of its matrix", b.Format)
	}
	if b.Format.Kind == quant.Trellis {
		if _, err := newTrellis(b); err != nil {
			return err
		}
	}
	return checkBeside(q)
}

func gcd(a, b int) int {
	for b > 0 {
		a, b = b, a%b
	}
	return a
}

func ceilDiv(a, b int) int { return (a + b - 1) / b }
