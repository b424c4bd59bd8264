package plan

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/mosaicquant/mosaicquant/experiments/method"
)

// formatMeans explains each format in a line.
var formatMeans = map[string]string{
	"intB":   "Symmetric integers of B bits: 2, 3, 4, 5, 6 or 8",
	"intBa":  "Affine integers of B bits: a zero point is stored with each scale",
	"int3b":  "SpQR's grid of 3 bits: scales and zeros of groups are themselves codes of 3 bits",
	"int4b":  "SpQR's grid of 4 bits",
	"nf4":    "QLoRA's quantiles of a normal distribution",
	"nf4dq":  "nf4 with QLoRA's double quantization of scales",
	"fp4":    "E2M1 numbers, half-precision scales",
	"bnbfp4": "The FP4 of bitsandbytes, which is not E2M1",
	"mxfp4":  "E2M1 numbers, groups of 32, scales that are powers of two (OCP Microscaling Formats 1.0)",
	"nvfp4":  "E2M1 numbers, groups of 16, E4M3 scales and one float32 scale of the matrix",
	"any4":   "A table of 16 levels for each row, found by k-means (arXiv:2507.04610)",
}

// formatEntry is the entry of formatMeans for a format's name.
func formatEntry(name string) string {
	if formatMeans[name] == "" && strings.HasPrefix(name, "int") {
		return "intB" + strings.TrimLeft(name[3:], "2345678")
	}
	return name
}

// Document writes what sweep files can say as Markdown: methods, formats, and
// every key with its values, its default and the methods that have it.
func Document(w io.Writer) error {
	var b strings.Builder
	b.WriteString("# Keys of a sweep file\n\n" +
		"`go run ./experiments keys` prints this page. A key under `methods` may have a list of values; the sweep runs every combination.\n" +
		"A share is written as a fraction or in percent.\n\n## Methods\n\n| `method` | what it does |\n|---|---|\n")
	for _, m := range method.All {
		source := ""
		if m.Source != "" {
			source = " (" + m.Source + ")"
		}
		fmt.Fprintf(&b, "| `%s` | %s%s |\n", m.Name, m.Summary, source)
	}
	b.WriteString("\n## Formats\n\n| `format` | what it is |\n|---|---|\n")
	var seen []string
	for _, f := range method.Formats {
		if e := formatEntry(f); !slices.Contains(seen, e) {
			seen = append(seen, e)
			fmt.Fprintf(&b, "| `%s` | %s |\n", e, formatMeans[e])
		}
	}
	b.WriteString("\n## Transforms\n\n| `transform` | what it does |\n|---|---|\n")
	for _, t := range Transforms {
		source := ""
		if t.Source != "" {
			source = " (" + t.Source + ")"
		}
		fmt.Fprintf(&b, "| `%s` | %s%s |\n", t.Name, t.Summary, source)
	}
	for _, s := range []struct{ title, name string }{
		{"Of the whole file", ""}, {"Under `protocol`", "protocol"}, {"Under `calibration`", "calibration"},
		{"Under `stress`", "stress"}, {"Under `methods`", "method"},
	} {
		fmt.Fprintf(&b, "\n## %s\n\n| key | values | default | methods | meaning |\n|---|---|---|---|---|\n", s.title)
		for _, k := range section(s.name) {
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", k.name, k.kind.Form, k.documentDefault(), k.documentMethods(), k.documentMeaning())
		}
	}
	b.WriteString("\nA file also has `name`, which names the folder of its results; `tasks`, a list of zero-shot tasks; `baseline`, the trial\n" +
		"that differences refer to; `speed`, which times layers; and `only`, `skip` and `zip`, in the file or in a method, which\n" +
		"keep trials, drop trials, and let keys advance together. [configs/default.yaml](../configs/default.yaml) shows them.\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// documentDefault is the default in words: one value, or one for each method
// that differs from the others.
func (k *key) documentDefault() string {
	if k.defaults != "" {
		return k.defaults
	}
	if k.variants == nil {
		if k.fallback == nil {
			return "must be given"
		}
		return "`" + k.file(k.fallback(&Trial{})) + "`"
	}
	var values []string
	for _, m := range method.All {
		if !k.has(m.Name) {
			continue
		}
		v := "must be given"
		if d, ok := k.defaultOf(&Trial{Method: method.New(m.Name)}); ok {
			v = "`" + k.file(d) + "`"
		}
		if !slices.Contains(values, v) {
			if len(values) > 0 {
				v += " (" + m.Name + ")"
			}
			values = append(values, v)
		}
	}
	return strings.Join(values, ", ")
}

func (k *key) documentMethods() string {
	var have []string
	for _, m := range method.All {
		if k.has(m.Name) {
			have = append(have, m.Name)
		}
	}
	switch {
	case len(have) == len(method.All):
		return "all"
	case len(have) == len(method.All)-1 && !k.has("none"):
		return "all but none"
	}
	return strings.Join(have, ", ")
}

func (k *key) documentMeaning() string {
	if k.needs != "" {
		return k.means + ". It needs " + k.needs + "."
	}
	return k.means + "."
}
