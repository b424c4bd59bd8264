package row

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func TestCapture(t *testing.T) {
	e := Capture("avx512", []string{"avx2", "avx512f"})
	if e.Go != runtime.Version() || e.Kernel != "avx512" || len(e.Features) != 2 || e.Cores < 1 || e.GOMAXPROCS < 1 || e.CPU == "" || e.Commit == "" {
		t.Errorf("%+v", e)
	}
	if (runtime.GOOS == "linux" || runtime.GOOS == "darwin") && e.Memory < 1<<20 {
		t.Errorf("memory of %d bytes", e.Memory)
	}
	if host, err := os.Hostname(); err == nil && len(host) > 8 {
		dir := t.TempDir()
		if _, err := SaveEnvironment(dir, e); err != nil {
			t.Fatal(err)
		}
		if data, err := os.ReadFile(filepath.Join(dir, EnvironmentFile)); err != nil || strings.Contains(string(data), host) {
			t.Errorf("the host's name is in %s (%v)", data, err)
		}
	}
}

func TestSaveEnvironment(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, EnvironmentFile)
	if all, err := ReadEnvironments(dir); err != nil || len(all) != 0 {
		t.Errorf("without a file: %v, %v", all, err)
	}
	a, b := Environment{Go: "go1", Kernel: "a"}, Environment{Go: "go1", Kernel: "b"}
	for range 2 {
		for _, e := range []Environment{a, b} {
			if key, err := SaveEnvironment(dir, e); err != nil || key != e.Key() {
				t.Fatalf("%q, %v", key, err)
			}
		}
	}
	all, err := ReadEnvironments(dir)
	if err != nil || len(all) != 2 || all[a.Key()].Kernel != "a" || all[b.Key()].Kernel != "b" {
		t.Errorf("%v, %v", all, err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
	for _, bad := range []string{"", "{", "[]", "null"} {
		if err := os.WriteFile(path, []byte(bad), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := SaveEnvironment(dir, a); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%q: %v", bad, err)
		}
		if data, err := os.ReadFile(path); err != nil || string(data) != bad {
			t.Errorf("%q was overwritten with %q", bad, data)
		}
	}
}

func TestGitRevision(t *testing.T) {
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("needs git")
	}
	dir := t.TempDir()
	git := func(args ...string) string {
		t.Helper()
		cmd := exec.Command("git", append([]string{"-C", dir, "-c", "user.name=t", "-c", "user.email=t@example.org"}, args...)...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	check := func(what, module, wantCommit string, wantDirty any) {
		t.Helper()
		commit, dirty := gitRevision(filepath.Join(dir, "sub"), module)
		got := any(nil)
		if dirty != nil {
			got = *dirty
		}
		if commit != wantCommit || got != wantDirty {
			t.Errorf("%s: commit %s, dirty %v; want %s, %v", what, commit, got, wantCommit, wantDirty)
		}
	}
	write("sub/x.go", "package x\n")
	write("go.mod", "module example.org/m\n\ngo 1.25\n")
	t.Setenv("GIT_CEILING_DIRECTORIES", filepath.Dir(dir))
	check("no repository", "example.org/m", "unknown", nil)
	git("init", "-q")
	check("no commit", "example.org/m", "unknown", nil)
	git("add", ".")
	git("commit", "-qm", "first")
	head := git("rev-parse", "HEAD")
	check("clean", "example.org/m", head, false)
	write("results/x/rows.jsonl", "{}\n")
	check("results only", "example.org/m", head, false)
	check("another module", "example.org/other", "unknown", nil)
	check("no module", "", "unknown", nil)
	write("sub/new.go", "package x\n")
	check("a new file", "example.org/m", head, true)
}
