"""Writes internal/llm/grad/testdata/spinquant.json: loss and gradient of SpinQuant's
rotations (arXiv:2405.16406) by torch's autograd in float64, on the small checkpoints of
logits.py. Written after the paper, not after the authors' code.

The network is that of transformers. Its weights are functions of R1 and R2: gains folded
into what reads a norm; R1 on the embedding, on what reads and what writes the stream,
and on the output layer; R2 on the heads of v_proj's outputs and on o_proj's inputs; a
Hadamard transform before down_proj. Before each linear layer of a decoder layer a hook
rounds the inputs to 16 levels per token, zero among them, and passes gradients through.

Of each rotation R the file has (G·Rᵀ - R·Gᵀ)/2 times two columns of whole numbers; R is
the product of two reflections. Both come from the generator of rotations.py.

    pip install -r scripts/golden/requirements.txt -r scripts/golden/requirements-rotations.txt
    python scripts/golden/spinquant.py > internal/llm/grad/testdata/spinquant.json
"""

import json
import pathlib

import numpy as np
import torch
from scipy.linalg import hadamard
from torch.func import functional_call
from transformers import AutoModelForCausalLM

from rotations import integers, paley

MODELS = pathlib.Path(__file__).resolve().parents[2] / "internal/llm/testdata"
LENGTHS = [21, 2, 9]


def column(n, seed):
    return torch.tensor(integers(n, seed), dtype=torch.float64)


def rotation(n, seed):
    r = torch.eye(n, dtype=torch.float64)
    for s in (seed, seed + 1):
        u = column(n, s)
        r = r - 2 * torch.outer(r @ u, u) / (u @ u)
    return r


def rounded(x):
    low, high = x.amin(-1, keepdim=True).clamp(max=0), x.amax(-1, keepdim=True).clamp(min=0)
    scale = (high - low) / 15
    zero = torch.round(-low / scale)
    q = (torch.clamp(torch.round(x / scale) + zero, 0, 15) - zero) * scale
    return x + (q - x).detach()


def turned(p, layers, r1, r2, down):
    """The parameters p of the model, with gains folded and rotations taken up."""
    w = dict(p)
    d = r2[0].shape[0]
    w["model.embed_tokens.weight"] = p["model.embed_tokens.weight"] @ r1
    w["lm_head.weight"] = p["lm_head.weight"] * p["model.norm.weight"] @ r1
    w["model.norm.weight"] = torch.ones_like(p["model.norm.weight"])
    for l in range(layers):
        at = f"model.layers.{l}."
        for norm, names in (("input_layernorm", ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")),
                            ("post_attention_layernorm", ("mlp.gate_proj", "mlp.up_proj"))):
            for name in names:
                w[at + name + ".weight"] = p[at + name + ".weight"] * p[at + norm + ".weight"] @ r1
            w[at + norm + ".weight"] = torch.ones_like(p[at + norm + ".weight"])
        v, o, f = (at + name for name in ("self_attn.v_proj", "self_attn.o_proj", "mlp.down_proj"))
        w[v + ".weight"] = torch.einsum("hik,ij->hjk", w[v + ".weight"].unflatten(0, (-1, d)), r2[l]).flatten(0, 1)
        if v + ".bias" in p:
            w[v + ".bias"] = (p[v + ".bias"].unflatten(0, (-1, d)) @ r2[l]).flatten()
        w[o + ".weight"] = r1.T @ (p[o + ".weight"].unflatten(1, (-1, d)) @ r2[l]).flatten(1)
        w[f + ".weight"] = r1.T @ p[f + ".weight"] @ down
        for name in (o, f):
            if name + ".bias" in p:
                w[name + ".bias"] = p[name + ".bias"] @ r1
    return w


def case(name):
    model = AutoModelForCausalLM.from_pretrained(MODELS / name, torch_dtype=torch.float64,
                                                 attn_implementation="eager").eval()
    c = model.config
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())
    d = getattr(c, "head_dim", None) or c.hidden_size // c.num_attention_heads
    size = c.intermediate_size
    down = torch.tensor(np.kron(paley(12), hadamard(size // 12)) / size ** 0.5)
    for layer in model.model.layers:
        for part in (*layer.self_attn.children(), *layer.mlp.children()):
            if isinstance(part, torch.nn.Linear):
                part.register_forward_pre_hook(
                    lambda _, x, t=part is layer.mlp.down_proj: (rounded(x[0] @ down if t else x[0]),))
    r = [rotation(n, seed).requires_grad_() for n, seed in
         [(c.hidden_size, 11)] + [(d, 21 + 2 * l) for l in range(c.num_hidden_layers)]]
    p = {k: v.detach() for k, v in model.named_parameters(remove_duplicate=False)}
    w = turned(p, c.num_hidden_layers, r[0], r[1:], down)
    loss, seqs = 0, []
    for i, n in enumerate(LENGTHS):
        ids = [int(v + 128) % c.vocab_size for v in integers(n, 31 + i)]
        logits = functional_call(model, w, (torch.tensor([ids]),), tie_weights=False).logits[0]
        loss = loss + torch.nn.functional.cross_entropy(logits[:-1], torch.tensor(ids[1:]), reduction="sum")
        seqs.append(ids)
    loss = loss / (sum(LENGTHS) - len(LENGTHS))
    out = []
    for m, g in zip(r, torch.autograd.grad(loss, r)):
        k = (g @ m.T - m @ g.T) / 2
        n = m.shape[0]
        out.append([[float(f"{v:.9g}") for v in (k @ column(n, seed)).tolist()] for seed in (41, 42)])
    return {"model": name, "sequences": seqs, "loss": loss.item(), "gradient": out}


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    made = f"scripts/golden/spinquant.py: torch {torch.__version__}, float64"
    cases = [case(n) for n in ("llama3", "llama-bias", "qwen2", "qwen3", "mistral")]
    print(json.dumps({"made": made, "cases": cases}))
