"""Writes internal/foreign/testdata: one-layer models that other libraries quantized on the
CPU, each a folder with config.json and model.safetensors, and golden.json: the SHA-256 of
what the library makes of each linear layer, row by row in float32, after its own rounding.

  ct-*   compressed-tensors: ModelCompressor.compress_model, decompress_model
  gptq*  auto_gptq (version 1): QuantLinear.pack and forward of the identity;
         gptqmodel (gptq_v2): TorchLinear.pack_original, dequantize_weight
  awq    autoawq: WQLinear_GEMM.from_linear, dequantize_gemm
  bnb-*  bitsandbytes through transformers: from_pretrained with BitsAndBytesConfig,
         save_pretrained, the default of dequantize_4bit

Scales are found here, by the largest weight: what is tested is how numbers are stored.

    python scripts/golden/foreign.py internal/foreign/testdata
"""

import hashlib
import importlib.metadata
import importlib.util
import json
import logging
import shutil
import sys
import types
from pathlib import Path

import torch
import transformers.modeling_utils
import transformers.pytorch_utils
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM

SIZES = dict(vocab_size=48, hidden_size=64, intermediate_size=96, num_hidden_layers=1, num_attention_heads=2,
             num_key_value_heads=1, head_dim=32, max_position_embeddings=64, rms_norm_eps=1e-5, rope_theta=10000.0,
             tie_word_embeddings=True, bos_token_id=1, eos_token_id=2)
GOLDEN = {}


def bare(name):
    """Makes the package name importable without its __init__, which wants other versions."""
    if name in sys.modules:
        return
    parent, _, last = name.rpartition(".")
    module = types.ModuleType(name)
    if parent:
        module.__path__ = [str(Path(sys.modules[parent].__path__[0]) / last)]
    else:
        module.__path__ = list(importlib.util.find_spec(name).submodule_search_locations)
    sys.modules[name] = module


def model(dtype):
    torch.manual_seed(5)
    m = LlamaForCausalLM(LlamaConfig(**SIZES)).to(dtype).eval()
    with torch.no_grad():
        for name, p in m.named_parameters():
            if "norm" in name:
                p.uniform_(0.5, 1.5)
            elif p.ndim == 2 and "embed" not in name:
                p.normal_(0, 0.05)
                p.mul_(1 + (torch.arange(p.shape[0]) % 5)[:, None].to(dtype))
    return m


def linears(m):
    return {n: x for n, x in m.named_modules() if isinstance(x, torch.nn.Linear) and n != "lm_head"}


def note(name, weights, package, extra=None):
    """Hashes weights [N,K], by layer, as float32."""
    dtype = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}
    GOLDEN[name] = {"by": f"{package} {importlib.metadata.version(package)}", **(extra or {}), "layers": {
        n: {"dtype": dtype[w.dtype], "first": [float(v) for v in w.detach().flatten()[:4]],
            "sha256": hashlib.sha256((w.detach().float().contiguous() + 0).numpy().tobytes()).hexdigest()} for n, w in weights.items()}}


def write(folder, m, tensors, quantization):
    """A folder as the library's save function leaves it, without its other files."""
    folder.mkdir(parents=True)
    config = {"model_type": "llama", **SIZES, "hidden_act": "silu", "torch_dtype": str(m.dtype).removeprefix("torch."),
              "quantization_config": quantization}
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    save_file({n: t.contiguous() for n, t in tensors.items()}, folder / "model.safetensors", {"format": "pt"})


