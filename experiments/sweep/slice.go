package sweep

import (
	"context"
	"fmt"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/mosaicquant/mosaicquant/experiments/plan"
	"github.com/mosaicquant/mosaicquant/experiments/trial"
)

// Slice is one of the parts that a sweep is divided into, counted from 1.
type Slice struct{ I, N int }

// ParseSlice reads "3/12".
func ParseSlice(s string) (Slice, error) {
	a, b, ok := strings.Cut(s, "/")
	i, err1 := strconv.Atoi(a)
	n, err2 := strconv.Atoi(b)
	if !ok || err1 != nil || err2 != nil || i < 1 || i > n {
		return Slice{}, fmt.Errorf("%q is no slice: want I/N with I from 1 to N, such as 3/12", s)
	}
	return Slice{i, n}, nil
}

// String returns "3/12".
func (s Slice) String() string { return fmt.Sprintf("%d/%d", s.I, s.N) }

// Slices divides trials into n slices of consecutive trials, so that few slices share a
// model. None is empty, and the longest is as short as possible by trial.Lab.Costs.
// Every machine divides the same trials in the same way.
func Slices(ctx context.Context, lab *trial.Lab, trials []plan.Trial, n int) ([][]plan.Trial, error) {
	if n < 1 || n > len(trials) {
		return nil, fmt.Errorf("%d trials cannot be divided into %d slices", len(trials), n)
	}
	var ordered []plan.Trial
	var costs []int64
	for _, group := range plan.Groups(trials) {
		c, err := lab.Costs(ctx, group)
		if err != nil {
			return nil, err
		}
		ordered, costs = append(ordered, group...), append(costs, c...)
	}
	var parts [][]plan.Trial
	for _, size := range divide(costs, n) {
		parts = append(parts, slices.Clip(ordered[:size]))
		ordered = ordered[size:]
	}
	return parts, nil
}

// divide returns the sizes of n runs of costs, none empty, whose largest sum is
// as small as possible. Costs are positive; n is at most their number.
func divide(costs []int64, n int) []int {
	var total int64
	for _, c := range costs {
		total += c
	}
	// The smallest limit on a run's sum that n runs can keep.
	limit := sort.Search(int(total), func(limit int) bool { return len(fill(costs, n, int64(limit))) <= n })
	return fill(costs, n, int64(limit))
}

// fill makes runs from the left, each as long as limit and a cost for each of n
// runs allow. It returns more than n where n are too few.
func fill(costs []int64, n int, limit int64) []int {
	var sizes []int
	var sum int64
	for i, c := range costs {
		last := len(sizes) - 1
		if last < 0 || sum+c > limit || len(costs)-i <= n-len(sizes) {
			sizes, sum = append(sizes, 0), 0
			last++
		}
		sizes[last]++
		sum += c
	}
	return sizes
}

// Prepare puts what the trials share into the lab's store, group by group of
// plan.Groups: the work that the slices of a sweep would each do otherwise.
func Prepare(ctx context.Context, lab *trial.Lab, groups [][]plan.Trial) error {
	for _, group := range groups {
		s, err := lab.Open(ctx, group[0])
		if err != nil {
			return err
		}
		err = s.Prepare(ctx, group)
		if e := s.Close(); err == nil {
			err = e
		}
		if err != nil {
			return err
		}
	}
	return nil
}
