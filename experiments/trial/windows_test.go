package trial

import (
	"slices"
	"strings"
	"testing"
)

func upTo(n int) []int32 {
	s := make([]int32, n)
	for i := range s {
		s[i] = int32(i)
	}
	return s
}

// predicted lists the tokens scored over all windows, and checks that each is
// predicted from the token before it.
func predicted(t *testing.T, ws []window) []int32 {
	var all []int32
	for _, w := range ws {
		if len(w.input) != len(w.targets) {
			t.Fatalf("%d inputs for %d targets", len(w.input), len(w.targets))
		}
		for i := w.from; i < len(w.targets); i++ {
			if in := w.input[i]; in != 999 && in+1 != w.targets[i] {
				t.Fatalf("target %d after input %d", w.targets[i], in)
			}
			all = append(all, w.targets[i])
		}
	}
	return all
}

func TestCut(t *testing.T) {
	const bos = 999
	for _, c := range []struct {
		name                   string
		n, context, stride     int
		bos                    int32
		limit, windows, scored int
	}{
		{"bos, every token once", 40, 10, 10, bos, 0, 4, 40},
		{"bos, rest not scored", 45, 10, 10, bos, 0, 4, 40},
		{"bos, overlapping", 40, 10, 5, bos, 0, 7, 40},
		{"bos, limit", 40, 10, 10, bos, 25, 2, 20},
		{"a limit below one window still scores one", 40, 10, 10, bos, 3, 1, 10},
		{"no bos loses one token a window", 40, 10, 10, -1, 0, 4, 36},
		{"no bos, overlapping", 40, 10, 5, -1, 0, 7, 39},
		{"stride 1", 12, 10, 1, bos, 0, 3, 12},
	} {
		t.Run(c.name, func(t *testing.T) {
			ws, err := cut(upTo(c.n), c.context, c.stride, c.bos, c.limit)
			if err != nil {
				t.Fatal(err)
			}
			all := predicted(t, ws)
			if len(ws) != c.windows || len(all) != c.scored {
				t.Errorf("%d windows score %d tokens, want %d and %d", len(ws), len(all), c.windows, c.scored)
			}
			if !slices.IsSorted(all) || len(slices.Compact(slices.Clone(all))) != len(all) {
				t.Errorf("a token is scored twice: %v", all)
			}
		})
	}
}

func TestCutErrors(t *testing.T) {
	for _, c := range []struct {
		n, context, stride int
		want               string
	}{
		{9, 10, 10, "fewer than one window"},
		{40, 1, 1, "context 1"},
		{40, 10, 11, "stride 11"},
		{40, 10, 0, "stride 0"},
	} {
		_, err := cut(upTo(c.n), c.context, c.stride, -1, 0)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: error %v, want %q", c, err, c.want)
		}
	}
}

func TestCheckText(t *testing.T) {
	if err := checkText("x", []byte("fine, even ünïcode")); err != nil {
		t.Error(err)
	}
	if err := checkText("x", nil); err == nil {
		t.Error("an empty text passed")
	}
	if err := checkText("x", []byte("ab\xffcd")); err == nil || !strings.Contains(err.Error(), "byte 2 (0xff)") {
		t.Errorf("error %v does not name the byte", err)
	}
}

// TestParquetText: a text may be the column of a Parquet file.
func TestParquetText(t *testing.T) {
	text, sha, err := readText("../../internal/parquet/testdata/long.parquet")
	if err != nil {
		t.Fatal(err)
	}
	if parts := strings.Split(text, "\n\n"); len(parts) != 12 || len(parts[1]) != 800 || len(sha) != 64 {
		t.Errorf("%d parts, SHA-256 %s", len(parts), sha)
	}
	_, _, err = readText("../../internal/parquet/testdata/arc.parquet")
	if err == nil || !strings.Contains(err.Error(), `no text in a column "text"`) {
		t.Errorf("%v", err)
	}
}
