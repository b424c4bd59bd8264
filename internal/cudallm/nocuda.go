//go:build !(cuda && linux && cgo)

package cudallm

import (
	"context"
	"errors"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/llm"
)

// Model is a model on a GPU, which this build has not.
type Model struct{}

// ErrBuild says that the program cannot run models on a GPU.
var ErrBuild = errors.New(
	"engine cuda: this program was built without it (go build -tags cuda, see scripts/cuda-env)")

// Available reports why no model runs on a GPU here, nil if one does.
func Available() error { return ErrBuild }

// Open returns ErrBuild.
func Open(*llm.Model, Options) (*Model, error) { return nil, ErrBuild }

// Close does nothing.
func (*Model) Close() error { return nil }

// Hidden returns ErrBuild, as the other methods do.
func (*Model) Hidden(context.Context, [][]int32) (gemm.Matrix, error) {
	return gemm.Matrix{}, ErrBuild
}

// Logits returns ErrBuild.
func (*Model) Logits(_, _ gemm.Matrix) error { return ErrBuild }

// Generate returns ErrBuild.
func (*Model) Generate(context.Context, [][]int32, int) (*Generated, error) { return nil, ErrBuild }

// Device is empty.
func (*Model) Device() string { return "" }

// Warning is empty.
func (*Model) Warning() string { return "" }

// Kernels is empty.
func (*Model) Kernels() string { return "" }

// WeightBytes is 0.
func (*Model) WeightBytes() int64 { return 0 }
