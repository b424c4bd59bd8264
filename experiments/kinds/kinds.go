// Package kinds has the types that settings of sweep files have: how a value is
// read from YAML, written again, and shown in labels.
package kinds

import (
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"gopkg.in/yaml.v3"
)

// Kind is a type of setting: how a YAML scalar is read and how a value is
// written, in Axes and in sweep files alike unless file says otherwise.
type Kind struct {
	Read  func(n *yaml.Node) (any, error)
	Write func(v any) string
	Quote bool               // what write returns needs quotes where YAML takes it for something else
	File  func(v any) string // in sweep files; nil = write
	Form  string             // what a value looks like, for docs/keys.md
	Zero  any                // the zero value of its Go type
	// Edges are all values of a kind that has few, and else those at the ends of its
	// range; nil for free text. Tests run them.
	Edges []any
}

// Decode returns the value that encoding/json read as v, numbers as json.Number.
func (k Kind) Decode(v any) (any, error) {
	out, ok, err := k.Zero, false, error(nil)
	switch k.Zero.(type) {
	case string:
		out, ok = v.(string)
	case bool:
		out, ok = v.(bool)
	case int:
		var n json.Number
		if n, ok = v.(json.Number); ok {
			out, err = strconv.Atoi(n.String())
		}
	case float64:
		var n json.Number
		if n, ok = v.(json.Number); ok {
			out, err = n.Float64()
		}
	case Block:
		var text string
		if text, ok = v.(string); ok {
			var b Block
			err = b.UnmarshalText([]byte(text))
			out = b
		}
	}
	if err != nil || !ok {
		return nil, fmt.Errorf("%v is not a %T", v, k.Zero)
	}
	n := &yaml.Node{Kind: yaml.ScalarNode, Value: k.Write(out)}
	if k.Quote {
		n.Tag = "!!str"
	}
	return k.Read(n)
}

// Text is a free, printable string: a reference to a model or text.
var Text = Kind{Zero: "", Quote: true, Form: "text",
	Read: func(n *yaml.Node) (any, error) {
		switch {
		case n.ShortTag() != "!!str":
			return nil, fmt.Errorf("%s is not a string; put it in quotes", Show(n))
		case strings.TrimSpace(n.Value) == "":
			return nil, fmt.Errorf("is empty")
		case strings.ContainsFunc(n.Value, func(r rune) bool { return !unicode.IsPrint(r) }):
			return nil, fmt.Errorf("%q has characters that cannot be printed", n.Value)
		}
		return n.Value, nil
	},
	Write: func(v any) string { return v.(string) },
}

// Word is one of a few strings.
func Word(choices ...string) Kind {
	return Kind{Zero: "", Quote: true, Form: "`" + strings.Join(choices, "`, `") + "`", Edges: anys(choices),
		Read: func(n *yaml.Node) (any, error) {
			for _, c := range choices {
				if n.ShortTag() == "!!str" && n.Value == c {
					return c, nil
				}
			}
			return nil, fmt.Errorf("%s is not one of %s%s", Show(n), strings.Join(choices, ", "), DidYouMean(n.Value, choices))
		},
		Write: func(v any) string { return v.(string) },
	}
}

func anys(words []string) (list []any) {
	for _, w := range words {
		list = append(list, w)
	}
	return list
}

// Renamed is one of a few strings, of which files call one by the word now. Its older
// word, old, is read as well, and is the value inside.
func Renamed(old, now string, choices ...string) Kind {
	k := Word(choices...)
	k.Edges[slices.Index(choices, now)] = old
	read := k.Read
	k.Read = func(n *yaml.Node) (any, error) {
		if n.ShortTag() == "!!str" && n.Value == old {
			return old, nil
		}
		v, err := read(n)
		if v == now {
			v = old
		}
		return v, err
	}
	k.File = func(v any) string {
		if v == old {
			return now
		}
		return k.Write(v)
	}
	return k
}

// Integer is a whole number from low to high.
func Integer(low, high int) Kind {
	return Kind{Zero: 0, Form: fmt.Sprintf("whole number, %d to %d", low, high), Edges: []any{low, high},
		Read: func(n *yaml.Node) (any, error) {
			v, err := strconv.Atoi(n.Value)
			if n.ShortTag() != "!!int" || err != nil {
				return nil, fmt.Errorf("%s is not a whole number", Show(n))
			}
			if v < low || v > high {
				return nil, fmt.Errorf("%d is outside %d..%d", v, low, high)
			}
			return v, nil
		},
		Write: func(v any) string { return strconv.Itoa(v.(int)) },
	}
}

// GroupSize is a number of weights, or the word row (0) for the whole row.
var GroupSize = Kind{Zero: 0, Form: "whole number from 1, or `row`", Edges: []any{0, 1, 1 << 20},
	Read: func(n *yaml.Node) (any, error) {
		if n.ShortTag() == "!!str" && n.Value == "row" {
			return 0, nil
		}
		if n.ShortTag() == "!!str" {
			return nil, fmt.Errorf("%s is neither a whole number nor row, one scale for each row", Show(n))
		}
		return Integer(1, 1<<20).Read(n)
	},
	Write: func(v any) string {
		if v == 0 {
			return "row"
		}
		return strconv.Itoa(v.(int))
	},
}

