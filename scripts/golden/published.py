"""Writes quant/testdata/published.json: what published implementations make of
small matrices, for quant's golden test of that name. Nothing here computes a
method; all of it comes from

  torchao     to_mx (scale rules floor and rceil), nvfp4_quantize
  auto_gptq   GPTQ.fasterquant; its Quantizer's scales are rounded to half
              precision, as this repository stores them
  autoawq     AwqQuantizer: losses of the search for scales, thresholds of clipping
  bitsandbytes int8_vectorwise_quant
  any4        quantize.py of facebookresearch/any4   --any4 FOLDER
  spqr        spqr_engine.py and quant_groups.py of Vahe1994/SpQR   --spqr FOLDER
  smoothquant smoothquant/smooth.py of mit-han-lab/smoothquant   --smoothquant FOLDER

The folders are checkouts; the commits used are in the file. Matrices come from
integers of a small generator that the Go test repeats.

    python scripts/golden/published.py --any4 any4 --spqr SpQR --smoothquant smoothquant > quant/testdata/published.json
"""

import argparse
import importlib.metadata
import importlib.util
import json
import logging
import sys
import types
from pathlib import Path

import numpy as np
import torch
import transformers.pytorch_utils  # before its packages are replaced

from gptq import integers

COMMITS = {
    "any4": "029d8900f7ac34741f27c3bab1f2ac0ad4d4a1aa",
    "spqr": "8a5907b5dfdfcd3522e73b7a19e422e4655f5c1d",
    "smoothquant": "0c727bc10cb30b0fc1b0754ec4b16c454cd00b24",
}
PACKAGES = ("torch", "torchao", "auto_gptq", "autoawq", "bitsandbytes", "scikit-learn")


def bare(name):
    """Makes the package name importable without its __init__, which wants a GPU."""
    parent, _, last = name.rpartition(".")
    module = types.ModuleType(name)
    if parent:
        module.__path__ = [str(Path(sys.modules[parent].__path__[0]) / last)]
    else:
        module.__path__ = list(importlib.util.find_spec(name).submodule_search_locations)
    sys.modules[name] = module


def matrix(n, k, seed, unit=64):
    return torch.tensor(integers(n * k, seed).reshape(n, k) / unit, dtype=torch.float32)


def flat(t):
    return [float(f"{v:.8g}") for v in t.flatten()]


def blocks():
    """Rows of different size within E4M3's normal range, a zero block and a strong weight."""
    w = matrix(6, 128, 7) * 2.0 ** (3 - torch.arange(6.0))[:, None]
    w[1, 32:64] = 0
    w[2, 5] = 61
    return w


def microscaling():
    torch.float4_e2m1fn_x2 = "float4_e2m1fn_x2"  # torch 2.7 lacks the type, which to_mx only compares
    from torchao.prototype.mx_formats import kernels, mx_tensor
    from torchao.prototype.mx_formats.nvfp4_tensor import nvfp4_quantize

    mx_tensor.SUPPORTED_ELEM_DTYPES = list(mx_tensor.SUPPORTED_ELEM_DTYPES) + [torch.float4_e2m1fn_x2]
    w = blocks()

    def values(packed):
        return kernels.f4_unpacked_to_f32(kernels.unpack_uint4(packed.view(torch.uint8).flatten())).reshape(w.shape)

    out = {}
    for name, mode in (("floor", "FLOOR"), ("rceil", "RCEIL")):
        scale, data = mx_tensor.to_mx(w, torch.float4_e2m1fn_x2, 32, mx_tensor.ScaleCalculationMode[mode])
        scale = scale.view(torch.uint8).reshape(6, 4)
        out["mxfp4 " + name] = {"scales": [int(v) for v in scale.flatten()],
                                "values": flat(values(data) * 2.0 ** (scale.double() - 127).repeat_interleave(32, 1))}
    unit = w.abs().max() / (6 * 448)
    scale, data = nvfp4_quantize(w, 16, unit)
    scale = scale.float().reshape(6, 8)
    out["nvfp4"] = {"scales": flat(scale), "values": flat(values(data) * (unit * scale).repeat_interleave(16, 1))}
    return out


