package row

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/mosaicquant/mosaicquant/internal/bounded"
)

// maxEnvironments bounds the bytes of a file of environments.
const maxEnvironments = 64 << 20

// EnvironmentFile is the name of the file, beside the rows, that maps
// Row.Env to an Environment.
const EnvironmentFile = "env.json"

// Environment is where rows were computed. The host's name is left out on
// purpose: result folders are meant to be shared.
type Environment struct {
	Go         string   `json:"go"`
	OS         string   `json:"os"`
	Arch       string   `json:"arch"`
	CPU        string   `json:"cpu"`
	Cores      int      `json:"cores"`
	GOMAXPROCS int      `json:"gomaxprocs"`
	Memory     int64    `json:"memory_bytes,omitempty"` // see the function Memory
	Features   []string `json:"cpu_features"`
	Kernel     string   `json:"kernel"`            // float32 GEMM in use
	Commit     string   `json:"commit"`            // "unknown" where neither the build nor git tells
	Dirty      *bool    `json:"dirty,omitempty"`   // uncommitted changes; absent = unknown
	Version    string   `json:"version,omitempty"` // of the module, where it was built as a released one
}

// Capture describes this process. kernel and features come from the package that does
// the arithmetic.
func Capture(kernel string, features []string) Environment {
	e := Environment{
		Go:         runtime.Version(),
		OS:         runtime.GOOS,
		Arch:       runtime.GOARCH,
		CPU:        cpuModel(),
		Cores:      runtime.NumCPU(),
		GOMAXPROCS: runtime.GOMAXPROCS(0),
		Memory:     Memory(),
		Features:   features,
		Kernel:     kernel,
	}
	e.Commit, e.Dirty, e.Version = revision()
	return e
}

// Key is the content hash under which env.json holds e: rows of runs in equal
// environments share it. 16 hexadecimal digits.
func (e Environment) Key() string {
	data, err := json.Marshal(e)
	if err != nil {
		panic("row: " + err.Error()) // strings, integers and a bool always marshal
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:8])
}

// SaveEnvironment adds e to env.json of the folder dir and returns its key.
// The file is replaced as a whole, so a reader never sees half of it. The
// caller holds the folder's Writer, which keeps other processes out.
func SaveEnvironment(dir string, e Environment) (key string, err error) {
	all, err := ReadEnvironments(dir)
	if err != nil {
		return "", err
	}
	key = e.Key()
	if _, ok := all[key]; ok {
		return key, nil
	}
	all[key] = e
	return key, SaveEnvironments(dir, all)
}

// SaveEnvironments replaces env.json of the folder dir.
func SaveEnvironments(dir string, all map[string]Environment) error {
	return writeEnvironments(filepath.Join(dir, EnvironmentFile), all)
}

func writeEnvironments(path string, all map[string]Environment) error {
	data, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		return err
	}
	return WriteFile(path, append(data, '\n'))
}

// ReadEnvironments reads env.json of the folder dir and what processes with
// files of their own have put beside those; a folder without any has no
// environments.
func ReadEnvironments(dir string) (map[string]Environment, error) {
	paths, err := partFiles(dir, environmentSuffix)
	if err != nil {
		return nil, err
	}
	all := map[string]Environment{}
	for _, path := range append(paths, filepath.Join(dir, EnvironmentFile)) {
		data, err := bounded.ReadFile(path, maxEnvironments)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		var some map[string]Environment
		if err := json.Unmarshal(data, &some); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		if some == nil {
			return nil, fmt.Errorf("%s: is null, want an object", path)
		}
		maps.Copy(all, some)
	}
	return all, nil
}

// WriteFile replaces the file path atomically: a new file is written, synced
// and renamed over it, so that a reader sees the old content or the new.
func WriteFile(path string, data []byte) error {
	return WriteFileFrom(path, bytes.NewReader(data))
}

// WriteFileFrom is WriteFile with what data writes.
func WriteFileFrom(path string, data io.WriterTo) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	b := bufio.NewWriterSize(f, 1<<20)
	_, err = data.WriteTo(b)
	if err == nil {
		err = b.Flush()
	}
	if err == nil {
		err = f.Chmod(0o644)
	}
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// revision tells which source this program was built from: as stamped into the
// binary, else (go run and go test stamp nothing) as git tells in the working
// directory, if that is in a checkout of this module.
func revision() (commit string, dirty *bool, version string) {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown", nil, ""
	}
	if info.Main.Version != "(devel)" {
		version = info.Main.Version
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			commit = s.Value
		case "vcs.modified":
			modified := s.Value == "true"
			dirty = &modified
		}
	}
	if commit != "" {
		return commit, dirty, version
	}
	if version != "" { // a released module: a checkout around us is not its source
		return "unknown", nil, version
	}
	commit, dirty = gitRevision(".", info.Main.Path)
	return commit, dirty, version
}

// gitRevision asks git for the commit of the checkout around dir, provided
// that it is one of the Go module named module. Results written into the
// checkout do not make it dirty.
func gitRevision(dir, module string) (commit string, dirty *bool) {
	git := func(args ...string) (string, error) {
		out, err := exec.Command("git", append([]string{"-C", dir}, args...)...).Output()
		return strings.TrimSpace(string(out)), err
	}
	top, err := git("rev-parse", "--show-toplevel")
	if err != nil {
		return "unknown", nil
	}
	mod, err := os.ReadFile(filepath.Join(top, "go.mod"))
	if err != nil || module == "" || !strings.HasPrefix(string(mod), "module "+module+"\n") {
		return "unknown", nil
	}
	commit, err = git("rev-parse", "HEAD")
	if err != nil {
		return "unknown", nil
	}
	status, err := git("status", "--porcelain", "--", ":/", ":(top,exclude)results")
	if err != nil {
		return commit, nil
	}
	modified := status != ""
	return commit, &modified
}
