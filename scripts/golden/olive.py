"""Writes quant/testdata/olive.json: what the authors' code of OliVe (clevercool/ANT-Quantization,
olive_quantization/antquant/quant_modules.py) makes of a small matrix with outliers, with
integers, with flint, and with the one of the two that it chooses.

Their CUDA kernel, which finds the nearest number of a grid, is replaced by the same search
in torch. Scales are not rounded to half precision there, so that the Go test allows for it.

    python scripts/golden/olive.py --olive ANT-Quantization/olive_quantization > quant/testdata/olive.json
"""

import argparse
import contextlib
import io
import json
import sys
import types

import numpy as np
import torch

from gptq import integers

COMMIT = "bc840673b614fac644081f3169a9c81dff2d8dc1"
N, K = 8, 128


def nearest(x, grid):
    d = (x[:, None] - grid[None]).abs()
    last = d.shape[1] - 1 - d.flip(1).argmin(dim=1)  # of equals the last
    return grid[last], last


def weights(power, outliers):
    w = integers(N * K, 41).reshape(N, K) / 64
    w = np.sinh(power * w) / power  # tails
    w[2] *= .01
    w[:, 5::40] *= outliers
    return torch.tensor(w, dtype=torch.float32)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--olive", required=True, help="olive_quantization of a checkout at " + COMMIT)
    sys.path.insert(0, parser.parse_args().olive + "/antquant")
    sys.modules["quant_cuda"] = types.SimpleNamespace(quant=nearest)
    from quant_modules import Quantizer

    args = types.SimpleNamespace(w_up=250, a_up=250, w_low=75, a_low=75, percent=100, search=False, no_outlier=False)
    cases = []
    for power, outliers in ((.5, 8), (4, 1)):
        for mode in ("int", "flint", "ant-int-flint"):
            q = Quantizer(mode=mode, bit=4, is_signed=True, is_enable=True, args=args)
            q.alpha.data = torch.ones([N, 1])
            w = weights(power, outliers)
            with contextlib.redirect_stdout(io.StringIO()):
                out = q.tensor_forward(w)
            cases.append({"power": power, "outliers": outliers, "mode": mode, "chosen": q.mode,
                          "alpha": [float(f"{v:.8g}") for v in q.alpha.flatten()],
                          "values": [float(f"{v:.7g}") for v in out.flatten()]})
    json.dump({"commit": COMMIT, "cases": cases}, sys.stdout)


if __name__ == "__main__":
    main()
