package hf

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"github.com/mosaicquant/mosaicquant/internal/gguf"
)

// WriteGGUF writes the model in files as a GGUF file with the given tensors, which have
// the Hugging Face names: matrices with their rows in that order, norms and biases of
// any float type. It writes what llama.cpp needs to run the model, and no chat template.
// A tokenizer or a scaling of positions that GGUF has no name for is an error.
func WriteGGUF(w io.Writer, files Files, tensors []gguf.Tensor) error {
	c, err := ReadConfig(files)
	if err != nil {
		return err
	}
	arch := c.ModelType
	if arch == "mistral" {
		arch = "llama"
	}
	pairs, freqs, err := ggufModel(files, arch, c)
	if err != nil {
		return fmt.Errorf("hf: %s: %w", files.Name(), err)
	}
	tokens, err := ggufVocabulary(files, c)
	if err != nil {
		return fmt.Errorf("hf: %s: %w", at(files, "tokenizer.json"), err)
	}
	names := map[string]string{"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight",
		"lm_head.weight": "output.weight"}
	for short, long := range ggufNames {
		names[long] = short
	}
	out := freqs
	for _, t := range tensors {
		name, ok := names[t.Name]
		if parts := strings.SplitN(strings.TrimPrefix(t.Name, "model.layers."), ".", 2); !ok && len(parts) == 2 {
			dot := strings.LastIndexByte(parts[1], '.')
			name = "blk." + parts[0] + "." + names[parts[1][:max(dot, 0)]] + parts[1][max(dot, 0):]
		}
		if arch == "llama" && (strings.Contains(t.Name, ".q_proj.") || strings.Contains(t.Name, ".k_proj.")) {
			t = rotated(t, c.HeadDim)
		}
		t.Name = name
		out = append(out, t)
	}
	return gguf.Write(w, append(pairs, tokens...), out)
}

// rotated returns t with the rows of each head in the order in which llama.cpp
// rotates them.
func rotated(t gguf.Tensor, headDim int) gguf.Tensor {
	order := &Tensor{headDim: headDim}
	size := len(t.Data) / t.Shape[0]
	data := make([]byte, len(t.Data))
	for n := range t.Shape[0] {
		copy(data[order.stored(n)*size:], t.Data[n*size:(n+1)*size])
	}
	t.Data = data
	return t
}

// ggufModel returns the metadata of the architecture, and the frequencies of LLaMA
// 3.1's rotation as a tensor.
func ggufModel(files Files, arch string, c *Config) ([]gguf.Pair, []gguf.Tensor, error) {
	whole := func(n int) uint32 { return uint32(n) }
	pairs := []gguf.Pair{
		{Key: "general.architecture", Value: arch}, {Key: "general.name", Value: files.Name()},
		{Key: arch + ".context_length", Value: whole(c.MaxPositions)},
		{Key: arch + ".embedding_length", Value: whole(c.HiddenSize)},
		{Key: arch + ".block_count", Value: whole(c.Layers)}, {Key: arch + ".feed_forward_length", Value: whole(c.MLPSize)},
		{Key: arch + ".attention.head_count", Value: whole(c.Heads)},
		{Key: arch + ".attention.head_count_kv", Value: whole(c.KVHeads)},
		{Key: arch + ".attention.key_length", Value: whole(c.HeadDim)},
		{Key: arch + ".attention.value_length", Value: whole(c.HeadDim)},
		{Key: arch + ".rope.dimension_count", Value: whole(c.HeadDim)},
		{Key: arch + ".rope.freq_base", Value: float32(c.RopeTheta)},
		{Key: arch + ".attention.layer_norm_rms_epsilon", Value: float32(c.RMSNormEps)},
		{Key: arch + ".vocab_size", Value: whole(c.VocabSize)},
	}
	if w := slices.Max(c.Window); w > 0 {
		if slices.Min(c.Window) != w || c.ModelType != "mistral" {
			return nil, nil, fmt.Errorf("sliding windows of %d tokens in some layers have no key in GGUF", w)
		}
		pairs = append(pairs, gguf.Pair{Key: arch + ".attention.sliding_window", Value: whole(w)})
	}
	switch {
	case c.LinearFactor > 0:
		pairs = append(pairs, gguf.Pair{Key: arch + ".rope.scaling.type", Value: "linear"},
			gguf.Pair{Key: arch + ".rope.scaling.factor", Value: float32(c.LinearFactor)})
	case c.Yarn != nil:
		return nil, nil, fmt.Errorf("rope_type yarn is not written: GGUF lacks its betas and its attention factor")
	case c.Llama3 != nil:
		return pairs, []gguf.Tensor{c.Llama3.freqs(c)}, nil
	}
	return pairs, nil, nil
}

