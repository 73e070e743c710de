"""Whole W1A1 networks in the packed engine against their float twins in torch and onnxruntime, all in one run.

Run: ``python benchmarks/packed_network.py [--threads 1,2] [--batch 1,32] [--rounds 5] [--seconds 0.4]
[--networks NAME,NAME] [--control] [--quick]``. Networks are iresnet18 of width 1 and 0.5 at 112 and 64 pixels and a
searched one, whose cells are those of reports/lfw_to_cfp; weights are random, batch norms far from the identity.
`bnas_face.bench` measures: every engine in a process of its own, in turns; times are medians of whole calls, from uint8
images to embeddings.

For each network, number of threads and batch size, `speedup_vs_best_float` is the shortest time of the float twin in
torch, torch.compile and onnxruntime float32 over that of the packed engine, `speedup_vs_int8` that of onnxruntime int8.
The headlines are the geometric means over networks and threads at the batch size where they are lower. `bytes_ratio` is
the packed file over the twin's smallest float file, of the network where it is largest; `peak_mb` is the largest memory
of a packed process.

Threads wait for each other without spinning (``OMP_WAIT_POLICY=passive``). `--control` measures the twin in torch and
torch.compile once more, afterwards with the default policy: `torch_default_wait_ms`, `torch_compile_default_wait_ms` of
every row, and `speedup_vs_best_float_default_wait` with these among the floats. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import torch
from torch import nn

from bnas_face import genotype as genotypes
from bnas_face import models
from bnas_face.bench.measure import Plan, bench, usual_threads
from bnas_face.config import ModelConfig, TrainConfig
from bnas_face.models import saved

RESULT = Path(__file__).parents[1] / "reports" / "lfw_to_cfp" / "result.json"
NETWORKS: dict[str, dict[str, Any]] = {
    "iresnet18_1_112": {"width": 1.0, "size_px": 112, "embedding_dim": 512},
    "iresnet18_0.5_112": {"width": 0.5, "size_px": 112, "embedding_dim": 256},
    "iresnet18_1_64": {"width": 1.0, "size_px": 64, "embedding_dim": 512},
    "iresnet18_0.5_64": {"width": 0.5, "size_px": 64, "embedding_dim": 256},
    "searched_112": {"backbone": "searched", "size_px": 112, "embedding_dim": 256},
    "searched_64": {"backbone": "searched", "size_px": 64, "embedding_dim": 256},
}
QUICK = ("iresnet18_0.5_64", "searched_64")
FLOAT = ("torch", "torch_compile", "onnxruntime")
QUICK_ENGINES = ("packed", "torch", "onnxruntime", "onnxruntime_int8")


def main() -> None:
    """Print a line for each setting and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--threads", default=",".join(map(str, usual_threads())))
    parser.add_argument("--batch", default="1,32")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.4)
    parser.add_argument("--networks", default=",".join(NETWORKS))
    parser.add_argument("--control", action="store_true", help="measure torch with the default wait policy, too")
    parser.add_argument(
        "--quick", action="store_true", help="whether it runs: two small networks, one round, no torch.compile"
    )
    options = parser.parse_args()
    threads, batches = (tuple(int(part) for part in text.split(",")) for text in (options.threads, options.batch))
    plan = Plan(threads=threads, batches=batches, rounds=options.rounds, seconds=options.seconds, calibrate="demo:25x4")
    names = options.networks.split(",")
    if options.quick:
        names = list(QUICK)
        plan = Plan(
            threads=threads, batches=batches, rounds=1, seconds=0.05, calibrate="demo:4x2@64", engines=QUICK_ENGINES
        )
    rows: list[dict[str, Any]] = []
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            twin = write_run(Path(folder) / f"{name}_float", binarizer="none", activation_bits=32, **NETWORKS[name])
            packed = write_run(Path(folder) / name, binarizer="xnor", activation_bits=1, **NETWORKS[name])
            found = bench(
                [str(packed), str(twin)], plan, progress=lambda line: print(line, file=sys.stderr, flush=True)
            )
            rows += summarise(name, found)
            if options.control:
                own = tuple(engine for engine in FLOAT[:2] if engine in plan.all_engines)
                add_control(rows, bench([str(twin)], replace(plan, engines=own, wait_policy="default")))
            for row in rows[-len(threads) * len(batches) :]:
                print({key: round(value, 3) if isinstance(value, float) else value for key, value in row.items()})
    where = found["environment"]
    cores = f"{where['usable_cores']} of {where['cores']} cores"
    print(f"{where['cpu']}, {cores}, kernels {found['kernels']}, {found['versions']}")
    headline = {
        "speedup_vs_best_float": headline_of(rows, "speedup_vs_best_float"),
        "speedup_vs_int8": headline_of(rows, "speedup_vs_int8"),
        "bytes_ratio": round(max(row["bytes_ratio"] for row in rows), 4),
        "peak_mb": round(max(row["peak_mb"] for row in rows), 1),
    }
    if options.control:
        headline["speedup_vs_best_float_default_wait"] = headline_of(rows, "speedup_vs_best_float_default_wait")
    print(json.dumps(headline | {"rows": rows}))


