#!/usr/bin/env python3
"""Turn text into token files for train.py.

Each source becomes SOURCE.train.bin and SOURCE.valid.bin: little-endian uint16
token ids, <BOS> before every document. Documents are separated by two empty
lines; every HOLDOUT-th one goes to the validation file whole, so that no
sentence of it was trained on. train.py interleaves the sources window by
window, in the proportion it is asked for.

example: prepare.py --tokenizer tokenizer.json --out tokens \\
           --source wiki:200 text/wikipedia_en_2021.txt.xz \\
           --source books:50 text/gutenberg_en_0*.txt.xz
"""
import argparse
import json
import lzma
import os

import numpy as np
from tokenizers import Tokenizer

CHUNK = 1 << 16  # bytes of text per encode call, about


def documents(path):
    """Yield the documents of one xz file, without surrounding newlines."""
    pending = []
    with lzma.open(path, "rt", encoding="utf-8", newline="") as f:
        for line in f:
            pending.append(line)
            if len(pending) >= 3 and line == "\n" and pending[-2] == "\n":
                if doc := "".join(pending).strip("\n"):
                    yield doc
                pending = []
    if doc := "".join(pending).strip("\n"):
        yield doc


def chunks(doc):
    """Cut a document before a letter at the start of a line.

    The Llama-3 pre-tokenizer always ends a piece there, so the tokens are the
    same as those of the whole document.
    """
    start, size, line_start = 0, 0, 0
    while (end := doc.find("\n", line_start)) >= 0:
        size += end + 1 - line_start
        line_start = end + 1
        if size >= CHUNK and line_start < len(doc) and doc[line_start].isalpha():
            yield doc[start:line_start]
            start, size = line_start, 0
    yield doc[start:]


class Writer:
    """Appends documents to SOURCE.SPLIT.bin and counts what it wrote."""

    def __init__(self, path):
        self.file = open(path, "wb")
        self.count = {"documents": 0, "tokens": 0, "bytes": 0}

    def add(self, ids, size):
        self.file.write(np.asarray(ids, dtype="<u2").tobytes())
        self.count["documents"] += 1
        self.count["tokens"] += len(ids)
        self.count["bytes"] += size


def encode(tokenizer, bos, batch):
    """Encode (document, writer) pairs, all chunks of the batch in parallel."""
    pieces = [(i, c) for i, (doc, _) in enumerate(batch) for c in chunks(doc)]
    ids = [[bos] for _ in batch]
    encoded = tokenizer.encode_batch_fast([c for _, c in pieces], add_special_tokens=False)
    for (i, _), e in zip(pieces, encoded):
        ids[i] += e.ids
    for (doc, writer), tokens in zip(batch, ids):
        writer.add(tokens, len(doc.encode()))


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--tokenizer", required=True, help="tokenizer.json; at most 65536 tokens")
    p.add_argument("--bos", default="<|begin_of_text|>", help="token written before every document")
    p.add_argument("--out", required=True, help="folder for the token files")
    p.add_argument("--source", required=True, nargs="+", action="append", metavar=("NAME:HOLDOUT", "FILE.xz"),
                   help="a source, one document in HOLDOUT kept for validation, and its files")
    a = p.parse_args()

    tokenizer = Tokenizer.from_file(a.tokenizer)
    if tokenizer.get_vocab_size() > 65536:
        p.error(f"{a.tokenizer}: {tokenizer.get_vocab_size()} tokens do not fit uint16")
    bos = tokenizer.token_to_id(a.bos)
    if bos is None:
        p.error(f"{a.tokenizer}: no token {a.bos}")
    os.makedirs(a.out, exist_ok=True)

    counts = {}
    for (spec, *files) in a.source:
        name, holdout = spec.split(":")
        writers = {s: Writer(os.path.join(a.out, f"{name}.{s}.bin")) for s in ("train", "valid")}
        batch, size, n = [], 0, 0
        for path in files:
            for doc in documents(path):
                batch.append((doc, writers["valid" if n % int(holdout) == int(holdout) - 1 else "train"]))
                n, size = n + 1, size + len(doc)
                if size >= 8 << 20:
                    encode(tokenizer, bos, batch)
                    batch, size = [], 0
        encode(tokenizer, bos, batch)
        for split, w in writers.items():
            w.file.close()
            counts[f"{name}.{split}"] = w.count
            print(name, split, w.count, flush=True)
    with open(os.path.join(a.out, "tokens.json"), "w") as f:
        json.dump({"tokenizer": os.path.basename(a.tokenizer), "files": counts}, f, indent=2)
        f.write("\n")


if __name__ == "__main__":
    main()
