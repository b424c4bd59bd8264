//go:build linux

package main

import (
	"strings"
	"syscall"
	"testing"
)

// TestAddressSpace lowers the limit for a moment, to less than what is asked for and
// more than what this process has.
func TestAddressSpace(t *testing.T) {
	var old syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_AS, &old); err != nil {
		t.Fatal(err)
	}
	limit := old
	limit.Cur = leastAddressSpace - 1<<20
	if err := syscall.Setrlimit(syscall.RLIMIT_AS, &limit); err != nil {
		t.Skip("needs to lower the limit of its address space: ", err)
	}
	err := checkAddressSpace()
	if e := syscall.Setrlimit(syscall.RLIMIT_AS, &old); e != nil {
		t.Fatal(e)
	}
	if err == nil || !strings.Contains(err.Error(), "4095 MiB (ulimit -v)") {
		t.Errorf("error %v", err)
	}
}
