package main

import (
	"strings"
	"testing"
)

// TestReferenceCommands names a committed run where it is, and writes what its
// commands measure elsewhere.
func TestReferenceCommands(t *testing.T) {
	for folder, command := range map[string]string{"default": "sweep", "kernels": "bench"} {
		dir := "results/reference/" + folder
		in, err := readFolder("../" + dir)
		if err != nil {
			t.Fatal(err)
		}
		if want := "go run ./experiments " + command + " -c " + dir + "/config.yaml -o results/" + folder; in.Command != want {
			t.Errorf("%s runs again with %q, want %q", folder, in.Command, want)
		}
		if want := "go run ./experiments report " + dir; in.Draw != want || in.Folder != dir {
			t.Errorf("%s is drawn again with %q, in %q, want %q", folder, in.Draw, in.Folder, want)
		}
		for trial, c := range in.Commands {
			if want := "go run ./experiments sweep -c " + dir + "/config.yaml -o results/again --trial " + trial; c != want {
				t.Errorf("trial %s runs again with %q, want %q", trial, c, want)
			}
		}
		if !strings.HasSuffix(strings.SplitN(in.Question, "\n", 2)[0], "?") && !strings.Contains(in.Question, "? ") {
			t.Errorf("%s asks %q", folder, in.Question)
		}
	}
}
