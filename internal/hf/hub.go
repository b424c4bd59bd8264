package hf

import (
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mosaicquant/mosaicquant/internal/bounded"
)

// HubPrefix marks a model reference as one of Hub's.
const HubPrefix = "hub:"

var (
	hubRef    = regexp.MustCompile(`^hub:([\w.-]+)/([\w.-]+)(?:@([\w.-]+))?$`)
	commitHex = regexp.MustCompile(`^[0-9a-f]{40}$`)
)

// HubCache is the folder in which Hugging Face's own programs keep what they download:
// HF_HUB_CACHE, or hub in HF_HOME, or else huggingface/hub in the user's cache folder,
// which XDG_CACHE_HOME names.
func HubCache() (string, error) {
	if dir := os.Getenv("HF_HUB_CACHE"); dir != "" {
		return dir, nil
	}
	home, err := hubHome()
	return filepath.Join(home, "hub"), err
}

func hubHome() (string, error) {
	if dir := os.Getenv("HF_HOME"); dir != "" {
		return dir, nil
	}
	if dir := os.Getenv("XDG_CACHE_HOME"); dir != "" {
		return filepath.Join(dir, "huggingface"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("hf: no cache folder for models of the hub; set HF_HUB_CACHE: %w", err)
	}
	return filepath.Join(home, ".cache", "huggingface"), nil
}

// hubToken returns the access token: HF_TOKEN, or what huggingface-cli login left.
func hubToken() string {
	if token := os.Getenv("HF_TOKEN"); token != "" {
		return token
	}
	path := os.Getenv("HF_TOKEN_PATH")
	if path == "" {
		home, err := hubHome()
		if err != nil {
			return ""
		}
		path = filepath.Join(home, "token")
	}
	data, err := bounded.ReadFile(path, 1<<12)
	if err != nil {
		return "" // nobody has logged in
	}
	return strings.TrimSpace(string(data))
}

// Hub returns the model "hub:ORG/NAME[@REVISION]" of a Hugging Face hub, downloading
// into cacheDir what is not there yet: config.json, tokenizer.json,
// tokenizer_config.json and the safetensors weights. REVISION is a branch, a tag or a
// commit, main by default. The folder, see HubCache, has the layout of huggingface_hub,
// models--ORG--NAME with blobs, refs and snapshots, and is shared with it.
//
// The environment sets the server (HF_ENDPOINT, https://huggingface.co by default), the
// access token (HF_TOKEN, or the one of huggingface-cli login) and HF_HUB_OFFLINE, with
// which nothing is asked of a network. Interrupted downloads are resumed. Each file is
// checked against the size and digest that the server announces, a SHA-256 or a git blob
// hash, and then renamed into place. A commit that is complete in the cache needs no
// network; a branch or tag whose server cannot be reached is served from the commit it
// last was, and progress says so. Two processes must not download the same model at once.
func Hub(ctx context.Context, ref, cacheDir string, progress io.Writer) (Files, error) {
	if progress == nil {
		progress = io.Discard
	}
	m := hubRef.FindStringSubmatch(ref)
	if m == nil || slices.ContainsFunc(m[1:], func(s string) bool { return s == "." || s == ".." }) {
		return nil, fmt.Errorf("hf: %q is not hub:ORG/NAME or hub:ORG/NAME@REVISION", ref)
	}
	h := &hub{
		endpoint: strings.TrimRight(os.Getenv("HF_ENDPOINT"), "/"),
		token:    hubToken(),
		model:    m[1] + "/" + m[2],
		revision: m[3],
		dir:      filepath.Join(cacheDir, "models--"+m[1]+"--"+m[2]),
		progress: progress,
	}
	if h.endpoint == "" {
		h.endpoint = "https://huggingface.co"
	}
	if h.revision == "" {
		h.revision = "main"
	}
	commit, err := h.fetch(ctx)
	if err != nil {
		return nil, fmt.Errorf("hf: %s: %w", ref, err)
	}
	return named{Dir(h.snapshot(commit)), HubPrefix + h.model + "@" + commit}, nil
}

// named is a folder under another name.
type named struct {
	Files
	name string
}

func (n named) Name() string { return n.name }

type hub struct {
	endpoint, token, model, revision string
	dir                              string // of the model in the cache
	progress                         io.Writer
}

func (h *hub) snapshot(commit string) string { return filepath.Join(h.dir, "snapshots", commit) }

// offline tells whether HF_HUB_OFFLINE is set, in the spellings of huggingface_hub.
func offline() bool {
	return slices.Contains([]string{"1", "ON", "YES", "TRUE"}, strings.ToUpper(os.Getenv("HF_HUB_OFFLINE")))
}

// fetch makes one commit complete in the cache and returns it.
func (h *hub) fetch(ctx context.Context) (commit string, err error) {
	if commitHex.MatchString(h.revision) && h.complete(h.revision) {
		return h.revision, nil
	}
	ref := filepath.Join(h.dir, "refs", h.revision)
	last, _ := os.ReadFile(ref)
	cached := strings.TrimSpace(string(last))
	ok := commitHex.MatchString(cached) && h.complete(cached)
	if offline() {
		if !ok {
			return "", fmt.Errorf("HF_HUB_OFFLINE is set, and %s has no complete copy of revision %s", h.dir, h.revision)
		}
		return cached, nil
	}
	commit, siblings, err := h.resolve(ctx)
	var unreachable *url.Error
	if errors.As(err, &unreachable) && ctx.Err() == nil {
		if ok {
			fmt.Fprintf(h.progress, "%s: cannot reach %s; using commit %s of the cache\n", h.model, h.endpoint, cached)
			return cached, nil
		}
		return "", fmt.Errorf("cannot reach %s, and %s has no copy: %w", h.endpoint, h.dir, err)
	}
	if err != nil {
		return "", err
	}
	if !h.complete(commit) {
		if err := h.download(ctx, commit, siblings); err != nil {
			return "", err
		}
	}
	if commit == h.revision {
		return commit, nil
	}
	return commit, writeFile(ref, commit)
}

// complete tells whether a snapshot has config, tokenizer and all weights. Downloads
// bring the weights last.
func (h *hub) complete(commit string) bool {
	files := Dir(h.snapshot(commit))
	there := func(name string) bool {
		info, err := os.Stat(filepath.Join(h.snapshot(commit), name))
		return err == nil && info.Mode().IsRegular()
	}
	if !there("config.json") || !there("tokenizer.json") {
		return false
	}
	if there(weightsName) {
		return true
	}
	shards, err := readIndex(files)
	for shard := range shards {
		if !filepath.IsLocal(shard) || !there(shard) {
			return false
		}
	}
	return err == nil
}

// resolve asks the server for the commit of the revision and its files.
func (h *hub) resolve(ctx context.Context) (commit string, files []string, err error) {
	res, err := h.do(ctx, http.MethodGet, "/api/models/"+h.model+"/revision/"+h.revision, 0, true)
	if err != nil {
		return "", nil, err
	}
	defer res.Body.Close()
	var info struct {
		SHA      string `json:"sha"`
		Siblings []struct {
			Name string `json:"rfilename"`
		} `json:"siblings"`
	}
	if err := json.NewDecoder(res.Body).Decode(&info); err != nil {
		return "", nil, fmt.Errorf("answer of %s: %w", h.endpoint, err)
	}
	if !commitHex.MatchString(info.SHA) {
		return "", nil, fmt.Errorf("answer of %s: sha %q is not a commit", h.endpoint, info.SHA)
	}
	for _, s := range info.Siblings {
		files = append(files, s.Name)
	}
	return info.SHA, files, nil
}

// download brings the files of a commit into the cache.
func (h *hub) download(ctx context.Context, commit string, siblings []string) error {
	names := []string{"config.json", "tokenizer.json"}
	if slices.Contains(siblings, "tokenizer_config.json") {
		names = append(names, "tokenizer_config.json")
	}
	sharded := !slices.Contains(siblings, weightsName)
	if sharded {
		names = append(names, indexName)
	} else {
		names = append(names, weightsName)
	}
	for i := 0; i < len(names); i++ {
		name := names[i]
		if !slices.Contains(siblings, name) {
			if name == indexName {
				name = weightsName + " or " + indexName
			}
			return fmt.Errorf("the model has no %s", name)
		}
		if err := h.file(ctx, commit, name); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if name == indexName && sharded {
			shards, err := readIndex(Dir(h.snapshot(commit)))
			if err != nil {
				return err
			}
			for shard := range shards {
				if !filepath.IsLocal(shard) || filepath.Base(shard) != shard {
					return fmt.Errorf("%s: shard %q is not a plain file name", indexName, shard)
				}
				names = append(names, shard)
			}
			slices.Sort(names[i+1:])
		}
	}
	return nil
}

// remote is what the server announces of a file.
type remote struct {
	etag string // a SHA-256, a git blob hash, or something else; names the blob
	size int64  // -1: not announced
}

// file brings one file into blobs, going on where an earlier attempt ended, and links
// it into the snapshot. A broken connection is tried again as long as each attempt
// brings something.
func (h *hub) file(ctx context.Context, commit, name string) error {
	path := filepath.Join(h.snapshot(commit), name)
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	r, err := h.announced(ctx, commit, name)
	if err != nil {
		return err
	}
	blob := filepath.Join(h.dir, "blobs", r.etag)
	for _, dir := range []string{filepath.Dir(path), filepath.Dir(blob)} {
		if err := os.MkdirAll(dir, 0o777); err != nil {
			return err
		}
	}
	if _, err := os.Stat(blob); err != nil {
		if err := h.blob(ctx, blob, commit, name, r); err != nil {
			return err
		}
	}
	link, err := filepath.Rel(filepath.Dir(path), blob)
	if err != nil {
		return err
	}
	os.Remove(path) // a link that leads nowhere
	if os.Symlink(link, path) != nil {
		return os.Rename(blob, path) // as huggingface_hub does where there are no links
	}
	return nil
}

// blob downloads a file.
func (h *hub) blob(ctx context.Context, blob, commit, name string, r remote) error {
	part, err := os.OpenFile(blob+".incomplete", os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return err
	}
	defer part.Close()
	have, err := part.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	for {
		before := have
		have, err = h.append(ctx, part, have, commit, name)
		if err == nil {
			break
		}
		if ctx.Err() != nil || have <= before {
			return err
		}
	}
	err = check(part, have, r.etag)
	if r.size >= 0 && have != r.size {
		err = fmt.Errorf("%d bytes, the server announced %d", have, r.size)
	}
	if err != nil {
		os.Remove(part.Name()) // resuming it would fail again
		return err
	}
	if err := part.Sync(); err != nil {
		return err
	}
	return os.Rename(part.Name(), blob)
}

var blobName = regexp.MustCompile(`^[0-9A-Za-z_-][0-9A-Za-z._-]*$`)

// announced asks for digest and size of a file, which the hub itself says, before it
// redirects to a storage server.
func (h *hub) announced(ctx context.Context, commit, name string) (remote, error) {
	res, err := h.do(ctx, http.MethodHead, h.path(commit, name), 0, false)
	if err != nil {
		return remote{}, err
	}
	res.Body.Close()
	r := remote{size: -1}
	for _, key := range []string{"X-Linked-Etag", "ETag"} {
		if r.etag == "" {
			r.etag = strings.Trim(strings.TrimPrefix(res.Header.Get(key), "W/"), `"`)
		}
	}
	if !blobName.MatchString(r.etag) {
		return r, fmt.Errorf("answer of %s: ETag %q is no name for a file", h.endpoint, r.etag)
	}
	if size := res.Header.Get("X-Linked-Size"); size != "" {
		if r.size, err = strconv.ParseInt(size, 10, 64); err != nil {
			return r, fmt.Errorf("answer of %s: X-Linked-Size %q", h.endpoint, size)
		}
	} else if res.StatusCode == http.StatusOK {
		r.size = res.ContentLength
	}
	return r, nil
}

func (h *hub) path(commit, name string) string {
	return "/" + h.model + "/resolve/" + commit + "/" + url.PathEscape(name)
}

// append writes the file from byte have on to part and returns how many bytes part
// then has, also with an error.
func (h *hub) append(ctx context.Context, part *os.File, have int64, commit, name string) (int64, error) {
	res, err := h.do(ctx, http.MethodGet, h.path(commit, name), have, true)
	if err != nil {
		return have, err
	}
	defer res.Body.Close()
	switch res.StatusCode {
	case http.StatusRequestedRangeNotSatisfiable:
		var total int64
		if _, err := fmt.Sscanf(res.Header.Get("Content-Range"), "bytes */%d", &total); err == nil && total == have {
			return have, nil // all was there
		}
		return h.append(ctx, part, 0, commit, name)
	case http.StatusPartialContent:
		var begin int64
		if _, err := fmt.Sscanf(res.Header.Get("Content-Range"), "bytes %d-", &begin); err != nil || begin != have {
			return have, fmt.Errorf("asked for bytes from %d, the server sent %q", have, res.Header.Get("Content-Range"))
		}
	default: // the whole file, whatever was asked for
		have = 0
	}
	if err := part.Truncate(have); err != nil {
		return have, err
	}
	if _, err := part.Seek(have, io.SeekStart); err != nil {
		return have, err
	}
	bar := &bar{w: h.progress, name: name, have: have, begin: have, start: time.Now()}
	if res.ContentLength >= 0 {
		bar.total = have + res.ContentLength
	}
	n, err := io.Copy(io.MultiWriter(part, bar), res.Body)
	bar.done()
	return have + n, err
}

// do requests a path from byte offset on and returns the answer: a success, a redirect
// that is not followed, or one that says that nothing follows offset.
func (h *hub) do(ctx context.Context, method, path string, offset int64, follow bool) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, h.endpoint+path, nil)
	if err != nil {
		return nil, err
	}
	if h.token != "" {
		req.Header.Set("Authorization", "Bearer "+h.token) // net/http drops it on a redirect to another host
	}
	if offset > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", offset))
	}
	req.Header.Set("Accept-Encoding", "identity") // lengths and ranges are those of the file
	client := http.Client{CheckRedirect: func(_ *http.Request, via []*http.Request) error {
		switch {
		case !follow:
			return http.ErrUseLastResponse
		case len(via) >= 10:
			return errors.New("more than 10 redirects")
		}
		return nil
	}}
	res, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	s := res.StatusCode
	if s == http.StatusOK || !follow && s >= 300 && s < 400 ||
		offset > 0 && (s == http.StatusPartialContent || s == http.StatusRequestedRangeNotSatisfiable) {
		return res, nil
	}
	res.Body.Close()
	return nil, h.refusal(path, res)
}