def compressed(out, name, dtype, weights, inputs=None):
    from compressed_tensors.compressors import ModelCompressor
    from compressed_tensors.quantization import QuantizationArgs, QuantizationConfig, QuantizationScheme, QuantizationStatus, apply_quantization_config
    from compressed_tensors.quantization.utils import calculate_qparams, generate_gparam

    m = model(dtype)
    args = QuantizationArgs(**weights)
    scheme = QuantizationScheme(targets=["Linear"], weights=args, input_activations=inputs and QuantizationArgs(**inputs))
    apply_quantization_config(m, QuantizationConfig(config_groups={"group_0": scheme}, ignore=["lm_head", "re:.*o_proj"]))
    for layer in linears(m).values():
        if not hasattr(layer, "weight_scale"):
            continue
        w = layer.weight.data
        size = args.group_size or w.shape[1]
        groups = w.unflatten(1, (-1, size))
        g = None
        if args.strategy == "tensor_group":
            g = generate_gparam(w.min(), w.max())
            layer.weight_global_scale.data = g.to(torch.float32).reshape(1)
        scale, zero = calculate_qparams(groups.amin(-1), groups.amax(-1), args, g)
        layer.weight_scale.data = scale.to(layer.weight_scale.dtype).reshape(layer.weight_scale.shape)
        if hasattr(layer, "weight_zero_point"):
            layer.weight_zero_point.data = zero.to(layer.weight_zero_point.dtype).reshape(layer.weight_zero_point.shape)
        layer.quantization_status = QuantizationStatus.FROZEN
    for layer in linears(m).values():
        if hasattr(layer, "input_global_scale"):
            layer.input_global_scale.data.fill_(7)
    compressor = ModelCompressor.from_pretrained_model(m)
    compressor.compress_model(m)
    folder = out / name
    tensors = {n: t for n, t in m.state_dict().items() if n != "lm_head.weight"}
    write(folder, m, tensors, None)
    config = json.loads((folder / "config.json").read_text())
    del config["quantization_config"]
    (folder / "config.json").write_text(json.dumps(config))
    compressor.update_config(str(folder))
    compressor.decompress_model(m)
    note(name, {n: x.weight for n, x in linears(m).items()}, "compressed-tensors")


def grid(w, size, bits, symmetric):
    """Scales and zeros [N, groups] of the groups of w [N,K], in half precision."""
    g = w.float().unflatten(1, (-1, size))
    if symmetric:
        scale = g.abs().amax(-1) / (2 ** (bits - 1) - 1)
        zero = torch.full_like(scale, 2 ** (bits - 1))
    else:
        low, high = g.amin(-1).clamp(max=0), g.amax(-1).clamp(min=0)
        scale = (high - low) / (2**bits - 1)
        zero = (-low / scale).round().clamp(1, 2**bits - 1)
    return scale.half(), zero


