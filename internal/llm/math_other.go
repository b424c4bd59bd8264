//go:build !amd64 || noasm

package llm

// variants returns the Go twin: there is no assembly in this build.
func variants() []*elementwise { return []*elementwise{generic} }
