package row

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// readLines reads the JSON lines of a file of studies, packed or not; a file that is not
// there has none. what names a line in errors, schema returns the version of one.
func readLines[T any](path, what string, schema func(*T) int) ([]T, error) {
	f, err := open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(f)
	if err != nil {
		return nil, err
	}
	var list []T
	lines := bufio.NewScanner(bytes.NewReader(data))
	lines.Buffer(nil, max(1, len(data)+1))
	for n := 1; lines.Scan(); n++ {
		var one T
		if err := json.Unmarshal(lines.Bytes(), &one); err != nil {
			return nil, fmt.Errorf("%s:%d: not %s: %w", path, n, what, err)
		}
		v := schema(&one)
		if v < 1 {
			return nil, fmt.Errorf("%s:%d: schema is %d, want 1 to %d", path, n, v, Schema)
		}
		if v > Schema {
			return nil, fmt.Errorf("%s:%d: %w", path, n, &newerSchemaError{v})
		}
		list = append(list, one)
	}
	return list, lines.Err()
}

// writeLines replaces a file of studies. name tells which one cannot be written.
func writeLines[T any](path string, list []T, name func(*T) string) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	for i := range list {
		if err := enc.Encode(&list[i]); err != nil {
			return fmt.Errorf("%s: %w", name(&list[i]), err)
		}
	}
	if err := WriteFile(path, b.Bytes()); err != nil {
		return err
	}
	if err := os.Remove(path + Packed); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
