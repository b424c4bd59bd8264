package main

import (
	"strings"
	"testing"
)

func TestRead(t *testing.T) {
	const events = `{"Action":"start","Package":"p"}
{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestA","Output":"    a_test.go:7: needs models of the data folder\n"}
{"Action":"output","Package":"p","Test":"TestA","Output":"--- SKIP: TestA (0.00s)\n"}
{"Action":"skip","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestB/x","Output":"    b_test.go:9: needs models of the data folder\n"}
{"Action":"skip","Package":"p","Test":"TestB/x"}
{"Action":"skip","Package":"p","Test":"TestQuiet"}
{"Action":"output","Package":"p","Test":"TestC","Output":"    c_test.go:1: noise of a test that passes\n"}
{"Action":"pass","Package":"p","Test":"TestC"}
{"Action":"output","Package":"p","Output":"PASS\n"}
{"Action":"output","Package":"p","Output":"ok  \tp\t0.1s\n"}
{"Action":"pass","Package":"p"}
`
	const bad = `# q
{"Action":"output","Package":"q","Test":"TestD","Output":"    d_test.go:2: wrong\n"}
{"Action":"fail","Package":"q","Test":"TestD"}
{"Action":"output","Package":"q","Output":"FAIL\tq\t0.1s\n"}
{"Action":"fail","Package":"q"}
`
	var out strings.Builder
	summary, failed, err := read(strings.NewReader(events), &out)
	if err != nil || failed || out.String() != "ok  \tp\t0.1s\n" {
		t.Errorf("failed %t, %v, printed %q", failed, err, &out)
	}
	const want = "3 tests were skipped:\n    2  needs models of the data folder (TestA, TestB/x)\n    1  no reason given (TestQuiet)\n"
	if summary != want {
		t.Errorf("got  %q\nwant %q", summary, want)
	}
	out.Reset()
	summary, failed, err = read(strings.NewReader(bad), &out)
	if err != nil || !failed || summary != "no test was skipped\n" || out.String() != "# q\n    d_test.go:2: wrong\nFAIL\tq\t0.1s\n" {
		t.Errorf("failed %t, %v, %q, printed %q", failed, err, summary, &out)
	}
}