// freqs returns what llama.cpp divides the frequencies by.
func (l *Llama3Rope) freqs(c *Config) gguf.Tensor {
	t := gguf.Tensor{Name: ropeFreqs, Type: gguf.TypeByName("F32"), Shape: []int{c.HeadDim / 2}}
	for j := range c.HeadDim / 2 {
		turns := float64(l.OriginalMaxPositions) / (2 * math.Pi * math.Pow(c.RopeTheta, float64(2*j)/float64(c.HeadDim)))
		smooth := min(max((turns-l.LowFreqFactor)/(l.HighFreqFactor-l.LowFreqFactor), 0), 1)
		b := math.Float32bits(float32(1 / ((1-smooth)/l.Factor + smooth)))
		t.Data = append(t.Data, byte(b), byte(b>>8), byte(b>>16), byte(b>>24))
	}
	return t
}

// ggufVocabulary returns the metadata of the tokenizer.
func ggufVocabulary(files Files, c *Config) ([]gguf.Pair, error) {
	tokenizer, err := ReadTokenizer(files)
	if err != nil {
		return nil, err
	}
	blob, err := files.Open("tokenizer.json")
	if err != nil {
		return nil, err
	}
	defer blob.Close()
	var j tokenizerJSON
	var m modelJSON
	if err := json.Unmarshal(blob.Data, &j); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(j.Model, &m); err != nil {
		return nil, err
	}
	merges, err := mergeLines(m.Merges)
	if err != nil {
		return nil, err
	}
	size := max(c.VocabSize, tokenizer.VocabSize())
	tokens, types := make([]string, size), make([]int32, size)
	for i := range tokens {
		tokens[i], types[i] = fmt.Sprintf("[PAD%d]", i), ggufUnused
	}
	for token, id := range m.Vocab {
		tokens[id], types[id] = token, ggufNormal
	}
	for _, a := range j.AddedTokens {
		tokens[a.ID], types[a.ID] = a.Content, ggufUserDefined
		if a.Special {
			types[a.ID] = ggufControl
		}
	}
	var pairs []gguf.Pair
	if m.ByteFallback {
		pairs, err = fallbackPairs(&j, &m, types, merges)
	} else {
		var pre string
		pre, err = ggufPre(&j, m.IgnoreMerges)
		pairs = []gguf.Pair{{Key: "tokenizer.ggml.model", Value: "gpt2"}, {Key: "tokenizer.ggml.pre", Value: pre},
			{Key: "tokenizer.ggml.merges", Value: merges}}
	}
	if err != nil {
		return nil, err
	}
	pairs = append(pairs, gguf.Pair{Key: "tokenizer.ggml.tokens", Value: tokens},
		gguf.Pair{Key: "tokenizer.ggml.token_type", Value: types})
	bos, has := tokenizer.BOS()
	if has {
		pairs = append(pairs, gguf.Pair{Key: "tokenizer.ggml.bos_token_id", Value: uint32(bos)})
	} else if c.BOS >= 0 {
		pairs = append(pairs, gguf.Pair{Key: "tokenizer.ggml.bos_token_id", Value: uint32(c.BOS)})
	}
	pairs = append(pairs, gguf.Pair{Key: "tokenizer.ggml.add_bos_token", Value: has})
	if len(c.EOS) > 0 {
		pairs = append(pairs, gguf.Pair{Key: "tokenizer.ggml.eos_token_id", Value: uint32(c.EOS[0])})
	}
	return pairs, nil
}

