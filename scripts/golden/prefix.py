"""Writes experiments/trial/testdata/prefix.json: the tokens that PrefixQuant (arXiv:2410.05265)
puts before sequences, by the rule of the authors' get_prefixed_tokens, written here in numpy.

Largest inputs of down_proj are drawn for 12 sequences of 40 tokens and 3 layers; some
tokens are made outliers. The Go test repeats the generator.

    python scripts/golden/prefix.py > experiments/trial/testdata/prefix.json
"""

import json

import numpy as np

from gptq import integers

LAYERS, SEQUENCES, TOKENS = 3, 12, 40


def draw(often):
    ids = np.abs(integers(SEQUENCES * TOKENS, 31)).reshape(SEQUENCES, TOKENS) % 23
    top = 1 + np.abs(integers(LAYERS * SEQUENCES * TOKENS, 32)).reshape(LAYERS, SEQUENCES, TOKENS) / 64
    top[1:, :, 0] *= 4096
    for layer, token, every in often:
        where = (ids == token) & (np.arange(SEQUENCES)[:, None] % every == 0)
        top[layer][where] *= 1024
    return ids, top.astype(np.float32)


def prefix(ids, top):
    ratio = top / np.sort(top, axis=2)[:, :, (TOKENS - 1) // 2, None]
    outlier = ratio > 64
    number = int(np.ceil(outlier.sum(axis=2).mean(axis=1).max()))
    found = np.broadcast_to(ids, outlier.shape)[:, :, 1:][outlier[:, :, 1:]]
    tokens, counts = np.unique(found, return_counts=True)
    if len(tokens) == 1 and counts[0] < 0.1 * SEQUENCES:
        return []
    return [int(t) for t in tokens[np.argsort(-counts, kind="stable")][:number]]


def main():
    cases = []
    for often in [[], [[1, 5, 1]], [[1, 5, 1], [1, 9, 2], [2, 9, 1], [0, 3, 4]], [[2, 7, 12]], [[2, 6, 12]]]:
        cases.append({"often": often, "prefix": prefix(*draw(often))})
    print(json.dumps({"script": "scripts/golden/prefix.py", "cases": cases}))


if __name__ == "__main__":
    main()
