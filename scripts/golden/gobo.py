"""Writes quant/testdata/gobo.json: what GOBO (Zadeh et al. 2020, arXiv:2005.03842) makes of a
small matrix, written here from the paper in numpy, as no code is published: outliers by the
density of a normal distribution, centroids from bins of equal counts, and rounds of
k-means, every distance computed, until the sum of absolute errors stands. Centroids and
outliers are rounded to half precision.

    python scripts/golden/gobo.py > quant/testdata/gobo.json
"""

import json

import numpy as np

from gptq import integers

N, K = 16, 256


def gobo(w, bits, log_density):
    mean, std = w.mean(), w.std()
    logs = -((w - mean) ** 2) / (2 * std**2) - np.log(std * np.sqrt(2 * np.pi))
    out = logs < log_density
    x = np.sort(w[~out])
    count = 1 << bits
    bins = [x[c * len(x) // count : (c + 1) * len(x) // count] for c in range(count)]
    centers, best, least = np.array([b.mean() for b in bins]), None, np.inf
    while True:
        near = np.abs(x[:, None] - centers).argmin(axis=1)
        loss = np.abs(x - centers[near]).sum()
        if not loss < least:
            break
        best, least = centers, loss
        centers = np.array([x[near == c].mean() if (near == c).any() else centers[c] for c in range(count)])
    stored = np.float64(best.astype(np.float16))
    hat = stored[np.abs(w[..., None] - stored).argmin(axis=-1)]
    hat[out] = np.float64(w[out].astype(np.float16))
    return {"bits": bits, "log_density": log_density, "outliers": int(out.sum()), "centroids": list(stored),
            "error": float(np.abs(w - hat).sum())}


def main():
    w = np.float64(np.float32(np.sinh(integers(N * K, 31).reshape(N, K) / 16))) / 65536
    print(json.dumps([gobo(w, b, t) for b, t in ((2, 0), (3, -1), (4, -1), (3, -4))]))


if __name__ == "__main__":
    main()