def smooth_problem():
    x = matrix(96, 48, 11)
    x[:, 5::11] *= 32
    return x, [matrix(32, 48, 12, 512), matrix(16, 48, 13, 512)]


def smoothing(folder):
    """Scales of smooth_ln_fcs, read off the norm that it divides, and a row that it multiplies."""
    spec = importlib.util.spec_from_file_location("smooth", folder / "smoothquant" / "smooth.py")
    authors = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(authors)

    out = []
    for alpha in (0.0, 0.25, 0.5, 0.85, 1.0):
        x, ws = smooth_problem()
        norm, layers = torch.nn.LayerNorm(48), [torch.nn.Linear(48, w.shape[0]) for w in ws]
        for layer, w in zip(layers, ws):
            layer.weight.data = w.clone()
        authors.smooth_ln_fcs(norm, layers, x.abs().amax(dim=0), alpha)
        out.append({"alpha": alpha, "scales": flat(1 / norm.weight),
                    "weight": flat(layers[1].weight[3])})
    return out


def correlated():
    """W [16,256] and 768 tokens of correlated inputs with strong channels."""
    x = integers(768 * 256, 2).reshape(768, 256) / 64
    for j in range(255, 0, -1):
        x[:, j] += x[:, j - 1] / 2
    x[:, 5::37] *= 4
    return matrix(16, 256, 1), torch.tensor(x, dtype=torch.float32)


def gptq():
    bare("auto_gptq")
    bare("auto_gptq.quantization")
    from auto_gptq.quantization.gptq import GPTQ
    from auto_gptq.quantization.quantizer import Quantizer

    torch.cuda.synchronize = lambda: None

    class Half(Quantizer):
        def find_params(self, x, weight=False):
            super().find_params(x, weight)
            low = torch.minimum(x.min(1)[0], torch.zeros(x.shape[0]))
            self.scale = self.scale.half().float()
            self.zero = torch.round(-low[:, None] / self.scale)

    out = []
    for group, act, static in ((32, False, True), (32, True, True), (128, True, True), (128, False, False)):
        w, x = correlated()
        layer = torch.nn.Linear(256, 16, bias=False)
        layer.weight.data = w.clone()
        g = GPTQ(layer)
        g.add_batch(x, None)
        h = g.H.double()
        # add_batch counts a batch as one sample.
        h *= 1 / x.shape[0]
        g.H = h.float()
        g.quantizer = Half()
        g.quantizer.configure(4, perchannel=True, sym=False)
        g.fasterquant(blocksize=128, percdamp=0.01, group_size=group, actorder=act, static_groups=static)
        e = (w - layer.weight.data).double()
        out.append({"group": group, "act_order": act, "dynamic": not static, "objective": float(((e @ h) * e).sum()),
                    "row": flat(layer.weight.data[3])})
    return out


def awq():
    for name in ("awq", "awq.quantize", "awq.utils", "awq.modules"):
        bare(name)
    for name, names in {"awq.utils.calib_data": ["get_calib_dataset"], "awq.quantize.scale": ["apply_scale", "apply_clip"],
                        "awq.modules.linear": ["WQLinear_GEMM", "WQLinear_GEMV", "WQLinear_Marlin", "WQLinear_GEMVFast"]}.items():
        sys.modules[name] = types.ModuleType(name)
        for n in names:
            setattr(sys.modules[name], n, None)
    from awq.quantize.quantizer import AwqQuantizer

    w, x = matrix(64, 128, 1), matrix(512, 128, 2)
    x[:, 5::37] *= 8

    class Search(AwqQuantizer):
        def __init__(self, zero_point):
            self.w_bit, self.group_size, self.zero_point, self.duo_scaling = 4, 32, zero_point, False
            self.n_parallel_calib_samples, self.max_chunk_memory = None, 1 << 30
            self.losses = []

        def _compute_loss(self, a, b, device):
            self.losses.append(super()._compute_loss(a, b, device))
            return self.losses[-1]

    out = []
    for zero_point in (False, True):
        layer = torch.nn.Linear(128, 64, bias=False)
        layer.weight.data = w.clone()
        s = Search(zero_point)
        with torch.no_grad():
            best = s._compute_best_scale(x, torch.ones(128), x.abs().mean(0), layer, [layer], layer(x))
            clip = s._compute_best_clip(w.clone(), x)
            quantized = s.pseudo_quantize_tensor(w.clone())[0]
        out.append({"affine": zero_point, "losses": s.losses, "scales": flat(best), "clip": flat(clip), "row": flat(quantized[3])})
    return out


