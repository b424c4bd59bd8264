package row

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Parts is the subfolder of a results folder for rows that many processes, on
// many machines, add at the same time. Each process has a file of its own, and
// each environment a file that its key names, so that no lock is needed: a
// network file system may have none, or leave a dead machine's in place.
const Parts = "rows"

const (
	rowsSuffix        = ".jsonl"
	environmentSuffix = ".env.json"
	joinedFolder      = "joined" // of Parts, see Retire
)

// OpenPart returns a Writer of a new file in the Parts of the folder dir. The
// first row creates it. name tells people who wrote it; it has no slash.
func OpenPart(dir, name string) *Writer {
	return &Writer{create: func() (*os.File, error) {
		parts := filepath.Join(dir, Parts)
		if err := os.MkdirAll(parts, 0o755); err != nil {
			return nil, err
		}
		// The time first, so that later files follow earlier ones by name.
		f, err := os.CreateTemp(parts, time.Now().UTC().Format("20060102T150405.000Z")+"-"+name+"-*"+rowsSuffix)
		if err != nil {
			return nil, err
		}
		if err := f.Chmod(0o644); err != nil {
			f.Close()
			return nil, err
		}
		return f, nil
	}}
}

// SavePartEnvironment keeps e in the Parts of the folder dir and returns its
// key. Any number of processes may do so at a time.
func SavePartEnvironment(dir string, e Environment) (key string, err error) {
	key = e.Key()
	file := filepath.Join(dir, Parts, key+environmentSuffix)
	if _, err := os.Stat(file); err == nil {
		return key, nil
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return "", err
	}
	return key, writeEnvironments(file, map[string]Environment{key: e})
}

// Files returns the files that hold the rows of the folder dir, in the order in
// which a later row replaces an earlier one: File (or File+Packed), then those of Parts. It is
// an error if there are none.
func Files(dir string) ([]string, error) {
	file := filepath.Join(dir, File)
	parts, err := partFiles(dir, rowsSuffix)
	if err != nil {
		return nil, err
	}
	// Last: a file of Parts that Retire has moved meanwhile is in File.
	_, err = os.Stat(file)
	if errors.Is(err, fs.ErrNotExist) {
		if _, e := os.Stat(file + Packed); e == nil {
			file, err = file+Packed, nil
		}
	}
	if err == nil {
		return append([]string{file}, parts...), nil
	} else if len(parts) == 0 || !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return parts, nil
}

// partFiles returns the files of Parts with the given suffix, by name.
func partFiles(dir, suffix string) ([]string, error) {
	parts := filepath.Join(dir, Parts)
	entries, err := os.ReadDir(parts)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var files []string
	for _, e := range entries {
		if name := e.Name(); e.Type().IsRegular() && name[0] != '.' && strings.HasSuffix(name, suffix) {
			files = append(files, filepath.Join(parts, name))
		}
	}
	return files, nil
}

// ReadFolder reads the rows of the folder dir, those that replace others last.
// warnings tell of unfinished last lines.
func ReadFolder(dir string) (rows []Row, warnings []string, err error) {
	parts, err := partFiles(dir, rowsSuffix)
	if err != nil {
		return nil, nil, err
	}
	var added []Row
	for _, path := range parts {
		part, warning, err := ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) { // Retire was faster: its rows are in File
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		added = append(added, part...)
		if warning != "" {
			warnings = append(warnings, warning)
		}
	}
	rows, warning, err := ReadFile(filepath.Join(dir, File))
	if err != nil && !(errors.Is(err, fs.ErrNotExist) && len(parts) > 0) {
		return nil, nil, err
	}
	if warning != "" {
		warnings = append(warnings, warning)
	}
	return append(rows, added...), warnings, nil
}

// Retire moves those of files that are in the Parts of the folder dir, and whose
// rows are in File now, into the subfolder "joined" of Parts, out of every
// reader's way. A process that still writes one goes on in there.
func Retire(dir string, files []string) error {
	parts := filepath.Join(dir, Parts)
	joined := filepath.Join(parts, joinedFolder)
	for _, path := range files {
		if filepath.Dir(path) != parts {
			continue
		}
		if err := os.MkdirAll(joined, 0o755); err != nil {
			return err
		}
		if err := os.Rename(path, filepath.Join(joined, filepath.Base(path))); err != nil {
			return err
		}
	}
	return nil
}
