//go:build nomodels

package builtin

import "embed"

// models is empty in a build with the tag nomodels, which is 18 MB smaller: for
// machines to which little can be copied.
var models embed.FS

const absent = "this program was built without its models (-tags nomodels); name a model's folder instead"
