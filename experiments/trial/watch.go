package trial

import "context"

// Stages of a trial, as Watch tells of them.
const (
	Learning    = "learning"    // steps of a change of basis, once for all trials of a subject
	Calibrating = "calibrating" // layers of the model, once for all trials of a subject
	Budgeting   = "budgeting"   // linear layers, weighed first where all share one budget
	Quantizing  = "quantizing"  // linear layers
	Evaluating  = "evaluating"  // windows of the text
	Answering   = "answering"   // tasks
)

type watchKey struct{}

// Watch returns a context under which f is told how many of the steps, layers, windows or
// tasks of a stage are done. f is called from the goroutine that does the work.
func Watch(ctx context.Context, f func(stage string, done, total int)) context.Context {
	return context.WithValue(ctx, watchKey{}, f)
}

// step tells who watches ctx, if anybody does.
func step(ctx context.Context, stage string, done, total int) {
	if f, ok := ctx.Value(watchKey{}).(func(stage string, done, total int)); ok {
		f(stage, done, total)
	}
}
