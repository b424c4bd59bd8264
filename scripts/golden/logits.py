#!/usr/bin/env python3
"""Makes the golden logits of internal/llm with Hugging Face transformers.

    pip install -r scripts/golden/requirements.txt
    python scripts/golden/logits.py              # all
    python scripts/golden/logits.py tiny-llama3 tiny-qwen3  # after these models were retrained

Every case but the builtin models is a random two-layer checkpoint, saved beside its
golden in internal/llm/testdata/NAME. The logits come from the checkpoint as
read back from disk, weights upcast to float32, eager attention, each sequence
on its own. A golden is two files:

    golden.json   how it was made, token ids of the sequences, and which rows
                  of the stacked sequences have logits
    logits.f32    those rows, little-endian float32 [len(rows), vocab]
"""
import hashlib, json, pathlib, re, shutil, sys

import numpy as np
import torch
import transformers
from transformers import (AutoModelForCausalLM, LlamaConfig, MistralConfig,
                          PreTrainedTokenizerFast, Qwen2Config, Qwen3Config)

ROOT = pathlib.Path(__file__).resolve().parents[2]
OUT = ROOT / "internal/llm/testdata"
BUILTIN = {n: ROOT / "internal/builtin/models" / n for n in ("tiny-llama3", "tiny-qwen3")}

# Grouped-query attention everywhere; head_dim differs from hidden/heads where
# the architecture allows it.
SMALL = dict(vocab_size=160, hidden_size=64, intermediate_size=96, num_hidden_layers=2,
             num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=512,
             bos_token_id=0, eos_token_id=1)
# With head_dim 16 and theta 10000 the wavelengths 6, 20, 63, 199 ... fall
# into all three bands of this scaling (kept, interpolated, divided).
SCALING = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
               original_max_position_embeddings=64)

CASES = {  # name: (config, stored dtype, shards)
    "llama3": (LlamaConfig(**SMALL, rope_theta=10000.0, rope_scaling=SCALING,
                           tie_word_embeddings=True), torch.bfloat16, 1),
    "llama-bias": (LlamaConfig(**SMALL, head_dim=24, rope_theta=500000.0, attention_bias=True, mlp_bias=True,
                               tie_word_embeddings=False), torch.float16, 3),
    # The second layer has the window, the first has not.
    "qwen2": (Qwen2Config(**SMALL, rope_theta=1000000.0, tie_word_embeddings=True, use_sliding_window=True,
                          sliding_window=9, max_window_layers=1), torch.float32, 1),
    "qwen3": (Qwen3Config(**SMALL, head_dim=24, rope_theta=1000000.0,
                          tie_word_embeddings=False), torch.bfloat16, 1),
    "mistral": (MistralConfig(**SMALL, rope_theta=10000.0, sliding_window=12,
                              tie_word_embeddings=False), torch.float16, 1),
    "linear": (LlamaConfig(**SMALL, rope_theta=10000.0, rope_scaling=dict(rope_type="linear", factor=4.0),
                           tie_word_embeddings=True), torch.bfloat16, 1),
    # 512 positions from 128: the pairs 0 to 2 of 8 are kept, from 6 on divided.
    "yarn": (Qwen2Config(**SMALL, rope_theta=10000.0, tie_word_embeddings=True,
                         rope_scaling=dict(rope_type="yarn", factor=4.0, beta_fast=8.0, original_max_position_embeddings=128)),
             torch.bfloat16, 1),
}

TEXT = [
    "The ferry left the island a little before dawn, when the harbour was still grey and nobody but the "
    "baker had opened a shutter. Two men carried a crate of lemons between them and argued about the price "
    "of rope. Behind them the lighthouse turned, slow and patient, as it had done every night for a hundred "
    "and forty years, and the keeper's daughter counted the seconds between one beam and the next. She had "
    "been told that a ship could be read by its lights, as a book is read by its letters, and she meant to "
    "learn the alphabet before the winter came and closed the strait. \n\n"
    "By noon the wind had changed. The captain looked at the barometer, then at the sky, and said that they "
    "would wait in the lee of the cape until the evening tide. Nobody complained. There was bread, there was "
    "tea in a tin pot, and an old woman from the mainland knew a story for every rock along the shore.",
    "In 1873 the town had 4,210 inhabitants, three mills and a railway station.",
]


def logits(model, seqs):
    with torch.no_grad():
        return np.concatenate([model(torch.tensor([s])).logits[0].numpy() for s in seqs])


def save(name, out, seqs, all_logits, rows, extra):
    out.mkdir(parents=True, exist_ok=True)
    meta = dict(made=f"scripts/golden/logits.py {name}: transformers {transformers.__version__}, "
                     f"torch {torch.__version__}, float32, eager attention", **extra, sequences=seqs, rows=rows)
    text = json.dumps(meta, indent=1)
    # One line per list keeps diffs readable.
    text = re.sub(r"\[\s+((?:-?\d+,?\s+)+)\]", lambda m: "[" + " ".join(m[1].split()) + "]", text)
    (out / "golden.json").write_text(text + "\n")
    kept = all_logits[rows].astype("<f4")
    assert np.isfinite(kept).all()
    (out / "logits.f32").write_bytes(kept.tobytes())
    print(f"{name}: {len(rows)} rows of {kept.shape[1]} logits, max |logit| {np.abs(kept).max():.3f}")


def small(name, seed):
    config, dtype, shards = CASES[name]
    out = OUT / name
    shutil.rmtree(out, ignore_errors=True)
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config)
    for key, p in model.named_parameters():
        # Larger than usual initial values, so that attention is far from
        # uniform and a wrong mask, norm or bias cannot hide.
        if "norm" in key:
            p.data = 1 + 0.2 * torch.randn_like(p)
        elif key.endswith("bias"):
            p.data = 0.3 * torch.randn_like(p)
        elif "embed" in key:
            p.data = torch.randn_like(p)
        else:
            p.data = torch.randn_like(p) * (2 if "q_proj" in key else 1) / p.shape[1] ** 0.5
    model.tie_weights()
    size = sum(p.numel() for p in model.parameters()) * dtype.itemsize
    model.to(dtype).save_pretrained(out, max_shard_size=size * 5 // 4 if shards == 1 else size // (shards - 1))
    (out / "generation_config.json").unlink()
    for shard in out.glob("*.safetensors"):
        shard.chmod(0o644)  # save_pretrained makes them 0600
    model = AutoModelForCausalLM.from_pretrained(out, torch_dtype=torch.float32, attn_implementation="eager").eval()
    rng = np.random.default_rng(seed)
    seqs = [rng.integers(0, config.vocab_size, n).tolist() for n in (7, 90, 1, 33)]
    got = logits(model, seqs)
    save(name, out, seqs, got, list(range(len(got))), dict(seed=seed))


def builtin(name):
    folder = BUILTIN[name]
    tok = PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))
    model = AutoModelForCausalLM.from_pretrained(folder, torch_dtype=torch.float32, attn_implementation="eager").eval()
    bos = model.config.bos_token_id
    seqs = [[bos] + tok.encode(t, add_special_tokens=False) for t in TEXT]
    assert max(map(len, seqs)) <= model.config.max_position_embeddings
    a, b = map(len, seqs)
    sha = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    save(name, OUT / name, seqs, logits(model, seqs), [0, a // 2, a - 1, a + b - 1], dict(model_sha256=sha))


if __name__ == "__main__":
    torch.set_num_threads(1)
    names = sys.argv[1:] or [*CASES, *BUILTIN]
    for n in names:
        if n in BUILTIN:
            builtin(n)
        else:
            small(n, seed=1 + list(CASES).index(n))
