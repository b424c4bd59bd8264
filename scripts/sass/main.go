// Command sass counts what the matrix kernels execute for one turn of their loop,
// which multiplies a tile of each panel of a warp. It reads what nvdisasm prints of
// their machine code:
//
//	nvdisasm IMAGE.sm_90.cubin | go run ./scripts/sass -arch 90
//
// and writes a line per kernel and architecture to standard output:
//
//	weights  of a turn: 1,024 a tile
//	issued   instructions of a turn that copies tiles and multiplies tiles
//	alu      clocks for which they keep the integer pipe of a scheduler busy, which
//	         takes two for an instruction of a warp
//	issued1  the same where one of the tiles has a residual tile of 16x64; - without
//	alu1
//	issuedn  and where all have one
//	alun
//
// A scheduler issues one instruction per clock, so none of these times can be
// beaten, whatever the memory does. They are lower bounds: a turn is the shortest way
// through the loop that makes all copies and products, and conflicts, waits and
// the rest of the kernel are left out. Kernels for groups of 32, whose turn has a loop
// within, and kernels whose products the device emulates are left out.
package main

import (
	"bufio"
	"cmp"
	"flag"
	"fmt"
	"io"
	"log"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("sass: ")
	arch := flag.String("arch", "", "architecture to name, such as 90")
	flag.Parse()
	kernels, err := read(os.Stdin)
	if err != nil {
		log.Fatal(err)
	}
	for _, name := range slices.Sorted(maps.Keys(kernels)) {
		if !slices.ContainsFunc(kinds, func(kind string) bool { return strings.Contains(name, kind) }) {
			continue
		}
		tokens, err := strconv.Atoi(name[strings.LastIndex(name, "_t")+2:])
		if err != nil {
			log.Fatalf("kernel %s does not name its tokens", name)
		}
		panels := kernels[name].panels(tokens)
		if panels == 0 {
			continue
		}
		_, copies := kernels[strings.Replace(name, "_zip", "_dense", 1)].turn(0, false, panels)
		t, _ := kernels[name].turn(copies, strings.Contains(name, "_ride_"), panels)
		if len(t) == 0 || t[0].issued == 0 {
			log.Fatalf("%s: no loop that copies and multiplies", name)
		}
		if len(t) == 3 && (t[1].issued <= t[0].issued || t[2].issued < t[1].issued || panels > 1 && t[2] == t[1]) {
			log.Fatalf("%s: %v instructions without a residual, with one tile of it, with all", name, t)
		}
		fmt.Printf("%s\t%s\t%d\t%d\t%d", name, *arch, 1024*panels, t[0].issued, t[0].alu)
		for i := 1; i < 3; i++ {
			if i < len(t) {
				fmt.Printf("\t%d\t%d", t[i].issued, t[i].alu)
			} else {
				fmt.Printf("\t-\t-")
			}
		}
		fmt.Println()
	}
}

// kinds are in the names of the kernels that are counted.
var kinds = []string{"_dense_", "_dense128_", "_zip_", "_zip128_", "_ride_"}

// instruction is a line of machine code.
type instruction struct {
	opcode string // without its modifiers: "LOP3"
	name   string // with them: "LOP3.LUT"
	label  string // where a branch goes
	always bool   // no predicate
	target int    // of a branch, -1 without
}

type function []instruction

var line = regexp.MustCompile(`^\s*/\*[0-9a-f]+\*/\s+(@!?U?P\w+\s+)?([A-Z][\w.]*)(.*?);`)
var label = regexp.MustCompile(`^(\.L\w+):`)
var to = regexp.MustCompile("`\\((\\.L\\w+)\\)")

// read returns the functions of a disassembly by name.
func read(r io.Reader) (map[string]function, error) {
	all := map[string]function{}
	var f function
	var name string
	labels := map[string]int{}
	end := func() error {
		if name == "" {
			return nil
		}
		for i := range f {
			f[i].target = -1
			if f[i].label != "" {
				at, ok := labels[f[i].label]
				if !ok {
					return fmt.Errorf("%s: no label %s", name, f[i].label)
				}
				f[i].target = at
			}
		}
		all[name] = f
		return nil
	}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		text := lines.Text()
		if after, ok := strings.CutPrefix(text, ".text."); ok {
			if err := end(); err != nil {
				return nil, err
			}
			f, name, labels = nil, strings.TrimSuffix(after, ":"), map[string]int{}
			continue
		}
		if m := label.FindStringSubmatch(text); m != nil {
			labels[m[1]] = len(f)
			continue
		}
		m := line.FindStringSubmatch(text)
		if m == nil {
			continue
		}
		in := instruction{name: m[2], always: m[1] == ""}
		in.opcode, _, _ = strings.Cut(in.name, ".")
		if in.opcode == "BRA" {
			// A branch may have a second predicate, as an operand. BRA.DIV leaves for where
			// lanes are collected that went apart, which they never do.
			in.always = in.always && strings.HasPrefix(strings.TrimSpace(m[3]), "`(")
			if in.name == "BRA.DIV" {
				f = append(f, instruction{opcode: "BRA.DIV", name: in.name})
				continue
			}
			if t := to.FindStringSubmatch(m[3]); t != nil {
				in.label = t[1]
			}
		}
		f = append(f, in)
	}
	return all, cmp.Or(lines.Err(), end())
}

