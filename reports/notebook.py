# Reads the rows behind this notebook, from whatever folder Jupyter was started in.
import gzip, json, pathlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import Image

def find(name):
    here = [pathlib.Path.cwd(), *pathlib.Path.cwd().parents]
    for folder in [*(p / name for p in here), here[0]]:
        if any((folder / f).exists() for f in ("rows.jsonl", "rows.jsonl.gz")) or any(folder.glob("rows/*.jsonl")):
            return folder
    raise FileNotFoundError(f"no rows.jsonl in {name} or here: set folder to the results folder")

def read(folder):
    files = [folder / "rows.jsonl", folder / "rows.jsonl.gz", *sorted(folder.glob("rows/*.jsonl"))]
    rows = {}
    for file in files:
        if file.exists():
            with (gzip.open if file.suffix == ".gz" else open)(file, "rt", encoding="utf-8") as lines:
                for line in lines:
                    row = json.loads(line)
                    if row["status"] != "failed" or row["trial"] not in rows:
                        rows[row["trial"]] = row
    return list(rows.values())

def clustered(row, name):
    """Mean per token of a series over windows, and its standard error."""
    series = {s["name"]: np.array(s["values"], float) for s in row.get("series", [])}
    if name not in series or "window_tokens" not in series:
        return np.nan, np.nan
    x, tokens = series[name], series["window_tokens"]
    mean, n = x.sum() / tokens.sum(), len(x)
    if n < 2:
        return mean, np.nan
    return mean, (((x - mean * tokens) * n / tokens.sum()) ** 2).sum() ** .5 / (n * (n - 1)) ** .5

def table(rows):
    """One line per trial: its axes and values as columns."""
    lines = []
    for row in rows:
        line = {"trial": row["trial"], "label": row["label"], "status": row["status"], **row["axes"]}
        line |= {v["name"]: v["value"] for v in row.get("values", [])}
        line["kl"], line["kl_se"] = clustered(row, "window_kl")
        method, base = line.get("method", ""), line.get("base", "")
        line["family"] = f"mosaic on {base}" if method == "mosaic" and base else method
        lines.append(line)
    return pd.DataFrame(lines)

def where(df, **axes):
    """The rows whose axes have these values; None is a row without the axis."""
    for axis, value in axes.items():
        if axis in df:
            df = df[df[axis].isna()] if value is None else df[df[axis] == value]
    return df

def over(df, x, label, log=False):
    """Divergence over the column x, a series for each family."""
    df = df[(df["status"] == "ok") & (df["kl"] > 0)].dropna(subset=[x])
    for family, part in df.groupby("family"):
        plt.errorbar(part[x], part["kl"], 2 * part["kl_se"], fmt="o", capsize=2, label=family)
    plt.yscale("log")
    plt.xlabel(label)
    plt.ylabel("mean KL to 16 bits (nat/token), ± 2 standard errors")
    plt.legend()
    plt.show()

def timed(df, tokens):
    """Time at a number of tokens over that of 16-bit weights, geometric mean over layers."""
    columns = [c for c in df if c.startswith("speed/") and c.endswith(f" {tokens}/time_over/w16a16")]
    return df.assign(time=np.exp(np.log(df[columns].astype(float)).mean(axis=1)))
