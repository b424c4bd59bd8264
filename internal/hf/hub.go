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
	"strings"
	"time"
)

// HubPrefix marks a model reference as one of Hub's.
const HubPrefix = "hub:"

var (
	hubRef    = regexp.MustCompile(`^hub:([\w.-]+)/([\w.-]+)(?:@([\w.-]+))?$`)
	commitHex = regexp.MustCompile(`^[0-9a-f]{40}$`)
)

// Hub returns the model "hub:ORG/NAME[@REVISION]" of a Hugging Face hub,
// downloading into cacheDir/ORG/NAME/COMMIT what is not there yet: config.json,
// tokenizer.json, tokenizer_config.json and the safetensors weights. REVISION
// is a branch, a tag or a commit, main by default.
//
// The environment sets the server (HF_ENDPOINT, https://huggingface.co by
// default) and the access token (HF_TOKEN). Interrupted downloads are resumed.
// Each file is checked against the digest that the server announces, a SHA-256
// or a git blob hash, and then renamed into place. A commit that is complete in
// the cache needs no network; a branch or tag whose server cannot be reached is
// served from the commit it last was, and progress says so. Two processes must
// not download the same model at once.
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
		token:    os.Getenv("HF_TOKEN"),
		model:    m[1] + "/" + m[2],
		revision: m[3],
		dir:      filepath.Join(cacheDir, m[1], m[2]),
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
	return named{Dir(filepath.Join(h.dir, commit)), HubPrefix + h.model + "@" + commit}, nil
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

// completeName marks a commit whose files are all there.
const completeName = ".complete"

// fetch makes one commit complete in the cache and returns it.
func (h *hub) fetch(ctx context.Context) (commit string, err error) {
	if commitHex.MatchString(h.revision) && h.complete(h.revision) {
		return h.revision, nil
	}
	ref := filepath.Join(h.dir, "refs", h.revision)
	commit, siblings, err := h.resolve(ctx)
	var offline *url.Error
	if errors.As(err, &offline) && ctx.Err() == nil {
		last, _ := os.ReadFile(ref)
		if commit = string(last); commitHex.MatchString(commit) && h.complete(commit) {
			fmt.Fprintf(h.progress, "%s: cannot reach %s; using commit %s of the cache\n", h.model, h.endpoint, commit)
			return commit, nil
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
		if err := writeFile(filepath.Join(h.dir, commit, completeName), ""); err != nil {
			return "", err
		}
	}
	return commit, writeFile(ref, commit)
}

func (h *hub) complete(commit string) bool {
	_, err := os.Stat(filepath.Join(h.dir, commit, completeName))
	return err == nil
}

// resolve asks the server for the commit of the revision and its files.
func (h *hub) resolve(ctx context.Context) (commit string, files []string, err error) {
	res, _, err := h.get(ctx, "/api/models/"+h.model+"/revision/"+h.revision, 0)
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
	dir := filepath.Join(h.dir, commit)
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
			shards, err := readIndex(Dir(dir))
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

// file downloads one file, going on where an earlier attempt ended. A broken
// connection is tried again as long as each attempt brings something.
func (h *hub) file(ctx context.Context, commit, name string) error {
	path := filepath.Join(h.dir, commit, name)
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return err
	}
	part, err := os.OpenFile(path+".part", os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return err
	}
	defer part.Close()
	have, err := part.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	var digest string
	for {
		before := have
		have, digest, err = h.append(ctx, part, have, commit, name)
		if err == nil {
			break
		}
		if ctx.Err() != nil || have <= before {
			return err
		}
	}
	if err := check(part, have, digest); err != nil {
		os.Remove(part.Name()) // resuming it would fail again
		return err
	}
	if err := part.Sync(); err != nil {
		return err
	}
	return os.Rename(part.Name(), path)
}

// append writes the file from byte have on to part and returns how many bytes
// part then has, also with an error, and the announced digest.
func (h *hub) append(ctx context.Context, part *os.File, have int64, commit, name string) (int64, string, error) {
	res, digest, err := h.get(ctx, "/"+h.model+"/resolve/"+commit+"/"+url.PathEscape(name), have)
	if err != nil {
		return have, "", err
	}
	defer res.Body.Close()
	switch res.StatusCode {
	case http.StatusRequestedRangeNotSatisfiable:
		var total int64
		if _, err := fmt.Sscanf(res.Header.Get("Content-Range"), "bytes */%d", &total); err == nil && total == have {
			return have, digest, nil // all was there
		}
		return h.append(ctx, part, 0, commit, name)
	case http.StatusPartialContent:
		var begin int64
		if _, err := fmt.Sscanf(res.Header.Get("Content-Range"), "bytes %d-", &begin); err != nil || begin != have {
			return have, "", fmt.Errorf("asked for bytes from %d, the server sent %q", have, res.Header.Get("Content-Range"))
		}
	default: // the whole file, whatever was asked for
		have = 0
	}
	if err := part.Truncate(have); err != nil {
		return have, "", err
	}
	if _, err := part.Seek(have, io.SeekStart); err != nil {
		return have, "", err
	}
	bar := &bar{w: h.progress, name: name, have: have, begin: have, start: time.Now()}
	if res.ContentLength >= 0 {
		bar.total = have + res.ContentLength
	}
	n, err := io.Copy(io.MultiWriter(part, bar), res.Body)
	bar.done()
	return have + n, digest, err
}

// get requests a path from byte offset on and returns the answer, which is a
// success or says that nothing follows offset, and the digest of the content
// as announced by the hub itself, before it redirects to a storage server.
func (h *hub) get(ctx context.Context, path string, offset int64) (*http.Response, string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, h.endpoint+path, nil)
	if err != nil {
		return nil, "", err
	}
	if h.token != "" {
		req.Header.Set("Authorization", "Bearer "+h.token) // net/http drops it on a redirect to another host
	}
	if offset > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", offset))
	}
	req.Header.Set("Accept-Encoding", "identity") // lengths and ranges are those of the file
	var digest string
	redirected := false
	announced := func(header http.Header) {
		for _, key := range []string{"X-Linked-Etag", "ETag"} {
			if digest == "" {
				digest = strings.Trim(strings.TrimPrefix(header.Get(key), "W/"), `"`)
			}
		}
	}
	client := http.Client{CheckRedirect: func(req *http.Request, via []*http.Request) error {
		if len(via) >= 10 {
			return errors.New("more than 10 redirects")
		}
		if !redirected {
			announced(req.Response.Header)
		}
		redirected = true
		return nil
	}}
	res, err := client.Do(req)
	if err != nil {
		return nil, "", err
	}
	if !redirected {
		announced(res.Header)
	}
	switch s := res.StatusCode; {
	case s == http.StatusOK, s == http.StatusPartialContent && offset > 0,
		s == http.StatusRequestedRangeNotSatisfiable && offset > 0:
		return res, digest, nil
	case s == http.StatusUnauthorized || s == http.StatusForbidden:
		err = fmt.Errorf("%s%s: %s: the model does not exist or needs an access token in HF_TOKEN",
			h.endpoint, path, res.Status)
	default:
		err = fmt.Errorf("%s%s: %s", h.endpoint, path, res.Status)
	}
	res.Body.Close()
	return nil, "", err
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
