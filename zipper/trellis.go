package zipper

import (
	"encoding/binary"
	"fmt"
	"sync"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/quant"
)

// The codes of a trellis (quant.Trellis) stand for no levels: a weight is computed from its
// state, the last bits of the string that the codes of its tile make. A panel is a row of
// tiles, and lane r of a register is row r of a tile, as elsewhere. The state of a weight is
// a window on the bits of its row and on the last ones of the row above, which are those of
// the next lane; the row above the first one is the last. So a shift and a mask give the
// states of 16 weights, and a multiplication and a sum of bytes what they stand for.
//
//	panel = tile ... scales     32·bits bytes a tile, 32 bytes of half-precision scales
//	tile  = pair ... [odd]      the bits of a row, the first code uppermost, in words of 16
//	pair  = two words of 16 rows, a dword for each, the first word above
//	odd   = the last word of 16 rows, if codes have 3 bits
//
// Decoding takes more time than reading. So a chunk of a panel is decoded to float32 levels
// once, and multiplied by all tokens while it is in the cache.

// trellis says what the bits of a base stand for.
type trellis struct {
	bits, length int
	code         quant.TrellisCode
}

const (
	trellisTile = quant.TrellisTile
	// chunkTiles is how many tiles are decoded together: 16 KiB of levels.
	chunkTiles = 16
	// chunkPanels is how many panels are, for more tokens than a kernel takes at once.
	chunkPanels = 8
)

// oneMADUnit is what levels of quant.OneMAD are multiples of: they are its sums, less their
// mean. Those of other codes are the values.
const oneMADUnit = 1 / 147.800537109375

// newTrellis returns how base, of trellis codes, is read.
func newTrellis(base *quant.Packed) (*trellis, error) {
	switch {
	case len(base.Tables) != 2 || len(base.Scales) != base.N:
		return nil, fmt.Errorf("zipper: %d tables and %d scales of %d rows of trellis codes",
			len(base.Tables), len(base.Scales), base.N)
	case base.N%trellisTile != 0 || base.K%trellisTile != 0:
		return nil, fmt.Errorf("zipper: trellis codes of %dx%d, want tiles of %dx%[3]d", base.N, base.K, trellisTile)
	}
	t := &trellis{base.Format.Bits, int(base.Tables[0]), quant.TrellisCode(base.Tables[1])}
	if t.length <= t.bits || t.length > quant.MaxTrellis || t.code > quant.ThreeInst {
		return nil, fmt.Errorf("zipper: trellis code %d with states of %d bits has no kernel", t.code, t.length)
	}
	return t, nil
}

// unit is what levels are multiplied by.
func (t *trellis) unit() float32 {
	if t.code == quant.OneMAD {
		return oneMADUnit
	}
	return 1
}

// levels returns the levels of all states.
func (t *trellis) levels() []float32 {
	if t.code != quant.OneMAD {
		return quant.TrellisValues(t.code, t.length)
	}
	levels := make([]float32, 1<<t.length)
	for s := range levels {
		x := 34038481*uint32(s) + 76625530
		levels[s] = float32(x&255+x>>8&255+x>>16&255+x>>24) - 510
	}
	return levels
}

// tileBytes is the size of a tile.
func (t *trellis) tileBytes() int { return trellisTile * trellisTile / 8 * t.bits }

// tileRow returns the bits of a row of a tile, the first code uppermost.
func (t *trellis) tileRow(tile []byte, r int) (v uint64) {
	switch t.bits {
	case 2:
		return uint64(binary.LittleEndian.Uint32(tile[4*r:]))
	case 3:
		return uint64(binary.LittleEndian.Uint32(tile[4*r:]))<<16 | uint64(binary.LittleEndian.Uint16(tile[64+2*r:]))
	}
	return uint64(binary.LittleEndian.Uint32(tile[4*r:]))<<32 | uint64(binary.LittleEndian.Uint32(tile[64+4*r:]))
}

// putTileRow is the inverse of tileRow.
func (t *trellis) putTileRow(tile []byte, r int, v uint64) {
	switch t.bits {
	case 2:
		binary.LittleEndian.PutUint32(tile[4*r:], uint32(v))
	case 3:
		binary.LittleEndian.PutUint32(tile[4*r:], uint32(v>>16))
		binary.LittleEndian.PutUint16(tile[64+2*r:], uint16(v))
	default:
		binary.LittleEndian.PutUint32(tile[4*r:], uint32(v>>32))
		binary.LittleEndian.PutUint32(tile[64+4*r:], uint32(v))
	}
}

// packPanel returns the stream of panel p.
func (t *trellis) packPanel(base *quant.Packed, p int) []byte {
	size := t.tileBytes()
	tiles := base.K / trellisTile
	out := make([]byte, tiles*size, tiles*size+2*panelRows)
	for j := range tiles {
		codes := base.Codes[(p*tiles+j)*size:][:size]
		for r := range panelRows {
			var v uint64
			for c := range trellisTile {
				v = v<<t.bits | uint64(quant.CodeAt(codes, r*trellisTile+c, t.bits))
			}
			t.putTileRow(out[j*size:], r, v)
		}
	}
	return appendRows(out, base.Scales, base.N, p, 1)
}

