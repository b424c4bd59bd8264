package main

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/mosaicquant/mosaicquant/experiments/plan"
	"github.com/mosaicquant/mosaicquant/internal/row"
	"github.com/mosaicquant/mosaicquant/reports"
)

// serving runs the report command on dir and returns its address and a
// function that interrupts it and returns its error.
func serving(t *testing.T, dir string, args ...string) (url string, stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r, w := io.Pipe()
	cmd := root()
	cmd.SetArgs(append([]string{"report", dir, "--serve"}, args...))
	cmd.SetOut(w)
	ended := make(chan error, 1)
	go func() {
		err := cmd.ExecuteContext(ctx)
		w.CloseWithError(io.EOF)
		ended <- err
	}()
	line, _ := bufio.NewReader(r).ReadString('\n')
	m := regexp.MustCompile(`http://\S+/`).FindString(line)
	if m == "" {
		cancel()
		t.Fatalf("no address in %q: %v", line, <-ended)
	}
	return m, func() error {
		cancel()
		select {
		case err := <-ended:
			return err
		case <-time.After(10 * time.Second):
			t.Fatal("the server does not end")
			return nil
		}
	}
}

func get(t *testing.T, url string, change func(*http.Request)) (int, string, http.Header) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(req)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body), resp.Header
}

// TestServe follows a sweep from before its first row to its end.
func TestServe(t *testing.T) {
	data, err := os.ReadFile("../configs/smoke.yaml")
	if err != nil {
		t.Fatal(err)
	}
	sw, err := plan.Parse("smoke.yaml", data)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "config.yaml"), data, 0o644); err != nil {
		t.Fatal(err)
	}
	url, stop := serving(t, dir)
	progress := func() (p reports.Live) {
		t.Helper()
		code, body, _ := get(t, url+"progress", nil)
		if err := json.Unmarshal([]byte(body), &p); code != 200 || err != nil {
			t.Fatalf("%d %s: %v", code, body, err)
		}
		return p
	}
	before := progress()
	if before.Planned != len(sw.Trials) || before.Finished != 0 {
		t.Errorf("before the first row: %+v", before)
	}
	code, page, header := get(t, url, nil)
	if code != 200 || !strings.Contains(page, "0 of 5 trials finished") || !strings.Contains(page, `data-version="`+before.Version+`"`) {
		t.Errorf("%d: the page does not show the progress %+v", code, before)
	}
	if m := regexp.MustCompile(`http-equiv="Content-Security-Policy" content="([^"]+)"`).FindStringSubmatch(page); m == nil ||
		!regexp.MustCompile(`^default-src &#39;none&#39;; .*script-src( &#39;sha256-[^ ]+&#39;)+; connect-src &#39;self&#39;$`).MatchString(m[1]) {
		t.Errorf("the page's policy: %q", m)
	}
	if header.Get("Cache-Control") != "no-store" || header.Get("Content-Security-Policy") != "frame-ancestors 'none'" {
		t.Errorf("headers: %v", header)
	}

	w, _, err := row.OpenWriter(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	for i, tr := range sw.Trials[:2] {
		r := sample(string('a'+rune(i)), tr.Axes(), 0.02)
		r.Label = tr.Label
		if i == 1 {
			r.Status, r.Error, r.Values, r.Series = row.Failed, "it broke", nil, nil
		}
		if err := w.Append(r); err != nil {
			t.Fatal(err)
		}
	}
	// a row that the sweep file does not plan, of an earlier version of it
	stray := sample("c", map[string]string{"method": "rtn"}, 0.02)
	if err := w.Append(stray); err != nil {
		t.Fatal(err)
	}
	after := progress()
	if after.Version == before.Version || after.Finished != 2 || after.Failed != 1 {
		t.Errorf("after two trials: %+v, before: %+v", after, before)
	}
	if _, page, _ = get(t, url, nil); !strings.Contains(page, "2 of 5 trials finished, 1 of them failed") || !strings.Contains(page, "it broke") || !strings.Contains(page, after.Version) {
		t.Error("the page does not show the new rows")
	}

	for name, c := range map[string]struct {
		path   string
		change func(*http.Request)
		want   int
	}{
		"another file":  {"rows.jsonl", nil, 404},
		"a parent":      {"..%2f..%2fetc/passwd", nil, 404},
		"a post":        {"", func(r *http.Request) { r.Method = "POST" }, 405},
		"another host":  {"", func(r *http.Request) { r.Host = "evil.example:80" }, 403},
		"progress, too": {"progress", func(r *http.Request) { r.Host = "evil.example" }, 403},
		"by localhost":  {"", func(r *http.Request) { r.Host = "localhost:1" }, 200},
		"by IPv6":       {"", func(r *http.Request) { r.Host = "[::1]:1" }, 200},
	} {
		if code, _, _ := get(t, url+c.path, c.change); code != c.want {
			t.Errorf("%s: %d, want %d", name, code, c.want)
		}
	}

	// a sweep file that this version cannot read hides no rows, and is said
	if err := os.WriteFile(filepath.Join(dir, "config.yaml"), []byte("name: old\nmethods: {kind: other}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if code, body, _ := get(t, url, nil); code != 200 || !strings.Contains(body, "commands are left out: config.yaml:") || !strings.Contains(body, "it broke") {
		t.Errorf("another version's sweep file: %d", code)
	}
	if p := progress(); p.Planned != 0 || p.Finished != 3 || p.Failed != 1 {
		t.Errorf("without a plan: %+v", p)
	}
	// broken rows are said in place of the page, which tries again
	rows := filepath.Join(dir, row.File)
	whole, err := os.ReadFile(rows)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(rows, []byte("{}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if code, body, header := get(t, url, nil); code != 500 || !strings.Contains(body, "rows.jsonl:1") || header.Get("Refresh") == "" {
		t.Errorf("broken rows: %d %s", code, body)
	}
	if err := os.WriteFile(rows, whole, 0o644); err != nil {
		t.Fatal(err)
	}
	if code, _, _ := get(t, url, nil); code != 200 {
		t.Errorf("mended: %d", code)
	}

	if err := stop(); err != nil {
		t.Errorf("interrupted: %v", err)
	}
	if _, err := http.Get(url); err == nil {
		t.Error("the server answers after its end")
	}
	if _, err := os.Stat(filepath.Join(dir, "report.html")); err == nil {
		t.Error("serving wrote a report")
	}
}

func TestServeRefuses(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{dir, "--serve", "--addr", "0.0.0.0:0"}, `"0.0.0.0" is not a loopback address`},
		{[]string{dir, "--serve", "--addr", ":0"}, `"" is not a loopback address`},
		{[]string{dir, "--serve", "--addr", "[::]:0"}, `"::" is not a loopback address`},
		{[]string{dir, "--serve", "--addr", "192.0.2.1:0"}, "not a loopback address"},
		{[]string{dir, "--serve", "--addr", "example.com:0"}, "not a loopback address"},
		{[]string{dir, "--serve", "--addr", "127.0.0.1"}, "want HOST:PORT"},
		{[]string{dir, "--serve", "--addr", "127.0.0.1:x"}, "127.0.0.1:x"},
		{[]string{dir, "--addr", "127.0.0.1:0"}, "--addr needs --serve"},
		{[]string{filepath.Join(dir, "none"), "--serve"}, "none"},
		{[]string{"main.go", "--serve"}, "not a results folder"},
		{[]string{dir, "--serve", "--assets", "main.go"}, "SHA-256"},
	} {
		if _, err := execute(t, append([]string{"report"}, c.args...)...); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: error %v, want it to say %q", c.args, err, c.want)
		}
	}
}
