package trial

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"github.com/mosaicquant/mosaicquant/internal/bounded"
	"github.com/mosaicquant/mosaicquant/internal/builtin"
)

// maxText bounds the bytes of a text, which is read into memory.
const maxText = 4 << 30

// readText returns the text that ref names, builtin:NAME or a file's path, and
// the SHA-256 of its bytes.
func readText(ref string) (text, sha string, err error) {
	var data []byte
	if name, ok := strings.CutPrefix(ref, builtin.Prefix); ok {
		data, err = builtin.Text(name)
	} else {
		data, err = bounded.ReadFile(ref, maxText)
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
