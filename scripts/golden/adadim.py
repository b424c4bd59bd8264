"""Writes quant/testdata/adadim.json: what the authors' code of AdaDim (johnheo/adadim-llm) makes
of a small layer in groups along outputs: pseudo_quantize_tensor of quantizer.py by rounding
to nearest, and fasterquant of gptq.py. Their scales are rounded to half precision, as this
repository stores them. The file has the first four rows, and tr(E·H·Eᵀ) of all. The
matrices are those of published.py, but for the signs of some rows: grids span 0 in this
repository.

    python scripts/golden/adadim.py --adadim adadim-llm > quant/testdata/adadim.json
"""

import argparse
import contextlib
import io
import json
import sys
import types

import torch
import transformers  # noqa: F401

from vptq import layer

COMMIT = "49ee38e23729ea64d030064ab78bbf164788c534"
SCALES = "scales = (max_val - min_val).clamp(min=1e-5) / max_int"


def module(folder, name, **given):
    text = open(f"{folder}/adadim/{name}").read()
    assert text.count(SCALES) <= 1
    text = text.replace(SCALES, "scales = ((max_val - min_val).clamp(min=1e-5) / max_int).half().float()")
    text = text.replace("from .quant import quantize, pseudo_quantize_tensor", "")
    m = types.ModuleType(name)
    m.__dict__.update(given)
    exec(text, m.__dict__)
    return m


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--adadim", required=True, help="checkout of johnheo/adadim-llm at " + COMMIT)
    folder = parser.parse_args().adadim
    torch.cuda.synchronize = lambda: None
    w, h = layer()
    w[0::8], w[1::8] = w[0::8].abs(), -w[1::8].abs()  # both signs in every group
    rtn = module(folder, "quantize/quantizer.py")
    update = module(folder, "update/quant.py")
    gptq = module(folder, "update/gptq.py", quantize=update.quantize, pseudo_quantize_tensor=update.pseudo_quantize_tensor)
    cases = []

    def add(base, bits, group, hat):
        e = (w - hat).double()
        cases.append({"base": base, "bits": bits, "group": group, "objective": float(((e @ h) * e).sum()),
                      "values": [float(f"{x:.7g}") for x in hat[:4].flatten()]})

    for bits, group in ((4, 8), (3, 16)):
        add("rtn", bits, group, rtn.pseudo_quantize_tensor(w.clone(), n_bit=bits, q_group_size=group, per_ic=True))
        linear = torch.nn.Linear(w.shape[1], w.shape[0], bias=False)
        linear.weight.data = w.clone()
        g = gptq.GPTQ(linear)
        g.name, g.quantizer, g.H = "w", update.Quantizer(), h.float()
        g.quantizer.configure(bits, perchannel=True, sym=False)
        with contextlib.redirect_stdout(io.StringIO()):
            g.fasterquant(percdamp=.01, w_bit=bits, groupsize=group, actorder="sx", cfg="ic")
        add("gptq", bits, group, linear.weight.data)
    json.dump({"commit": COMMIT, "cases": cases}, sys.stdout)


if __name__ == "__main__":
    main()
