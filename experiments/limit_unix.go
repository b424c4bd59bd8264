//go:build linux || darwin

package main

import (
	"fmt"
	"runtime/debug"
	"syscall"
)

// leastAddressSpace is what the Go runtime, mapped weights and the stacks of threads
// need of addresses, independently of the memory in use.
const leastAddressSpace = 4 << 30

// checkAddressSpace returns an error where `ulimit -v` leaves too few addresses. Go
// reserves many times what it uses and cannot go on when it gets none: with any such
// limit, what it prints then is one line and not the state of every goroutine.
func checkAddressSpace() error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_AS, &limit); err != nil || limit.Cur >= 1<<62 {
		return nil // no limit
	}
	if limit.Cur < leastAddressSpace {
		return fmt.Errorf("the address space is limited to %d MiB (ulimit -v), and Go reserves more than it uses: "+
			"raise it to %d MiB, or limit memory with GOMEMLIMIT or a control group instead",
			limit.Cur>>20, leastAddressSpace>>20)
	}
	debug.SetTraceback("none")
	return nil
}