// product reports a product of matrices.
func (i instruction) product() bool { return i.opcode == "HMMA" || i.opcode == "IMMA" }

// copies reports an asynchronous copy of 16 bytes.
func (i instruction) copies() bool { return i.opcode == "LDGSTS" }

// integer are the opcodes of the integer and logic pipe, on sm_80 to sm_90, and
// those moves that it takes. IMAD is not among them: it is the other pipe's.
var integer = map[string]bool{
	"IADD3": true, "LOP3": true, "SHF": true, "LEA": true, "ISETP": true, "SEL": true, "PRMT": true, "MOV": true,
	"IMNMX": true, "VIMNMX": true, "VIADD": true, "FSETP": true, "FMNMX": true, "FSEL": true, "PLOP3": true,
	"IABS": true, "SGXT": true, "BMSK": true, "VOTE": true, "R2P": true, "P2R": true,
}

// cost is what a way through a loop executes.
type cost struct{ issued, alu int }

func (c cost) less(o cost) bool { return c.issued < o.issued || c.issued == o.issued && c.alu < o.alu }

// turn returns the cost of a turn of the loop that waits for copies and multiplies so many tiles:
// without a residual and, where the loop has code for one, with one beside a single tile, and beside all.
// copies is what the base takes; 0: all that there are. With riding, the turn is that with
// the most stores to shared memory, in which all lanes add blocks.
func (f function) turn(copies int, riding bool, tiles int) (list []cost, made int) {
	first, last := f.loop()
	if last == 0 {
		return nil, 0
	}
	ways := f.ways(first, last, riding)
	base, most := way{products: 1 << 30}, way{} // every way multiplies the base
	for w := range ways {
		base.products, most.products = min(base.products, w.products), max(most.products, w.products)
	}
	for w := range ways {
		if w.products == base.products {
			base.copies, base.stores = max(base.copies, w.copies), max(base.stores, w.stores)
		}
		if w.products == most.products {
			most.copies = max(most.copies, w.copies)
		}
	}
	if copies > 0 {
		base.copies = copies
	}
	if list = append(list, ways[base]); most.products > base.products {
		one := base
		one.products += (most.products - base.products) / tiles
		one.copies += (most.copies - base.copies) / tiles
		list = append(list, ways[one], ways[most])
	}
	return list, base.copies
}

// perTile is how many products a tile of 16x64 takes, for 8 tokens.
var perTile = map[string]int{"HMMA.16816.F32": 4, "HMMA.16816.F32.BF16": 4, "IMMA.16832.S8.S8": 2,
	"IMMA.16864.S4.S4": 1}

// panels is the number of tiles that a turn multiplies by so many tokens; 0 where
// its products are not of the device.
func (f function) panels(tokens int) int {
	first, last := f.loop()
	least := 0
	for w := range f.ways(first, last, false) {
		if least == 0 || w.products < least {
			least = w.products
		}
	}
	for _, in := range f[first:last] {
		if in.product() {
			return least / max(1, perTile[in.name]) / (tokens / 8) * min(1, perTile[in.name])
		}
	}
	return 0
}

// loop returns the first and last instruction of the outermost loop that has a wait
// for copies and a product in it.
func (f function) loop() (first, last int) {
	end := 0 // behind it there are pieces that return into the middle
	for i, in := range f {
		if in.opcode == "EXIT" {
			end = i
		}
	}
	for i, in := range f[:end] {
		if in.target < 0 || in.target > i || i-in.target <= last-first {
			continue
		}
		waits, products := false, false
		for _, b := range f[in.target:i] {
			waits = waits || b.name == "DEPBAR.LE"
			products = products || b.product()
		}
		if waits && products {
			first, last = in.target, i
		}
	}
	return first, last
}

// way identifies one way through a loop. Stores to shared memory are counted where a residual rides.
type way struct{ products, copies, stores int }

// ways returns the least cost of the ways from first to last, by what they do.
// Loops within are gone through once.
func (f function) ways(first, last int, riding bool) map[way]cost {
	at, through := make([]map[way]cost, len(f)+1), map[way]cost{}
	reach := func(i int, w way, c cost) {
		if i < first || i > last {
			return
		}
		if at[i] == nil {
			at[i] = map[way]cost{}
		}
		if old, ok := at[i][w]; !ok || c.less(old) {
			at[i][w] = c
		}
	}
	reach(first, way{}, cost{})
	for i := first; i <= last; i++ {
		in := f[i]
		for w, c := range at[i] {
			c.issued++
			if integer[in.opcode] {
				c.alu += 2
			}
			if in.product() {
				w.products++
			}
			if in.copies() {
				w.copies++
			}
			if riding && (in.opcode == "STS" || in.opcode == "ATOMS") {
				w.stores++
			}
			if i == last {
				if old, ok := through[w]; !ok || c.less(old) {
					through[w] = c
				}
				continue
			}
			if in.target > i {
				reach(in.target, w, c)
			}
			if in.target < 0 && in.opcode == "BRA" || in.opcode == "EXIT" && in.always {
				continue
			}
			if !(in.opcode == "BRA" && in.always) {
				reach(i+1, w, c)
			}
		}
	}
	return through
}
