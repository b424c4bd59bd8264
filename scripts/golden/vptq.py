"""Writes quant/testdata/vptq.json: what the authors' code of VPTQ (microsoft/VPTQ, branch
algorithm, MIT) makes of a small layer: vptq.py's loop over columns, quantizer.py's vectors,
codebooks of groups of columns, and second codebooks.

k-means is ours, in numpy, as cuML needs a GPU: Lloyd's iteration under sample weights from
given vectors, which ends when the error falls by less than a hundred-thousandth; centres
are rounded to half precision. The file has the first four rows of each result, and
tr(E·H·Eᵀ) of all. The matrices are those of published.py, which the Go test
repeats.

    python scripts/golden/vptq.py --vptq VPTQ > quant/testdata/vptq.json
"""

import argparse
import contextlib
import json
import logging
import sys
import types

import numpy as np
import torch
import transformers  # noqa: F401  before its packages are replaced

from gptq import integers

COMMIT = "5a8dfb93d2a7475151f66c559a44e057fe5322f9"


class KMeans:
    def __init__(self, n_clusters, max_iter, **_):
        self.k, self.rounds = n_clusters, max_iter
        self.n_iter_ = self.inertia_ = 0

    def fit(self, x, sample_weight):
        x = np.asarray(x, dtype=np.float64)
        w = np.asarray(sample_weight, dtype=np.float64)
        if w.ndim == 2:  # of the second codebook; a vector is in one column
            w = w[:, 0]
        x32 = x[np.lexsort(x.T[::-1])]
        centers = x32[np.arange(self.k) * len(x) // self.k]
        before = np.inf
        for _ in range(self.rounds):
            d = ((x[:, None, :] - centers[None]) ** 2).sum(axis=2)
            near = d.argmin(axis=1)
            loss = (w * d[np.arange(len(x)), near]).sum()
            below = np.bincount(near, w, self.k)
            for r in range(x.shape[1]):
                top = np.bincount(near, w * x[:, r], self.k)
                centers[:, r] = np.where(below > 0, top / np.where(below > 0, below, 1), centers[:, r])
            if not loss < before * (1 - 1e-5):
                break
            before = loss
        self.cluster_centers_ = centers.astype(np.float16).astype(np.float32)
        self.labels_ = near


def layer():
    n, k = 16, 256
    w = torch.tensor(integers(n * k, 1).reshape(n, k) / 64, dtype=torch.float32)
    x = torch.tensor(integers(768 * k, 2).reshape(768, k) / 64, dtype=torch.float64)
    for j in range(k - 1, 0, -1):
        x[:, j] += x[:, j - 1] / 2
    x[:, 5::37] *= 4
    h = 2 / 768 * x.T @ x
    return w, h


def quantize(w, h, vector, first, second, groups, perm):
    from vptq import quantizer as module
    from vptq.vptq import VPTQ

    module.cupy_to_torch = torch.as_tensor

    log = logging.getLogger("vptq")
    quantizer = module.NPVectorQuantizer(
        layer_name="w", logger=log, vector_lens=(-1, vector), num_centroids=(-1, 1 << first),
        num_res_centroids=(-1, 1 << second if second else -1), npercent=0, group_size=-1, group_num=groups,
        kmeans_mode="hessian", enable_perm=perm)
    linear = torch.nn.Linear(w.shape[1], w.shape[0], bias=False)
    linear.weight.data = w.clone()
    order = torch.argsort(torch.diag(h), descending=True, stable=True) if perm else torch.arange(w.shape[1])
    damped = h[order][:, order].clone()
    damped += .01 * torch.diag(h).mean() * torch.eye(w.shape[1], dtype=torch.float64)
    upper = torch.linalg.cholesky(torch.linalg.inv(damped), upper=True)
    v = VPTQ(linear, quantizer, h.float(), upper.float(), order if perm else None, None, log, enable_perm=perm)
    v.fast_vector_quant()
    e = (w - v.qweight).double()
    return [float(f"{x:.6g}") for x in v.qweight[:4].flatten()], float(((e @ h) * e).sum())


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--vptq", required=True, help="checkout of microsoft/VPTQ at " + COMMIT)
    folder = parser.parse_args().vptq
    cluster = types.SimpleNamespace(KMeans=KMeans)
    sys.modules["cuml"] = types.SimpleNamespace(cluster=cluster)
    sys.modules["cupy"] = types.SimpleNamespace(cuda=types.SimpleNamespace(Device=contextlib.nullcontext))
    package = types.ModuleType("vptq")  # without its __init__, which wants a GPU
    package.__path__ = [folder + "/vptq"]
    sys.modules["vptq"] = package
    torch.cuda.synchronize = lambda: None
    w, h = layer()
    cases = []
    for vector, first, second, columns, perm in [
        (2, 8, 0, 0, True), (4, 8, 4, 0, False), (2, 6, 0, 64, False), (4, 6, 6, 128, True), (1, 4, 0, 32, False),
    ]:
        if perm and columns:  # the authors group columns in the order of h
            columns = 0
        values, objective = quantize(w, h, vector, first, second, w.shape[1] // columns if columns else 1, perm)
        cases.append({"vector": vector, "first": first, "second": second, "columns": columns, "perm": perm,
                      "values": values, "objective": objective})
    json.dump({"commit": COMMIT, "cases": cases}, sys.stdout)


if __name__ == "__main__":
    main()
