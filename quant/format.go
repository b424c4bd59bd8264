package quant

import (
	"fmt"
)

// Format is the grid of a quantized matrix and the extent of its scales.
//
// In an Integer format a code is stored as an unsigned number u of Bits bits, and
// stands for the weight (u - zero)·scale. In a symmetric format the zero is the
// constant 2^(Bits-1), and u = 0 is never used, so that for 4 bits u-8 runs over
// -7..7: one code is given up so that the grid is symmetric, as in MosaicQuant's
// and TwinQuant's max|w|/7 rule, and so that a residual has no bias. In an
// affine format every code is used, and an integer zero of Bits bits is stored
// with each scale. The other kinds are explained at Kind.
//
// Scales are half precision unless the kind says otherwise. A scale is rounded
// first, and weights are then quantized with the rounded scale.
type Format struct {
	Bits   int  // per code: 2..8
	Affine bool // a stored zero per group
	Group  int  // weights along K that share a scale, the last group may be shorter; 0: the whole row
	Kind   Kind
}

// Int4 is the symmetric 4-bit format with groups of g weights (0: per row).
func Int4(g int) Format { return Format{Bits: 4, Group: g} }

// ParseFormat returns the format of the given name with groups of g weights:
// intB and intBa (symmetric and affine integers of B bits), int3b and int4b
// (Bilevel), any4, any3, any2, and the names of the other kinds.
func ParseFormat(name string, g int) (Format, error) {
	f := Format{Bits: 4, Group: g}
	for k, r := range rows {
		if name == r.name && !r.numbered && !r.unnamed {
			f.Kind, f.Bits, f.Affine = Kind(k), r.most, r.zeros == affine
			return f, f.Validate()
		}
	}
	if name == "any3" || name == "any2" {
		f.Kind, f.Bits, f.Affine = AnyFew, int(name[3]-'0'), true
		return f, f.Validate()
	}
	if n := len(name); n >= 4 && n <= 5 && name[:3] == "int" && name[3] >= '2' && name[3] <= '8' {
		f.Bits = int(name[3] - '0')
		switch name[4:] {
		case "":
			return f, f.Validate()
		case "a":
			f.Affine = true
			return f, f.Validate()
		case "b":
			f.Affine, f.Kind = true, Bilevel
			return f, f.Validate()
		}
	}
	return f, fmt.Errorf("quant: unknown format %q", name)
}

// String returns for example "int4 g128", "int4 affine g32", "nf4 g64" or "int5
// per-channel".
func (f Format) String() string {
	r := f.Kind.row()
	s := r.name
	if r.numbered {
		s = fmt.Sprintf("%s%d", r.name, f.Bits)
		switch {
		case f.Affine && r.zeros == either:
			s += " affine"
		case f.Kind == Bilevel:
			s += "b"
		}
	}
	if r.unnamed {
		if s += fmt.Sprintf(" of %d bits", f.Bits); f.Group > 0 {
			s += fmt.Sprintf(" g%d", f.Group)
		}
		return s
	}
	if f.Group == 0 {
		return s + " per-channel"
	}
	return fmt.Sprintf("%s g%d", s, f.Group)
}

// Validate reports a format that cannot exist.
func (f Format) Validate() error {
	if f.Bits < 2 || f.Bits > 8 {
		return fmt.Errorf("quant: format bits=%d outside 2..8", f.Bits)
	}
	if f.Group < 0 {
		return fmt.Errorf("quant: format group=%d is negative", f.Group)
	}
	if int(f.Kind) >= len(rows) {
		return fmt.Errorf("quant: format kind=%d does not exist", f.Kind)
	}
	r := f.Kind.row()
	name := r.name
	if f.Kind == Bilevel {
		name = "bilevel"
	}
	if f.Bits < r.least || f.Bits > r.most || r.zeros != either && f.Affine != (r.zeros == affine) {
		return fmt.Errorf("quant: %s format with bits=%d, affine=%v: want %d..%d and %v", name, f.Bits, f.Affine, r.least,
			r.most, r.zeros == affine)
	}
	if r.perRow && f.Group != 0 {
		return fmt.Errorf("quant: %s has one scale for each row, not groups of %d", name, f.Group)
	}
	if g := r.group; g != 0 && f.Group != g {
		return fmt.Errorf("quant: %s has groups of %d, not %d", name, g, f.Group)
	}
	return nil
}

// Groups returns the group size and the number of groups of a row of K weights.
// The last group has what is left of K: K mod size weights where size does not divide K.
func (f Format) Groups(k int) (size, count int) {
	if f.Group == 0 {
		return k, 1
	}
	return min(f.Group, k), CeilDiv(k, f.Group)
}

// Fits reports a row length k that groups of a fixed size (MXFP4, NVFP4) do not
// divide. Groups of any other size may leave a last one that is shorter.
func (f Format) Fits(k int) error {
	if t := f.Kind.row().tile; t > 0 && k%t != 0 {
		return fmt.Errorf("K=%d not divisible by the %d columns of a tile", k, t)
	}
	if g := f.Kind.FixedGroup(); g > 0 && k%g != 0 {
		return fmt.Errorf("K=%d not divisible by group %d", k, f.Group)
	}
	return nil
}

// Offset is the zero of a symmetric integer format.
func (f Format) Offset() int { return 1 << (f.Bits - 1) }

// Lowest and Highest are the smallest and largest code in use.
func (f Format) Lowest() int {
	if f.Affine || f.Kind.Levels() != nil {
		return 0
	}
	return 1
}

func (f Format) Highest() int {
	if l := f.Kind.Levels(); l != nil {
		return len(l.Value) - 1
	}
	return 1<<f.Bits - 1
}
