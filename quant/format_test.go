package quant_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/mosaicquant/mosaicquant/quant"
)

func TestParseFormat(t *testing.T) {
	for name, want := range map[string]string{"int4": "int4 g32", "int8a": "int8 affine g32", "int3b": "int3b g32", "nf4": "nf4 g32",
		"fp4": "fp4 g32", "bnbfp4": "bnbfp4 g32", "mxfp4": "mxfp4 g32", "any4": "any4 g32"} {
		f, err := quant.ParseFormat(name, 32)
		if err != nil || f.String() != want {
			t.Errorf("%s: %v, %v", name, f, err)
		}
	}
	for name, want := range map[string]string{"nvfp4": "groups of 16", "int9": "unknown", "int5b": "bilevel", "b": "unknown", "int": "unknown", "int4x": "unknown", "": "unknown"} {
		if f, err := quant.ParseFormat(name, 32); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, %v", name, f, err)
		}
	}
}

func ExampleParseFormat() {
	f, err := quant.ParseFormat("nvfp4", 16)
	fmt.Println(f, err)
	_, err = quant.ParseFormat("mxfp4", 64)
	fmt.Println(err)
	// Output:
	// nvfp4 g16 <nil>
	// quant: mxfp4 has groups of 32, not 64
}
