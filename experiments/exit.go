package main

import (
	"context"
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mosaicquant/mosaicquant/experiments/plan"
)

// Exit codes. A comparison that finds rows got worse, and whatever else goes wrong, is
// exitError.
const (
	exitError       = 1
	exitInput       = 2   // a command line or a file that cannot be run as it is
	exitFailed      = 3   // it ran to its end, and trials or rows failed
	exitInterrupted = 130 // as shells report SIGINT
)

// exitHelp tells the codes to users.
const exitHelp = `Exit codes: 0 done; 1 an error, or rows that got worse (compare); 2 bad input, on
the command line or in a sweep file; 3 done, but trials failed; 130 interrupted.`

// coded is an error with an exit code.
type coded struct {
	error
	code int
}

func (e coded) Unwrap() error { return e.error }

// badInput returns err as one of what the user gave; nil stays nil.
func badInput(err error) error {
	if err == nil {
		return nil
	}
	return coded{err, exitInput}
}

// trialsFailed returns err as one of a run that came to its end.
func trialsFailed(err error) error { return coded{err, exitFailed} }

// exitCode is the code for what a command returned.
func exitCode(err error) int {
	var c coded
	var setting plan.Setting
	switch {
	case err == nil:
		return 0
	case errors.As(err, &c):
		return c.code
	case errors.Is(err, context.Canceled):
		return exitInterrupted
	case errors.As(err, &setting):
		return exitInput
	}
	for _, begin := range []string{"unknown command", "required flag(s)", "if any flags in the group"} { // cobra's own
		if strings.HasPrefix(err.Error(), begin) {
			return exitInput
		}
	}
	return exitError
}

// checkInput makes errors of flags and arguments bad input, of cmd and all below it.
func checkInput(cmd *cobra.Command) {
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return badInput(err) })
	if args := cmd.Args; args != nil {
		cmd.Args = func(cmd *cobra.Command, list []string) error { return badInput(args(cmd, list)) }
	}
	for _, c := range cmd.Commands() {
		checkInput(c)
	}
}
