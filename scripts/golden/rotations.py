"""Writes internal/rotation/testdata/rotations.json: what changes of basis make of
small rows, computed apart from the Go code.

  hadamard   x·(F ⊗ H)/√n in float64: H is scipy.linalg.hadamard's, F of Paley's
             constructions over prime fields, written here with Euler's criterion
  zigzag,    permutation_zigzag and rotation of DuQuant's quantizer.py (commit
  greedy     62c5844, MIT) as we read them, in numpy (float64): with the index of the
             token, as there, and with that of the channel, as in the paper
  principal  share of the trace that numpy's eigh puts into the top subspace

    python scripts/golden/rotations.py > internal/rotation/testdata/rotations.json
"""

import json

import numpy as np
from scipy.linalg import hadamard


def integers(count, seed):
    """Integers -128..127 of the 64-bit generator x = 6364136223846793005 x + 1442695040888963407."""
    out = np.empty(count)
    for i in range(count):
        seed = (6364136223846793005 * seed + 1442695040888963407) % 2**64
        out[i] = (seed >> 56) - 128
    return out


def character(a, q):
    r = pow(int(a) % q, (q - 1) // 2, q)
    return -1 if r == q - 1 else r


def jacobsthal(q):
    return np.array([[character(i - j, q) for j in range(q)] for i in range(q)])


def paley(k):
    if k == 1:
        return np.ones((1, 1))
    q = k - 1
    if q % 4 == 3 and all(q % p for p in range(2, q)):
        s = np.zeros((k, k))
        s[0, 1:], s[1:, 0], s[1:, 1:] = 1, -1, jacobsthal(q)
        return s + np.eye(k)
    q = k // 2 - 1
    c = np.ones((q + 1, q + 1))
    c[0, 0], c[1:, 1:] = 0, jacobsthal(q)
    return np.kron(c, [[1, 1], [1, -1]]) + np.kron(np.eye(q + 1), [[1, -1], [-1, -1]])


def transforms():
    out = []
    for k, power in [(1, 16), (12, 4), (20, 2), (36, 4), (12, 64)]:  # prime fields alone
        n = k * power
        x = integers(n, n)
        y = x @ np.kron(paley(k), hadamard(power)) / np.sqrt(n)
        out.append({"n": n, "y": [float(v) for v in y]})
    return out


def zigzag(peaks, block):
    pairs = sorted(enumerate(peaks), key=lambda p: p[1], reverse=True)
    lists = [[] for _ in range(len(peaks) // block)]
    cur, up = 0, True
    for p in pairs:
        lists[cur].append(p)
        if up:
            cur += 1
            if cur == len(lists):
                cur, up = cur - 1, False
        else:
            cur -= 1
            if cur == -1:
                cur, up = 0, True
    for part in lists:
        part.sort(key=lambda p: p[1], reverse=True)
    return [p[0] for part in lists for p in part]


def swap(m, i):
    order = list(range(len(m)))
    order[0], order[i] = order[i], order[0]
    return m[order][:, order]


def spread(n, q):
    r = np.eye(n)
    for i in range(n - 1):
        step = np.eye(n)
        step[i, i] = step[i + 1, i + 1] = 1 / np.sqrt(i + 2)
        sin = np.sqrt(i + 1) / np.sqrt(i + 2)
        step[i, i + 1], step[i + 1, i] = -sin, sin
        r = step @ r
    order = list(range(n))
    order[0], order[-1] = order[-1], order[0]
    turn = np.eye(n)
    turn[1:, 1:] = q
    return r[order][:, order] @ turn


def greedy(x, rot, steps, rows):
    n = len(rot)
    w = x.reshape(-1, n)
    ids, spans = [], []
    for step in range(steps + 1):
        high, low = np.unravel_index(w.argmax(), w.shape), np.unravel_index(w.argmin(), w.shape)
        spans.append(w[high] - w[low])
        if step == steps:
            break
        at = high if abs(w[high]) > abs(w[low]) else low
        ids.append((at[0] if rows else at[1]) % n)
        w = w @ swap(rot, ids[-1])
    total = np.eye(n)
    for i in ids[: int(np.argmin(spans))]:
        total = total @ swap(rot, i)
    return total


def duquant():
    n, k, tokens = 8, 32, 12
    q, _ = np.linalg.qr(integers((n - 1) ** 2, 1).reshape(n - 1, n - 1))
    x = integers(tokens * k, 2).reshape(tokens, k)
    x[:, 5] *= 30
    x[:, 20] *= 10
    peaks = np.abs(x).max(axis=0)
    rot = spread(n, q)
    return {
        "q": q.ravel().tolist(), "spread": rot.ravel().tolist(), "zigzag": zigzag(peaks, n),
        "channel": greedy(x, rot, 20, False).ravel().tolist(), "token": greedy(x, rot, 20, True).ravel().tolist(),
    }


def principal():
    n, top = 12, 3
    x = integers(40 * n, 3).reshape(40, n) @ np.diag(1.0 + np.arange(n) ** 2)
    values = np.linalg.eigh(x.T @ x)[0]
    return {"share": float(values[-top:].sum() / values.sum())}


def main():
    print(json.dumps({"hadamard": transforms(), "duquant": duquant(), "principal": principal()}))


if __name__ == "__main__":
    main()