// fallbackPairs returns what says how a vocabulary with byte_fallback is used, and marks in
// types the tokens of bytes and of what is unknown. llama.cpp merges by the scores of
// pieces, which here are the ranks of their merges: they must give the merges again.
func fallbackPairs(j *tokenizerJSON, m *modelJSON, types []int32, merges []string) ([]gguf.Pair, error) {
	prefix, err := prefixed(j)
	if err != nil {
		return nil, err
	}
	scores, own := make([]float32, len(types)), map[string]int{}
	for token, id := range m.Vocab {
		switch {
		case isByteToken(token):
			types[id], own[token] = ggufByte, int(id)
		case m.Unknown != nil && token == *m.Unknown:
			types[id] = ggufUnknown
		case types[id] == ggufNormal:
			own[token], scores[id] = int(id), -float32(len(merges))-float32(id)
		}
	}
	for rank, line := range slices.Backward(merges) { // the first one counts
		a, b, _ := strings.Cut(line, " ")
		if id, ok := own[a+b]; ok {
			scores[id] = -float32(rank)
		}
	}
	again := mergesByScore(own, scores)
	for rank, x := range again {
		if len(again) != len(merges) || x[0]+" "+x[1] != merges[rank] {
			return nil, fmt.Errorf("merge %d of %d: merges are not those that scores of pieces give, and GGUF has these alone",
				rank, len(merges))
		}
	}
	if len(again) != len(merges) {
		return nil, fmt.Errorf("%d merges are not those that scores of pieces give, and GGUF has these alone", len(merges))
	}
	return []gguf.Pair{{Key: "tokenizer.ggml.model", Value: "llama"}, {Key: "tokenizer.ggml.pre", Value: "default"},
		{Key: "tokenizer.ggml.scores", Value: scores}, {Key: "tokenizer.ggml.add_space_prefix", Value: prefix}}, nil
}

// prefixed reports whether a tokenizer with byte_fallback puts a space before each stretch
// of text, as llama.cpp does with add_space_prefix. Others are an error.
func prefixed(j *tokenizerJSON) (bool, error) {
	if j.PreTokenizer != nil {
		return false, fmt.Errorf("pre_tokenizer: %s has no name in GGUF", typeOf(j.PreTokenizer))
	}
	var steps []component
	switch n := j.Normalizer; {
	case n != nil && n.Type == "Sequence":
		steps = n.Normalizers
	case n != nil:
		steps = []component{*n}
	}
	prefix := len(steps) == 2 && steps[0].Type == "Prepend" && steps[0].Prepend == metaspace
	if prefix {
		steps = steps[1:]
	}
	if len(steps) != 1 || steps[0].Type != "Replace" || deref(steps[0].Pattern.String) != " " ||
		steps[0].Content != metaspace {
		return false, errors.New("normalizer: is not Prepend and Replace of LLaMA 2, for which GGUF has a name")
	}
	return prefix, nil
}

// ggufPre finds GGUF's name for how the text is normalized and split.
func ggufPre(j *tokenizerJSON, whole bool) (string, error) {
	for _, pre := range []string{"llama-bpe", "qwen2", "smollm", "gpt-2"} {
		normalizer, split, ignoreMerges, err := ggufSplits(pre)
		if err != nil {
			return "", err
		}
		data, err := json.Marshal(object{"normalizer": normalizer, "pre_tokenizer": split})
		if err != nil {
			return "", err
		}
		var known tokenizerJSON
		if err := json.Unmarshal(data, &known); err != nil {
			return "", err
		}
		if ignoreMerges == whole && known.Normalizer.spell() == j.Normalizer.spell() &&
			known.PreTokenizer.spell() == j.PreTokenizer.spell() {
			return pre, nil
		}
	}
	return "", fmt.Errorf("normalizer and pre_tokenizer are not those of llama-bpe, qwen2, smollm or gpt-2: GGUF has " +
		"no name for them here")
}

// spell writes what c does, so that equal parts are spelled alike.
func (c *component) spell() string {
	if c == nil {
		return ""
	}
	switch c.Type {
	case "Sequence":
		var parts []string
		for _, list := range [][]component{c.Normalizers, c.PreTokenizers} {
			for i := range list {
				parts = append(parts, list[i].spell())
			}
		}
		return strings.Join(parts, ";")
	case "Split":
		pattern := ""
		if c.Pattern.Regex != nil {
			pattern = *c.Pattern.Regex
		}
		return fmt.Sprintf("split %q %s %v", pattern, c.Behavior, c.Invert)
	case "ByteLevel":
		return fmt.Sprintf("bytes %v %v", c.AddPrefixSpace, c.UseRegex == nil || *c.UseRegex)
	case "Digits":
		return fmt.Sprintf("digits %v", c.IndividualDigits)
	}
	return c.Type
}

// mergeLines returns merges as lines of two tokens.
func mergeLines(data json.RawMessage) ([]string, error) {
	lines := []string{}
	if json.Unmarshal(data, &lines) == nil {
		return lines, nil
	}
	var pairs [][2]string
	if err := json.Unmarshal(data, &pairs); err != nil {
		return nil, fmt.Errorf("model: merges: %w", err)
	}
	lines = lines[:0]
	for _, p := range pairs {
		lines = append(lines, p[0]+" "+p[1])
	}
	return lines, nil
}
