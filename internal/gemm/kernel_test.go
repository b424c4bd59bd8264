package gemm

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
)

// count returns a copy of k whose tiles, dots and element-wise functions are
// counted.
func count(k *kernel) (*kernel, func() int64) {
	var n atomic.Int64
	c := *k
	c.tiles = slices.Clone(k.tiles)
	for i, t := range k.tiles {
		c.tiles[i].mul = func(kc int, a, b, next, cc *float32, ldc int, alpha float32, add bool) {
			n.Add(1)
			t.mul(kc, a, b, next, cc, ldc, alpha, add)
		}
	}
	c.dot1 = func(d int, w *float32, ldw int, x *float32, ldx int, out *float32) {
		n.Add(1)
		k.dot1(d, w, ldw, x, ldx, out)
	}
	c.dotWide = func(d int, w *float32, ldw int, x *float32, ldx int, out *float32) {
		n.Add(1)
		k.dotWide(d, w, ldw, x, ldx, out)
	}
	c.dot = func(d int, x, y *float32) float32 { n.Add(1); return k.dot(d, x, y) }
	c.axpy = func(d int, alpha float32, x, y *float32) { n.Add(1); k.axpy(d, alpha, x, y) }
	c.decodeBF16 = func(d int, dst *float32, src *byte) { n.Add(1); k.decodeBF16(d, dst, src) }
	c.decodeF16 = func(d int, dst *float32, src *byte) { n.Add(1); k.decodeF16(d, dst, src) }
	c.largest = func(d int, x *float32) float32 { n.Add(1); return k.largest(d, x) }
	c.maxAbs = func(d int, x *float32) float32 { n.Add(1); return k.maxAbs(d, x) }
	c.roundTo = func(d int, x *float32, scale, top float32) { n.Add(1); k.roundTo(d, x, scale, top) }
	return &c, n.Load
}

func TestGeometry(t *testing.T) {
	for _, k := range kernels() {
		if k.aStride < k.rows || k.aStride%k.block != 0 || k.cols%k.block != 0 || k.kc%k.block != 0 {
			t.Errorf("%s: block %d does not divide aStride %d, cols %d or kc %d", k.name, k.block, k.aStride, k.cols, k.kc)
		}
		if k.kc < tokensPerFlush {
			t.Errorf("%s: kc %d is below one flush of %d tokens", k.name, k.kc, tokensPerFlush)
		}
	}
}

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
	if want := `gemm: MOSAICQUANT_CPU="avx9": this build on this CPU has generic`; err == nil || err.Error() != want {
		t.Errorf("got error %v, want %s", err, want)
	}
}

// TestVariable starts this test again with the variable set.
func TestVariable(t *testing.T) {
	if os.Getenv("GEMM_TEST_CHILD") != "" {
		if err := CheckKernel(); err != nil {
			t.Fatal(err)
		}
		os.Stdout.WriteString("kernel=" + Kernel() + "\n")
		return
	}
	child := func(value string) (string, error) {
		cmd := exec.Command(os.Args[0], "-test.run=^TestVariable$")
		cmd.Env = append(os.Environ(), "GEMM_TEST_CHILD=1", cpuVariable+"="+value)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	for _, k := range kernels() {
		if out, err := child(k.name); err != nil || !strings.Contains(out, "kernel="+k.name+"\n") {
			t.Errorf("%s: %v\n%s", k.name, err, out)
		}
	}
	if out, err := child("sse"); err == nil || !strings.Contains(out, `MOSAICQUANT_CPU="sse"`) {
		t.Errorf("an unknown kernel was accepted: %v\n%s", err, out)
	}
}