def write_run(folder: Path, **settings: Any) -> Path:
    """A finished run with random weights and batch norms far from the identity."""
    if settings.get("backbone") == "searched":
        told = json.loads(RESULT.read_text(encoding="utf-8"))["models"]
        content = next(model["genotype"] for model in told if model.get("genotype"))
        settings["genotype"] = genotypes.from_json(content, str(RESULT))
    config = ModelConfig(**settings)
    torch.manual_seed(0)
    network = models.build(config)
    for part in network.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            nn.init.normal_(part.running_mean, 0, 0.3)
            nn.init.uniform_(part.running_var, 0.3, 3)
            nn.init.normal_(part.weight, 0.8, 0.3)
            nn.init.normal_(part.bias, 0, 0.3)
    saved.save(folder, network, TrainConfig(name=folder.name, model=config, dataset="demo"))
    return folder


def summarise(name: str, found: dict[str, Any]) -> list[dict[str, Any]]:
    """One row for each number of threads and batch size."""
    by_setting: dict[tuple[int, int], dict[str, dict[str, Any]]] = {}
    for row in found["rows"]:
        if row["p50_ms"] is not None:
            by_setting.setdefault((row["threads"], row["batch"]), {})[row["engine"]] = row
        elif not row["reason"].startswith(("simulated", "it has no 1-bit", "its weights are 1-bit")):
            raise SystemExit(f"{row['model']} in {row['engine']}: {row['reason']}")
    rows = []
    for (threads, batch), engines in by_setting.items():
        floats = [engine for engine in FLOAT if engine in engines]
        packed, best = engines["packed"], min(floats, key=lambda engine: engines[engine]["p50_ms"])
        float_bytes = min(engines[engine]["file_bytes"] for engine in floats)
        rows.append(
            {
                "network": name,
                "threads": threads,
                "batch": batch,
                **{f"{engine}_ms": round(row["p50_ms"], 4) for engine, row in engines.items()},
                "best_float": best,
                "speedup_vs_best_float": round(engines[best]["p50_ms"] / packed["p50_ms"], 3),
                "speedup_vs_int8": round(engines["onnxruntime_int8"]["p50_ms"] / packed["p50_ms"], 3),
                "packed_bytes": packed["file_bytes"],
                "float_bytes": float_bytes,
                "bytes_ratio": round(packed["file_bytes"] / float_bytes, 4),
                "peak_mb": packed["peak_bytes"] / 1e6,
                "float_peak_mb": engines[best]["peak_bytes"] / 1e6,
            }
        )
    return rows


def add_control(rows: list[dict[str, Any]], found: dict[str, Any]) -> None:
    """Add the times of another bench of the last network's twin to its rows, and the speed-up over the best of all."""
    times: dict[tuple[int, int], dict[str, float]] = {}
    for row in found["rows"]:
        if row["p50_ms"] is not None:
            name = f"{row['engine']}_default_wait_ms"
            times.setdefault((row["threads"], row["batch"]), {})[name] = round(row["p50_ms"], 4)
    for row in rows[-len(times) :]:
        own = times[row["threads"], row["batch"]]
        best = min(*own.values(), row[f"{row['best_float']}_ms"])
        row |= own | {"speedup_vs_best_float_default_wait": round(best / row["packed_ms"], 3)}


def headline_of(rows: list[dict[str, Any]], key: str) -> float:
    """The geometric mean at the batch size where it is lowest."""
    batches = {row["batch"] for row in rows}
    logs = [[math.log(row[key]) for row in rows if row["batch"] == batch] for batch in batches]
    return round(min(math.exp(sum(values) / len(values)) for values in logs), 2)


if __name__ == "__main__":
    main()
