package reports

import (
	"math"
	"slices"
	"strings"

	"github.com/mosaicquant/mosaicquant/internal/row"
	"github.com/mosaicquant/mosaicquant/reports/format"
	"github.com/mosaicquant/mosaicquant/reports/stats"
)

// The tables of the MosaicQuant paper (arXiv 2606.15652), as third parties'
// reading notes give them: they were not checked against the PDF.
const reportedNote = "Reported: the MosaicQuant paper, arXiv 2606.15652, from reading notes, not checked against " +
	"the PDF. Its 16-bit rows are post-trained checkpoints under a protocol that is not stated, so reported and " +
	"measured figures stand beside each other but are not compared; the paper also smooths activations first, which a " +
	"measured row does only if its label says so."

const measuredNote = "Measured: perplexity per token ± standard error over the evaluation windows, on WikiText-2 " +
	"alone, each with its row; where these folders hold no such row, the cell names the file that fills it: go run " +
	"./experiments sweep -c FILE, after its lines model, protocol and tasks are set to the paper's. Zero-shot: mean of " +
	"acc_norm of ARC-C, ARC-E, HellaSwag and PIQA and acc of WinoGrande and LAMBADA, " +
	"in per cent ± standard error, of rows that have all six, whatever their text; the paper does not say which " +
	"accuracy it took. MosaicQuant at the paper's setting: int4, density 10 %, criterion delta, base and residual " +
	"quantized one after the other."

// reported is one line of the paper's tables; text, since one of them is not a
// single number.
type reported struct {
	scheme, zeroShot, ppl string
}

type reportedModel struct {
	name  string
	lines []reported
}

type paperTable struct {
	key, title string
	zeroShot   bool
	note       string
	file       string // the sweep file that fills what is empty
	models     []reportedModel
}

// absent are the methods of the paper's tables that its sweep files do not have.
var absent = []string{"ResQ", "QuaRot", "SpinQuant"}

// missing is what stands in a cell of scheme that no row fills: what would fill it.
func (t paperTable) missing(scheme string) string {
	name, _, _ := stats.CutLast(scheme, " ")
	if slices.Contains(absent, name) {
		return "not in " + t.file
	}
	return "no run: " + t.file
}

func w4a8(name, full string, ppl ...string) reportedModel {
	m := reportedModel{name, []reported{{"W16A16", "", full}}}
	for i, s := range []string{"RTN", "GPTQ", "AWQ", "ResQ", "Atom", "QuaRot", "SpinQuant", "MosaicQuant"} {
		m.lines = append(m.lines, reported{s + " W4A8", "", ppl[i]})
	}
	return m
}

var paperTables = []paperTable{
	{"w4a4", "W4A4: zero-shot accuracy and perplexity", true,
		"Zero-shot: mean of ARC-C, ARC-E, HellaSwag, PIQA, WinoGrande and LAMBADA, %. Perplexity: " +
			"WikiText-2.", "configs/paper-w4a4.yaml",
		[]reportedModel{
			{"LLaMA-3-8B",
				[]reported{{"W16A16", "73.5", "8.64"}, {"no residual W4A4", "55.7", "143.7"},
					{"channel residual W4A4", "69.8", "13.1"}, {"MosaicQuant W4A4", "71.2", "10.8"}}},
			{"Qwen3-4B",
				[]reported{{"W16A16", "69.4", "10.04"}, {"no residual W4A4", "52.4", "108.6"},
					{"channel residual W4A4", "62.6", "13.5"}, {"MosaicQuant W4A4", "66.3", "11.0"}}},
		}},
	{"w4a8", "W4A8: perplexity", false, "Perplexity: WikiText-2. The notes give these figures with low confidence.",
		"configs/paper-w4a8.yaml",
		[]reportedModel{
			w4a8("LLaMA-3.2-3B", "10.7", "15.3", "11.8", "11.4", "11.5", "11.6", "11.4", "11.5", "11.3"),
			w4a8("LLaMA-3-8B", "8.6", "12.1", "9.2", "9.0", "9.1", "9.3", "8.8", "8.9", "8.7"),
			w4a8("Qwen3-4B", "10.0", "14.8", "11.2", "10.8", "11.0", "11.1", "10.5", "10.6", "10.2"),
			w4a8("Qwen3-8B", "9.7", "14.5", "10.9", "10.5", "10.7", "10.8", "10.1", "10.2", "9.8"),
			w4a8("Qwen3-14B", "8.6", "13.2", "9.4", "9.1", "9.3", "9.5", "8.8", "8.9", "8.7"),
			w4a8("Qwen3-32B", "7.6 or 8.2", "12.8", "9.0", "8.7", "9.2", "9.3", "8.4", "8.5", "8.4"),
		}},
}

