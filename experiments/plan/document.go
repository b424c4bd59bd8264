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
	"intB":      "Symmetric integers of B bits: 2, 3, 4, 5, 6 or 8",
	"intBa":     "Affine integers of B bits: a zero point is stored with each scale",
	"int3b":     "SpQR's grid of 3 bits: scales and zeros of groups are themselves codes of 3 bits",
	"int4b":     "SpQR's grid of 4 bits",
	"nf4":       "QLoRA's quantiles of a normal distribution",
	"nf4dq":     "nf4 with QLoRA's double quantization of scales",
	"fp4":       "E2M1 numbers, half-precision scales",
	"bnbfp4":    "The FP4 of bitsandbytes, which is not E2M1",
	"mxfp4":     "E2M1 numbers, groups of 32, scales that are powers of two (OCP Microscaling Formats 1.0)",
	"nvfp4":     "E2M1 numbers, groups of 16, E4M3 scales and one float32 scale of the matrix",
	"mxint4":    "Integers ±7, groups of 32, scales that are powers of two",
	"nvint4":    "Integers ±7 in place of E2M1, groups and scales of nvfp4 (arXiv:2512.02010)",
	"seq4":      "16 levels at odd multiples of a sixteenth, without a zero (ParetoQ, arXiv:2502.02631)",
	"qoq4":      "Affine codes of 4 bits under whole-number scales below int8 rows (QServe, arXiv:2405.04532)",
	"mxint8":    "Integers ±127, groups of 32, scales that are powers of two (OCP Microscaling Formats 1.0)",
	"mxfp8":     "E4M3 numbers, groups of 32, scales that are powers of two (OCP Microscaling Formats 1.0)",
	"fp8":       "E4M3 numbers, half-precision scales",
	"fp6":       "E3M2 numbers, half-precision scales (FP6-LLM, arXiv:2401.14112)",
	"fp6e2m3":   "E2M3 numbers, half-precision scales",
	"intscale4": "Symmetric codes of 4 bits, scales that are whole numbers over one amplifier (arXiv:2405.14597)",
	"any3":      "any4 with 8 levels",
	"any2":      "any4 with 4 levels",
	"power4":    "Integers ±7 to a power that the matrix has (PowerQuant, arXiv:2301.09858; NUPES, arXiv:2308.05600)",
	"fireq4":    "Symmetric codes of 4 bits whose products with E4M3 scales are E4M3 numbers (FireQ, arXiv:2505.20839)",
	"sdr4":      "Integers ±7 shifted below int8 rows (QRazor, arXiv:2501.13331)",
	"if4":       "nvfp4 or integers ±7 in each group, as the sign bit of its scale says (arXiv:2603.28765)",
	"mxfp6":     "E3M2 numbers, groups of 32, scales that are powers of two (OCP Microscaling Formats 1.0)",
	"mxfp6e2m3": "E2M3 numbers, groups and scales of mxfp6",
	"fp8e5m2":   "E5M2 numbers, half-precision scales",
	"hqq4":      "Codes of 4 bits with half-precision zeros found by half-quadratic splitting (HQQ)",
	"any4":      "A table of 16 levels for each row, found by k-means (arXiv:2507.04610)",
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
		"`go run ./experiments keys` prints this page. A key under `methods` may have a list of values; " +
		"the sweep runs every combination.\n" +
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
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", k.name, k.kind.Form, k.documentDefault(),
				k.documentMethods(), k.documentMeaning())
		}
	}
	documentMore(&b)
	documentBench(&b)
	_, err := io.WriteString(w, b.String())
	return err
}

// other is a key that is no setting of a trial.
type other struct{ name, form, fallback, means string }

// nameKey is the key name of sweep and bench files.
var nameKey = other{"name", "letters, digits, `.`, `_`, `-`", "must be given", "Names the folder of the results"}

// topKeys are the keys of the whole file that are no settings of a trial.
var topKeys = []other{
	nameKey,
	includeKey,
	{"methods", "list of mappings", "must be given", "The methods, see below; all values of all keys are combined"},
	{"tasks", "list of `builtin:NAME`, `TASK=FILE` and `TASK`", "none", "Zero-shot tasks, which every trial answers; " +
		"`TASK` alone is taken from Hugging Face's cache on this machine"},
	{"baseline", "mapping of keys to values", "none", "The trial that paired differences refer to: the one with " +
		"these values, among those of the same model, text, calibration, stress and activations"},
	{"speed", "mapping, see below", "none", "Times layers in the form of each trial"},
}

