#!/usr/bin/env python3
"""Makes the golden token ids of vocabularies with byte_fallback (LLaMA 2, TinyLlama, Mistral).

    pip install -r scripts/golden/requirements-fallback.txt
    python scripts/golden/fallback.py [WIKI]

A small BPE is trained with sentencepiece on the embedded calibration text. It becomes

    internal/hf/testdata/fallback/tokenizer.json   as transformers converts such a model: normalizers Prepend
                                                   and Replace, merges by the scores of pieces
    internal/hf/testdata/fallback/tokenizer.gguf   its GGUF metadata, without a model
    internal/hf/testdata/tokenizer-fallback.json   golden: ids by Hugging Face tokenizers, and for each variant
                                                   of the pre-tokenizer Metaspace, and for
                                                   added tokens that are looked for after normalization

WIKI is wiki.test.raw of WikiText-2. The script says how many strings sentencepiece itself
encodes like Hugging Face tokenizers.
"""
import ast, copy, hashlib, io, json, pathlib, struct, sys

import gguf
import sentencepiece
import tokenizers

ROOT = pathlib.Path(__file__).resolve().parents[2]
OUT = ROOT / "internal/hf/testdata"
source = ast.parse((ROOT / "scripts/golden/tokenizer.py").read_text())
CASES = next(eval(compile(ast.Expression(n.value), "tokenizer.py", "eval")) for n in source.body
             if isinstance(n, ast.Assign) and n.targets[0].id == "CASES" and isinstance(n.value, ast.List))
CASES = CASES + ["<s>Hello</s>", "<s> Hello", " <s>x", "a<s>b <s> c", "</s></s>", "<unk>", "x<unk>y", "\u2581a \u2581\u2581 b", "<0x0A>", "<0x0a>\n",
                 "[INST] Hi [/INST]", "a [INST]b", "tool tools", "the  the\nthe", "\U0001f642\U0001f643 é 日本 ☃"]


def model():
    text = (ROOT / "internal/builtin/text/calibration.txt").read_text()[:200_000]
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(text.split("\n")), model_writer=out, model_type="bpe", vocab_size=700, byte_fallback=True,
        character_coverage=0.9995, normalization_rule_name="identity", add_dummy_prefix=True, remove_extra_whitespaces=False,
        allow_whitespace_only_pieces=True, user_defined_symbols=["[INST]", "[/INST]"], split_digits=True, num_threads=1, minloglevel=2)
    return sentencepiece.SentencePieceProcessor(model_proto=out.getvalue())


def merges_of(pieces):
    """transformers' generate_merges of convert_slow_tokenizer.py, by what it does: every split of every piece into two
    others, the best score first."""
    vocab = {p: i for i, (p, _) in enumerate(pieces)}
    merges = []
    for piece, score in pieces:
        local = [(piece[:k], piece[k:], score) for k in range(1, len(piece)) if piece[:k] in vocab and piece[k:] in vocab]
        merges += sorted(local, key=lambda m: (vocab[m[0]], vocab[m[1]]))
    return [list(m[:2]) for m in sorted(merges, key=lambda m: (m[2], len(m[0]), len(m[1])), reverse=True)]


def main():
    sp = model()
    n = sp.get_piece_size()
    pieces = [(sp.id_to_piece(i), sp.get_score(i)) for i in range(n)]
    kinds = [2 if sp.is_unknown(i) else 3 if sp.is_control(i) else 6 if sp.is_byte(i) else 1 for i in range(n)]
    added = {"[INST]", "[/INST]"}
    kinds = [4 if pieces[i][0] in added else k for i, k in enumerate(kinds)]
    merges = merges_of([(p, s) if k == 1 else ("", s) for (p, s), k in zip(pieces, kinds)])
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    top = {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [{"id": i, "content": p, **flags, "special": k in (2, 3)} for i, ((p, _), k) in enumerate(zip(pieces, kinds)) if k in (2, 3, 4)],
        "normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "\u2581"},
                                                             {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}]},
        "pre_tokenizer": None,
        "post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
                           "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
                           "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}},
        "decoder": {"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "}, {"type": "ByteFallback"},
                                                       {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
        "model": {"type": "BPE", "dropout": None, "unk_token": "<unk>", "continuing_subword_prefix": None, "end_of_word_suffix": None, "fuse_unk": True,
                  "byte_fallback": True, "ignore_merges": False, "vocab": {p: i for i, (p, _) in enumerate(pieces)}, "merges": merges},
    }
    (OUT / "fallback").mkdir(exist_ok=True)
    path = OUT / "fallback/tokenizer.json"
    path.write_text(json.dumps(top, ensure_ascii=False, separators=(",", ":")) + "\n")
    w = gguf.GGUFWriter(OUT / "fallback/tokenizer.gguf", "llama")
    w.add_tokenizer_model("llama")
    w.add_tokenizer_pre("default")
    w.add_token_list([p for p, _ in pieces])
    w.add_token_scores([s for _, s in pieces])
    w.add_token_types(kinds)
    w.add_bos_token_id(1)
    w.add_eos_token_id(2)
    w.add_unk_token_id(0)
    w.write_header_to_file(); w.write_kv_data_to_file(); w.write_tensors_to_file(); w.close()

    def variant(scheme, split, normalized=False):
        v = copy.deepcopy(top)
        for token in v["added_tokens"]:
            token["normalized"] = normalized
        if scheme:
            v["normalizer"] = None
            v["pre_tokenizer"] = {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": scheme, "split": split}
        return tokenizers.Tokenizer.from_str(json.dumps(v))

    variants = {"": variant(None, None)} | {f"{s} {str(b).lower()}": variant(s, b) for s in ("never", "first", "always") for b in (False, True)}
    variants["normalized"] = variant(None, None, True)
    encode = lambda t, s: t.encode(s, add_special_tokens=False).ids
    rows = []
    for s in CASES:
        row = {"text": s, "ids": encode(variants[""], s), "decoded": variants[""].decode(encode(variants[""], s), skip_special_tokens=False)}
        other = {k: encode(t, s) for k, t in variants.items() if k}
        row["variants"] = {k: v for k, v in other.items() if v != row["ids"] and len(s) <= 40}
        rows.append(row)
    same = sum(sp.encode(r["text"]) == r["ids"] for r in rows)
    golden = {"script": "scripts/golden/fallback.py", "library": f"tokenizers {tokenizers.__version__}, sentencepiece {sentencepiece.__version__}",
              "tokenizer_sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    if len(sys.argv) > 1:
        wiki = pathlib.Path(sys.argv[1]).read_bytes()
        ids = encode(variants[""], wiki.decode())
        golden["wikitext"] = {"text_sha256": hashlib.sha256(wiki).hexdigest(), "tokens": len(ids),
                              "ids_sha256": hashlib.sha256(struct.pack(f"<{len(ids)}i", *ids)).hexdigest()}
    head = json.dumps(golden, indent=1)[:-2]
    body = ",\n  ".join(json.dumps(r) for r in rows)
    (OUT / "tokenizer-fallback.json").write_text(f'{head},\n "cases": [\n  {body}\n ]\n}}\n')
    print(f"{n} pieces, {len(merges)} merges, {len(rows)} strings, {same} of them as sentencepiece has them")


main()
