#!/usr/bin/env python3
"""Makes the golden files of internal/gguf with the Python package gguf.

    pip install -r scripts/golden/requirements-gguf.txt
    python scripts/golden/gguf_types.py

types.gguf holds one tensor of random bytes per type, made from seed 1; the float16
scales among them are kept finite. golden.json has for each the SHA-256 of its
dequantized float32, little-endian, and the first and last element.
"""
import hashlib, json, pathlib

import numpy as np
import gguf
from gguf import GGMLQuantizationType as T, quants

OUT = pathlib.Path(__file__).resolve().parents[2] / "internal/gguf/testdata"

# Where the float16 numbers of a block lie.
HALVES = {T.F16: [0], T.Q4_0: [0], T.Q4_1: [0, 2], T.Q5_0: [0], T.Q5_1: [0, 2], T.Q8_0: [0], T.Q2_K: [80, 82], T.Q3_K: [108],
          T.Q4_K: [0, 2], T.Q5_K: [0, 2], T.Q6_K: [208], T.IQ4_NL: [0], T.MXFP4: [], T.F32: [], T.BF16: []}


def blocks(rng, kind, n):
    size = gguf.GGML_QUANT_SIZES[kind][1]
    b = rng.integers(0, 256, (n, size), dtype=np.uint8)
    if kind in (T.F32, T.BF16):  # the upper byte is sign and exponent: no infinity, no NaN
        b[:, -1] &= 0xBF
    for at in HALVES[kind]:
        b[:, at + 1] &= 0xBF  # exponent below 16: values below 2, subnormals among them
    return b


def main():
    OUT.mkdir(exist_ok=True)
    rng = np.random.default_rng(1)
    w = gguf.GGUFWriter(OUT / "types.gguf", "test")
    w.add_uint32("test.uint32", 7)
    w.add_int8("test.int8", -3)
    w.add_float32("test.float32", 1e-5)
    w.add_float64("test.float64", 0.1)
    w.add_bool("test.bool", True)
    w.add_string("test.string", "naïve")
    w.add_array("test.strings", ["", "a", "Ġb"])
    w.add_array("test.ints", [1, -2, 3])
    w.add_array("test.floats", [0.5, -1.5])
    golden = {"versions": {"gguf": "0.19.0", "numpy": np.__version__}, "seed": 1, "tensors": {}}
    for kind in HALVES:
        block = gguf.GGML_QUANT_SIZES[kind][0]
        rows, per_row = 3, 2 * max(1, 64 // block)
        raw = blocks(rng, kind, rows * per_row).reshape(rows, -1)
        w.add_tensor(kind.name, raw if block > 1 or kind == T.BF16 else raw.view({T.F32: np.float32, T.F16: np.float16}[kind]),
                     raw_dtype=kind)
        x = quants.dequantize(raw.view(np.uint8), kind) if block > 1 or kind == T.BF16 else \
            raw.view({T.F32: np.float32, T.F16: np.float16}[kind])
        x = np.ascontiguousarray(x, dtype="<f4").reshape(rows, -1)
        assert np.isfinite(x).all() and x.shape[1] == block * per_row, (kind, x.shape)
        golden["tensors"][kind.name] = {"shape": list(x.shape), "sha256": hashlib.sha256(x.tobytes()).hexdigest(),
                                        "first": float(x.flat[0]), "last": float(x.flat[-1])}
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    (OUT / "golden.json").write_text(json.dumps(golden, indent=1) + "\n")


main()