// filterKeys are those of the whole file and of each method.
var filterKeys = []other{
	{"only", "mapping of keys to values, or a list of these", "all trials",
		"Keeps trials that have the values of one of the mappings"},
	{"skip", "mapping of keys to values, or a list of these", "none",
		"Drops trials that have the values of one of the mappings; it wins over `only`"},
	{"zip", "list of keys, or a list of these", "none", "Keys whose lists advance together instead of being combined"},
}

// labelKey is the key label of a method.
var labelKey = other{"label", "text, up to 100 characters", "the settings that vary",
	"Names the trials of this entry in rows, figures and tables, and, without placeholders, their method in legends. " +
		"`{KEY}` in it stands for the value of a key: " +
		"`label: \"ours, {density}\"`. Keys that vary and are not in it follow: `label: ours` with two densities gives " +
		"`ours 5%` and `ours 10%`. It is no part of a trial's identity: after a change, `sweep` writes the new names " +
		"and computes nothing. Two trials of one label are an error"}

func (o other) write(b *strings.Builder) {
	fmt.Fprintf(b, "| `%s` | %s | %s | %s. |\n", o.name, o.form, o.fallback, o.means)
}

// documentMore writes the keys that are no settings of a trial.
func documentMore(b *strings.Builder) {
	const head = "\n| key | values | default | meaning |\n|---|---|---|---|\n"
	b.WriteString("\nEach entry under `methods` also has these.\n" + head)
	for _, o := range slices.Concat([]other{labelKey}, layerKeys, filterKeys) {
		o.write(b)
	}
	b.WriteString(documentPatterns)
	b.WriteString("\n## More of the whole file\n" + head)
	for _, o := range append(slices.Clip(topKeys), filterKeys...) {
		o.write(b)
	}
	b.WriteString("\nIn `baseline`, `only` and `skip` a key of a section has the section's name " +
		"in front: `protocol.context`.\n" +
		"[configs/default.yaml](../configs/default.yaml) shows most of these.\n")
	b.WriteString("\n## Under `speed`\n" + head)
	documentTiming(b, speedKeys)
}

// documentBench writes the keys of bench files.
func documentBench(b *strings.Builder) {
	const head = "\n| key | values | default | meaning |\n|---|---|---|---|\n"
	b.WriteString("\n# Keys of a bench file\n\n`go run ./experiments bench` reads it. " +
		"Lists under `products` and `generate` are combined, " +
		"but for `variants`.\n\n## Of the whole file\n" + head)
	nameKey.write(b)
	includeKey.write(b)
	documentTiming(b, benchKeys)
	other{"products", "list of mappings", "none", "Matrix products to time, see below"}.write(b)
	other{"generate", "list of mappings", "none", "Models that read a prompt and generate, see below"}.write(b)
	b.WriteString("\n## Under `products`\n" + head)
	documentTiming(b, productKeys)
	b.WriteString("\n## Under `generate`\n" + head)
	documentTiming(b, generateKeys)
}

func documentTiming(b *strings.Builder, ks []*key) {
	for _, k := range ks {
		other{k.name, k.kind.Form, k.documentDefault(), k.means}.write(b)
	}
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
	quantize := 0 // methods that compute the weights
	for _, m := range method.All {
		if k.has(m.Name) {
			have = append(have, m.Name)
		}
		if m.Build != nil {
			quantize++
		}
	}
	switch {
	case len(have) == len(method.All):
		return "all"
	case len(have) == quantize && !k.has("none") && !k.has("checkpoint"):
		return "all that quantize"
	case len(have) == quantize+1 && k.has("none"):
		return "all but checkpoint"
	}
	return strings.Join(have, ", ")
}

func (k *key) documentMeaning() string {
	if k.needs != "" {
		return k.means + ". It needs " + k.needs + "."
	}
	return k.means + "."
}
