package sweep

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/mosaicquant/mosaicquant/experiments/plan"
	"github.com/mosaicquant/mosaicquant/internal/row"
)

func TestParseSlice(t *testing.T) {
	if s, err := ParseSlice("3/12"); err != nil || s != (Slice{3, 12}) || s.String() != "3/12" {
		t.Errorf("%v, %v", s, err)
	}
	for _, bad := range []string{"", "3", "0/2", "3/2", "-1/2", "1/0", "a/b", "1/2/3", "1 /2", "1/"} {
		if s, err := ParseSlice(bad); err == nil {
			t.Errorf("%q is %v", bad, s)
		}
	}
}

// TestDivide compares with the best of all divisions.
func TestDivide(t *testing.T) {
	longest := func(costs []int64, sizes []int) (most int64) {
		for _, n := range sizes {
			var sum int64
			for _, c := range costs[:n] {
				sum += c
			}
			most, costs = max(most, sum), costs[n:]
		}
		return most
	}
	var best func(costs []int64, n int) int64
	best = func(costs []int64, n int) int64 {
		if n == 1 {
			return longest(costs, []int{len(costs)})
		}
		least := int64(1) << 62
		for first := 1; first <= len(costs)-n+1; first++ {
			least = min(least, max(longest(costs, []int{first}), best(costs[first:], n-1)))
		}
		return least
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for range 3000 {
		costs := make([]int64, 1+rng.IntN(9))
		for i := range costs {
			costs[i] = 1 + rng.Int64N([]int64{1, 10, 100000}[rng.IntN(3)])
		}
		n := 1 + rng.IntN(len(costs))
		sizes := divide(costs, n)
		total := 0
		for _, s := range sizes {
			total += s
		}
		if len(sizes) != n || slices.Min(sizes) < 1 || total != len(costs) {
			t.Fatalf("%v in %d: sizes %v", costs, n, sizes)
		}
		if got, want := longest(costs, sizes), best(costs, n); got != want {
			t.Fatalf("%v in %d: %v has a run of %d, the best division of %d", costs, n, sizes, got, want)
		}
	}
}

// TestSlices: every trial is in exactly one slice, in order.
func TestSlices(t *testing.T) {
	sw := parse(t, strings.Replace(small, "tokens: 256", "tokens: [256, 128]", 1))
	lab := newLab(t)
	for n := 1; n <= len(sw.Trials); n++ {
		parts, err := Slices(t.Context(), lab, sw.Trials, n)
		if err != nil {
			t.Fatal(err)
		}
		again, err := Slices(t.Context(), lab, sw.Trials, n)
		if err != nil || len(parts) != n || !slices.EqualFunc(parts, again, slices.Equal[[]plan.Trial]) {
			t.Fatalf("%d slices of %d, %v", len(parts), n, err)
		}
		if !slices.Equal(slices.Concat(parts...), slices.Concat(plan.Groups(sw.Trials)...)) {
			t.Fatalf("the trials of %d slices are not those of the sweep", n)
		}
	}
	for _, n := range []int{0, len(sw.Trials) + 1} {
		if _, err := Slices(t.Context(), lab, sw.Trials, n); err == nil {
			t.Errorf("%d slices of %d trials", n, len(sw.Trials))
		}
	}
}

// TestRunSlices runs a sweep in slices at the same time, one of them twice and
// one of them interrupted, after another process has prepared the store. The
// joined rows must be those of a run in one piece.
func TestRunSlices(t *testing.T) {
	sw, whole, dir := parse(t, small), t.TempDir(), t.TempDir()
	if _, err := Run(t.Context(), newLab(t), sw, Options{Dir: whole}); err != nil {
		t.Fatal(err)
	}
	lab := newLab(t)
	if err := Prepare(t.Context(), lab, plan.Groups(sw.Trials)); err != nil {
		t.Fatal(err)
	}
	prepared, err := lab.Store.List()
	if err != nil || len(prepared) == 0 {
		t.Fatal(len(prepared), err)
	}
	parts, err := Slices(t.Context(), lab, sw.Trials, 3)
	if err != nil {
		t.Fatal(err)
	}
	slice := func(i int) *plan.Sweep {
		s := *sw
		s.Trials = parts[i]
		return &s
	}
	ctx, cancel := context.WithCancel(t.Context())
	_, err = Run(ctx, lab, slice(0), Options{Dir: dir, Part: "1of3", Jobs: 1, Progress: &cancelAfter{n: 1, cancel: cancel}})
	if len(parts[0]) > 1 && !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for _, i := range []int{0, 1, 1, 2} {
		wg.Go(func() {
			if _, err := Run(t.Context(), lab, slice(i), Options{Dir: dir, Part: fmt.Sprintf("%dof3", i+1)}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	after, err := lab.Store.List()
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range after {
		if !slices.Contains(prepared, v) {
			t.Errorf("%+v in the store, not so after Prepare", v)
		}
	}
	files, err := row.Files(dir)
	if err != nil {
		t.Fatal(err)
	}
	joined, err := row.Join(append(files, filepath.Join(whole, row.File))...)
	if err != nil {
		t.Fatal(err)
	}
	if joined.Len() != len(sw.Trials) || joined.Failed != 0 {
		t.Errorf("%d trials, %d failed, want %d", joined.Len(), joined.Failed, len(sw.Trials))
	}
	// Slices and a run in one piece know each other's rows.
	res, err := Run(t.Context(), lab, sw, Options{Dir: dir})
	if want := (Result{Finished: len(sw.Trials)}); err != nil || res != want {
		t.Errorf("a run in one piece after slices: %+v, %v", res, err)
	}
	res, err = Run(t.Context(), lab, slice(2), Options{Dir: whole, Part: "3of3"})
	if want := (Result{Finished: len(parts[2])}); err != nil || res != want {
		t.Errorf("a slice after a run in one piece: %+v, %v", res, err)
	}
	if res, err = Run(t.Context(), lab, sw, Options{Dir: dir, Fresh: true, Jobs: 1}); err != nil || res.Ran != len(sw.Trials) {
		t.Errorf("fresh: %+v, %v", res, err)
	}
	if files, err := row.Files(dir); err != nil || len(files) != 1 {
		t.Errorf("after a fresh run rows are in %q, %v", files, err)
	}
}