// refusal explains an answer that is no success: what X-Error-Code says, or the status.
func (h *hub) refusal(path string, res *http.Response) error {
	why := ""
	switch code := res.Header.Get("X-Error-Code"); {
	case code == "GatedRepo":
		why = fmt.Sprintf("the model is gated: accept its terms at %s/%s and put an access token into HF_TOKEN", h.endpoint,
			h.model)
		if h.token != "" {
			why = fmt.Sprintf("the model is gated, and the owner of the token has no access: accept its terms at %s/%s",
				h.endpoint, h.model)
		}
	case code == "RepoNotFound":
		why = "there is no such model, or it is private and the token has no access"
	case code == "RevisionNotFound":
		why = fmt.Sprintf("the model has no revision %s", h.revision)
	case code == "EntryNotFound":
		why = "the model has no such file"
	case res.StatusCode == http.StatusUnauthorized || res.StatusCode == http.StatusForbidden:
		why = "the model does not exist or needs an access token in HF_TOKEN"
	case res.StatusCode == http.StatusNotFound:
		why = "there is no such model, or it is private and the token has no access"
	}
	if why == "" {
		return fmt.Errorf("%s%s: %s", h.endpoint, path, res.Status)
	}
	return fmt.Errorf("%s%s: %s: %s", h.endpoint, path, res.Status, why)
}

