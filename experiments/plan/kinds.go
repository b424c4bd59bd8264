package plan

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"unicode"

	"gopkg.in/yaml.v3"
)

// kind is a type of setting: how a YAML scalar is read and how a value is
// written, in Axes and in sweep files alike unless file says otherwise.
type kind struct {
	read  func(n *yaml.Node) (any, error)
	write func(v any) string
	quote bool               // what write returns needs quotes where YAML takes it for something else
	file  func(v any) string // in sweep files; nil = write
	form  string             // what a value looks like, for docs/keys.md
}

// text is a free, printable string: a reference to a model or text.
var text = kind{quote: true, form: "text",
	read: func(n *yaml.Node) (any, error) {
		switch {
		case n.ShortTag() != "!!str":
			return nil, fmt.Errorf("%s is not a string; put it in quotes", show(n))
		case strings.TrimSpace(n.Value) == "":
			return nil, fmt.Errorf("is empty")
		case strings.ContainsFunc(n.Value, func(r rune) bool { return !unicode.IsPrint(r) }):
			return nil, fmt.Errorf("%q has characters that cannot be printed", n.Value)
		}
		return n.Value, nil
	},
	write: func(v any) string { return v.(string) },
}

// word is one of a few strings.
func word(choices ...string) kind {
	return kind{quote: true, form: "`" + strings.Join(choices, "`, `") + "`",
		read: func(n *yaml.Node) (any, error) {
			for _, c := range choices {
				if n.ShortTag() == "!!str" && n.Value == c {
					return c, nil
				}
			}
			return nil, fmt.Errorf("%s is not one of %s%s", show(n), strings.Join(choices, ", "), didYouMean(n.Value, choices))
		},
		write: func(v any) string { return v.(string) },
	}
}

// integer is a whole number from low to high.
func integer(low, high int) kind {
	return kind{form: fmt.Sprintf("whole number, %d to %d", low, high),
		read: func(n *yaml.Node) (any, error) {
			v, err := strconv.Atoi(n.Value)
			if n.ShortTag() != "!!int" || err != nil {
				return nil, fmt.Errorf("%s is not a whole number", show(n))
			}
			if v < low || v > high {
				return nil, fmt.Errorf("%d is outside %d..%d", v, low, high)
			}
			return v, nil
		},
		write: func(v any) string { return strconv.Itoa(v.(int)) },
	}
}

// groupSize is a number of weights, or the word row (0) for the whole row.
var groupSize = kind{form: "whole number from 1, or `row`",
	read: func(n *yaml.Node) (any, error) {
		if n.ShortTag() == "!!str" && n.Value == "row" {
			return 0, nil
		}
		if n.ShortTag() == "!!str" {
			return nil, fmt.Errorf("%s is neither a whole number nor row, one scale for each row", show(n))
		}
		return integer(1, 1<<20).read(n)
	},
	write: func(v any) string {
		if v == 0 {
			return "row"
		}
		return strconv.Itoa(v.(int))
	},
}

// budget says what shares a budget of residual blocks, or of a plain GPTQ's
// groups: each layer has its own (layer, the empty string), or all layers have
// one, by gain (global) or by gain relative to the layer's output (relative).
var budget = defaultWord(true, "layer", "global", "relative")

// pairs says how a joint residual finds the codes of base and residual: the best
// of all pairs, or of near ones, which came first and is the empty string.
var pairs = defaultWord(true, "near", "all")

// execution is packed, or fake for the empty string: the way that came first has
// no mark in the identity of a trial.
var execution = defaultWord(false, "fake", "packed")

// defaultWord is one of some words; the first is the empty string inside.
func defaultWord(quote bool, words ...string) kind {
	return kind{quote: quote, form: word(words...).form,
		read: func(n *yaml.Node) (any, error) {
			v, err := word(words...).read(n)
			if v == words[0] {
				v = ""
			}
			return v, err
		},
		write: func(v any) string {
			if v == "" {
				return words[0]
			}
			return v.(string)
		},
	}
}

// seed is a whole number from 0 to 2⁶⁴-1.
var seed = kind{form: "whole number",
	read: func(n *yaml.Node) (any, error) {
		v, err := strconv.ParseUint(n.Value, 10, 64)
		if n.ShortTag() != "!!int" || err != nil {
			return nil, fmt.Errorf("%s is not a whole number in 0..2^64-1", show(n))
		}
		return v, nil
	},
	write: func(v any) string { return strconv.FormatUint(v.(uint64), 10) },
}

var boolean = kind{form: "`true`, `false`",
	read: func(n *yaml.Node) (any, error) {
		if n.ShortTag() != "!!bool" {
			return nil, fmt.Errorf("%s is not true or false", show(n))
		}
		return strings.EqualFold(n.Value, "true"), nil
	},
	write: func(v any) string { return strconv.FormatBool(v.(bool)) },
}

