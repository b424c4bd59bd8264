"""Writes internal/rotation/testdata/rotations.json: what changes of basis make of
small rows, computed apart from the Go code.

  hadamard   x·(F ⊗ H)/√n in float64: H is scipy.linalg.hadamard's, F of Paley's
             constructions over prime fields, written here with Euler's criterion

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


def main():
    print(json.dumps({"hadamard": transforms()}))


main()
