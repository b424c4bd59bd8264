#!/usr/bin/env python3
"""Train a tiny LLaMA-3-style or Qwen3-style language model.

Reads the token files of prepare.py and writes OUT in the Hugging Face layout:
model.safetensors (bfloat16), config.json, tokenizer.json; beside them
train.json (what was asked for and what was measured) and train.jsonl (the loss
log). model.safetensors always holds the weights of the lowest held-out loss so
far. A run of --steps is reproducible from its seed on one machine and thread
count; a run against the clock (--seconds, --until) depends on its speed.

example: train.py models/tiny-qwen3 --arch qwen3 --tokens tokens \\
           --tokenizer tokenizer.json --mix wiki=1 books=1 --seconds 5400
"""
import argparse
import json
import math
import os
import shutil
import time
from datetime import datetime

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from safetensors.torch import load_file, save_file


def arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("out", help="folder to write")
    p.add_argument("--tokens", required=True, help="folder of NAME.train.bin and NAME.valid.bin")
    p.add_argument("--tokenizer", required=True, help="tokenizer.json the tokens were made with")
    p.add_argument("--mix", nargs="+", default=["wiki=1", "books=1"], metavar="NAME=WEIGHT",
                   help="sources and their shares of the training windows")
    p.add_argument("--init", metavar="DIR",
                   help="continue from DIR/model.safetensors, with the architecture of DIR/config.json")

    g = p.add_argument_group("architecture")
    for name, (default, _) in ARCHITECTURE.items():
        kind = str if default is None else type(default)
        g.add_argument("--" + name.replace("_", "-"), type=kind, help=f"default {default}")

    g = p.add_argument_group("length of the run (exactly one)").add_mutually_exclusive_group(required=True)
    g.add_argument("--steps", type=int)
    g.add_argument("--seconds", type=float, help="wall-clock budget, from the start of the process")
    g.add_argument("--until", help="wall-clock end, ISO 8601 with zone: 2026-01-31T06:30:00+00:00")

    g = p.add_argument_group("optimization")
    g.add_argument("--optimizer", choices=["muon", "adamw"], default="muon",
                   help="muon: Muon for the linear layers, AdamW for the rest")
    g.add_argument("--lr", type=float, default=4e-3)
    g.add_argument("--weight-decay", type=float, default=0.1, help="for matrices; vectors have none")
    g.add_argument("--batch", type=int, default=16, help="windows per step")
    g.add_argument("--schedule", choices=["wsd", "cosine"], default="wsd",
                   help="wsd: constant, then linear to zero over the last --decay of the run")
    g.add_argument("--decay", type=float, default=0.4)
    g.add_argument("--warmup", type=int, default=100, help="steps of linear warm-up")
    g.add_argument("--clip", type=float, default=1.0, help="gradient norm limit")
    g.add_argument("--seed", type=int, default=1)

    g = p.add_argument_group("machine and log")
    g.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    g.add_argument("--threads", type=int, help="CPU threads")
    g.add_argument("--fp32", action="store_true", help="no bfloat16 autocast")
    g.add_argument("--no-compile", action="store_true", help="no torch.compile")
    g.add_argument("--eval-every", type=int, default=100, help="steps between held-out losses, and saves")
    g.add_argument("--eval-windows", type=int, default=64, help="held-out windows per source")
    g.add_argument("--log-every", type=int, default=20, help="steps between log lines")
    g.add_argument("--label", default="", help="any text; ignored (to recognise the process by)")
    return architecture(p.parse_args())


# option: (default, name in config.json); an --init folder's config.json goes before the default
ARCHITECTURE = {
    "arch": ("llama", "model_type"),
    "hidden": (256, "hidden_size"),
    "layers": (6, "num_hidden_layers"),
    "heads": (4, "num_attention_heads"),
    "kv_heads": (2, "num_key_value_heads"),
    "head_dim": (64, "head_dim"),
    "ffn": (768, "intermediate_size"),
    "rope_theta": (10000.0, "rope_theta"),
    "rms_eps": (1e-6, "rms_norm_eps"),
    "ctx": (512, "max_position_embeddings"),  # tokens per training window
}


