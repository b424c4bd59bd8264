// Soak disturbs the experiments command in random ways, all drawn from a seed, and
// compares what it ends with to an undisturbed run: kills, deleted results, full disks,
// damaged caches and hostile files, against sweeps, slices, merge and quantize.
//
//	go run ./scripts/soak -for 3m            # prints its seed
//	go run ./scripts/soak -seed 7 -rounds 20
//
// It fails where a value differs, a row is lost, a damaged model is accepted, a command
// hangs, or the runtime prints the state of its goroutines. It needs a POSIX shell.
package main

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

const config = `name: soak
model: builtin:tiny-llama3
protocol: {text: builtin:heldout, context: 64, stride: 64, bos: true, tokens: 1024}
calibration: {text: builtin:calibration, tokens: 2048, seed: 1}
methods:
  - {method: none}
  - {method: rtn, group: [128, 64]}
  - {method: gptq, group: 128}
  - {method: mosaic, base: gptq, group: 128, density: 10%, block: 16x16, criterion: delta, smoothing: [0, 0.5]}
`

const oneTrial = `name: one
model: builtin:tiny-llama3
protocol: {text: builtin:heldout, context: 64, stride: 64, bos: true, tokens: 512}
calibration: {text: builtin:calibration, tokens: 2048, seed: 1}
methods: [{method: mosaic, base: gptq, group: 128, density: 10%, block: 16x16, criterion: delta}]
`

func main() {
	seed := flag.Uint64("seed", uint64(time.Now().UnixNano()), "of all random choices")
	length := flag.Duration("for", 3*time.Minute, "how long rounds begin")
	rounds := flag.Int("rounds", 0, "so many rounds, whatever their time; 0: as -for says")
	flag.Parse()
	dir, err := os.MkdirTemp("", "soak-*")
	if err == nil {
		err = run(dir, *seed, *length, *rounds)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "soak: seed %d: %v\nfiles are kept in %s\n", *seed, err, dir)
		os.Exit(1)
	}
	os.RemoveAll(dir)
}

// round is one kind of disturbance.
type round struct {
	name string
	do   func(s *soak, dir string) (what string, err error)
}

func run(dir string, seed uint64, length time.Duration, rounds int) error {
	fmt.Println("seed", seed)
	s := &soak{dir: dir, program: filepath.Join(dir, "experiments"), config: filepath.Join(dir, "soak.yaml"),
		one: filepath.Join(dir, "one.yaml")}
	build := exec.Command("go", "build", "-o", s.program, "./experiments")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	for path, text := range map[string]string{s.config: config, s.one: oneTrial} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return err
		}
	}
	if err := s.undisturbed(); err != nil {
		return fmt.Errorf("undisturbed: %w", err)
	}
	list := []round{
		{"kills", kills}, {"slices", slices}, {"deleted results", deletions},
		{"full disk", fullDisk}, {"damaged cache", damagedCache}, {"hostile model", hostileModel}, {"quantize", quantize},
	}
	start := time.Now()
	var order []int
	for n := 0; rounds > 0 && n < rounds || rounds == 0 && (n < len(list) || time.Since(start) < length); n++ {
		// Each round has its own stream: it is the same whatever came before.
		s.rng = rand.New(rand.NewPCG(seed, uint64(n)))
		if len(order) == 0 { // every kind once before any comes again
			order = rand.New(rand.NewPCG(seed, uint64(1_000_000+n))).Perm(len(list))
		}
		r := list[order[0]]
		order = order[1:]
		sub := filepath.Join(dir, fmt.Sprint("round", n))
		began := time.Now()
		what, err := r.do(s, sub)
		if err != nil {
			return fmt.Errorf("round %d, %s: %w", n, r.name, err)
		}
		fmt.Printf("%3d  %-16s %5.1fs  %s\n", n, r.name, time.Since(began).Seconds(), what)
		if err := os.RemoveAll(sub); err != nil {
			return err
		}
	}
	return nil
}
