#!/usr/bin/env python3
"""Makes the golden token ids of internal/hf with Hugging Face tokenizers.

    pip install -r scripts/golden/requirements.txt
    python scripts/golden/tokenizer.py DATA

DATA is the optional data folder, which holds tokenizers/llama3 and qwen3 and
eval/wikitext2/wiki.test.raw. One golden per tokenizer goes to
internal/hf/testdata/tokenizer-NAME.json:

    cases       strings and their ids, no special tokens added
    wikitext    of all of wiki.test.raw as one string: tokens, and the SHA-256 of
                the ids as little-endian int32

The tokenizer.json files of others are not copied; their SHA-256 is noted. One
more tokenizer, "small", is made here and saved beside its golden: GPT-2's split
pattern, digits, NFC, and added tokens with every flag.
"""
import hashlib, json, pathlib, struct, sys

import tokenizers
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers

ROOT = pathlib.Path(__file__).resolve().parents[2]
DATA = pathlib.Path(sys.argv[1])

CASES = [
    "", " ", "  ", "   ", "\n", "\r\n", "\t", "\x00", "a\x00b", "\x00\x00", "\x7f\x1b[0m",
    "Hello, world!", " Hello", "Hello ", "hello  world", "hello   world    again",
    "The quick brown fox jumps over the lazy dog.",
    # runs of white space, before words, digits, line ends, at the end
    "a b  c   d    e", "a\tb\t\tc", "\t\tindented", " \t mixed \t ", "trailing   ", "trailing\n", "trailing \n ",
    "one\ntwo\r\nthree\rfour\n\n\nfive", "a \n b", "a\n\n  b", "x\r\n\r\ny", "  \n  \n  z", "\n \n", " \r\n 7", "a  1", "a  .", "  'tis",
    "a\u00a0b", "a\u00a0\u00a0b", "a\u3000b\u2003c", "\u2028line\u2029par", "a\u0085b", "\ufeffbom", "zero\u200bwidth", "a\u1680b\u180eb",
    # digits
    "1", "12", "123", "1234", "12345", "1234567890" * 5, "3.14159", "1,234,567.89", "2024-11-21T04:44:13Z", "0x1F 0b10", "a1b22c333",
    "٣٤٥٦", "१२३४", "²³¹⁴", "Ⅷ ⅷ ½ ⅓", "１２３４", "㊿①",
    # contractions
    "I'm you're he's we've they'll I'd don't", "I'M YOU'RE HE'S WE'VE THEY'LL I'D DON'T", "'s't're", "''s", "'S'T'Re'vE'lL", "it'ſ", "rock'n'roll", "o'clock", "'l 'r 'v 'k", "’s curly", "'", "''", "a'", "'re", "'r", "x'D y'd",
    # unicode
    "naïve café Ångström", "e\u0301 cafe\u0301", "\u0301", "\u0301\u0302\u0303", "a\u0301\u0302b", "\u0344 \u0958 \u2126 \u212a \u212b", "q\u0307\u0323 q\u0323\u0307", "s\u0323\u0307 \u1e9b\u0323", "a" + "\u0301" * 40, "a\u0327" + "\u0301" * 35 + "\u0323", "\u0300a",
    "ﬁ ﬂ ﬀ ß ẞ ſ İ ı ǆ", "Здравствуй, мир", "Γειά σου Κόσμε", "שלום עולם", "שָׁלוֹם", "مرحبا بالعالم", "مُحَمَّد ١٢٣", "नमस्ते दुनिया", "สวัสดีชาวโลก", "ខ្មែរ", "தமிழ்",
    "你好，世界。", "日本語のテキスト、カタカナ・ひらがな", "が か\u3099", "𠀀𪜶", "豈 \uf900 \ufa0e", "안녕하세요 세계", "\u1112\u1161\u11ab\u1100\u1173\u11af", "\u1100\u1161 \u11a8 \uac00\u11a8", "ᄀ ᅡ ᆨ",
    "🙂", "👍🏽", "👨‍👩‍👧‍👦", "🏳️‍🌈", "🇩🇪🇯🇵", "❤️", "✂︎", "1️⃣", "🤷🏿‍♀️ ok", "a🙂b🙂🙂 c",
    "\U0001d504\U0001d52b", "\U0010ffff", "\ue000", "\ufffd", "\ufffe", "\u00ad", "\u202eabc", "Z͑ͫ̓ͪ̂ͫ̽͏̴̙̤̞͉͚̯̞̠͍A̴̵̜̰͔ͫ͗͢L̠ͨͧͩ͘G̴̻͈͍͔̹̑͗̎̅͛́Ǫ̵̹̻̝̳͂̌̌͘!",
    # code and mark-up
    "def f(x):\n    return x**2  # square\n", "for (int i = 0; i < n; ++i) {\n\ta[i] += b[i];\n}\n", "if err != nil {\r\n\t\treturn err\r\n}", "<div class=\"a\">&nbsp;</div>", "https://example.org/a/b?c=d&e=f#g", "C:\\Users\\x\\n", "$$\\sum_{i=0}^n x_i$$", "a_b-c.d/e\\f|g", "#include <stdio.h>", "!!!???...", "---\n***\n___", "=====>", "{\"k\": [1, 2.5, null]}", "SELECT * FROM t WHERE a='b';--", "λx.x → ∀y ∃z", "@user #tag $5 50% €10", "...\n...\r\n", "(\n", " (\n\n x",
    # long words
    "a" * 300, "Donaudampfschifffahrtsgesellschaftskapitän" * 3, "ab" * 500, "\u0628" * 100, "x" + "=" * 200, " " * 200, " " * 200 + "x", "\n" * 100, "\t" * 50 + "y", "-" * 100 + "\n" * 5, "字" * 60,
    "antidisestablishmentarianism pneumonoultramicroscopicsilicovolcanoconiosis",
    # added tokens in the text
    "<|begin_of_text|>Hello<|end_of_text|>", "<|begin_of_text|><|begin_of_text|>", "a <|end_of_text|> b", "<|end_of_text|", "<|begin_of_text|", "<<|begin_of_text|>>",
    "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>", "<|reserved_special_token_0|>x<|reserved_special_token_250|>",
    "<|im_start|>user\nHi<|im_end|>\n<|endoftext|>", "<think>\nhm\n</think>\n\nYes.", "<tool_call>{}</tool_call>", "cafe\u0301<|im_end|>\u0301", "<|IM_START|>", " <|im_start|> ", "<|fim_prefix|>a<|fim_suffix|>b<|fim_middle|>", "<think><think>", "</think",
    " = Robert Boulter = \n \n Robert Boulter is an English film , television and theatre actor . ", "@-@ @,@ @.@ <unk> <unk>",
]