def int8():
    import bitsandbytes.functional as bnb

    w = matrix(4, 64, 21)
    codes, largest, _ = bnb.int8_vectorwise_quant(w.half())
    return {"codes": [int(v) for v in codes.flatten()], "largest": flat(largest)}


def any4(folder):
    """Tables from evenly spaced centres, weighted as the published runs weigh."""
    sys.path.insert(0, str(folder))
    import quantize as published

    w, mean = matrix(4, 256, 31), matrix(1, 256, 32)[0]
    w[:, 128:] *= 8
    assign, table, pairs = published.anyq_quantize_tensor(
        w, q_group_size=128, cluster_row=published.cluster_row_scikit, init="int", sample_weight=mean,
        scale_sample_weight=True, parallelize=False)
    values = published.anyq_dequantize_tensor(assign, table, pairs, q_group_size=128)
    scales, zeros = published.extract_scales_and_zeros(pairs, w.shape, 128)
    return {"tables": flat(table), "scales": flat(scales[:, ::128]), "zeros": flat(zeros[:, ::128]), "values": flat(values)}


def spqr(folder):
    """The two-level grid, and what leaving one weight out gains, of groups of 16."""
    sys.path.insert(0, str(folder))
    from quant_groups import Quantizer
    from spqr_engine import get_leave_one_out_error

    w, x = correlated()
    w[2, 7], w[5, 40] = 9, -7
    out = {}
    for bits in (3, 4):
        values = []
        for g in range(0, 64, 16):
            q = Quantizer()
            q.configure(bits, perchannel=True, sym=False, qq_scale_bits=3, qq_zero_bits=3, qq_groupsize=16)
            q.find_params(w[:, g:g + 16], weight=True)
            values.append(q.quantize_dequantize(w[:, g:g + 16]))
        out[f"bilevel {bits}"] = flat(torch.cat(values, 1))
    h = (2 / len(x) * x.T @ x).double()
    h += 0.01 * torch.diag(h).mean() * torch.eye(256)
    diagonal = torch.diag(torch.linalg.cholesky(torch.linalg.inv(h), upper=True)).float()
    gains = [get_leave_one_out_error(w[:, g:g + 16], diagonal[g:g + 16], bits=4, sym=False) for g in range(0, 256, 16)]
    out["gains"] = flat(torch.cat(gains, 1)[2:6])
    return out


def main():
    p = argparse.ArgumentParser()
    for name in COMMITS:
        p.add_argument("--" + name, type=Path, required=True)
    a = p.parse_args()
    logging.disable(logging.CRITICAL)
    out = {"script": "scripts/golden/published.py", "commits": COMMITS,
           "packages": {n: importlib.metadata.version(n) for n in PACKAGES}}
    out["microscaling"] = microscaling()
    out["smoothquant"] = smoothing(a.smoothquant)
    out["gptq"] = gptq()
    out["awq"] = awq()
    out["int8"] = int8()
    out["any4"] = any4(a.any4)
    out["spqr"] = spqr(a.spqr)
    print(json.dumps(out))


main()
