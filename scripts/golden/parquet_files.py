#!/usr/bin/env python3
"""Makes the Parquet files of internal/parquet/testdata with pyarrow, and what pyarrow reads of them as JSON lines.

    pip install pyarrow==26.0.1
    python scripts/golden/parquet_files.py
"""
import json, pathlib

import pyarrow as pa
import pyarrow.parquet as pq

OUT = pathlib.Path(__file__).resolve().parents[2] / "internal/parquet/testdata"
OUT.mkdir(parents=True, exist_ok=True)
N = 40
arc = pa.table({
    "id": [f"Mercury_{i}" for i in range(N)],
    "question": [f"Which of these is {i}? {'naïve ' * (i % 3)}" for i in range(N)],
    "choices": pa.array([{"text": [f"choice {j} of {i}" for j in range(3 + i % 3)], "label": list("ABCDE"[:3 + i % 3])} for i in range(N)],
                        pa.struct([("text", pa.list_(pa.string())), ("label", pa.list_(pa.string()))])),
    "answerKey": ["ABC"[i % 3] for i in range(N)],
})
mixed = pa.table({
    "text": pa.array([None if i % 7 == 3 else "" if i % 5 == 0 else "word " * i for i in range(N)], pa.string()),
    "label": pa.array([None if i % 11 == 0 else i % 4 - 1 for i in range(N)], pa.int64()),
    "small": pa.array([i - 20 for i in range(N)], pa.int32()),
    "flag": pa.array([None if i % 9 == 8 else i % 3 == 0 for i in range(N)], pa.bool_()),
    "real": pa.array([i / 8 for i in range(N)], pa.float64()),
    "half": pa.array([None if i == 5 else i * 0.25 for i in range(N)], pa.float32()),
    "endings": pa.array([None if i % 6 == 5 else [] if i % 6 == 4 else [None if j == 2 else f"e{i}.{j}" for j in range(i % 6)] for i in range(N)], pa.list_(pa.string())),
    "numbers": pa.array([[j * i for j in range(i % 4)] for i in range(N)], pa.list_(pa.int64())),
    "inner": pa.array([{"a": i, "b": {"c": f"c{i}", "d": None if i % 2 else [True, False]}} for i in range(N)],
                      pa.struct([("a", pa.int32()), ("b", pa.struct([("c", pa.string()), ("d", pa.list_(pa.bool_()))]))])),
})
same = pa.table({"subject": ["anatomy"] * 300, "choices": [["a", "b"]] * 300, "answer": pa.array([1] * 300, pa.int64())})
long = pa.table({"text": ["".join(chr(97 + (i * j * j) % 26) for j in range(400)) * (1 + i % 2) for i in range(12)]})
FILES = {
    "arc": (arc, {}),
    "arc-v2-gzip": (arc, {"data_page_version": "2.0", "compression": "gzip"}),
    "arc-old-lists": (arc, {"use_compliant_nested_type": False, "compression": "none", "use_dictionary": False}),
    "mixed": (mixed, {"row_group_size": 11, "data_page_size": 64}),
    "mixed-v2": (mixed, {"data_page_version": "2.0", "row_group_size": 13, "use_dictionary": False}),
    "mixed-plain": (mixed, {"compression": "none", "use_dictionary": False, "store_schema": False, "version": "1.0"}),
    "same": (same, {"compression": "snappy"}),
    "long": (long, {"use_dictionary": False}),
}
for name, (table, options) in FILES.items():
    path = OUT / f"{name}.parquet"
    pq.write_table(table, path, **{"compression": "snappy", "write_statistics": False, **options})
    rows = pq.read_table(path).to_pylist()
    (OUT / f"{name}.jsonl").write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows))
refused = {"zstd": (long, {"compression": "zstd"}), "delta": (pa.table({"n": list(range(50))}), {"use_dictionary": False, "column_encoding": {"n": "DELTA_BINARY_PACKED"}}),
           "structs": (pa.table({"l": [[{"a": 1, "b": 2}]]}), {}), "nested": (pa.table({"l": [[[1]]]}), {}),
           "fixed": (pa.table({"d": pa.array([b"abcd"], pa.binary(4))}), {}), "bytes": (pa.table({"d": pa.array([b"\xff\xfe"], pa.binary())}), {})}
for name, (table, options) in refused.items():
    pq.write_table(table, OUT / f"refused-{name}.parquet", **{"write_statistics": False, **options})
