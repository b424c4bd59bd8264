package solve

import (
	"math"
)

// Largest returns the indices of the n largest scores, ascending; of equal
// scores the first ones. It finds the n-th largest digit by digit (radix
// selection), so the time does not depend on the scores and nothing but one
// table of counts and the result is allocated.
func Largest(score []float64, n int) []int {
	index := make([]int, 0, n)
	if n == 0 {
		return index
	}
	const digit = 16
	counts := make([]int, 1<<digit)
	var least uint64 // key of the n-th largest, as far as it is known
	rest := n        // how many of the scores with these digits are wanted
	for shift := 64 - digit; shift >= 0; shift -= digit {
		clear(counts)
		for _, s := range score {
			if k := rank(s); k>>shift>>digit == least>>shift>>digit {
				counts[k>>shift&(1<<digit-1)]++
			}
		}
		d := 1<<digit - 1
		for ; counts[d] < rest; d-- {
			rest -= counts[d]
		}
		least |= uint64(d) << shift
	}
	for i, s := range score {
		k := rank(s)
		if k < least {
			continue
		}
		if k == least {
			if rest == 0 {
				continue
			}
			rest--
		}
		index = append(index, i)
	}
	return index
}

// rank maps scores to integers of the same order; both zeros are one.
func rank(score float64) uint64 {
	b := math.Float64bits(score + 0)
	if b>>63 == 1 {
		return ^b
	}
	return b | 1<<63
}
