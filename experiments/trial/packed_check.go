package trial

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/mosaicquant/mosaicquant/internal/hf"
	"github.com/mosaicquant/mosaicquant/internal/llm"
	"github.com/mosaicquant/mosaicquant/internal/row"
	"github.com/mosaicquant/mosaicquant/quant"
)

// sealName is the name, in the metadata of a packed checkpoint, of the SHA-256 of what
// stands under hf.QuantMethod.
const sealName = hf.QuantMethod + "_sha256"

// tensorHash is the SHA-256 of type, shape and bytes of t.
func tensorHash(t *hf.Tensor) string {
	h := sha256.New()
	fmt.Fprintf(h, "%s %v\n", t.DType, t.Shape)
	h.Write(t.Data)
	return hex.EncodeToString(h.Sum(nil))
}

// packedFiles are the files of a packed checkpoint beside its weights, as far as its
// source has them.
var packedFiles = []string{"config.json", "tokenizer.json", "tokenizer_config.json"}

// ReadPacked returns what the packed checkpoint ref says of itself, checked as eval checks
// it; nil for other models.
func (l *Lab) ReadPacked(ctx context.Context, ref string) (*Packed, error) {
	files, err := l.OpenModel(ctx, ref)
	if err != nil {
		return nil, err
	}
	m, err := llm.Open(files)
	if err != nil {
		return nil, err
	}
	defer m.Close()
	return readPacked(files, m)
}

// readPacked returns what the packed checkpoint m, opened from files, says of itself,
// nil for others. Every tensor and file must have the hash that the metadata says, and
// size and ledger must be those of the tensors, so that what is printed is what is
// there.
func readPacked(files hf.Files, m *llm.Model) (*Packed, error) {
	if !m.Config().Packed {
		return nil, nil
	}
	p, err := readMetadata(m.Checkpoint())
	if err == nil {
		err = p.checkTensors(m.Checkpoint())
	}
	if err == nil {
		err = p.checkFiles(files)
	}
	if err == nil {
		err = p.checkSize(m)
	}
	if err != nil {
		return nil, fmt.Errorf("packed checkpoint %s: %w", files.Name(), err)
	}
	return p, nil
}

func readMetadata(c *hf.Checkpoint) (*Packed, error) {
	meta := c.Metadata()
	text, ok := meta[hf.QuantMethod]
	if !ok {
		return nil, fmt.Errorf("model.safetensors has no metadata %q", hf.QuantMethod)
	}
	p := &Packed{}
	if err := json.Unmarshal([]byte(text), p); err != nil {
		return nil, fmt.Errorf("model.safetensors: metadata %q: %w", hf.QuantMethod, err)
	}
	if p.Version != packedVersion {
		return nil, fmt.Errorf("version %d, this program reads %d", p.Version, packedVersion)
	}
	if got := sum256([]byte(text)); got != meta[sealName] {
		return nil, fmt.Errorf("model.safetensors: metadata %q has SHA-256 %s, %q says %.80q",
			hf.QuantMethod, got, sealName, meta[sealName])
	}
	return p, nil
}

func (p *Packed) checkTensors(c *hf.Checkpoint) error {
	if there, want := c.Names(), slices.Sorted(maps.Keys(p.SHA256)); !slices.Equal(there, want) {
		return fmt.Errorf("model.safetensors has %d tensors, its metadata the hashes of %d others", len(there), len(want))
	}
	for _, name := range c.Names() {
		t, err := c.Raw(name)
		if err != nil {
			return err
		}
		if got := tensorHash(t); got != p.SHA256[name] {
			return fmt.Errorf("%s has SHA-256 %s, its metadata says %.80q", name, got, p.SHA256[name])
		}
	}
	return nil
}

func (p *Packed) checkFiles(files hf.Files) error {
	for _, name := range packedFiles {
		want, listed := p.Files[name]
		blob, err := files.Open(name)
		if !listed && errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		got := sum256(blob.Data)
		if err := blob.Close(); err != nil {
			return err
		}
		if got != want {
			return fmt.Errorf("%s has SHA-256 %s, the metadata says %.80q", name, got, want)
		}
	}
	return nil
}

// checkSize compares size and ledger with those of the tensors of m.
func (p *Packed) checkSize(m *llm.Model) error {
	var ledger []row.Item
	var bytes, weights int64
	for _, l := range m.Linears() {
		weights += int64(l.N) * int64(l.K)
		q, ok := l.Weights.(*quant.Quantized)
		if !ok {
			t, err := m.Checkpoint().Raw(l.Name + ".weight")
			if err != nil {
				return err
			}
			ledger = addBytes(ledger, sixteenBits, int64(len(t.Data)))
			bytes += int64(len(t.Data))
			continue
		}
		for _, item := range q.Ledger() {
			ledger = addBytes(ledger, item.Name, item.Bytes)
		}
		bytes += q.Ledger().Total()
	}
	if bits := float64(bytes) * 8 / float64(weights); math.Float64bits(bits) != math.Float64bits(p.BitsPerWeight) {
		return fmt.Errorf("the tensors have %v bits per weight, the metadata says %v", bits, p.BitsPerWeight)
	}
	if !slices.Equal(ledger, p.Ledger) {
		return fmt.Errorf("the tensors have the ledger %v, the metadata says %.400q", ledger, fmt.Sprint(p.Ledger))
	}
	return nil
}

// printable returns text with everything that is no letter, mark, number, symbol,
// punctuation or space as an escape: text of a file must not control a terminal.
func printable(text string) string {
	var b strings.Builder
	for _, r := range text {
		if strconv.IsPrint(r) {
			b.WriteRune(r)
			continue
		}
		quoted := strconv.QuoteRune(r)
		b.WriteString(quoted[1 : len(quoted)-1])
	}
	return b.String()
}
