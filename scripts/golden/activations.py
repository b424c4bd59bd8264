"""Writes quant/testdata/activations.json: what formats of activations make of a few
tokens, computed apart from the Go code.

  asym, sym       the formulas of QuaRot's ActQuantizer (fake_quant/quant_utils.py,
                  commit 5008669, Apache-2.0) as we read them, in numpy (float32); the
                  symmetric codes end at ±7 here, at -8 there
  wide            a quarter of the channels, those of the largest inputs, to 8 bits with a
                  scale of their own; the others, sorted, to 4 bits in groups of 16
  searched        scales found beforehand: of the shares 2^(-i/8) of the largest input of a group,
                  that of least squared error over all tokens
  fp8, mxfp8,     numbers of ml_dtypes (float8_e4m3fn, float4_e2m1fn); scales by the
  mxfp4, nvfp4    OCP Microscaling Formats 1.0, 6.3, and NVIDIA's recipe per token

    python scripts/golden/activations.py > quant/testdata/activations.json
"""

import json

import ml_dtypes
import numpy as np

TOKENS, K = 3, 64
F = np.float32


def integers(count, seed):
    """Integers -128..127 of the 64-bit generator x = 6364136223846793005 x + 1442695040888963407."""
    out = np.empty(count)
    for i in range(count):
        seed = (6364136223846793005 * seed + 1442695040888963407) % 2**64
        out[i] = (seed >> 56) - 128
    return out


def inputs():
    x = integers(TOKENS * K, 5).reshape(TOKENS, K).astype(F) / F(64)
    x[1] = np.abs(x[1])
    x[:, 7] *= F(30)
    x[2, 32:48] = 0
    return x


def grouped(x, size, f):
    return np.concatenate([f(g) for g in np.split(x, range(size, len(x), size))])


def asym(v, bits, clip):
    top = F(2**bits - 1)
    low, high = min(F(0), v.min()) * F(clip), max(F(0), v.max()) * F(clip)
    if low == 0 and high == 0:
        low, high = F(-1), F(1)
    scale = (high - low) / top
    zero = np.round(-low / scale)
    return (np.clip(np.round(v / scale) + zero, 0, top) - zero) * scale


def sym(v, bits, clip):
    top = F(2 ** (bits - 1) - 1)
    scale = np.abs(v).max() * F(clip) / top
    return v * 0 if scale == 0 else np.clip(np.round(v / scale), -top, top) * scale


def numbers(v, dtype, top):
    return np.clip(v, -top, top).astype(dtype).astype(np.float64)


def fp8(row):
    s = np.float64(F(np.abs(row).max() / 448))
    return numbers(row / s, ml_dtypes.float8_e4m3fn, 448) * s


def mx(dtype, top):
    def f(g):
        m = np.abs(g.astype(np.float64)).max()
        if m == 0:
            return g * 0
        s = 2.0 ** (np.floor(np.log2(m)) - np.floor(np.log2(top)))
        return numbers(g / s, dtype, top) * s
    return f


def nvfp4(row):
    d = np.float64(F(np.abs(row).max() / (6 * 448)))

    def f(g):
        s = d * np.float64(np.array(np.abs(g.astype(np.float64)).max() / (6 * d)).astype(ml_dtypes.float8_e4m3fn))
        return g * 0 if s == 0 else numbers(g / s, ml_dtypes.float4_e2m1fn, 6) * s
    return grouped(row.astype(np.float64), 16, f)


def wide(x):
    order = np.argsort(np.abs(x).max(axis=0), kind="stable")
    out = np.empty_like(x)
    for token, row in zip(out, x):
        narrow, kept = row[order[:48]], row[order[48:]]
        token[order[:48]] = grouped(narrow, 16, lambda g: sym(g, 4, 1))
        token[order[48:]] = sym(kept, 8, 1)
    return out


def searched(x, bits, size):
    out = np.empty_like(x)
    top = F(2 ** (bits - 1) - 1)
    for k in range(0, K, size):
        g = x[:, k : k + size]
        tries = []
        for i in range(65):
            scale = F(np.abs(g).max() * F(2.0 ** (-i / 8))) / top
            tries.append(np.clip(np.round(g / scale), -top, top) * scale)
        out[:, k : k + size] = min(tries, key=lambda t: ((t.astype(np.float64) - g) ** 2).sum())
    return out


def main():
    x = inputs()
    cases = {
        "a4 affine": lambda r: asym(r, 4, 1),
        "a4 g16 affine clip 0.9": lambda r: grouped(r, 16, lambda g: asym(g, 4, 0.9)),
        "a8 g16": lambda r: grouped(r, 16, lambda g: sym(g, 8, 1)),
        "a4 clip 0.75": lambda r: sym(r, 4, 0.75),
        "fp8": fp8,
        "mxfp8": lambda r: grouped(r, 32, mx(ml_dtypes.float8_e4m3fn, 448)),
        "mxfp4": lambda r: grouped(r, 32, mx(ml_dtypes.float4_e2m1fn, 6)),
        "nvfp4": nvfp4,
    }
    out = {n: [[float(v) for v in f(r)] for r in x] for n, f in cases.items()}
    out["a4 g16 wide"] = [[float(v) for v in r] for r in wide(x)]
    for name, bits, size in ("a8 static searched", 8, 64), ("a4 g16 static searched", 4, 16):
        out[name] = [[float(v) for v in r] for r in searched(x, bits, size)]
    print(json.dumps(out))


if __name__ == "__main__":
    main()
