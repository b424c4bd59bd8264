package trial

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// window is one piece of the evaluation text: the model reads input and is
// scored on predicting targets[i] from input[:i+1], for i >= from.
type window struct {
	input, targets []int32
	from           int
}

// scored is the number of tokens this window contributes.
func (w window) scored() int { return len(w.targets) - w.from }

// cut divides tokens into windows of context positions that start stride
// tokens apart.
//
// With a beginning-of-sequence token (bos >= 0) a window reads BOS and
// context-1 tokens and predicts context tokens, as the rolling likelihood of
// lm-evaluation-harness does: with stride = context every token of the text is
// scored once. Without it (bos < 0) the context-1 tokens after a window's first
// are predicted, as the GPTQ and QuaRot papers count. A stride
// below the context re-reads context-stride tokens and scores only what no
// earlier window scored. A rest shorter than a window is not scored. At most
// limit tokens are scored (0 = no limit), in whole windows.
func cut(tokens []int32, context, stride int, bos int32, limit int) ([]window, error) {
	if context < 2 || stride < 1 || stride > context {
		return nil, fmt.Errorf("protocol: context %d, stride %d: want context >= 2 and 1 <= stride <= context",
			context, stride)
	}
	var ws []window
	total := 0
	for b := 0; b+context <= len(tokens); b += stride {
		var w window
		if bos >= 0 {
			w.input = append([]int32{bos}, tokens[b:b+context-1]...)
			w.targets = tokens[b : b+context]
		} else {
			w.input = tokens[b : b+context-1]
			w.targets = tokens[b+1 : b+context]
		}
		if b > 0 {
			w.from = len(w.targets) - min(stride, len(w.targets))
		}
		if limit > 0 && total+w.scored() > limit && total > 0 {
			break
		}
		total += w.scored()
		ws = append(ws, w)
	}
	if len(ws) == 0 {
		return nil, fmt.Errorf("protocol: the text has %d tokens, fewer than one window of %d", len(tokens), context)
	}
	return ws, nil
}

// extent counts the words and UTF-8 bytes of the scored text, for perplexity
// per word and bits per byte. Words are runs of non-space, as WikiText-2 is
// counted.
func extent(ws []window, decode func([]int32) string) (words, bytes int) {
	var ids []int32
	for _, w := range ws {
		ids = append(ids, w.targets[w.from:]...)
	}
	text := decode(ids)
	return len(strings.Fields(text)), len(text)
}

// checkText refuses what a tokenizer would only mangle.
func checkText(name string, data []byte) error {
	if len(data) == 0 {
		return fmt.Errorf("text %s: is empty", name)
	}
	if !utf8.Valid(data) {
		for i := 0; i < len(data); {
			r, n := utf8.DecodeRune(data[i:])
			if r == utf8.RuneError && n == 1 {
				return fmt.Errorf("text %s: byte %d (0x%02x) is not UTF-8", name, i, data[i])
			}
			i += n
		}
	}
	return nil
}