SMALL_CASES = [
    "a <left> b", "a   <left>b", "<left>", "  <left>  ", "a <right> b", "a<right>   b", "<right> \n\t x", "a <both> b", "a \n<both>\t b<both> c", "<right> <left>", "<right>  <both>  <left> ",
    "a <word> b", "a<word>b", "<word>", "_<word>", ".<word>.", "é<word>", "<word>é", "<word>\u0301", "a <word><word> b", "٣<word>", "<word>\u200d",
    "caf\u00e9", "cafe\u0301", "cafe\u0301s", "<cafe\u0301>", "<caf\u00e9>", "cafés café", "longlong", "longlonger", "longlon", "long", "lo",
    "aa  aa", "\u00a0<left>", "<right>\u3000z", "12345 a1b2 ١٢", "don't DON'T we'll", "sp ace", "x  sp ace  y",
]


def small():
    """A byte-level BPE with hand-made merges and added tokens of every kind."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {c: i for i, c in enumerate(alphabet)}
    merges = [("a", "a"), ("l", "o"), ("n", "g"), ("lo", "ng"), ("Ġ", "a"), ("Ġ", "Ġ"), ("c", "a"), ("ca", "f"), ("Ã", "©"), ("caf", "Ã©"), ("l", "l"), ("'", "ll")]
    for a, b in merges:
        vocab[a + b] = len(vocab)
    t = tokenizers.Tokenizer(models.BPE(vocab=vocab, merges=merges))
    t.normalizer = normalizers.NFC()
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)])
    t.decoder = decoders.ByteLevel()
    t.add_special_tokens([AddedToken("<left>", lstrip=True, normalized=False), AddedToken("<right>", rstrip=True, normalized=False), AddedToken("<both>", lstrip=True, rstrip=True, normalized=False)])
    t.add_tokens([AddedToken("<word>", single_word=True, normalized=False), AddedToken("<caf\u00e9>", normalized=True), AddedToken("<cafe\u0301>", normalized=False),
                  AddedToken("longlong", normalized=True), AddedToken("longlonger", normalized=True), AddedToken("sp ace", normalized=True, single_word=True)])
    path = ROOT / "internal/hf/testdata/small/tokenizer.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    t.save(str(path))
    return path


def ids_hash(ids):
    return hashlib.sha256(struct.pack(f"<{len(ids)}i", *ids)).hexdigest()


def main():
    assert tokenizers.__version__ == "0.21.4", tokenizers.__version__
    wiki = (DATA / "eval/wikitext2/wiki.test.raw").read_bytes()
    paths = {"llama3": DATA / "tokenizers/llama3/tokenizer.json",
             "qwen3": DATA / "tokenizers/qwen3/tokenizer.json",
             "tiny-llama3": ROOT / "internal/builtin/models/tiny-llama3/tokenizer.json",
             "small": small()}
    for name, path in paths.items():
        t = tokenizers.Tokenizer.from_file(str(path))
        encode = lambda s: t.encode(s, add_special_tokens=False).ids
        ids = encode(wiki.decode("utf-8"))
        golden = {
            "script": "scripts/golden/tokenizer.py",
            "library": f"tokenizers {tokenizers.__version__}",
            "tokenizer_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            "wikitext": {"text_sha256": hashlib.sha256(wiki).hexdigest(), "tokens": len(ids), "ids_sha256": ids_hash(ids)},
            "cases": [{"text": s, "ids": encode(s)} for s in CASES + (SMALL_CASES if name == "small" else [])],
        }
        out = ROOT / f"internal/hf/testdata/tokenizer-{name}.json"
        out.parent.mkdir(parents=True, exist_ok=True)
        head = json.dumps({k: v for k, v in golden.items() if k != "cases"}, indent=1)[:-2]
        rows = ",\n  ".join(json.dumps(c) for c in golden["cases"])
        out.write_text(f'{head},\n "cases": [\n  {rows}\n ]\n}}\n')
        print(f"{out.relative_to(ROOT)}: {len(golden['cases'])} strings, {len(ids)} tokens of WikiText-2 test")


main()