// unpack reads the stream back.
func (t *trellis) unpack(w *Weights) *quant.Packed {
	base := quant.NewPacked(w.n, w.k, w.format)
	base.Tables = []uint16{uint16(t.length), uint16(t.code)}
	size, tiles := t.tileBytes(), w.k/trellisTile
	codes := make([]uint8, trellisTile*trellisTile)
	for p := range w.n / panelRows {
		data := w.main.data[w.main.starts[p]:]
		for j := range tiles {
			for r := range panelRows {
				v := t.tileRow(data, r)
				for c := range trellisTile {
					codes[r*trellisTile+c] = uint8(v >> ((trellisTile - 1 - c) * t.bits) & (1<<t.bits - 1))
				}
			}
			quant.PackBits(base.Codes[(p*tiles+j)*size:][:size], codes, t.bits)
			data = data[size:]
		}
		for r := range panelRows {
			base.Scales[p*panelRows+r] = binary.LittleEndian.Uint16(data[2*r:])
		}
	}
	return base
}

// multiplyDecoded is multiply for trellis codes.
func (s *stream) multiplyDecoded(k *kernel, w *Weights, y gemm.Matrix, a *activations) {
	p, perTask := s.tasks(y.Rows)
	panels := len(s.starts) - 1
	d := &decoded{kernel: k, trellis: w.trellis, s: s, k: w.k, a: a, y: y, panels: 1}
	if y.Rows > k.decoded[len(k.decoded)-1].tokens {
		d.panels = min(chunkPanels, perTask)
	}
	parallel(p, ceilDiv(panels, perTask), func(task int) {
		buffer := levelBuffers.Get().(*[]float32)
		defer levelBuffers.Put(buffer)
		size := chunkTiles * trellisTile * panelRows
		sums := panelRows * k.decoded.padded(y.Rows)
		if n := d.panels * (size + sums); cap(*buffer) < n {
			*buffer = asFloats(alignedTo(4*n, cacheLine))
		}
		*buffer = (*buffer)[:cap(*buffer)]
		levels := (*buffer)[:d.panels*size]
		for first := task * perTask; first < min(panels, (task+1)*perTask); first += d.panels {
			n := min(d.panels, panels-first, (task+1)*perTask-first)
			d.multiply(first, n, levels, (*buffer)[d.panels*size:][:n*sums])
		}
	})
}

var levelBuffers = sync.Pool{New: func() any { return new([]float32) }}

// decoded is a product with trellis codes.
type decoded struct {
	kernel  *kernel
	trellis *trellis
	s       *stream
	k       int
	a       *activations
	y       gemm.Matrix
	panels  int // that are decoded together
}

// tiles is how many a panel has.
func (d *decoded) tiles() int { return d.k / trellisTile }

// panel is the stream of panel p from a tile on.
func (d *decoded) panel(p, tile int) []byte {
	return d.s.data[d.s.starts[p]+tile*d.trellis.tileBytes():]
}

// multiply multiplies n panels, the first of them given, by all tokens, whose products lie
// in sums by panels.
func (d *decoded) multiply(first, n int, levels, sums []float32) {
	clear(sums)
	if d.kernel.decodeOne != nil && d.y.Rows == 1 {
		for i := range n {
			d.kernel.decodeOne(sums[i*len(sums)/n:], d.panel(first+i, 0), d.a.data, d.tiles(), d.trellis)
		}
	} else {
		for tile := 0; tile < d.tiles(); tile += chunkTiles {
			d.chunk(first, n, tile, levels, sums)
		}
	}
	var scales [panelRows]float32
	for i := range n {
		gemm.DecodeF16(scales[:], d.panel(first+i, d.tiles())[:2*panelRows])
		for r := range scales {
			scales[r] *= d.trellis.unit()
		}
		for t := range d.y.Rows {
			out := d.y.Row(t)[(first+i)*panelRows:][:panelRows]
			for r, v := range sums[i*len(sums)/n+t*panelRows:][:panelRows] {
				out[r] = v * scales[r]
			}
		}
	}
}

// chunk adds the products of the tiles that are decoded together, from one on.
func (d *decoded) chunk(first, n, tile int, levels, sums []float32) {
	tiles, size := min(chunkTiles, d.tiles()-tile), len(levels)/d.panels
	sh := shape{groupCells: tiles * trellisTile / cellCols}
	for i := range n {
		d.kernel.decode(levels[i*size:], d.panel(first+i, tile), tiles, d.trellis)
	}
	for t := 0; t < d.y.Rows; {
		f := d.kernel.decoded.covering(d.y.Rows - t)
		x := d.a.data[t*d.a.ld+4*trellisTile*tile:]
		for i := range n {
			f.mul(asBytes(levels[i*size:]), x, d.a.ld, &sh, &d.s.lanes, sums[i*len(sums)/n+t*panelRows:])
		}
		t += f.tokens
	}
}

// decodeGeneric is kernel.decode.
func decodeGeneric(dst []float32, src []byte, tiles int, t *trellis) {
	levels := t.levels()
	size, width := t.tileBytes(), trellisTile*t.bits
	for j := range tiles {
		tile := src[j*size:][:size]
		before := t.tileRow(tile, panelRows-1)
		for r := range panelRows {
			row := t.tileRow(tile, r)
			for c := range trellisTile {
				end := width - (c+1)*t.bits // bits of the row after the code
				state := row >> end
				if own := width - end; own < t.length {
					state |= before << own
				}
				dst[(j*trellisTile+c)*panelRows+r] = levels[state&(1<<t.length-1)]
			}
			before = row
		}
	}
}

// decodedGeneric adds the products of levels with some tokens to out.
func decodedGeneric(tokens int) func(w, x []byte, ld int, s *shape, lanes *laneTable, out []float32) {
	return func(w, x []byte, ld int, s *shape, lanes *laneTable, out []float32) {
		levels := asFloats(w)
		for c := range s.groupCells * cellCols {
			for t := range tokens {
				v := asFloats(x[t*ld:])[c]
				sums := out[t*panelRows:][:panelRows]
				for r, l := range levels[c*panelRows:][:panelRows] {
					sums[r] += l * v
				}
			}
		}
	}
}
