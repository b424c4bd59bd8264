package kinds

import (
	"fmt"
	"strconv"
	"strings"
)

// Block is the shape r×c of a residual block: Rows outputs by Cols inputs of W;
// Rows 0 is all of them, so that a block is Cols whole channels.
type Block struct{ Rows, Cols int }

// String returns "16x64", or "Nx1" for all rows.
func (b Block) String() string {
	if b.Rows == 0 {
		return "Nx" + strconv.Itoa(b.Cols)
	}
	return strconv.Itoa(b.Rows) + "x" + strconv.Itoa(b.Cols)
}

// MarshalText writes the block as in a sweep file.
func (b Block) MarshalText() ([]byte, error) { return []byte(b.String()), nil }

// UnmarshalText reads "16x64" and "Nx1".
func (b *Block) UnmarshalText(text []byte) error {
	r, c, ok := strings.Cut(string(text), "x")
	rows, err1 := strconv.Atoi(r)
	if r == "N" {
		rows, err1 = 0, nil
	}
	cols, err2 := strconv.Atoi(c)
	if !ok || err1 != nil || err2 != nil || rows < 1 && r != "N" || cols < 1 || rows > 1<<16 || cols > 1<<16 {
		return fmt.Errorf("block %q: want ROWSxCOLUMNS, such as 16x64 or Nx1", text)
	}
	*b = Block{rows, cols}
	return nil
}
