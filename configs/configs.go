// Package configs carries this folder's sweep and bench files.
package configs

import "embed"

// Files has the files by name, such as default.yaml.
//
//go:embed *.yaml
var Files embed.FS
