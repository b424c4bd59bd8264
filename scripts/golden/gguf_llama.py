#!/usr/bin/env python3
"""Makes the golden logits and token ids of GGUF models with transformers.

    pip install -r scripts/golden/requirements-gguf.txt
    python scripts/golden/gguf_llama.py                      # tiny.gguf and its golden
    python scripts/golden/gguf_llama.py SmolLM2.Q4_1.gguf    # and that of SmolLM2

tiny.gguf is a random two-layer llama whose byte-level vocabulary lacks most bytes.
Both goldens hold what transformers' own reader of GGUF makes of the file: it
decodes the blocks, puts the rows of q and k back and runs the model in float32
with eager attention. Token ids are those of Hugging Face tokenizers, whose BPE is
given the vocabulary and the merges of the file and SmolLM2's pre-tokenizer. Of
every position the golden has the logits of each STEP-th word and the logarithm of
the sum over all words of their exponentials.
"""
import hashlib, json, pathlib, sys

import gguf
import numpy as np
import torch
import tokenizers
import transformers
from gguf import GGMLQuantizationType as T
from tokenizers import AddedToken, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

OUT = pathlib.Path(__file__).resolve().parents[2] / "internal/llm/testdata/gguf"
TEXTS = ["The capital of France is Paris, which has 2,102,650 inhabitants.", "def f(x):\n    return x**2  # 12345\n\n\n  naïve \U0001f642 日本",
         "a\x00b \x05\x06 c\x0bd e\x1ff", "<|im_start|>user\nHi<|im_end|>\n", " " * 9 + "don't\t\t1999", ""]


def permute(w, heads):
    return w.reshape(heads, 2, w.shape[0] // heads // 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)


def tiny(path):
    torch.manual_seed(1)
    c = LlamaConfig(vocab_size=160, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
                    num_key_value_heads=2, max_position_embeddings=512, rope_theta=10000.0, rms_norm_eps=1e-5,
                    tie_word_embeddings=False)
    m = LlamaForCausalLM(c)
    for p in m.parameters():
        p.data = torch.randn(p.shape) * (0.1 if p.dim() == 2 else 0.2) + (1 if p.dim() == 1 else 0)
    s = {k: v.detach().numpy() for k, v in m.state_dict().items()}
    w = gguf.GGUFWriter(path, "llama")
    w.add_block_count(2); w.add_context_length(512); w.add_embedding_length(64); w.add_feed_forward_length(96)
    w.add_head_count(4); w.add_head_count_kv(2); w.add_rope_freq_base(10000.0); w.add_layer_norm_rms_eps(1e-5)
    w.add_rope_dimension_count(16); w.add_vocab_size(160)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokens = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"] + sorted(alphabet)[:140]
    merges = [("a", "b"), ("t", "h"), ("th", "e"), ("i", "n"), ("1", "2"), ("e", "r"), ("o", "n")]
    tokens += [a + b for a, b in merges]
    types = [3] * 3 + [1] * (len(tokens) - 3) + [5] * (160 - len(tokens))
    tokens += [f"[PAD{i}]" for i in range(len(tokens), 160)]
    w.add_tokenizer_model("gpt2"); w.add_tokenizer_pre("smollm"); w.add_token_list(tokens); w.add_token_types(types)
    w.add_token_merges([f"{a} {b}" for a, b in merges])
    w.add_bos_token_id(1); w.add_eos_token_id(2); w.add_add_bos_token(False)

    def put(name, x, kind):
        x = np.ascontiguousarray(x)
        w.add_tensor(name, x if kind == T.F32 else gguf.quants.quantize(x, kind), raw_dtype=None if kind == T.F32 else kind)
    put("token_embd.weight", s["model.embed_tokens.weight"], T.Q8_0)
    put("output.weight", s["lm_head.weight"], T.F16)
    put("output_norm.weight", s["model.norm.weight"], T.F32)
    for i in range(2):
        p, q = f"model.layers.{i}.", f"blk.{i}."
        put(q + "attn_norm.weight", s[p + "input_layernorm.weight"], T.F32)
        put(q + "ffn_norm.weight", s[p + "post_attention_layernorm.weight"], T.F32)
        put(q + "attn_q.weight", permute(s[p + "self_attn.q_proj.weight"], 4), T.Q5_1)
        put(q + "attn_k.weight", permute(s[p + "self_attn.k_proj.weight"], 2), T.Q4_1)
        put(q + "attn_v.weight", s[p + "self_attn.v_proj.weight"], T.Q5_0)
        put(q + "attn_output.weight", s[p + "self_attn.o_proj.weight"], T.Q4_0)
        put(q + "ffn_gate.weight", s[p + "mlp.gate_proj.weight"], T.Q4_1)
        put(q + "ffn_up.weight", s[p + "mlp.up_proj.weight"], T.Q8_0)
        put(q + "ffn_down.weight", s[p + "mlp.down_proj.weight"], T.Q4_1)
    w.write_header_to_file(); w.write_kv_data_to_file(); w.write_tensors_to_file(); w.close()


def tokenizer(path):
    f = gguf.GGUFReader(path).fields
    tokens, types = f["tokenizer.ggml.tokens"].contents(), f["tokenizer.ggml.token_type"].contents()
    vocab = {t: i for i, (t, k) in enumerate(zip(tokens, types)) if k in (1, 3)}
    t = tokenizers.Tokenizer(models.BPE(vocab=vocab, merges=[tuple(m.split(" ")) for m in f["tokenizer.ggml.merges"].contents()]))
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    t.decoder = decoders.ByteLevel()
    t.add_special_tokens([AddedToken(x, normalized=False) for x, k in zip(tokens, types) if k == 3])
    return t


def golden(path, name, step):
    t = tokenizer(path)
    m = AutoModelForCausalLM.from_pretrained(str(path.parent), gguf_file=path.name, torch_dtype=torch.float32,
                                             attn_implementation="eager").eval()
    cases = []
    for text in TEXTS:
        ids = t.encode(text, add_special_tokens=False).ids
        case = {"text": text, "ids": ids}
        if ids:
            with torch.no_grad():
                x = m(torch.tensor([ids])).logits[0].double()
            case["logsumexp"] = [round(v, 7) for v in torch.logsumexp(x, -1).tolist()]
            case["logits"] = [[round(v, 6) for v in r] for r in x[-1:, ::step].tolist()]
        cases.append(case)
    g = {"versions": {p.__name__: p.__version__ for p in (torch, transformers, tokenizers)} | {"gguf": "0.19.0"},
         "sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "step": step, "cases": cases}
    (OUT / f"{name}.json").write_text(json.dumps(g, ensure_ascii=False) + "\n")


OUT.mkdir(parents=True, exist_ok=True)
tiny(OUT / "tiny.gguf")
golden(OUT / "tiny.gguf", "tiny", 1)
for p in sys.argv[1:]:
    golden(pathlib.Path(p), "smollm2", 97)
