//go:build !nomodels

package builtin

import "embed"

//go:embed models/*/config.json models/*/model.safetensors models/*/tokenizer.json
var models embed.FS

const absent = ""