def autogptq(out, name, bits, size, symmetric, act):
    for p in ("auto_gptq", "auto_gptq.nn_modules", "auto_gptq.nn_modules.qlinear"):
        bare(p)
    from auto_gptq.nn_modules.qlinear.qlinear_cuda import QuantLinear

    m = model(torch.float16)
    tensors, values = {n: t for n, t in m.state_dict().items() if n != "lm_head.weight"}, {}
    for n, layer in linears(m).items():
        w = layer.weight.data
        rows, k = w.shape
        order = torch.randperm(k) if act else torch.arange(k)
        index = torch.empty(k, dtype=torch.int32)
        index[order] = (torch.arange(k) // size).int()
        scale, zero = grid(w[:, order], size, bits, symmetric)
        q = QuantLinear(bits, size, k, rows, False)
        layer.weight.data = w
        q.pack(layer, scale, zero.half(), index)
        del tensors[n + ".weight"]
        tensors.update({f"{n}.{b}": t for b, t in q.state_dict().items()})
        values[n] = q(torch.eye(k, dtype=torch.float16)).T
    write(out / name, m, tensors, {"quant_method": "gptq", "bits": bits, "group_size": size, "desc_act": act, "sym": symmetric,
                                   "static_groups": False, "true_sequential": True, "damp_percent": 0.01})
    note(name, values, "auto_gptq")


def gptqmodel(out, name, bits, size, symmetric, act):
    from gptqmodel.nn_modules.qlinear.torch import TorchLinear

    m = model(torch.float16)
    tensors, values = {n: t for n, t in m.state_dict().items() if n != "lm_head.weight"}, {}
    for n, layer in linears(m).items():
        w = layer.weight.data
        rows, k = w.shape
        order = torch.randperm(k) if act else torch.arange(k)
        index = torch.empty(k, dtype=torch.int32)
        index[order] = (torch.arange(k) // size).int()
        scale, zero = grid(w[:, order], size, bits, symmetric)
        q = TorchLinear(bits=bits, group_size=size, sym=symmetric, desc_act=act, in_features=k, out_features=rows, bias=False)
        q.pack_original(layer, scale, zero.half(), index)
        q.post_init()
        del tensors[n + ".weight"]
        tensors.update({f"{n}.{b}": t for b, t in q.state_dict().items()})
        values[n] = q.dequantize_weight().T.to(torch.float16)
    write(out / name, m, tensors, {"quant_method": "gptq", "checkpoint_format": "gptq_v2", "bits": bits, "group_size": size, "desc_act": act,
                                   "sym": symmetric, "lm_head": False, "pack_dtype": "int32", "meta": {"quantizer": ["gptqmodel"]}})
    note(name, values, "gptqmodel")


def autoawq(out, name, size):
    for p in ("awq", "awq.modules", "awq.modules.linear", "awq.utils"):
        bare(p)
    from awq.modules.linear.gemm import WQLinear_GEMM
    from awq.utils.packing_utils import dequantize_gemm

    m = model(torch.float16)
    tensors, values = {n: t for n, t in m.state_dict().items() if n != "lm_head.weight"}, {}
    for n, layer in linears(m).items():
        if n.endswith("o_proj"):
            values[n] = layer.weight
            continue
        scale, zero = grid(layer.weight.data, size, 4, False)
        q = WQLinear_GEMM.from_linear(layer, 4, size, False, scale.T.contiguous(), zero.T.contiguous())
        del tensors[n + ".weight"]
        tensors.update({f"{n}.{b}": t for b, t in q.state_dict().items()})
        values[n] = dequantize_gemm(q.qweight, q.qzeros, q.scales, 4, size).T
    write(out / name, m, tensors, {"quant_method": "awq", "bits": 4, "group_size": size, "version": "gemm", "zero_point": True,
                                   "modules_to_not_convert": ["o_proj"]})
    note(name, values, "autoawq")


def bnb(out, name, kind, double):
    # The library's kernel for CPUs takes the scales of another block where blocks cross rows.
    from bitsandbytes.backends.default.ops import _dequantize_4bit_compute
    from bitsandbytes.functional import dequantize_blockwise
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    plain, folder = out / "plain", out / name
    model(torch.bfloat16).save_pretrained(plain)
    q = AutoModelForCausalLM.from_pretrained(plain, dtype=torch.bfloat16, quantization_config=BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type=kind, bnb_4bit_use_double_quant=double, bnb_4bit_compute_dtype=torch.bfloat16))
    q.save_pretrained(folder)
    shutil.rmtree(plain)
    (folder / "generation_config.json").unlink(missing_ok=True)
    values = {}
    for n, layer in q.named_modules():
        if type(layer).__name__ == "Linear4bit":
            state = layer.weight.quant_state
            absmax = dequantize_blockwise(state.absmax, state.state2) + state.offset if state.nested else state.absmax
            values[n] = _dequantize_4bit_compute(layer.weight.data.flatten(), absmax, state.code, state.blocksize, state.shape, torch.float32)
    note(name, values, "bitsandbytes")


def main():
    out = Path(sys.argv[1])
    shutil.rmtree(out, ignore_errors=True)
    int4 = dict(num_bits=4, type="int", strategy="group", group_size=32)
    token8 = dict(num_bits=8, type="int", strategy="token", symmetric=True, dynamic=True)
    compressed(out, "ct-w4a16-g32", torch.bfloat16, int4 | {"symmetric": True})
    compressed(out, "ct-w4a16-g32-asym", torch.float16, int4 | {"symmetric": False})
    compressed(out, "ct-w4a16-channel", torch.float32, dict(num_bits=4, type="int", strategy="channel", symmetric=True))
    compressed(out, "ct-w8a16-channel-asym", torch.bfloat16, dict(num_bits=8, type="int", strategy="channel", symmetric=False))
    compressed(out, "ct-w8a8", torch.bfloat16, dict(num_bits=8, type="int", strategy="channel", symmetric=True), token8)
    compressed(out, "ct-nvfp4a16", torch.bfloat16, dict(num_bits=4, type="float", strategy="tensor_group", group_size=16, symmetric=True,
                                                       scale_dtype=torch.float8_e4m3fn, zp_dtype=torch.float8_e4m3fn))
    compressed(out, "ct-mxfp4a16", torch.bfloat16, dict(num_bits=4, type="float", strategy="group", group_size=32, symmetric=True,
                                                       scale_dtype=torch.uint8, zp_dtype=torch.uint8))
    autogptq(out, "gptq-v1", 4, 32, True, False)
    autogptq(out, "gptq-v1-act", 4, 32, False, True)
    autogptq(out, "gptq-v1-int8", 8, 32, True, False)
    gptqmodel(out, "gptq-v2", 4, 32, False, False)
    gptqmodel(out, "gptq-v2-act", 4, 32, True, True)
    autoawq(out, "awq", 32)
    bnb(out, "bnb-nf4", "nf4", False)
    bnb(out, "bnb-nf4-double", "nf4", True)
    bnb(out, "bnb-fp4", "fp4", False)
    (out / "golden.json").write_text(json.dumps(GOLDEN, indent=1) + "\n")


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    main()