def architecture(c):
    """Fill in the architecture options that were not given. Only --ctx may differ from an --init folder's."""
    config, path = {}, None
    if c.init:
        path = os.path.join(c.init, "config.json")
        with open(path, encoding="utf-8") as f:
            config = json.load(f)
    for name, (default, key) in ARCHITECTURE.items():
        if path and key not in config:
            raise SystemExit(f"{path}: no {key}")
        known, given = config.get(key, default), getattr(c, name)
        if given is None:
            setattr(c, name, known)
        elif path and given != known and name != "ctx":
            raise SystemExit(f"--{name.replace('_', '-')} {given}: {path} has {key} {known}")
    if c.arch not in ("llama", "qwen3"):
        raise SystemExit(f"{path or '--arch'}: architecture {c.arch}, want llama or qwen3")
    return c


# --- model: parameter names and arithmetic of transformers' LlamaForCausalLM and Qwen3ForCausalLM

def linear(n_in, n_out):
    return nn.Linear(n_in, n_out, bias=False)


class RMSNorm(nn.Module):
    def __init__(self, n, eps):
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(n))

    def forward(self, x):
        y = x.float()
        y = y * torch.rsqrt(y.square().mean(-1, keepdim=True) + self.eps)
        return (y * self.weight).to(x.dtype)


def rotate(x, cos, sin):
    """Rotary embedding of x [B, heads, T, d]; dimension i pairs with i + d/2."""
    a, b = x.chunk(2, -1)
    return x * cos + torch.cat([-b, a], -1) * sin


