"""Writes quant/testdata/integers.json: what formats of integers make of a small matrix
by rounding to nearest, computed in numpy and ml_dtypes apart from the Go code.

  mxint4, mxint4 ceil   OCP Microscaling Formats 1.0: scales 2^floor(log2 max), levels
                        of 1/4 up to 7/4; or the least power of two that clips nothing
  nvint4                NVFP4's two scales with integers up to 7 (arXiv:2512.02010)
  seq4                  LsqBinaryTernary's 4-bit rule of ParetoQ (arXiv:2502.02631)
  mxint8, mxfp8         the same scales with 1/64 up to 127/64, or with E4M3 numbers
  fp8, fp6, fp6e2m3     numbers of ml_dtypes (float8_e4m3fn, float6_e3m2fn, float6_e2m3fn)
                        under scales max/448, max/28 and max/7.5 in half precision
  intscale4             Integer Scale (arXiv:2405.14597): scales rounded to whole numbers
                        over 1024 before codes are found
  qoq4                  QServe's progressive groups (arXiv:2405.04532): the step of int8
                        rows, whole multiples of it for groups; codes nearest to weights
  power4                integers to a power of the matrix (PowerQuant, arXiv:2301.09858), of .5, .55 ... 1
                        that of least squared error
  fireq4                FireQ (arXiv:2505.20839): products of codes and E4M3 scales are E4M3 numbers
  sdr4                  QRazor (arXiv:2501.13331): integers shifted below int8 rows
  if4                   NVFP4 or integers times 6/7 in each group (arXiv:2603.28765)
  mxfp6, mxfp6e2m3,     numbers of ml_dtypes (float6_e3m2fn, float6_e2m3fn, float8_e5m2) under powers of two, or
  fp8e5m2               under scales max/57344 in half precision
  hqq4                  the proximal solver of HQQ (mobiusml/hqq, optimize.py) as we read it, but for the
                        zeros that it keeps

    python scripts/golden/integers.py > quant/testdata/integers.json
"""

import json

import ml_dtypes
import numpy as np

from activations import integers

N, K = 4, 64


def weights():
    w = integers(N * K, 21).reshape(N, K) / 1024
    w[:, 3] *= 6
    w[2, 16:32] = 0
    return w


def grouped(w, size, f):
    return np.concatenate([f(w[:, i : i + size]) for i in range(0, K, size)], axis=1)


def mxint4(ceil):
    def f(g):
        m = np.abs(g).max(axis=1, keepdims=True)
        with np.errstate(divide="ignore"):
            e = np.ceil(np.log2(m / 7)) if ceil else np.floor(np.log2(m)) - 2
        s = np.where(m > 0, 2.0 ** np.where(m > 0, e, 0), 1)
        return np.clip(np.round(g / s), -7, 7) * s
    return f


def mx(numbers, top):
    def f(g):
        m = np.abs(g).max(axis=1, keepdims=True)
        with np.errstate(divide="ignore"):
            s = np.where(m > 0, 2.0 ** (np.floor(np.log2(m)) - np.floor(np.log2(top))), 1)
        return numbers(np.clip(g / s, -top, top)) * s
    return f


def half(dtype, top):
    def f(g):
        s = np.float64((np.abs(g).max(axis=1, keepdims=True) / top).astype(np.float16))
        return np.clip(g / np.where(s > 0, s, 1), -top, top).astype(dtype).astype(np.float64) * s
    return f


def nvint4(w):
    d = np.float64(np.float32(np.abs(w).max() / (7 * 448)))

    def f(g):
        m = np.abs(g).max(axis=1, keepdims=True)
        s = np.float64(np.float32(d * (m / (7 * d)).astype(ml_dtypes.float8_e4m3fn).astype(np.float64)))
        return np.where(s > 0, np.clip(np.round(g / np.where(s > 0, s, 1)), -7, 7) * s, 0)
    return grouped(w, 16, f)


def seq4(g):
    step = np.float64((np.abs(g).max(axis=1, keepdims=True) / 8).astype(np.float16))
    u = np.clip(np.round(g / np.where(step > 0, step, 1) - 0.5), -8, 7) + 0.5
    return u * step


def intscale4(g):
    s = np.round(np.abs(g).max(axis=1, keepdims=True) / 7 * 1024) / 1024
    return np.clip(np.round(g / np.where(s > 0, s, 1)), -7, 7) * s


