package trial

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/mosaicquant/mosaicquant/internal/bounded"
	"github.com/mosaicquant/mosaicquant/internal/builtin"
	"github.com/mosaicquant/mosaicquant/internal/parquet"
)

// textColumn is the column of a Parquet file that a text is taken from. Its rows are
// joined by blank lines, as GPTQ's code joins those of WikiText-2.
const textColumn = "text"

// maxText bounds the bytes of a text, which is read into memory.
const maxText = 4 << 30

// readText returns the text that ref names, builtin:NAME or a file's path, and
// the SHA-256 of its bytes. The file may be Parquet, see textColumn.
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
	sum := sha256.Sum256(data)
	if parquet.Is(data) {
		texts, err := parquet.Texts(data, textColumn)
		if err != nil {
			return "", "", fmt.Errorf("text %s: %w", ref, err)
		}
		data = []byte(strings.Join(texts, "\n\n"))
	}
	if err := checkText(ref, data); err != nil {
		return "", "", err
	}
	return string(data), hex.EncodeToString(sum[:]), nil
}