// isModel reports whether a row's model, a reference or folder such as
// "hub:meta-llama/Meta-Llama-3-8B-Instruct", is the model that the paper calls
// name. The paper does not say which checkpoint it took, so both the base and
// the instruction-tuned one match; the row's own name is always shown.
func isModel(model, name string) bool {
	model = strings.ToLower(model[strings.LastIndexAny(model, ":/\\")+1:])
	for _, suffix := range []string{"-base", "-instruct"} {
		model = strings.TrimSuffix(model, suffix)
	}
	return strings.TrimPrefix(model, "meta-") == strings.ToLower(name)
}

// isWikiText reports whether a row's text is WikiText-2, by its name: the
// original file is wiki.test.raw.
func isWikiText(text string) bool {
	text = strings.ToLower(text)
	file := text[strings.LastIndexAny(text, ":/\\")+1:]
	return strings.HasPrefix(file, "wiki.test") || strings.Contains(text, "wikitext-2") ||
		strings.Contains(text, "wikitext2")
}

// isScheme reports whether e was quantized as the paper's scheme says.
func isScheme(e *stats.Entry, scheme string) bool {
	get := func(name string) string { return stats.Setting(&e.Row, name) }
	if scheme == "W16A16" {
		return e.Reference && get("activations") == "a16"
	}
	name, width, _ := stats.CutLast(scheme, " ")
	if get("activations") != map[string]string{"W4A4": "a4", "W4A8": "a8"}[width] ||
		!slices.Contains([]string{"int4", "int4a"}, get("format")) {
		return false
	}
	if (get("awq") == "true") != (name == "AWQ") {
		return false
	}
	density, hasDensity := format.Number(get("density"))
	switch name {
	case "AWQ":
		return get("method") == "rtn"
	case "MosaicQuant", "channel residual":
		channels := strings.HasPrefix(get("block"), "Nx") // blocks of whole input channels
		return get("method") == "mosaic" && hasDensity && density == 0.1 && get("criterion") == "delta" &&
			get("residual_bits") == "4" && get("joint") != "true" && channels == (name == "channel residual")
	case "no residual":
		return get("method") == "rtn" || get("method") == "mosaic" && get("base") == "rtn" && hasDensity && density == 0
	}
	return get("method") == strings.ToLower(name) && slices.Contains([]string{"", "0"}, get("refine"))
}

// measured is a row that belongs beside a reported figure.
type measured struct {
	*stats.Entry
	folder *folderRows
}

// name is the row's name among several folders.
func (m measured) name() string { return m.folder.name + "/" + m.ID }

// folderRows is one results folder, analysed.
type folderRows struct {
	name  string
	in    Input
	table *stats.Table
}

// beside returns the rows of the folders for one line of the paper, and those
// that would be but for their text.
func beside(folders []*folderRows, model, scheme string) (found, otherText []measured) {
	for _, f := range folders {
		for _, g := range f.table.Groups {
			for _, e := range g.Entries {
				if !isModel(g.Model, model) || !isScheme(e, scheme) {
					continue
				}
				_, scored := e.Value(row.PPLToken)
				if !scored && zeroShot(e) == nil {
					continue
				}
				if scored && isWikiText(stats.Setting(&e.Row, "protocol.text")) {
					found = append(found, measured{e, f})
				} else {
					otherText = append(otherText, measured{e, f})
				}
			}
		}
	}
	return found, otherText
}

// zeroShotScores are the six tasks of the paper's mean.
var zeroShotScores = []string{"arc_challenge/acc_norm", "arc_easy/acc_norm", "hellaswag/acc_norm", "piqa/acc_norm",
	"winogrande/acc", "lambada/acc"}

// zeroShot is the mean of the six scores, or nil where e lacks one. Errors of
// different tasks are independent.
func zeroShot(e *stats.Entry) *stats.Estimate {
	mean := stats.Estimate{P: 1, N: math.MaxInt}
	variance := 0.0
	for _, name := range zeroShotScores {
		s := e.Task(name)
		if s == nil {
			return nil
		}
		mean.Value += s.Mean.Value / float64(len(zeroShotScores))
		variance += s.Mean.SE * s.Mean.SE
		mean.N = min(mean.N, s.Mean.N)
	}
	mean.SE = math.Sqrt(variance) / float64(len(zeroShotScores))
	mean.Low, mean.High = mean.Value-1.96*mean.SE, mean.Value+1.96*mean.SE
	return &mean
}
