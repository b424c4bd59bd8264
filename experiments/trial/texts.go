package trial

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"strings"

	"github.com/mosaicquant/mosaicquant/internal/builtin"
)

// readRegular reads a file, and waits for no pipe.
func readRegular(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: not a regular file", path)
	}
	return os.ReadFile(path)
}

// readText returns the text that ref names, builtin:NAME or a file's path, and
// the SHA-256 of its bytes.
func readText(ref string) (text, sha string, err error) {
	var data []byte
	if name, ok := strings.CutPrefix(ref, builtin.Prefix); ok {
		data, err = builtin.Text(name)
	} else {
		data, err = readRegular(ref)
	}
	if err != nil {
		return "", "", err
	}
	if err := checkText(ref, data); err != nil {
		return "", "", err
	}
	sum := sha256.Sum256(data)
	return string(data), hex.EncodeToString(sum[:]), nil
}
