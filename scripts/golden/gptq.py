"""Writes quant/testdata/gptq.json: objectives of GPTQ for quant's golden test.

GPTQ is written here from the paper (Frantar et al. 2022, arXiv:2210.17323,
Algorithm 1), in float64: Cholesky factor of the explicit inverse, columns one
at a time. W and H come from integers of a small generator that the Go test
repeats, so the file holds results only.

    python scripts/golden/gptq.py > quant/testdata/gptq.json
"""

import json
import numpy as np

N, K, TOKENS, DAMPING = 16, 256, 768, 0.01


def integers(count, seed):
    """Integers -128..127 of the 64-bit generator x = 6364136223846793005 x + 1442695040888963407."""
    out = np.empty(count)
    for i in range(count):
        seed = (6364136223846793005 * seed + 1442695040888963407) % 2**64
        out[i] = (seed >> 56) - 128
    return out


def problem():
    w = integers(N * K, 1).reshape(N, K) / 64
    x = integers(TOKENS * K, 2).reshape(TOKENS, K) / 64
    x[:, 1:] += x[:, :-1] / 2  # correlated neighbours
    x[:, 5::37] *= 4  # strong channels
    return w, 2 / TOKENS * (x.T @ x)


def scales(w):
    return np.float64(np.float16(np.float32(np.abs(w).max(axis=1) / 7)))


def gptq(w, h, group, act_order, dynamic):
    order = np.argsort(-np.diag(h), kind="stable") if act_order else np.arange(K)
    hp = h[np.ix_(order, order)] + DAMPING * np.mean(np.diag(h)) * np.eye(K)
    u = np.linalg.cholesky(np.linalg.inv(hp)).T
    w, q = w[:, order].copy(), np.empty_like(w)
    static = [scales(w[:, np.argsort(order)][:, g : g + group]) for g in range(0, K, group)]
    for i in range(K):
        g = order[i] // group
        if dynamic and i % group == 0:
            static[g] = scales(w[:, i : i + group])
        q[:, i] = np.clip(np.rint(w[:, i] / static[g]), -7, 7) * static[g]
        w[:, i:] -= np.outer((w[:, i] - q[:, i]) / u[i, i], u[i, i:])
    return q[:, np.argsort(order)]


def main():
    w, h = problem()
    cases = []
    for group in (32, 128, K):
        for act_order, dynamic in ((False, False), (False, True), (True, False)):
            e = w - gptq(w, h, group, act_order, dynamic)
            cases.append({"group": group, "act_order": act_order, "dynamic": dynamic,
                          "objective": float(np.sum((e @ h) * e))})
    print(json.dumps({"script": "scripts/golden/gptq.py", "numpy": np.__version__,
                      "trace_h": float(np.trace(h)), "cases": cases}, indent=1))


if __name__ == "__main__":
    main()
