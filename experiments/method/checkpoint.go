package method

import "github.com/mosaicquant/mosaicquant/experiments/kinds"

// checkpoint takes the weights of a model that was quantized before, by whomever.
var checkpoint = &Method{
	Name:    "checkpoint",
	Summary: "The same model as another program, or this one, quantized it",
	Keys: []*Key{{Name: "path", Kind: kinds.Text, Label: kinds.Base,
		Means: "What was quantized: a folder in Hugging Face layout or a GGUF file; see [formats.md](formats.md)"}},
	Reads: "path",
	Look:  Look{Color: "#000000", Marker: "down"},
}
