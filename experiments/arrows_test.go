package main

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// TestArrows keeps the imports between rooms pointing one way (see the
// README's architecture): each room may use only the rooms named here.
func TestArrows(t *testing.T) {
	const module = "github.com/mosaicquant/mosaicquant/"
	allowed := map[string][]string{
		"internal/gemm":      {"internal/parallel", "internal/half"},
		"internal/store":     {},
		"internal/roofline":  {"zipper/cuda", "internal/variants"},
		"internal/outliers":  {"internal/gemm"},
		"internal/testdata":  {},
		"internal/testmodel": {"internal/builtin", "internal/hf", "internal/llm"},
		"configs":            {},
		"internal/bounded":   {},
		"internal/parquet":   {},
		"internal/gguf":      {"internal/half"},
		"internal/hf":        {"internal/bounded", "internal/gemm", "internal/gguf"},
		"internal/half":      {},
		"internal/parallel":  {},
		"internal/variants":  {},
		"quant":              {"internal/gemm", "internal/half", "internal/parallel"},
		"quant/grid":         {"internal/half", "internal/parallel", "quant"},
		"quant/solve":        {"internal/gemm", "internal/half", "internal/parallel", "quant", "quant/grid"},
		"quant/mosaic":       {"internal/gemm", "internal/half", "internal/parallel", "quant", "quant/grid", "quant/solve"},
		"quant/trellis":      {"internal/gemm", "internal/half", "internal/parallel", "quant", "quant/solve"},
		"quant/codebook":     {"internal/gemm", "internal/half", "internal/parallel", "quant", "quant/grid", "quant/solve"},
		"quant/baseline":     {"internal/gemm", "internal/half", "internal/parallel", "quant", "quant/grid", "quant/solve"},
		"quant/rate":         {"internal/gemm", "quant", "quant/grid", "quant/solve"},
		"quant/quanttest":    {"internal/gemm", "quant"},                                // layers and golden files of tests
		"quant/plain":        {"internal/gemm", "internal/half", "quant", "quant/grid"}, // a slow GPTQ for tests
		"zipper":             {"internal/gemm", "quant", "internal/half", "internal/variants"},
		"zipper/cuda":        {"internal/gemm", "internal/parallel", "quant", "zipper/cuda/driver", "internal/half", "internal/variants"},
		"zipper/cuda/driver": {},
		"internal/rotation":  {"internal/gemm"},
		"internal/llm":       {"internal/half", "internal/gemm", "internal/hf", "internal/parallel", "internal/rotation", "quant"},
		"internal/llm/grad":  {"internal/gemm", "internal/llm", "internal/parallel", "internal/rotation", "quant"},
		"internal/cudallm":   {"internal/gemm", "internal/half", "internal/llm", "internal/parallel", "internal/variants", "quant", "zipper/cuda", "zipper/cuda/driver"},
		"internal/foreign":   {"internal/gemm", "internal/gguf", "internal/half", "internal/hf", "internal/llm", "quant"},
		"internal/builtin":   {"internal/hf", "internal/gemm"},
		"internal/tasks":     {"internal/parquet", "internal/bounded", "internal/gemm", "internal/hf", "internal/llm", "internal/parallel", "internal/builtin"},
		"internal/row":       {"internal/bounded"},
		"experiments/kinds":  {},
		"experiments/method": {"experiments/kinds", "quant", "quant/grid", "quant/solve", "quant/mosaic", "quant/trellis", "quant/codebook", "quant/baseline"},
		"experiments/plan":   {"experiments/kinds", "experiments/method", "internal/variants"},
		"experiments/slurm":  {},
		"reports/format":     {},
		"reports/stats":      {"internal/row", "reports/format", "internal/variants"},
		"reports/figures":    {"internal/row", "reports/format", "reports/stats", "internal/variants"},
		"reports":            {"internal/row", "reports/format", "reports/stats", "reports/figures", "internal/variants"},
		"reports/rowtest":    {"internal/row", "reports/format", "internal/variants"}, // rows made up for tests
		"experiments/trial":  {"internal/cudallm", "zipper/cuda", "internal/parquet", "experiments/method", "internal/bounded", "internal/foreign", "internal/gemm", "internal/gguf", "internal/parallel", "internal/outliers", "internal/hf", "internal/llm", "internal/llm/grad", "internal/rotation", "internal/builtin", "internal/tasks", "internal/store", "quant", "quant/solve", "quant/mosaic", "quant/rate", "quant/baseline", "zipper", "internal/row", "experiments/plan", "internal/variants"},
		"experiments/bench":  {"internal/cudallm", "experiments/trial", "experiments/plan", "internal/row", "internal/gemm", "internal/hf", "internal/llm", "internal/parallel", "internal/roofline", "quant", "quant/grid", "quant/solve", "zipper", "zipper/cuda", "internal/half", "internal/variants"},
		"experiments/sweep":  {"experiments/bench", "experiments/trial", "internal/row", "experiments/plan", "internal/gemm", "internal/hf", "internal/llm", "internal/builtin", "internal/tasks", "internal/store", "quant"},
	}
	// "./..." and not the module's path: that pattern makes the go command fetch
	// the whole module graph, where a build needs a small part of it.
	list := exec.Command("go", "list", "-f", `{{.ImportPath}}{{range .Imports}} {{.}}{{end}}`, "./...")
	list.Dir = ".."
	out, err := list.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	seen := 0
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		room := strings.TrimPrefix(fields[0], module)
		if room == "experiments" || strings.HasPrefix(room, "scripts/") {
			continue // the top may use everything
		}
		rooms, ok := allowed[room]
		if !ok {
			t.Errorf("%s is not in the map of rooms: add it with its arrows", room)
			continue
		}
		seen++
		for _, imp := range fields[1:] {
			if dep, ours := strings.CutPrefix(imp, module); ours && !slices.Contains(rooms, dep) {
				t.Errorf("%s must not import %s", room, dep)
			}
		}
	}
	if seen < len(allowed)-1 {
		t.Errorf("only %d of %d rooms exist", seen, len(allowed))
	}
}