// DefaultWord is one of some words; the first is the empty string inside.
func DefaultWord(quote bool, words ...string) Kind {
	return Kind{Zero: "", Quote: quote, Form: Word(words...).Form, Edges: anys(append([]string{""}, words[1:]...)),
		Read: func(n *yaml.Node) (any, error) {
			v, err := Word(words...).Read(n)
			if v == words[0] {
				v = ""
			}
			return v, err
		},
		Write: func(v any) string {
			if v == "" {
				return words[0]
			}
			return v.(string)
		},
	}
}

// Seed is a whole number from 0 to 2⁶⁴-1.
var Seed = Kind{Zero: uint64(0), Form: "whole number", Edges: []any{uint64(0), uint64(math.MaxUint64)},
	Read: func(n *yaml.Node) (any, error) {
		v, err := strconv.ParseUint(n.Value, 10, 64)
		if n.ShortTag() != "!!int" || err != nil {
			return nil, fmt.Errorf("%s is not a whole number in 0..2^64-1", Show(n))
		}
		return v, nil
	},
	Write: func(v any) string { return strconv.FormatUint(v.(uint64), 10) },
}

// Boolean is true or false.
var Boolean = Kind{Zero: false, Form: "`true`, `false`", Edges: []any{false, true},
	Read: func(n *yaml.Node) (any, error) {
		if n.ShortTag() != "!!bool" {
			return nil, fmt.Errorf("%s is not true or false", Show(n))
		}
		return strings.EqualFold(n.Value, "true"), nil
	},
	Write: func(v any) string { return strconv.FormatBool(v.(bool)) },
}

var decimal = regexp.MustCompile(`^[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?$`)

// Share is a fraction, written as such or in percent, from low to high (both
// fractions and allowed).
func Share(low, high float64) Kind {
	return Kind{Zero: 0.0, Form: fmt.Sprintf("share, %s to %s", Percentage(low), Percentage(high)),
		Edges: []any{low, high},
		Read: func(n *yaml.Node) (any, error) {
			number, percent := strings.CutSuffix(n.Value, "%")
			tag := n.ShortTag()
			plain := !percent && (tag == "!!int" || tag == "!!float")
			if !plain && !(percent && tag == "!!str") || !decimal.MatchString(number) {
				return nil, fmt.Errorf("%s is not a percentage or fraction, such as 2.5%% or 0.025", Show(n))
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
				return nil, fmt.Errorf("%s is outside %s..%s%s", n.Value, Percentage(low), Percentage(high), hint)
			}
			if v == 0 {
				v = 0 // not -0, which would be another text
			}
			return v, nil
		},
		Write: func(v any) string { return strconv.FormatFloat(v.(float64), 'g', -1, 64) },
	}
}

// Number is a decimal number from low to high.
func Number(low, high float64) Kind {
	return Kind{Zero: 0.0, Form: fmt.Sprintf("number, %g to %g", low, high), Edges: []any{low, high},
		Read: func(n *yaml.Node) (any, error) {
			v, err := strconv.ParseFloat(n.Value, 64)
			if tag := n.ShortTag(); tag != "!!int" && tag != "!!float" || !decimal.MatchString(n.Value) || err != nil {
				return nil, fmt.Errorf("%s is not a number", Show(n))
			}
			if !(v >= low && v <= high) {
				return nil, fmt.Errorf("%s is outside %s..%s", n.Value, Share(0, 0).Write(low), Share(0, 0).Write(high))
			}
			return v, nil
		},
		Write: Share(0, 0).Write,
	}
}

// Percent is a share that sweep files write in percent.
func Percent(low, high float64) Kind {
	k := Share(low, high)
	k.File = func(v any) string { return Percentage(v.(float64)) }
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

// Percentage writes a share in percent, such as "12.5%".
func Percentage(v float64) string { return strconv.FormatFloat(shift(v, 2), 'f', -1, 64) + "%" }

// BlockShape is the shape of residual blocks.
var BlockShape = Kind{Zero: Block{}, Quote: true, Form: "`ROWSxCOLUMNS`, or `NxCOLUMNS` for all rows",
	Edges: []any{Block{1, 1}, Block{0, 1}, Block{1 << 16, 1 << 16}},
	Read: func(n *yaml.Node) (any, error) {
		var b Block
		if n.ShortTag() != "!!str" {
			return nil, fmt.Errorf("%s is not ROWSxCOLUMNS, such as 16x64 or Nx1", Show(n))
		}
		if err := b.UnmarshalText([]byte(n.Value)); err != nil {
			return nil, fmt.Errorf("%s is not ROWSxCOLUMNS, such as 16x64, or Nx1 for whole channels, with sides in 1..65536",
				Show(n))
		}
		return b, nil
	},
	Write: func(v any) string { return v.(Block).String() },
}

// Show is a node as an error quotes it.
func Show(n *yaml.Node) string {
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

// DidYouMean suggests the choice nearest to a misspelt word.
func DidYouMean(got string, choices []string) string {
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
