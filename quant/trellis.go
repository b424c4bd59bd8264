package quant

import (
	"fmt"
	"sync"

	"github.com/mosaicquant/mosaicquant/internal/half"
)

// TrellisTile is the side of a tile of a Trellis matrix: TrellisTile rows and columns
// are one sequence of codes, row after row.
const TrellisTile = 16

// MaxTrellis is the largest number of bits of a state.
const MaxTrellis = 16

// TrellisCode computes the value of a state, so that a trellis needs no table. All
// take the state as an unsigned number s of 32 bits.
type TrellisCode uint8

const (
	// Mul1 is the default of EXL3 (exllamav3): the sum of the four bytes of
	// 0x83DCD12D·s, above 1024, times .00677 less 10.38 in half precision.
	Mul1 TrellisCode = iota
	// OneMAD is QTIP's 1MAD (Tseng et al. 2024, arXiv:2406.11235): the sum of the four
	// bytes of 34038481·s + 76625530, less 510, over 147.8005.
	OneMAD
	// ThreeInst is QTIP's 3INST: 89226354·s + 64248484, masked, is two half-precision
	// numbers, which are added.
	ThreeInst
	trellisCodes
)

var trellisNames = [trellisCodes]string{"mul1", "1mad", "3inst"}

func (c TrellisCode) String() string { return trellisNames[c] }

// ParseTrellisCode returns the code of that name.
func ParseTrellisCode(name string) (TrellisCode, error) {
	for c, n := range trellisNames {
		if n == name {
			return TrellisCode(c), nil
		}
	}
	return 0, fmt.Errorf("quant: unknown trellis code %q", name)
}

// value is that of the state s.
func (c TrellisCode) value(s uint32) float32 {
	sum := func(x uint32) float32 { return float32(x&255 + x>>8&255 + x>>16&255 + x>>24) }
	switch c {
	case OneMAD:
		return (sum(34038481*s+76625530) - 510) / 147.800537109375
	case ThreeInst:
		x := (89226354*s+64248484)&0x8fff8fff ^ 0x3b603b60
		return half.FromF16(half.ToF16(half.FromF16(uint16(x)) + half.FromF16(uint16(x>>16))))
	}
	return half.FromF16(half.ToF16(float32(float64(1024+sum(0x83dcd12d*s))*mul1Factor + mul1Offset)))
}

// The factor and the offset of Mul1.
var mul1Factor, mul1Offset = float64(half.FromF16(0x1eee)), float64(half.FromF16(0xc931))

// TrellisValues returns the values of all 2^length states, which must not be modified.
func TrellisValues(code TrellisCode, length int) []float32 {
	trellisTables.Lock()
	defer trellisTables.Unlock()
	key := [2]int{int(code), length}
	t := trellisTables.of[key]
	if t == nil {
		t = make([]float32, 1<<length)
		for s := range t {
			t[s] = code.value(uint32(s))
		}
		trellisTables.of[key] = t
	}
	return t
}

var trellisTables = struct {
	sync.Mutex
	of map[[2]int][]float32
}{of: map[[2]int][]float32{}}

// NewTrellis returns the matrix of the codes of a trellis: of states of length bits,
// each of which takes up b bits that are new. codes [N/16·K/16, 256] has the new bits of
// each tile, tiles by rows; scales [N] are half precision. A tile bites its tail: the
// bits before its first code are its last.
func NewTrellis(n, k, b, length int, code TrellisCode, codes []uint8, scales []uint16) (*Packed, error) {
	f := Format{Bits: b, Kind: Trellis}
	if err := f.Validate(); err != nil {
		return nil, err
	}
	if err := checkTrellis(n, k, b, length, int(code)); err != nil {
		return nil, err
	}
	p := &Packed{N: n, K: k, Format: f, Codes: make([]byte, PackedLen(len(codes), b)), Scales: scales,
		Tables: []uint16{uint16(length), uint16(code)}}
	PackBits(p.Codes, codes, b)
	return p, nil
}

func checkTrellis(n, k, b, length, code int) error {
	switch {
	case n%TrellisTile != 0 || k%TrellisTile != 0:
		return fmt.Errorf("a trellis has tiles of %dx%d, which do not divide [%d,%d]", TrellisTile, TrellisTile, n, k)
	case length <= b || length > MaxTrellis:
		return fmt.Errorf("states of %d bits, want %d to %d", length, b+1, MaxTrellis)
	case code >= int(trellisCodes):
		return fmt.Errorf("trellis code %d does not exist", code)
	}
	return nil
}

// loadTrellis decodes a tile of Ŵ into dst.
func (p *Packed) loadTrellis(dst Matrix, n0, k0 int) {
	const size = TrellisTile * TrellisTile
	b, length := p.Format.Bits, int(p.Tables[0])
	values := TrellisValues(TrellisCode(p.Tables[1]), length)
	mask := uint32(len(values) - 1)
	bytes := size * b / 8
	back := (length - 1) / b // codes before its own that a state has bits of
	for i := range dst.Rows {
		n := n0 + i
		scale := half.FromF16(p.Scales[n])
		tiles := p.Codes[n/TrellisTile*(p.K/TrellisTile)*bytes:]
		row := dst.Row(i)
		for j := 0; j < len(row); {
			k := k0 + j
			tile := tiles[k/TrellisTile*bytes : (k/TrellisTile+1)*bytes]
			at := n%TrellisTile*TrellisTile + k%TrellisTile
			var state uint32
			for t := at - back; t < at; t++ {
				state = state<<b | uint32(CodeAt(tile, (t+size)%size, b))
			}
			for end := min(len(row), j+TrellisTile-k%TrellisTile); j < end; j++ {
				state = (state<<b | uint32(CodeAt(tile, at, b))) & mask
				row[j] = values[state] * scale
				at++
			}
		}
	}
}