def qoq4(w):
    step = np.float64((np.abs(w).max(axis=1, keepdims=True) / 119).astype(np.float16))

    def f(g):
        low, high = np.minimum(g.min(axis=1, keepdims=True), 0), np.maximum(g.max(axis=1, keepdims=True), 0)
        m = np.maximum(1, np.round((high - low) / 15 / step))
        zero = np.minimum(15, np.round(-low / (m * step)))
        q = np.clip(np.round(g / (m * step)) + zero, np.maximum(0, zero - 127 // m), np.minimum(15, zero + 127 // m))
        assert np.abs((q - zero) * m).max() <= 127
        return (q - zero) * m * step
    return grouped(w, 32, f)


def power4(w):
    best = None
    for a in np.arange(20, 9, -1) / 20:
        a = np.float64(np.float32(a))
        q = np.arange(-7, 8) / 7
        levels = np.sign(q) * np.abs(q) ** (1 / a)

        def f(g):
            s = np.float64(np.abs(g).max(axis=1, keepdims=True).astype(np.float16))
            return levels[np.abs(g[..., None] / s[..., None] - levels).argmin(axis=2)] * s
        out = grouped(w, 32, f)
        if best is None or ((w - out) ** 2).sum() < ((w - best) ** 2).sum():
            best = out
    return best


def fireq4(w):
    e4m3 = lambda v: np.asarray(v).astype(ml_dtypes.float8_e4m3fn).astype(np.float64)
    d = np.float64(np.float32(np.abs(w).max() / 448))

    def f(g):
        s = e4m3(np.abs(g).max(axis=1, keepdims=True) / (7 * d))
        products = e4m3(np.arange(-7, 8) * s)[:, None, :]
        nearest = np.abs(g[..., None] - products * d).argmin(axis=2)
        return np.take_along_axis(products[:, 0], nearest, axis=1) * d
    return grouped(w, 32, f)


def sdr4(w):
    step = np.float64((np.abs(w).max(axis=1, keepdims=True) / 127).astype(np.float16))

    def f(g):
        whole = np.minimum(127, np.round(np.abs(g).max(axis=1, keepdims=True) / step))
        shift = np.maximum(0, np.floor(np.log2(np.maximum(whole, 1))) + 1 - 3)
        return np.clip(np.round(g / (step * 2**shift)), -7, 7) * step * 2**shift
    return grouped(w, 32, f)


def hqq4(w):
    g = w.reshape(-1, 32)
    low = np.float64(g.min(axis=1, keepdims=True).astype(np.float16))
    scale = np.float64(((g.max(axis=1, keepdims=True) - g.min(axis=1, keepdims=True)) / 15).astype(np.float16))
    zero, best, least, beta = -low / scale, None, np.inf, 10.0
    for _ in range(20):
        q = np.clip(np.round(g / scale + zero), 0, 15)
        error = g - (q - zero) * scale
        if not np.abs(error).sum() < least:
            break
        least, best = np.abs(error).sum(), zero
        with np.errstate(divide="ignore"):
            shrunk = np.sign(error) * np.maximum(np.abs(error) - np.abs(error) ** -0.3 / beta, 0)
        zero = (q - (g - shrunk) / scale).mean(axis=1, keepdims=True)
        beta *= 1.01
    offset = np.float64((-best * scale).astype(np.float16))
    return (np.clip(np.round((g - offset) / scale), 0, 15) * scale + offset).reshape(w.shape)


def if4(w):
    e4m3 = lambda v: np.asarray(v).astype(ml_dtypes.float8_e4m3fn).astype(np.float64)
    d = np.float64(np.float32(np.abs(w).max() / (6 * 448)))

    def f(g):
        s = np.float64(np.float32(d * e4m3(np.abs(g).max(axis=1, keepdims=True) / (6 * d))))
        u = np.clip(g / np.where(s > 0, s, 1), -6, 6)
        numbers = u.astype(ml_dtypes.float4_e2m1fn).astype(np.float64) * s
        integers = np.clip(np.round(u * 7 / 6), -7, 7) * 6 / 7 * s
        lost = lambda out: ((g - out) ** 2).sum(axis=1, keepdims=True)
        return np.where(lost(integers) < lost(numbers), integers, numbers)
    return grouped(w, 16, f)


def main():
    w = weights()
    print(json.dumps({
        "mxint4 absmax": grouped(w, 32, mxint4(False)).ravel().tolist(), "mxint4 ceil": grouped(w, 32, mxint4(True)).ravel().tolist(),
        "nvint4 absmax": nvint4(w).ravel().tolist(), "seq4 absmax": grouped(w, 32, seq4).ravel().tolist(), "qoq4 absmax": qoq4(w).ravel().tolist(),
        "intscale4 absmax": grouped(w, 32, intscale4).ravel().tolist(),
        "mxint8 absmax": grouped(w, 32, mx(np.round, 127)).ravel().tolist(),
        "mxfp8 absmax": grouped(w, 32, mx(lambda v: v.astype(ml_dtypes.float8_e4m3fn).astype(np.float64), 448)).ravel().tolist(),
        "fp8 absmax": grouped(w, 32, half(ml_dtypes.float8_e4m3fn, 448)).ravel().tolist(),
        "fp6 absmax": grouped(w, 32, half(ml_dtypes.float6_e3m2fn, 28)).ravel().tolist(),
        "if4 absmax": if4(w).ravel().tolist(),
        "mxfp6 absmax": grouped(w, 32, mx(lambda v: v.astype(ml_dtypes.float6_e3m2fn).astype(np.float64), 28)).ravel().tolist(),
        "mxfp6e2m3 absmax": grouped(w, 32, mx(lambda v: v.astype(ml_dtypes.float6_e2m3fn).astype(np.float64), 7.5)).ravel().tolist(),
        "fp8e5m2 absmax": grouped(w, 32, half(ml_dtypes.float8_e5m2, 57344)).ravel().tolist(),
        "power4 mse": power4(w).ravel().tolist(), "fireq4 absmax": fireq4(w).ravel().tolist(),
        "sdr4 absmax": sdr4(w).ravel().tolist(), "hqq4 absmax": hqq4(w).ravel().tolist(),
        "fp6e2m3 absmax": grouped(w, 32, half(ml_dtypes.float6_e2m3fn, 7.5)).ravel().tolist(),
    }))


main()
