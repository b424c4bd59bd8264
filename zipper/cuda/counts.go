package cuda

import (
	_ "embed"
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"
)

// Turn is what one turn of a matrix kernel's loop executes, counted in its machine code:
// a lower bound of its time, in clocks of one of an SM's four schedulers.
type Turn struct {
	Kernel  string // "w4a8_zip_t8"
	Tokens  int    // of the kernel's tile
	Weights int    // that a turn multiplies
	// Issued counts instructions, ALU the clocks of the integer pipe: without a
	// residual, with a residual tile beside one of the base, and beside each of them.
	Issued, ALU         int
	IssuedOne, ALUOne   int
	IssuedFull, ALUFull int
	Architecture        int
}

// Expected is how many instructions a turn issues on average, where a share of the tiles has a
// residual tile, whichever they are.
func (t Turn) Expected(share float64) float64 {
	tiles := float64(t.Weights / tileWeights)
	any := 1 - math.Pow(1-share, tiles) // of a turn
	each := 0.0
	if tiles > 1 {
		each = float64(t.IssuedFull-t.IssuedOne) / (tiles - 1)
	}
	return float64(t.Issued) + any*(float64(t.IssuedOne-t.Issued)-each) + share*tiles*each
}

const tileWeights = 1024

//go:embed kernels/counts.tsv
var counts string

// Turns returns the counts of all kernels, by architecture (80 or 90) and name.
var Turns = sync.OnceValue(func() map[int]map[string]Turn {
	all := map[int]map[string]Turn{}
	for i, line := range strings.Split(strings.TrimRight(counts, "\n"), "\n")[1:] {
		t, err := readTurn(line)
		if err != nil {
			panic(fmt.Sprintf("cuda: kernels/counts.tsv:%d: %v", i+2, err)) // embedded: a test reads it
		}
		if all[t.Architecture] == nil {
			all[t.Architecture] = map[string]Turn{}
		}
		all[t.Architecture][t.Kernel] = t
	}
	return all
})

func readTurn(line string) (t Turn, err error) {
	fields := strings.Split(line, "\t")
	if len(fields) != 9 {
		return t, fmt.Errorf("%d fields in %q, want 9", len(fields), line)
	}
	t.Kernel = fields[0]
	_, tokens, _ := strings.Cut(t.Kernel, "_t")
	for text, to := range map[*string]*int{&tokens: &t.Tokens, &fields[1]: &t.Architecture, &fields[2]: &t.Weights,
		&fields[3]: &t.Issued, &fields[4]: &t.ALU, &fields[5]: &t.IssuedOne, &fields[6]: &t.ALUOne,
		&fields[7]: &t.IssuedFull, &fields[8]: &t.ALUFull} {
		if *text == "-" {
			continue
		}
		if *to, err = strconv.Atoi(*text); err != nil {
			return t, err
		}
	}
	return t, nil
}
