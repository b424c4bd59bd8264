package zipper

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

func TestChoose(t *testing.T) {
	if err := CheckKernel(); err != nil {
		t.Fatal(err)
	}
	for _, k := range kernels() {
		if got, err := choose(k.name, kernels()); err != nil || got != k {
			t.Errorf("choose(%q) = %v, %v", k.name, got, err)
		}
	}
	if got, err := choose("", kernels()); err != nil || got != kernels()[0] {
		t.Errorf("choose by default = %v, %v", got, err)
	}
	_, err := choose("avx9", []*kernel{generic})
	if want := `zipper: MOSAICQUANT_CPU="avx9": this build on this CPU has generic`; err == nil || err.Error() != want {
		t.Errorf("got error %v, want %s", err, want)
	}
}

// TestVariable starts this test again with the variable set.
func TestVariable(t *testing.T) {
	if os.Getenv("ZIPPER_TEST_CHILD") != "" {
		if err := CheckKernel(); err != nil {
			t.Fatal(err)
		}
		os.Stdout.WriteString("kernel=" + Kernel() + "\n")
		return
	}
	for _, k := range kernels() {
		cmd := exec.Command(os.Args[0], "-test.run=^TestVariable$")
		cmd.Env = append(os.Environ(), "ZIPPER_TEST_CHILD=1", cpuVariable+"="+k.name)
		if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "kernel="+k.name+"\n") {
			t.Errorf("%s: %v\n%s", k.name, err, out)
		}
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestVariable$")
	cmd.Env = append(os.Environ(), "ZIPPER_TEST_CHILD=1", cpuVariable+"=sse")
	if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), `MOSAICQUANT_CPU="sse"`) {
		t.Errorf("an unknown kernel was accepted: %v\n%s", err, out)
	}
}

// TestPadded demands that the kernels chosen for M tokens cover them, and that
// the buffer of activations holds all tokens that they touch.
func TestPadded(t *testing.T) {
	for _, k := range kernels() {
		for s, p := range slices.Concat(k.panels[:], k.riding[:], k.widened[:], []panelKernels{k.decoded}) {
			if p == nil {
				continue
			}
			for m := 1; m < 80; m++ {
				n := 0
				for n < m {
					n += p.covering(m - n).tokens
				}
				if got := p.padded(m); got != n || got < m || got >= m+p[len(p)-1].tokens {
					t.Errorf("%s %s: %d tokens padded to %d, kernels touch %d", k.name, scheme(s%int(schemes)), m, got, n)
				}
			}
		}
	}
}
