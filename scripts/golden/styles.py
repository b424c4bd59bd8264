#!/usr/bin/env python3
"""Makes a tokenizer in the style of Qwen3's, small enough to be kept here, and goldens.

    pip install -r scripts/golden/requirements.txt
    python scripts/golden/styles.py

internal/hf/testdata/qwen3-style/tokenizer.json has the split pattern, the NFC
normalizer and the kinds of added tokens of Qwen3's tokenizer (single digits, no merges
ignored), and merges learned from the calibration text of this project: nothing of it is
Qwen3's vocabulary. builtin:tiny-llama3 has the pattern of LLaMA 3.

tokenizer-qwen3-style.json has the strings of tokenizer.py, and heldout.json, for both,
the ids of the project's own held-out text as one string: their number and the SHA-256
of the ids as little-endian int32.
"""
import ast, hashlib, json, pathlib, struct

import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, trainers

ROOT = pathlib.Path(__file__).resolve().parents[2]
TESTDATA = ROOT / "internal/hf/testdata"
PATTERN = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")


def cases():
    """CASES of tokenizer.py, which runs when it is imported."""
    for node in ast.parse((ROOT / "scripts/golden/tokenizer.py").read_text()).body:
        if isinstance(node, ast.Assign) and node.targets[0].id == "CASES":
            return eval(compile(ast.Expression(node.value), "tokenizer.py", "eval"))


def train():
    t = tokenizers.Tokenizer(models.BPE())
    t.normalizer = normalizers.NFC()
    t.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(PATTERN), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False)])
    t.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=800, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    t.train([str(ROOT / "internal/builtin/text/calibration.txt")], trainer)
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    t.add_special_tokens([AddedToken(s, normalized=False, special=True) for s in special])
    plain = ["<tool_call>", "</tool_call>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<think>", "</think>"]
    t.add_tokens([AddedToken(s, normalized=False) for s in plain])
    path = TESTDATA / "qwen3-style/tokenizer.json"
    path.parent.mkdir(exist_ok=True)
    t.save(str(path))
    return path


def main():
    assert tokenizers.__version__ == "0.21.4", tokenizers.__version__
    path = train()
    t = tokenizers.Tokenizer.from_file(str(path))
    rows = ",\n  ".join(json.dumps({"text": s, "ids": t.encode(s, add_special_tokens=False).ids}) for s in cases())
    (TESTDATA / "tokenizer-qwen3-style.json").write_text(
        f'{{\n "script": "scripts/golden/styles.py",\n "library": "tokenizers {tokenizers.__version__}",\n'
        f' "tokenizer_sha256": "{hashlib.sha256(path.read_bytes()).hexdigest()}",\n "cases": [\n  {rows}\n ]\n}}\n')
    text = (ROOT / "internal/builtin/text/heldout.txt").read_text(encoding="utf-8")
    golden = {"text_sha256": hashlib.sha256(text.encode()).hexdigest()}
    for name, file in {"qwen3-style": path, "tiny-llama3": ROOT / "internal/builtin/models/tiny-llama3/tokenizer.json"}.items():
        ids = tokenizers.Tokenizer.from_file(str(file)).encode(text, add_special_tokens=False).ids
        golden[name] = {"tokens": len(ids), "ids_sha256": hashlib.sha256(struct.pack(f"<{len(ids)}i", *ids)).hexdigest()}
    (TESTDATA / "heldout.json").write_text(json.dumps(golden, indent=1) + "\n")


main()