var decimal = regexp.MustCompile(`^[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?$`)

// share is a fraction, written as such or in percent, from low to high (both
// fractions and allowed).
func share(low, high float64) kind {
	return kind{form: fmt.Sprintf("share, %s to %s", percentage(low), percentage(high)),
		read: func(n *yaml.Node) (any, error) {
			number, percent := strings.CutSuffix(n.Value, "%")
			tag := n.ShortTag()
			plain := !percent && (tag == "!!int" || tag == "!!float")
			if !plain && !(percent && tag == "!!str") || !decimal.MatchString(number) {
				return nil, fmt.Errorf("%s is not a percentage or fraction, such as 2.5%% or 0.025", show(n))
			}
			v, err := strconv.ParseFloat(number, 64)
			if err == nil && percent {
				v = shift(v, -2)
			}
			if err != nil || !(v >= low && v <= high) {
				hint := ""
				if plain && v > 1 && v <= 100 && shift(v, -2) <= high {
					hint = fmt.Sprintf("; did you mean %s%%?", number)
				}
				return nil, fmt.Errorf("%s is outside %s..%s%s", n.Value, percentage(low), percentage(high), hint)
			}
			if v == 0 {
				v = 0 // not -0, which would be another text
			}
			return v, nil
		},
		write: func(v any) string { return strconv.FormatFloat(v.(float64), 'g', -1, 64) },
	}
}

// number is a decimal number from low to high.
func number(low, high float64) kind {
	return kind{form: fmt.Sprintf("number, %g to %g", low, high),
		read: func(n *yaml.Node) (any, error) {
			v, err := strconv.ParseFloat(n.Value, 64)
			if tag := n.ShortTag(); tag != "!!int" && tag != "!!float" || !decimal.MatchString(n.Value) || err != nil {
				return nil, fmt.Errorf("%s is not a number", show(n))
			}
			if !(v >= low && v <= high) {
				return nil, fmt.Errorf("%s is outside %s..%s", n.Value, share(0, 0).write(low), share(0, 0).write(high))
			}
			return v, nil
		},
		write: share(0, 0).write,
	}
}

// percent is a share that sweep files write in percent.
func percent(low, high float64) kind {
	k := share(low, high)
	k.file = func(v any) string { return percentage(v.(float64)) }
	return k
}

// shift returns v·10^digits for the decimal number that v prints as, so that
// 0.7 % is 0.007 and not its neighbour.
func shift(v float64, digits int) float64 {
	mantissa, exponent, _ := strings.Cut(strconv.FormatFloat(v, 'e', -1, 64), "e")
	e, _ := strconv.Atoi(exponent) // FormatFloat wrote it
	s, err := strconv.ParseFloat(mantissa+"e"+strconv.Itoa(e+digits), 64)
	if err != nil {
		return math.Inf(1)
	}
	return s
}

func percentage(v float64) string { return strconv.FormatFloat(shift(v, 2), 'f', -1, 64) + "%" }

var blockShape = kind{quote: true, form: "`ROWSxCOLUMNS`, or `NxCOLUMNS` for all rows",
	read: func(n *yaml.Node) (any, error) {
		var b Block
		if n.ShortTag() != "!!str" {
			return nil, fmt.Errorf("%s is not ROWSxCOLUMNS, such as 16x64 or Nx1", show(n))
		}
		if err := b.UnmarshalText([]byte(n.Value)); err != nil {
			return nil, fmt.Errorf("%s is not ROWSxCOLUMNS, such as 16x64, or Nx1 for whole channels, with sides in 1..65536", show(n))
		}
		return b, nil
	},
	write: func(v any) string { return v.(Block).String() },
}

// show is a node as an error quotes it.
func show(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "a mapping"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case n.ShortTag() == "!!null":
		return "nothing"
	}
	if v := []rune(n.Value); len(v) > 60 {
		return strconv.Quote(string(v[:60]) + "...")
	}
	return strconv.Quote(n.Value)
}

// didYouMean suggests the choice nearest to a misspelt word.
func didYouMean(got string, choices []string) string {
	best, at := 3, ""
	if len(got) > 40 {
		return ""
	}
	for _, c := range choices {
		if d := distance(strings.ToLower(got), c); d < best && 2*d <= len(c) {
			best, at = d, c
		}
	}
	if at == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %s?", at)
}

// distance is the number of edits (insert, delete, replace, swap neighbours)
// between a and b.
func distance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			d := rows[i-1][j-1]
			if a[i-1] != b[j-1] {
				d++
			}
			d = min(d, rows[i-1][j]+1, rows[i][j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d = min(d, rows[i-2][j-2]+1)
			}
			rows[i][j] = d
		}
	}
	return rows[len(a)][len(b)]
}
