package hf

import (
	"bytes"
	"context"
	"crypto/sha1"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const commit = "0123456789abcdef0123456789abcdef01234567"

// fakeHub serves one model as the hub does: small files itself with a git hash,
// weights by redirection to a storage server that knows nothing of digests.
type fakeHub struct {
	files   map[string][]byte
	corrupt string         // this file arrives changed
	cut     map[string]int // a file's connection breaks after so many bytes, once
	ranges  []string       // Range headers seen
	auth    map[string]string
	gets    int
	longer  int // bytes that weights are announced with beyond what they have
}

func (h *fakeHub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.gets++
	path := r.URL.Path
	if path == "/api/models/org/model/revision/main" || path == "/api/models/org/model/revision/"+commit {
		h.auth["api"] = r.Header.Get("Authorization")
		type sibling struct {
			Name string `json:"rfilename"`
		}
		var siblings []sibling
		for name := range h.files {
			siblings = append(siblings, sibling{name})
		}
		json.NewEncoder(w).Encode(map[string]any{"sha": commit, "siblings": siblings})
		return
	}
	name := filepath.Base(path)
	data, ok := h.files[name]
	if !ok || !strings.HasPrefix(path, "/org/model/resolve/"+commit+"/") && !strings.HasPrefix(path, "/storage/") {
		http.Error(w, "no", http.StatusNotFound)
		return
	}
	if strings.HasSuffix(name, ".safetensors") && !strings.HasPrefix(path, "/storage/") {
		w.Header().Set("X-Linked-Etag", `"`+hashHex(data)+`"`)
		w.Header().Set("X-Linked-Size", fmt.Sprint(len(data)+h.longer))
		w.Header().Set("ETag", `"something else"`)
		http.Redirect(w, r, "/storage/"+name, http.StatusFound)
		return
	}
	if !strings.HasPrefix(path, "/storage/") {
		sum := sha1.Sum(fmt.Appendf(nil, "blob %d\x00%s", len(data), data))
		w.Header().Set("ETag", `W/"`+hex.EncodeToString(sum[:])+`"`)
	} else {
		w.Header().Set("ETag", `"`+strings.Repeat("0", 64)+`"`)
	}
	if h.corrupt == name {
		data = append([]byte("x"), data[1:]...)
	}
	if rg := r.Header.Get("Range"); rg != "" {
		h.ranges = append(h.ranges, name+" "+rg)
	}
	if n, ok := h.cut[name]; ok && r.Method == http.MethodGet {
		delete(h.cut, name)
		w.Header().Set("Content-Length", fmt.Sprint(len(data)))
		w.Write(data[:n])
		return // fewer bytes than announced: the connection is closed
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
}

func snapshotOf(cache string) string {
	return filepath.Join(cache, "models--org--model", "snapshots", commit)
}

func newFakeHub(t *testing.T) (*fakeHub, *httptest.Server) {
	h := &fakeHub{cut: map[string]int{}, auth: map[string]string{}, files: map[string][]byte{
		"config.json":    []byte(llamaConfig),
		"tokenizer.json": []byte("{}"),
		"README.md":      []byte("not wanted"),
		weightsName:      write(t, u8("a", bytes.Repeat([]byte{1, 2, 3}, 1000)...)),
	}}
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	t.Setenv("HF_ENDPOINT", server.URL+"/")
	t.Setenv("HF_TOKEN", "")
	t.Setenv("HF_HOME", t.TempDir())
	t.Setenv("HF_HUB_OFFLINE", "")
	return h, server
}

func TestHub(t *testing.T) {
	h, server := newFakeHub(t)
	t.Setenv("HF_TOKEN", "secret")
	h.cut[weightsName] = 1234
	cache := t.TempDir()
	var progress bytes.Buffer
	files, err := Hub(context.Background(), "hub:org/model", cache, &progress)
	if err != nil {
		t.Fatal(err)
	}
	if files.Name() != "hub:org/model@"+commit || h.auth["api"] != "Bearer secret" {
		t.Errorf("name %s, authorization %q", files.Name(), h.auth["api"])
	}
	if len(h.ranges) != 1 || h.ranges[0] != weightsName+" bytes=1234-" {
		t.Errorf("not resumed after a cut: %q", h.ranges)
	}
	if !strings.Contains(progress.String(), weightsName) || !strings.Contains(progress.String(), "100%") {
		t.Errorf("progress %q", &progress)
	}
	c, err := OpenCheckpoint(files)
	if err != nil {
		t.Fatal(err)
	}
	if c.SHA256() != hashHex(h.files[weightsName]) {
		t.Error("other weights")
	}
	c.Close()
	if _, err := os.Stat(filepath.Join(snapshotOf(cache), "README.md")); err == nil {
		t.Error("README.md was downloaded")
	}

	// A branch asks for its commit and nothing more; a commit asks nothing.
	h.gets = 0
	if _, err := Hub(context.Background(), "hub:org/model@main", cache, nil); err != nil || h.gets != 1 {
		t.Errorf("second time: %d requests, %v", h.gets, err)
	}
	server.Close()
	if _, err := Hub(context.Background(), "hub:org/model@"+commit, cache, nil); err != nil {
		t.Errorf("commit without a network: %v", err)
	}
	progress.Reset()
	if _, err := Hub(context.Background(), "hub:org/model", cache, &progress); err != nil || !strings.Contains(progress.String(), "using commit "+commit) {
		t.Errorf("branch without a network: %v, %q", err, &progress)
	}
	_, err = Hub(context.Background(), "hub:org/model", t.TempDir(), nil)
	wantError(t, err, "hub:org/model", "cannot reach "+server.URL, "has no copy")
}

func TestHubShards(t *testing.T) {
	h, _ := newFakeHub(t)
	h.files["1.safetensors"], h.files["2.safetensors"] = h.files[weightsName], write(t, u8("b", 7))
	h.files[indexName] = []byte(`{"weight_map":{"a":"1.safetensors","b":"2.safetensors"}}`)
	delete(h.files, weightsName)
	files, err := Hub(context.Background(), "hub:org/model", t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	c, err := OpenCheckpoint(files)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if len(c.Names()) != 2 {
		t.Errorf("Names() = %v", c.Names())
	}
}

// TestHubResumes goes on where an earlier process ended.
func TestHubResumes(t *testing.T) {
	for _, have := range []int{1000, -1} { // -1: all of it, not yet renamed
		h, _ := newFakeHub(t)
		data := h.files[weightsName]
		if have < 0 {
			have = len(data)
		}
		cache := t.TempDir()
		part := filepath.Join(cache, "models--org--model", "blobs", hashHex(data)+".incomplete")
		if err := os.MkdirAll(filepath.Dir(part), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(part, data[:have], 0o666); err != nil {
			t.Fatal(err)
		}
		files, err := Hub(context.Background(), "hub:org/model", cache, nil)
		if err != nil {
			t.Fatal(err)
		}
		if want := fmt.Sprintf("%s bytes=%d-", weightsName, have); len(h.ranges) != 1 || h.ranges[0] != want {
			t.Errorf("ranges %q, want %q", h.ranges, want)
		}
		c, err := OpenCheckpoint(files)
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
	}
}

func TestHubBad(t *testing.T) {
	for _, ref := range []string{"", "hub:", "hub:model", "hub:a/b/c", "hub:../x", "hub:a/..", "hub:a/b@", "hub:a/b@../c", "hub:a/b@..", "org/model"} {
		_, err := Hub(context.Background(), ref, t.TempDir(), nil)
		wantError(t, err, fmt.Sprintf("%q is not hub:ORG/NAME", ref))
	}
	for _, name := range []string{"config.json", weightsName} {
		h, _ := newFakeHub(t)
		h.corrupt = name
		cache := t.TempDir()
		_, err := Hub(context.Background(), "hub:org/model", cache, nil)
		wantError(t, err, name, "the server announced")
		left, _ := filepath.Glob(filepath.Join(cache, "models--org--model", "blobs", "*.incomplete"))
		if _, err := os.Lstat(filepath.Join(snapshotOf(cache), name)); err == nil || left != nil {
			t.Errorf("left behind: %v", left)
		}
		h.corrupt = ""
		if _, err := Hub(context.Background(), "hub:org/model", cache, nil); err != nil {
			t.Errorf("after a corrupt download: %v", err)
		}
	}
	h, _ := newFakeHub(t)
	_, err := Hub(context.Background(), "hub:org/other", t.TempDir(), nil)
	wantError(t, err, "hub:org/other", "404")
	delete(h.files, "tokenizer.json")
	_, err = Hub(context.Background(), "hub:org/model", t.TempDir(), nil)
	wantError(t, err, "no tokenizer.json")
	h.files["tokenizer.json"] = []byte("{}")
	delete(h.files, weightsName)
	_, err = Hub(context.Background(), "hub:org/model", t.TempDir(), nil)
	wantError(t, err, "no model.safetensors or model.safetensors.index.json")
	h.files[indexName] = []byte(`{"weight_map":{"a":"../../1.safetensors"}}`)
	_, err = Hub(context.Background(), "hub:org/model", t.TempDir(), nil)
	wantError(t, err, `"../../1.safetensors" is not a plain file name`)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err = Hub(ctx, "hub:org/model", t.TempDir(), nil)
	wantError(t, err, "context canceled")
}

// TestHubCache: the layout is that of huggingface_hub, both ways, and HF_HUB_OFFLINE
// asks nothing of the network.
func TestHubCache(t *testing.T) {
	h, _ := newFakeHub(t)
	cache := t.TempDir()
	if _, err := Hub(context.Background(), "hub:org/model", cache, nil); err != nil {
		t.Fatal(err)
	}
	link, err := os.Readlink(filepath.Join(snapshotOf(cache), weightsName))
	if want := "../../blobs/" + hashHex(h.files[weightsName]); err != nil || link != want {
		t.Errorf("%s leads to %q, %v, want %q", weightsName, link, err, want)
	}
	ref, err := os.ReadFile(filepath.Join(cache, "models--org--model", "refs", "main"))
	if err != nil || string(ref) != commit {
		t.Errorf("refs/main is %q, %v", ref, err)
	}
	t.Setenv("HF_HUB_OFFLINE", "yes")
	h.gets = 0
	if _, err := Hub(context.Background(), "hub:org/model", cache, nil); err != nil || h.gets != 0 {
		t.Errorf("offline: %v, %d requests", err, h.gets)
	}
	if err := os.Remove(filepath.Join(snapshotOf(cache), "tokenizer.json")); err != nil {
		t.Fatal(err)
	}
	_, err = Hub(context.Background(), "hub:org/model", cache, nil)
	wantError(t, err, "HF_HUB_OFFLINE is set", "no complete copy of revision main")
	_, err = Hub(context.Background(), "hub:org/model@v2", cache, nil)
	wantError(t, err, "no complete copy of revision v2")

	for _, c := range []struct{ hubCache, home, xdg, want string }{
		{"/a", "/b", "/c", "/a"}, {"", "/b", "/c", "/b/hub"}, {"", "", "/c", "/c/huggingface/hub"},
	} {
		t.Setenv("HF_HUB_CACHE", c.hubCache)
		t.Setenv("HF_HOME", c.home)
		t.Setenv("XDG_CACHE_HOME", c.xdg)
		if got, err := HubCache(); err != nil || got != filepath.FromSlash(c.want) {
			t.Errorf("%+v: %q, %v", c, got, err)
		}
	}
}

// TestHubRefusals tells gated models, models that are not there and revisions apart,
// and takes the token that a login left.
func TestHubRefusals(t *testing.T) {
	h, _ := newFakeHub(t)
	h.longer = 5
	_, err := Hub(context.Background(), "hub:org/model", t.TempDir(), nil)
	wantError(t, err, weightsName, fmt.Sprintf("%d bytes, the server announced %d", len(h.files[weightsName]), len(h.files[weightsName])+5))

	var code, seen string
	status := http.StatusForbidden
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen = r.Header.Get("Authorization")
		if code != "" {
			w.Header().Set("X-Error-Code", code)
		}
		w.WriteHeader(status)
	}))
	defer server.Close()
	t.Setenv("HF_ENDPOINT", server.URL)
	for _, c := range []struct {
		status     int
		code, want string
	}{
		{http.StatusUnauthorized, "GatedRepo", "the model is gated: accept its terms at " + server.URL + "/org/model"},
		{http.StatusUnauthorized, "RepoNotFound", "there is no such model, or it is private"},
		{http.StatusNotFound, "RevisionNotFound", "has no revision v9"},
		{http.StatusUnauthorized, "", "does not exist or needs an access token"},
		{http.StatusBadGateway, "", "502"},
	} {
		status, code = c.status, c.code
		_, err := Hub(context.Background(), "hub:org/model@v9", t.TempDir(), nil)
		wantError(t, err, c.want)
	}
	if err := os.WriteFile(filepath.Join(os.Getenv("HF_HOME"), "token"), []byte("left\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	status, code = http.StatusForbidden, "GatedRepo"
	_, err = Hub(context.Background(), "hub:org/model", t.TempDir(), nil)
	wantError(t, err, "the owner of the token has no access")
	if seen != "Bearer left" {
		t.Errorf("authorization %q", seen)
	}
}