def attention(q, k, v):
    """Causal attention of q [B, heads, T, d] over k and v [B, kv heads, T, d]."""
    k, v = (t.repeat_interleave(q.size(1) // k.size(1), 1) for t in (k, v))
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)


def attention_cpu(q, k, v):
    """The same by plain matrix products, the heads of one key head together: on a
    CPU and short windows several times the speed of the fused kernel's backward."""
    (b, heads, t, d), kv = q.shape, k.size(1)
    hidden = torch.ones(t, t, dtype=torch.bool, device=q.device).triu(1)
    s = (q * d ** -0.5).reshape(b * kv, -1, d) @ k.flatten(0, 1).mT
    s = s.float().view(b * kv, -1, t, t).masked_fill(hidden, float("-inf")).softmax(-1)
    return (s.to(v.dtype).view(b * kv, -1, t) @ v.flatten(0, 1)).view(b, heads, t, d)


class Attention(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.d = c.head_dim
        self.q_proj = linear(c.hidden, c.heads * c.head_dim)
        self.k_proj = linear(c.hidden, c.kv_heads * c.head_dim)
        self.v_proj = linear(c.hidden, c.kv_heads * c.head_dim)
        self.o_proj = linear(c.heads * c.head_dim, c.hidden)
        if c.arch == "qwen3":
            self.q_norm, self.k_norm = RMSNorm(c.head_dim, c.rms_eps), RMSNorm(c.head_dim, c.rms_eps)

    def forward(self, x, cos, sin):
        q, k, v = (p(x).unflatten(-1, (-1, self.d)) for p in (self.q_proj, self.k_proj, self.v_proj))
        if hasattr(self, "q_norm"):
            q, k = self.q_norm(q), self.k_norm(k)
        q, k, v = (t.transpose(1, 2) for t in (q, k, v))  # [B, heads, T, d]
        q, k = rotate(q, cos, sin).to(v.dtype), rotate(k, cos, sin).to(v.dtype)
        y = attention_cpu(q, k, v) if x.device.type == "cpu" else attention(q, k, v)
        return self.o_proj(y.transpose(1, 2).flatten(2))


class MLP(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.gate_proj, self.up_proj = linear(c.hidden, c.ffn), linear(c.hidden, c.ffn)
        self.down_proj = linear(c.ffn, c.hidden)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.input_layernorm = RMSNorm(c.hidden, c.rms_eps)
        self.post_attention_layernorm = RMSNorm(c.hidden, c.rms_eps)
        self.self_attn, self.mlp = Attention(c), MLP(c)

    def forward(self, x, cos, sin):
        x = x + self.self_attn(self.input_layernorm(x), cos, sin)
        return x + self.mlp(self.post_attention_layernorm(x))


class LanguageModel(nn.Module):
    """Decoder with tied embeddings; forward returns the loss per token [B, T] in nats."""

    def __init__(self, c, vocab):
        super().__init__()
        self.model = nn.ModuleDict({
            "embed_tokens": nn.Embedding(vocab, c.hidden),
            "layers": nn.ModuleList(Layer(c) for _ in range(c.layers)),
            "norm": RMSNorm(c.hidden, c.rms_eps),
        })
        for name, p in self.named_parameters():
            if p.dim() == 2:  # residual branches start smaller, as in GPT-2
                residual = name.endswith(("o_proj.weight", "down_proj.weight"))
                nn.init.normal_(p, 0, 0.02 / (math.sqrt(2 * c.layers) if residual else 1))
        angle = torch.arange(c.ctx).outer(c.rope_theta ** (-torch.arange(0, c.head_dim, 2) / c.head_dim))
        angle = torch.cat([angle, angle], -1)
        self.register_buffer("cos", angle.cos(), persistent=False)
        self.register_buffer("sin", angle.sin(), persistent=False)

    def forward(self, x, y):
        h = self.model["embed_tokens"](x)
        for layer in self.model["layers"]:
            h = layer(h, self.cos, self.sin)
        logits = F.linear(self.model["norm"](h), self.model["embed_tokens"].weight)
        return F.cross_entropy(logits.float().flatten(0, 1), y.flatten(), reduction="none").view_as(y)


def hf_config(c, vocab, bos, eos):
    architecture = {"llama": "LlamaForCausalLM", "qwen3": "Qwen3ForCausalLM"}[c.arch]
    config = {
        "architectures": [architecture], "model_type": c.arch, "hidden_size": c.hidden,
        "intermediate_size": c.ffn, "num_hidden_layers": c.layers, "num_attention_heads": c.heads,
        "num_key_value_heads": c.kv_heads, "head_dim": c.head_dim, "vocab_size": vocab,
        "max_position_embeddings": c.ctx, "rms_norm_eps": c.rms_eps, "rope_theta": c.rope_theta,
        "tie_word_embeddings": True, "hidden_act": "silu", "attention_bias": False,
        "bos_token_id": bos, "eos_token_id": eos, "torch_dtype": "bfloat16",
    }
    if c.arch == "qwen3":
        config.update(use_sliding_window=False, sliding_window=None)
    else:
        config.update(mlp_bias=False)
    return config


# --- optimizer


def orthogonalize(g):
    """The nearest semi-orthogonal matrices of g [S, N, K], roughly: five
    Newton-Schulz steps with Jordan's coefficients bring all singular values
    into about 0.7 .. 1.2 (Jordan et al. 2024, Muon)."""
    x = g.mT if g.size(-2) > g.size(-1) else g
    x = x.bfloat16()
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(5):
        a = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(a, a, a, beta=-4.7750, alpha=2.0315), x, beta=3.4445)
    return (x.mT if g.size(-2) > g.size(-1) else x).float()


class Muon(torch.optim.Optimizer):
    """Momentum whose update is orthogonalized, matrices of one shape together.

    The update is scaled to the root mean square 0.2 that AdamW's usually has,
    so that both share a learning rate (Liu et al. 2025, arXiv:2502.16982, eq. 4).
    """

    def __init__(self, params, lr, momentum=0.95, weight_decay=0.1):
        shapes = {}
        for p in params:
            shapes.setdefault(p.shape, []).append(p)
        groups = [{"params": ps} for ps in shapes.values()]
        super().__init__(groups, dict(lr=lr, momentum=momentum, weight_decay=weight_decay))

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            ps, beta, lr = group["params"], group["momentum"], group["lr"]
            g = torch.stack([p.grad for p in ps])
            m = self.state[ps[0]].setdefault("momentum", torch.zeros_like(g))
            m.lerp_(g, 1 - beta)
            update = orthogonalize(g.lerp(m, beta))  # Nesterov
            scale = 0.2 * math.sqrt(max(ps[0].shape))
            torch._foreach_mul_(ps, 1 - lr * group["weight_decay"])
            torch._foreach_add_(ps, list(update.unbind()), alpha=-lr * scale)


def optimizers(model, c):
    named = list(model.named_parameters())
    vectors = [p for _, p in named if p.dim() < 2]
    matrices = [p for n, p in named if p.dim() == 2 and "layers" in n]
    embedding = [p for n, p in named if p.dim() == 2 and "layers" not in n]
    adam = embedding if c.optimizer == "muon" else embedding + matrices
    result = [torch.optim.AdamW(
        [{"params": adam, "weight_decay": c.weight_decay}, {"params": vectors, "weight_decay": 0.0}],
        lr=c.lr, betas=(0.9, 0.95), eps=1e-9, fused=True)]
    if c.optimizer == "muon":
        result.append(Muon(matrices, c.lr, weight_decay=c.weight_decay))
    return result


# --- data


class Windows:
    """Windows of ctx+1 tokens from one source, in a new random order and cut at
    a new offset every epoch."""

    def __init__(self, path, ctx, seed):
        self.tokens = np.memmap(path, dtype="<u2", mode="r")
        if len(self.tokens) < 2 * ctx + 1:
            raise SystemExit(f"{path}: {len(self.tokens)} tokens, need at least {2 * ctx + 1}")
        self.ctx, self.rng, self.order = ctx, np.random.default_rng(seed), []

    def next(self):
        if not len(self.order):
            starts = np.arange(self.rng.integers(self.ctx), len(self.tokens) - self.ctx, self.ctx)
            self.order = self.rng.permutation(starts)
        start, self.order = self.order[-1], self.order[:-1]
        return self.tokens[start:start + self.ctx + 1].astype(np.int64)

    def spread(self, n):
        """n windows evenly spread over the source; the same at every call."""
        starts = np.linspace(0, len(self.tokens) - self.ctx - 1, n).astype(int)
        return np.stack([self.tokens[s:s + self.ctx + 1] for s in starts]).astype(np.int64)


class Batches:
    """Training batches; each window's source is drawn by the weights of --mix."""

    def __init__(self, c, mix):
        self.sources = [Windows(os.path.join(c.tokens, f"{n}.train.bin"), c.ctx, [c.seed, i])
                        for i, n in enumerate(mix)]
        self.share = np.array(list(mix.values())) / sum(mix.values())
        self.rng, self.c = np.random.default_rng(c.seed), c

    def next(self):
        picks = self.rng.choice(len(self.sources), self.c.batch, p=self.share)
        z = torch.from_numpy(np.stack([self.sources[i].next() for i in picks])).to(self.c.device)
        return z[:, :-1], z[:, 1:]


def token_bytes(tokenizer):
    """Bytes of text per token id [vocab]; special tokens stand for none. In a
    byte-level BPE each character of a token is one byte."""
    sizes = {i: len(t) for t, i in tokenizer["model"]["vocab"].items()}
    sizes.update({t["id"]: 0 for t in tokenizer["added_tokens"] if t["special"]})
    if sorted(sizes) != list(range(len(sizes))):
        raise SystemExit("tokenizer: token ids are not 0 .. vocab-1")
    return torch.tensor([sizes[i] for i in range(len(sizes))])


# --- run


class Run:
    def __init__(self, c):
        self.c, self.start = c, time.time()
        self.end = None
        if c.seconds:
            self.end = self.start + c.seconds
        if c.until:
            end = datetime.fromisoformat(c.until)
            if end.tzinfo is None or end.timestamp() <= self.start:
                raise SystemExit(f"--until {c.until}: needs a time zone and to lie in the future")
            self.end = end.timestamp()
        self.mix = {n: float(w) for n, w in (s.split("=") for s in c.mix)}
        with open(c.tokenizer, encoding="utf-8") as f:
            tokenizer = json.load(f)
        self.bytes = token_bytes(tokenizer)
        special = {t["content"]: t["id"] for t in tokenizer["added_tokens"]}
        self.config = hf_config(c, len(self.bytes), special["<|begin_of_text|>"], special["<|end_of_text|>"])

        torch.manual_seed(c.seed)
        self.model = LanguageModel(c, len(self.bytes)).to(c.device)
        if c.init:
            self.load(c.init)
        self.loss = self.model if c.no_compile else torch.compile(self.model)
        self.optimizers = optimizers(self.model, c)
        self.train = Batches(c, self.mix)
        self.valid = {n: Windows(os.path.join(c.tokens, f"{n}.valid.bin"), c.ctx, 0).spread(c.eval_windows)
                      for n in self.mix}
        self.step = self.tokens = 0
        self.best = None

        os.makedirs(c.out, exist_ok=True)
        self.log = open(os.path.join(c.out, "train.jsonl"), "a", buffering=1)
        if os.path.abspath(c.tokenizer) != os.path.abspath(os.path.join(c.out, "tokenizer.json")):
            shutil.copyfile(c.tokenizer, os.path.join(c.out, "tokenizer.json"))
        write_json(os.path.join(c.out, "config.json"), self.config)

    def progress(self):
        """Share of the run that is over, 0 .. 1: of the steps, or of the time, whatever was done in it."""
        if self.c.steps:
            return self.step / self.c.steps
        return (time.time() - self.start) / (self.end - self.start)

    def lr(self, progress):
        if self.c.schedule == "cosine":
            factor = 0.5 * (1 + math.cos(math.pi * progress))
        else:
            factor = min(1.0, (1 - progress) / self.c.decay)
        return self.c.lr * factor * min(1.0, (self.step + 1) / self.c.warmup)

    def autocast(self):
        return torch.autocast(torch.device(self.c.device).type, torch.bfloat16, enabled=not self.c.fp32)

    @torch.no_grad()
    def evaluate(self):
        """Held-out loss of each source, and their mean by --mix."""
        result, mean = {}, 0.0
        for name, windows in self.valid.items():
            nats, size = 0.0, 0
            for z in torch.from_numpy(windows).split(self.c.batch):
                z = z.to(self.c.device)
                with self.autocast():
                    nats += float(self.loss(z[:, :-1], z[:, 1:]).double().sum())
                size += int(self.bytes[z[:, 1:].cpu()].sum())
            per_token = nats / (windows.shape[0] * self.c.ctx)
            result[name] = {"nats_per_token": round(per_token, 5), "bits_per_byte": round(nats / size / math.log(2), 5)}
            mean += per_token * self.mix[name] / sum(self.mix.values())
        return {"nats_per_token": round(mean, 5), **result}

    def check(self):
        """Evaluate, and save if this is the best so far."""
        valid = self.evaluate()
        if self.best is None or valid["nats_per_token"] < self.best["valid"]["nats_per_token"]:
            self.best = {"step": self.step, "tokens": self.tokens, "valid": valid}
            self.save()
        self.describe()
        return valid

    def save(self):
        tensors = {n: p.detach().to("cpu", torch.bfloat16).contiguous() for n, p in self.model.named_parameters()}
        path = os.path.join(self.c.out, "model.safetensors")
        save_file(tensors, path + ".tmp", metadata={"format": "pt"})
        os.replace(path + ".tmp", path)

    def load(self, folder):
        path = os.path.join(folder, "model.safetensors")
        tensors, wanted = load_file(path), dict(self.model.named_parameters())
        if tensors.keys() != wanted.keys():
            raise SystemExit(f"{path}: tensors differ from the architecture asked for: "
                             f"{sorted(tensors.keys() ^ wanted.keys())[:4]}")
        with torch.no_grad():
            for name, p in wanted.items():
                if p.shape != tensors[name].shape:
                    raise SystemExit(f"{path}: {name}: shape {tuple(tensors[name].shape)}, want {tuple(p.shape)}")
                p.copy_(tensors[name])

    def describe(self, final=None):
        """Write train.json."""
        options = {k: v for k, v in vars(self.c).items() if v is not None and k not in ("out", "tokens", "tokenizer", "label")}
        if self.c.init:  # a folder's own name only: its place means nothing to others
            options["init"] = os.path.basename(os.path.normpath(self.c.init))
        d = {"options": options, "parameters": sum(p.numel() for p in self.model.parameters()),
             "torch": torch.__version__, "device": str(self.c.device), "threads": torch.get_num_threads(),
             "steps": self.step, "tokens": self.tokens, "seconds": round(time.time() - self.start), "best": self.best}
        if final:
            d["saved_weights"] = final
        write_json(os.path.join(self.c.out, "train.json"), d)

    def __call__(self):
        loss_sum, loss_n, mark, mark_tokens = 0.0, 0, time.time(), 0
        if self.c.init:
            print("init", self.check(), flush=True)
        while (progress := self.progress()) < 1:
            lr = self.lr(progress)
            for o in self.optimizers:
                for group in o.param_groups:
                    group["lr"] = lr
            x, y = self.train.next()
            with self.autocast():
                loss = self.loss(x, y).mean()
            loss.backward()
            nn.utils.clip_grad_norm_(self.model.parameters(), self.c.clip)
            for o in self.optimizers:
                o.step()
                o.zero_grad(set_to_none=True)
            self.step, self.tokens = self.step + 1, self.tokens + y.numel()
            loss_sum, loss_n = loss_sum + loss.detach(), loss_n + 1

            evaluate = self.step % self.c.eval_every == 0
            if evaluate or self.step % self.c.log_every == 0:
                mean = float(loss_sum) / loss_n
                if not math.isfinite(mean):
                    raise SystemExit(f"step {self.step}: training loss is {mean}")
                line = {"step": self.step, "tokens": self.tokens, "seconds": round(time.time() - self.start, 1),
                        "train": round(mean, 5), "lr": round(lr, 7),
                        "tok_per_s": round((self.tokens - mark_tokens) / (time.time() - mark))}
                if evaluate:
                    line["valid"] = self.check()
                self.record(line)
                loss_sum, loss_n, mark, mark_tokens = 0.0, 0, time.time(), self.tokens
        self.record({"step": self.step, "tokens": self.tokens, "seconds": round(time.time() - self.start, 1),
                     "lr": 0.0, "valid": self.check()})
        self.load(self.c.out)  # the best weights as saved, rounded to bfloat16
        final = self.evaluate()
        self.describe(final)
        print("saved weights", json.dumps(final), flush=True)

    def record(self, line):
        self.log.write(json.dumps(line) + "\n")
        print(json.dumps(line), flush=True)


def write_json(path, value):
    with open(path + ".tmp", "w") as f:
        json.dump(value, f, indent=2)
        f.write("\n")
    os.replace(path + ".tmp", path)


if __name__ == "__main__":
    c = arguments()
    if c.threads:
        torch.set_num_threads(c.threads)
    run = Run(c)
    print(f"{sum(p.numel() for p in run.model.parameters())} parameters, {c.device}, "
          f"{torch.get_num_threads()} threads, torch {torch.__version__}", flush=True)
    run()
