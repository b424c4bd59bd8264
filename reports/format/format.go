package format

import (
	"math"
	"strconv"
)

// Sig writes v with four significant digits, without an exponent where that
// stays short.
func Sig(v float64) string {
	if v == 0 {
		return "0"
	}
	if a := math.Abs(v); a < 1e-4 || a >= 1e7 {
		return strconv.FormatFloat(v, 'e', 2, 64)
	}
	return Fixed(v, max(0, 3-int(math.Floor(math.Log10(math.Abs(v))))))
}

// Fixed writes v with the given decimals and a real minus sign, never "-0".
func Fixed(v float64, decimals int) string {
	s := strconv.FormatFloat(v, 'f', decimals, 64)
	if s[0] == '-' {
		if zero(s[1:]) {
			return s[1:]
		}
		return "−" + s[1:]
	}
	return s
}

func zero(s string) bool {
	for _, r := range s {
		if r != '0' && r != '.' {
			return false
		}
	}
	return true
}

// Signed is fixed with a plus sign on positive numbers.
func Signed(v float64, decimals int) string {
	s := Fixed(v, decimals)
	if v > 0 && !zero(s) {
		return "+" + s
	}
	return s
}

// Percent writes a ratio as a change: "−12.3 %", and with one more decimal
// below 10 %, where small changes and ends of intervals matter.
func Percent(r float64) string {
	decimals := 1
	if math.Abs(r-1) < 0.1 {
		decimals = 2
	}
	return Signed(100*(r-1), decimals) + "\u00a0%"
}

func PValue(p float64) string {
	if p < 0.001 {
		return "< 0.001"
	}
	return Fixed(p, 3)
}

func Plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.Itoa(n) + " " + many
}

// DecimalsOf is the number of decimals that show the two leading digits of v.
func DecimalsOf(v float64) int {
	if v == 0 {
		return 0
	}
	return min(max(0, 1-int(math.Floor(math.Log10(math.Abs(v))))), 12)
}
