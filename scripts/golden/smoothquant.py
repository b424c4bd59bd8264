"""Writes quant/testdata/smoothquant.json: SmoothQuant's scales for quant's golden test.

The formula is written here in torch from the paper (Xiao et al. 2022,
arXiv:2211.10438, Equation 4) with the clamps of the authors' smooth_lm:
weights' and final scales from 1e-5 up. Activations and weights come from the
integer generator of gptq.py, which the Go test repeats. The file also has the
moments of the smoothed activations, computed from them and not from the
unsmoothed moments, and the largest smoothed weight of each layer.

"search" has what layers lose when inputs are rounded to 4 bits per token and weights
to 4 bits in groups of 16, for each alpha of SmoothQuant+'s search (arXiv:2312.03788)
and for thresholds of Outlier Suppression+ (arXiv:2304.09145), written here in numpy.

    python scripts/golden/smoothquant.py > quant/testdata/smoothquant.json
"""

import json
import numpy as np
import torch

from gptq import integers

K, TOKENS, ROWS, ALPHAS = 48, 96, (32, 16), (0.0, 0.25, 0.5, 0.85, 1.0)


def problem():
    x = integers(TOKENS * K, 11).reshape(TOKENS, K) / 64
    x[:, 5::11] *= 32  # outlier channels
    ws = [integers(n * K, 12 + i).reshape(n, K) / 512 for i, n in enumerate(ROWS)]
    for w in ws:
        w[:, 7] = 0  # a channel that nobody reads
    return torch.tensor(x, dtype=torch.float32), [torch.tensor(w, dtype=torch.float32) for w in ws]


def scales(x, ws, alpha):
    act = x.abs().amax(dim=0)
    weight = torch.stack([w.abs().amax(dim=0) for w in ws]).amax(dim=0).clamp(min=1e-5)
    return (act.pow(alpha) / weight.pow(1 - alpha)).clamp(min=1e-5)


def rounded(v, scale):
    return np.clip(np.round(v / np.where(scale > 0, scale, 1)), -7, 7) * scale


def lost(x, ws, s):
    """The sum over layers of the mean over tokens of the relative squared error."""
    x, ws, s = x.numpy(), [w.numpy() for w in ws], s.numpy()
    xs = x / s
    xq = rounded(xs, np.abs(xs).max(axis=1, keepdims=True) / np.float32(7))
    total = 0
    for w in ws:
        g = (w * s).reshape(len(w), -1, 16)
        scale = (np.abs(g).max(axis=2, keepdims=True) / np.float32(7)).astype(np.float16).astype(np.float32)
        wq = rounded(g, scale).reshape(w.shape)
        y, yq = x.astype(np.float64) @ w.T, xq.astype(np.float64) @ wq.T
        total += ((y - yq) ** 2).sum(axis=1) / (y ** 2).sum(axis=1)
    return float(total.mean())


def search(x, ws):
    top = x.abs().amax(dim=0)
    thresholds = [float(top.max()) * (float(top.min()) / float(top.max())) ** (i / 24) for i in range(25)]
    return {
        "none": lost(x, ws, torch.ones(K)),
        "alphas": [lost(x, ws, scales(x, ws, i / 20)) for i in range(21)],
        "thresholds": thresholds,
        "threshold_losses": [lost(x, ws, (top / t).clamp(min=1)) for t in thresholds],
    }


def main():
    x, ws = problem()
    cases = []
    for alpha in ALPHAS:
        s = scales(x, ws, alpha)
        smooth = (x / s).double().numpy()
        for w in ws:
            assert torch.allclose(x @ w.T, (x / s) @ (w * s).T, rtol=1e-4, atol=1e-3)
        h = 2 / TOKENS * smooth.T @ smooth
        cases.append({
            "alpha": alpha,
            "scales": [round(float(v), 9) for v in s],
            "h_diag": [float(v) for v in np.diag(h)],
            "h_row": [float(v) for v in h[5]],
            "weight_max": [float((w * s).abs().max()) for w in ws],
        })
    print(json.dumps({"script": "scripts/golden/smoothquant.py", "torch": torch.__version__.split("+")[0],
                      "cases": cases, "search": search(x, ws)}))


if __name__ == "__main__":
    main()
