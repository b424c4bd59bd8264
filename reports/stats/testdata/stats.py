"""Golden numbers for stats_test.go, from scipy alone (tested with 1.17.1).

python reports/testdata/stats.py > reports/testdata/stats.json
"""
import json
import numpy as np
from scipy import optimize, stats

rng = np.random.default_rng(20260102)
n = 43
t = rng.integers(180, 256, n).astype(float)
b = t * np.exp(rng.normal(-2.5, 0.4, n))
a = b * np.exp(rng.normal(-0.05, 0.15, n))
c = b * np.exp(rng.normal(0.3, 0.2, n))


def estimate(value, e):
    """Student's t over the linearised contributions e: scipy's own one-sample test."""
    shifted = e - e.mean() + value
    r = stats.ttest_1samp(shifted, 0.0)
    ci = r.confidence_interval(0.95)
    return dict(value=value, se=stats.sem(e), low=ci.low, high=ci.high, p=r.pvalue)


def jackknife(f):
    """Delete-one-window standard error: an independent check of the linearisation."""
    keep = [np.delete(np.arange(n), i) for i in range(n)]
    v = np.array([f(k) for k in keep])
    return float(np.sqrt((n - 1) / n * ((v - v.mean()) ** 2).sum()))


everything = np.arange(n)
functions = dict(
    mean=lambda i: a[i].sum() / t[i].sum(),
    difference=lambda i: (a[i].sum() - b[i].sum()) / t[i].sum(),
    logratio=lambda i: np.log(a[i].sum() / b[i].sum()),
    interpolated=lambda i: np.log(a[i].sum()) - 0.3 * np.log(b[i].sum()) - 0.7 * np.log(c[i].sum()),
)


def contributions(f):
    """Numerical derivative of f in the weight of each window."""
    def weighted(w):
        A, B, C, T = (w * a).sum(), (w * b).sum(), (w * c).sum(), (w * t).sum()
        return dict(mean=A / T, difference=(A - B) / T, logratio=np.log(A / B),
                    interpolated=np.log(A) - 0.3 * np.log(B) - 0.7 * np.log(C))[f]
    return n * optimize.approx_fprime(np.ones(n), weighted, 1e-6)


out = dict(tokens=t.tolist(), a=a.tolist(), b=b.tolist(), c=c.tolist())
for name, f in functions.items():
    out[name] = estimate(float(f(everything)), contributions(name))
    out[name]["jackknife"] = jackknife(f)
print(json.dumps(out, default=float))
