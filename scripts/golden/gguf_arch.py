#!/usr/bin/env python3
"""Makes the heads of GGUF files of every architecture that is read, with the names and keys of the Python package gguf.

    pip install gguf==0.19.0
    python scripts/golden/gguf_arch.py

For each model of internal/llm/testdata, internal/llm/testdata/gguf gets NAME.head, all of a GGUF file before its
data, as llama.cpp's convert_hf_to_gguf.py writes it, and in arch.json the tensor that belongs at each offset of the
data: its name in Hugging Face layout, and the heads whose rows llama.cpp reorders (0: none). The test fills the data
in. Every tensor is F32.
"""
import json, math, pathlib, struct

import gguf
import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2] / "internal/llm/testdata"
ARCH = {"llama3": "llama", "llama-bias": "llama", "mistral": "llama", "qwen2": "qwen2", "qwen3": "qwen3"}


def shapes(model):
    out = {}
    for f in sorted(model.glob("*.safetensors")):
        data = f.read_bytes()
        head = json.loads(data[8:8 + struct.unpack("<Q", data[:8])[0]])
        out |= {k: v["shape"] for k, v in head.items() if k != "__metadata__"}
    return out


def rope_factors(c, s):
    """generate_extra_tensors of LlamaModel in convert_hf_to_gguf.py."""
    dim, base = c["hidden_size"] // c["num_attention_heads"], c["rope_theta"]
    low, high = s["original"] / s["low"], s["original"] / s["high"]
    factors = []
    for freq in 1.0 / (base ** (np.arange(0, dim, 2, dtype=np.float32) / dim)):
        wavelength = 2 * math.pi / freq
        if wavelength < high:
            factors.append(1)
        elif wavelength > low:
            factors.append(s["factor"])
        else:
            smooth = (s["original"] / wavelength - s["low"]) / (s["high"] - s["low"])
            factors.append(1 / ((1 - smooth) / s["factor"] + smooth))
    return np.array(factors, np.float32)


index = {}
for name, arch in ARCH.items():
    c = json.loads((ROOT / name / "config.json").read_text())
    path = ROOT / "gguf" / f"{name}.head"
    w = gguf.GGUFWriter(path, arch)
    dim = c.get("head_dim") or c["hidden_size"] // c["num_attention_heads"]
    w.add_block_count(c["num_hidden_layers"]); w.add_context_length(c["max_position_embeddings"]); w.add_embedding_length(c["hidden_size"])
    w.add_feed_forward_length(c["intermediate_size"]); w.add_head_count(c["num_attention_heads"]); w.add_head_count_kv(c["num_key_value_heads"])
    w.add_rope_freq_base(c["rope_theta"]); w.add_layer_norm_rms_eps(c["rms_norm_eps"]); w.add_file_type(gguf.LlamaFileType.ALL_F32)
    if c.get("head_dim"):
        w.add_key_length(dim); w.add_value_length(dim)
    if arch == "llama":
        w.add_vocab_size(c["vocab_size"]); w.add_rope_dimension_count(dim)
    if name == "mistral":
        w.add_sliding_window(c["sliding_window"])
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH[arch.upper()], c["num_hidden_layers"])
    entries = []
    if name == "llama3":
        x = rope_factors(c, {"factor": 8.0, "low": 1.0, "high": 4.0, "original": 8192})
        w.add_tensor("rope_freqs.weight", x)
        entries.append({"name": "rope_freqs", "bytes": x.nbytes, "values": x.tolist()})
    for hf, shape in shapes(ROOT / name).items():
        heads = 0
        if arch == "llama" and ".q_proj." in hf:
            heads = c["num_attention_heads"]
        if arch == "llama" and ".k_proj." in hf:
            heads = c["num_key_value_heads"]
        w.add_tensor(names.get_name(hf, try_suffixes=(".weight", ".bias")), np.zeros(shape, np.float32))
        entries.append({"name": hf, "heads": heads, "bytes": 4 * math.prod(shape)})
    w.write_header_to_file(); w.write_kv_data_to_file(); w.write_tensors_to_file(); w.close()
    r = gguf.GGUFReader(path)
    begin = min(t.data_offset for t in r.tensors)
    for e, t in zip(entries, r.tensors):
        e["offset"] = int(t.data_offset) - int(begin)
    path.write_bytes(path.read_bytes()[:begin])
    index[name] = entries
(ROOT / "gguf/arch.json").write_text(json.dumps(index, separators=(",", ":")) + "\n")