// check compares the content with the digest: SHA-256 of large files, the hash
// of git (SHA-1 over a header and the content) of small ones. Other entity tags
// say nothing about the content.
func check(f *os.File, size int64, digest string) error {
	var sum hash.Hash
	switch len(digest) {
	case 2 * sha256.Size:
		sum = sha256.New()
	case 2 * sha1.Size:
		sum = sha1.New()
		fmt.Fprintf(sum, "blob %d\x00", size)
	default:
		return nil
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if _, err := io.Copy(sum, f); err != nil {
		return err
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != digest {
		return fmt.Errorf("%d bytes with digest %s, the server announced %s", size, got, digest)
	}
	return nil
}

// writeFile replaces a small file in one step.
func writeFile(path, content string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return err
	}
	temp := path + ".part"
	if err := os.WriteFile(temp, []byte(content), 0o666); err != nil {
		return err
	}
	return os.Rename(temp, path)
}

// bar shows how much of a file has come.
type bar struct {
	w                  io.Writer
	name               string
	have, begin, total int64 // bytes; total 0: not announced
	start, shown       time.Time
}

func (b *bar) Write(p []byte) (int, error) {
	b.have += int64(len(p))
	if now := time.Now(); now.Sub(b.shown) > 200*time.Millisecond {
		b.shown = now
		b.show()
	}
	return len(p), nil
}

func (b *bar) show() {
	const mega = 1e6
	rate := float64(b.have-b.begin) / max(time.Since(b.start).Seconds(), 1e-3)
	fmt.Fprintf(b.w, "\r%s %.1f", b.name, float64(b.have)/mega)
	if b.total > 0 {
		const width = 24
		n := int(width * b.have / b.total)
		left := time.Duration(float64(b.total-b.have) / max(rate, 1) * float64(time.Second))
		fmt.Fprintf(b.w, "/%.1f MB [%s%s] %3d%% %.1f MB/s, %v left ", float64(b.total)/mega,
			strings.Repeat("=", n), strings.Repeat(" ", width-n), 100*b.have/b.total, rate/mega, left.Round(time.Second))
		return
	}
	fmt.Fprintf(b.w, " MB %.1f MB/s ", rate/mega)
}

func (b *bar) done() {
	b.show()
	fmt.Fprintln(b.w)
}
