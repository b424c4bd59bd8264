package tasks

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// put copies a file of package parquet's tests to a path below the cache, which becomes
// that of Hugging Face.
func put(t *testing.T, cache, from, to string) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("../parquet/testdata", from))
	if err != nil {
		t.Fatal(err)
	}
	to = filepath.Join(cache, to)
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestByName: a task without a file is that of the cache, from Parquet or JSON lines, whole
// or in shards.
func TestByName(t *testing.T) {
	want, err := Open("arc_easy=../parquet/testdata/arc.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	if len(want.Items) != 40 {
		t.Fatalf("%d items", len(want.Items))
	}
	same := func(name string, got *Task, err error, times int) {
		t.Helper()
		if err != nil {
			t.Errorf("%s: %v", name, err)
			return
		}
		if len(got.Items) != times*len(want.Items) || got.Ref != name || got.SHA256 == want.SHA256 {
			t.Errorf("%s: %d items as %s with %s", name, len(got.Items), got.Ref, got.SHA256)
		}
		for i := range got.Items {
			a, b := got.Items[i], want.Items[i%len(want.Items)]
			if !reflect.DeepEqual(a.Requests, b.Requests) || a.Answer != b.Answer || !reflect.DeepEqual(a.Choices, b.Choices) {
				t.Errorf("%s: item %d is %+v, want %+v", name, i, a, b)
				break
			}
		}
	}
	ref := "arc_easy=../parquet/testdata/arc-v2-gzip.parquet"
	got, err := Open(ref)
	same(ref, got, err, 1)

	cache := t.TempDir()
	t.Setenv("HF_HUB_CACHE", cache)
	const dir = "datasets--allenai--ai2_arc/"
	put(t, cache, "arc.parquet", dir+"snapshots/aaaa/ARC-Easy/test-00000-of-00001.parquet")
	put(t, cache, "same.parquet", dir+"snapshots/aaaa/ARC-Easy/train-00000-of-00001.parquet")
	put(t, cache, "same.parquet", dir+"snapshots/aaaa/ARC-Challenge/test-00000-of-00001.parquet")
	got, err = Open("arc_easy")
	same("arc_easy", got, err, 1)

	// main decides between commits; shards are joined.
	put(t, cache, "arc.parquet", dir+"snapshots/bbbb/ARC-Easy/test-00000-of-00002.parquet")
	put(t, cache, "arc.parquet", dir+"snapshots/bbbb/ARC-Easy/test-00001-of-00002.parquet")
	fails := func(name, want string) {
		t.Helper()
		if _, err := Open(name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
	fails("arc_easy", "2 commits have a Parquet or JSON file of ARC-Easy, split test")
	if err := os.MkdirAll(filepath.Join(cache, dir, "refs"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(cache, dir, "refs/main"), []byte("bbbb\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	got, err = Open("arc_easy")
	same("arc_easy", got, err, 2)
	if err := os.Remove(filepath.Join(cache, dir, "snapshots/bbbb/ARC-Easy/test-00001-of-00002.parquet")); err != nil {
		t.Fatal(err)
	}
	fails("arc_easy", "1 of 00002 shards are there")

	// A data set of one configuration; names are split at what is no word.
	put(t, cache, "long.jsonl", "datasets--EleutherAI--lambada_openai/snapshots/cccc/data/lambada_test.jsonl")
	fails("lambada", "lambada_test.jsonl:1: text")
	put(t, cache, "long.jsonl", "datasets--EleutherAI--lambada_openai/snapshots/cccc/data/lambada_test_de.jsonl")
	fails("lambada", "2 files fit split test: data/lambada_test.jsonl, data/lambada_test_de.jsonl")
}

func TestByNameBad(t *testing.T) {
	cache := t.TempDir()
	t.Setenv("HF_HUB_CACHE", cache)
	for ref, want := range map[string]string{
		"piqa":      "tasks: piqa: the cache " + cache + " has no data set baber/piqa or ybisk/piqa",
		"picqa":     `tasks: "picqa" is neither`,
		"hellaswag": "has no data set Rowan/hellaswag",
		"boolq=../parquet/testdata/refused-zstd.parquet": "tasks: boolq: ../parquet/testdata/refused-zstd.parquet: " +
			"parquet: column text: codec ZSTD",
		"hellaswag=../parquet/testdata/same.parquet": "same.parquet:1: activity_label is missing",
	} {
		if _, err := Open(ref); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", ref, err, want)
		}
	}
	task, err := Open("mmlu_continuation=../parquet/testdata/same.parquet")
	if err == nil || !strings.Contains(err.Error(), "question is missing") {
		t.Errorf("%v, %v", task, err)
	}
}
