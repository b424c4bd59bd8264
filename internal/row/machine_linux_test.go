package row

import (
	"math"
	"testing"
	"testing/fstest"
)

// TestMemoryLimit: the smallest limit counts, of the group itself or of one
// around it, in both versions of control groups.
func TestMemoryLimit(t *testing.T) {
	file := func(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }
	sys := fstest.MapFS{
		"job/memory.max":                        file("4000\n"),
		"job/step/memory.max":                   file("max\n"),
		"memory/slurm/memory.limit_in_bytes":    file("3000\n"),
		"memory/slurm/s0/memory.limit_in_bytes": file("9223372036854771712\n"),
		"memory/memory.limit_in_bytes":          file("9000\n"),
	}
	for groups, want := range map[string]int64{
		"":                                 math.MaxInt64,
		"0::/\n":                           math.MaxInt64,
		"0::/job/step\n":                   4000,
		"0::/elsewhere\n":                  math.MaxInt64,
		"3:cpu,memory:/slurm/s0\n0::/\n":   3000,
		"4:memory:/other\n1:name=x:/job\n": 9000,
		"4:memory:/slurm\n0::/job\n":       3000,
		"0::/../job\n":                     4000,
		"no group\n":                       math.MaxInt64,
	} {
		if got := memoryLimit(sys, groups); got != want {
			t.Errorf("%q: limit %d, want %d", groups, got, want)
		}
	}
	if Memory() < 1<<20 {
		t.Errorf("this machine has %d bytes of memory", Memory())
	}
}
