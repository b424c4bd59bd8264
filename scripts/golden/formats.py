"""Writes quant/testdata/formats.json: what others' code makes of small matrices
in the formats of quant's golden test.

  nf4, bnbfp4   bitsandbytes' quantize_4bit and dequantize_4bit on the CPU
  nf4dq         the scales of its double quantization
  fp4, mxfp4,   numbers of ml_dtypes (float4_e2m1fn, float8_e8m0fnu,
  nvfp4, e4m3   float8_e4m3fn); the scale rules are written here from the OCP
                Microscaling Formats 1.0 specification, 6.3, and NVIDIA's recipe
  any4          inertia of scikit-learn's KMeans
  awq           the published search, in numpy (float64)

Matrices come from integers of a small generator that the Go test repeats.

    python scripts/golden/formats.py > quant/testdata/formats.json
"""

import json
import logging

import bitsandbytes
import ml_dtypes
import numpy as np
import sklearn
import torch
from bitsandbytes.functional import dequantize_4bit, dequantize_blockwise, quantize_4bit
from sklearn.cluster import KMeans

N, K, TOKENS = 6, 128, 512


def integers(count, seed):
    """Integers -128..127 of the 64-bit generator x = 6364136223846793005 x + 1442695040888963407."""
    out = np.empty(count)
    for i in range(count):
        seed = (6364136223846793005 * seed + 1442695040888963407) % 2**64
        out[i] = (seed >> 56) - 128
    return out


def weights():
    """Rows of different size, with a zero group and a strong weight."""
    w = integers(N * K, 7).reshape(N, K) / 64
    w *= 2.0 ** (3 - 4 * np.arange(N))[:, None]
    w[1, 32:64] = 0
    w[2, 5] = 61
    return w.astype(np.float32)


def bnb(w, kind):
    q, state = quantize_4bit(torch.tensor(w).contiguous(), blocksize=64, quant_type=kind)
    return dequantize_4bit(q, state).numpy().reshape(w.shape)


def nf4dq():
    """Scales of 16 x 24 groups, in two blocks of 256 and less."""
    w = integers(16 * 1536, 31).reshape(-1, 64) * (1 + np.arange(384) % 13)[:, None] / 64
    _, state = quantize_4bit(torch.tensor(w.reshape(16, 1536), dtype=torch.float32), blocksize=64, quant_type="nf4", compress_statistics=True)
    return [float(v) for v in dequantize_blockwise(state.absmax, state.state2) + state.offset]


def e2m1(x):
    return np.clip(x, -6, 6).astype(ml_dtypes.float4_e2m1fn).astype(np.float64)


def fp4(w):
    g = w.reshape(-1, 32).astype(np.float64)
    s = np.float32(np.abs(g).max(axis=1, keepdims=True) / 6).astype(np.float16).astype(np.float64)
    return (e2m1(np.divide(g, s, out=np.zeros_like(g), where=s > 0)) * s).reshape(w.shape)


def mxfp4(w):
    g = w.reshape(-1, 32).astype(np.float64)
    m = np.abs(g).max(axis=1, keepdims=True)
    e = np.floor(np.log2(np.where(m > 0, m, 1))) - 2
    s = np.where(m > 0, 2.0**e, 2.0**-127).astype(ml_dtypes.float8_e8m0fnu).astype(np.float64)
    return (e2m1(g / s) * s).reshape(w.shape)


def nvfp4(w):
    g = w.reshape(-1, 16).astype(np.float64)
    d = np.float64(np.float32(np.abs(w).max() / (6 * 448)))
    s = (np.abs(g).max(axis=1, keepdims=True) / (6 * d)).astype(ml_dtypes.float8_e4m3fn).astype(np.float64)
    s = np.float64(np.float32(d * s))
    return (e2m1(np.divide(g, s, out=np.zeros_like(g), where=s > 0)) * s).reshape(w.shape)


def any4():
    """Two rows of u = 0..15, weights, Lloyd's end from given centres, and what 50 seeds of k-means++ reach."""
    rows = []
    for seed in (11, 12):
        u = (integers(K, seed) + integers(K, seed + 10) + 256) / 512 * 15
        weight = (integers(K, seed + 20) + 129) / 256
        start = np.sort(u)[4::8]
        x = u[:, None]
        given = KMeans(16, init=start[:, None], n_init=1, tol=0, max_iter=300).fit(x, sample_weight=weight)
        seeds = [KMeans(16, n_init=1, random_state=s).fit(x, sample_weight=weight).inertia_ for s in range(50)]
        rows.append({"seed": seed, "from_start": given.inertia_, "best": min(seeds), "median": float(np.median(seeds)), "worst": max(seeds)})
    return rows


def awq():
    """Loss of each candidate: W·s to int4 affine groups of 32 with half-precision scales, over s."""
    w = integers(16 * K, 1).reshape(16, K) / 64
    x = integers(TOKENS * K, 2).reshape(TOKENS, K) / 64
    x[:, 5::37] *= 8
    h = 2 / TOKENS * (x.T @ x)
    losses = []
    for i in range(20):
        s = np.clip(np.abs(x).mean(axis=0) ** (i / 20), 1e-4, None)
        s = (s / np.sqrt(s.max() * s.min())).astype(np.float16).astype(np.float64)
        g = (w * s).astype(np.float32).astype(np.float64).reshape(16, -1, 32)
        lo, hi = np.minimum(g.min(axis=2, keepdims=True), 0), np.maximum(g.max(axis=2, keepdims=True), 0)
        scale = ((hi - lo) / 15).astype(np.float16).astype(np.float64)
        zero = np.rint(-lo / scale)
        q = (np.clip(np.rint(g / scale) + zero, 0, 15) - zero) * scale
        e = w - q.reshape(w.shape) / s
        losses.append(float(np.sum((e @ h) * e)))
    return losses


def main():
    logging.disable(logging.CRITICAL)
    w = weights()
    out = {"script": "scripts/golden/formats.py", "bitsandbytes": bitsandbytes.__version__, "ml_dtypes": ml_dtypes.__version__,
           "scikit-learn": sklearn.__version__, "torch": torch.__version__, "numpy": np.__version__}
    out["values"] = {name: [float(v) for v in np.float32(q).ravel()] for name, q in
                     {"nf4": bnb(w, "nf4"), "bnbfp4": bnb(w, "fp4"), "fp4": fp4(w), "mxfp4": mxfp4(w), "nvfp4": nvfp4(w)}.items()}
    out["e4m3"] = [float(v) for v in np.arange(127, dtype=np.uint8).view(ml_dtypes.float8_e4m3fn).astype(np.float64)]
    out["nf4dq"] = nf4dq()
    out["any4"] = any4()
    out["awq"] = awq()
    print(json.dumps(out))


main()
