"""A 1-bit 3×3 convolution, floats in and floats out, against torch's fp32 one of the same size, in one run.

Run: ``python benchmarks/packed_conv.py [--threads 1,2] [--batch 1,32] [--repeats 15] [--seconds 0.4] [--control]``. The
layers are those of the face networks at 112 pixels. Packed: signs, popcounts, scale and bias (`pack_signs`,
`binary_convolution`). torch: `conv2d` in channels-last order with a bias. Each figure is the median of `repeats` turns;
torch, the packed layer and its popcounts alone take turns, so that a slow moment of the machine hits all of them.

`geomean_speedup` is over all layers, batches and threads. `best_gops` counts 2 operations a multiply-accumulate, of
`binary_convolution` alone with one thread; `limit_share` is its share of what one thread reaches with popcounts and
nothing else; both are null where one thread was not measured.

Threads wait for each other without spinning here (``OMP_WAIT_POLICY=passive``), torch's as well as ours. `--control`
measures torch once more, afterwards and in a process of its own with the default policy: `torch_default_wait_ms` of
every row, and `geomean_speedup_default_wait`. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

# torch's threads and ours must not spin against each other
os.environ.update({"OMP_WAIT_POLICY": "passive"} if "--torch-alone" not in sys.argv else {})

import numpy as np
import torch

from bnas_face import machine
from bnas_face.bench.measure import usual_threads
from bnas_face.packed import kernels
from bnas_face.packed.kernels import fallback

LAYERS = ((56, 64), (28, 128), (14, 256), (7, 512))
"""Side of the map, channels in and out."""
TORCH_ALONE = "--torch-alone"
POPCOUNT_ROUNDS = 2_000_000


def timed(work: Callable[[], Any], at_least_s: float) -> float:
    """Seconds of one call, averaged over as many as take `at_least_s`."""
    start, calls = time.perf_counter(), 0
    while True:
        work()
        calls += 1
        taken = time.perf_counter() - start
        if taken >= at_least_s:
            return taken / calls


def median(works: Mapping[str, Callable[[], Any]], repeats: int, seconds: float) -> dict[str, float]:
    """Seconds of each, by name, the median of turns that all of them take; the first turn does not count."""
    taken: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(repeats + 1):
        for name, work in works.items():
            once = timed(work, seconds / repeats)
            if turn:
                taken[name].append(once)
    return {name: statistics.median(times) for name, times in taken.items()}


def layer(
    side: int, channels: int, batch: int, threads: int, repeats: int, seconds: float, alone: bool = False
) -> dict[str, Any]:
    """One row: milliseconds of torch, of the packed layer, and of its popcounts alone; `alone`: of torch."""
    rng = np.random.default_rng(channels)
    values = rng.standard_normal((batch, side, side, channels), np.float32)
    latent = rng.standard_normal((channels, 3, 3, channels), np.float32)
    zeros, ones = np.zeros(channels, np.float32), np.ones(channels, np.float32)
    flip = np.zeros(channels, np.uint8)
    weight = kernels.prepare_binary(fallback.pack(latent < 0), in_channels=channels, groups=1)
    epilogue = kernels.Epilogue(scale=ones, bias=zeros)
    image = torch.from_numpy(values).permute(0, 3, 1, 2)  # channels last
    filters = torch.from_numpy(latent).permute(0, 3, 1, 2)
    bits = kernels.pack_signs(values, zeros, flip)

    def convolve(signs: Any) -> Any:
        return kernels.binary_convolution(signs, weight, in_channels=channels, epilogue=epilogue, threads=threads)[0]

    def packed() -> Any:
        return convolve(kernels.pack_signs(values, zeros, flip, threads=threads))

    def floats() -> Any:
        return torch.conv2d(image, filters, torch.from_numpy(zeros), padding=1)

    if alone:
        return {"torch_default_wait_ms": round(1e3 * median({"torch": floats}, repeats, seconds)["torch"], 4)}
    signs = torch.conv2d(image.sign(), filters.sign(), padding=1)
    if not np.array_equal(packed(), signs.permute(0, 2, 3, 1).numpy()):
        raise SystemExit(f"The packed layer {side}² × {channels} differs from torch's.")
    works = {"torch": floats, "packed": packed, "popcounts": lambda: convolve(bits)}
    ms = {f"{name}_ms": 1e3 * value for name, value in median(works, repeats, seconds).items()}
    operations = 2 * batch * side**2 * channels**2 * 9
    return {
        "side": side,
        "channels": channels,
        "batch": batch,
        "threads": threads,
        **{name: round(value, 4) for name, value in ms.items()},
        "speedup": round(ms["torch_ms"] / ms["packed_ms"], 2),
        "gops": round(operations / ms["popcounts_ms"] / 1e6),
    }


def best_gops(rows: Sequence[dict[str, Any]]) -> int | None:
    """The best rate of one thread, which alone the limit of one thread speaks of; None where none was measured."""
    return max((row["gops"] for row in rows if row["threads"] == 1), default=None)


def limit_gops(turns: int = 7) -> float:
    """Operations (2 a bit) of one thread by popcounts and nothing else, in billions a second; the best turn."""
    from bnas_face.packed.kernels import _kernels

    index = _kernels.implementations()[kernels.implementation()]
    rates = []
    for _ in range(turns):
        start = time.perf_counter()
        counted = _kernels.popcounts(index, POPCOUNT_ROUNDS)
        rates.append(2e-9 * counted / (time.perf_counter() - start))
    return max(rates)


def main() -> None:
    """All layers, batches and numbers of threads."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", default=",".join(map(str, usual_threads())))
    parser.add_argument("--batch", default="1,32")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=0.4, help="of each figure, all turns together")
    parser.add_argument("--control", action="store_true", help="measure torch with the default wait policy, too")
    parser.add_argument(TORCH_ALONE, action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    torch.set_grad_enabled(False)
    if not chosen.torch_alone:
        print(f"{machine.cpu_name()}, torch {torch.__version__}, kernels {kernels.implementation()}, {vars(chosen)}")
    rows = []
    for threads in (int(each) for each in chosen.threads.split(",")):
        torch.set_num_threads(threads)
        for batch in (int(each) for each in chosen.batch.split(",")):
            for side, channels in LAYERS:
                sizes = (side, channels, batch, threads)
                rows.append(layer(*sizes, chosen.repeats, chosen.seconds, chosen.torch_alone))
                print(json.dumps(rows[-1]), flush=True)
    if not chosen.torch_alone:
        print(json.dumps(summary(rows, control() if chosen.control else ())))


def control() -> list[float]:
    """Milliseconds of torch, row by row, in a process whose threads wait as they do by default."""
    env = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    command = [sys.executable, *sys.argv, TORCH_ALONE]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    return [json.loads(line)["torch_default_wait_ms"] for line in done.stdout.splitlines()]


def summary(rows: Sequence[dict[str, Any]], default_wait_ms: Sequence[float]) -> dict[str, Any]:
    """The last line; `default_wait_ms` are the times of `control`, or nothing."""
    best = best_gops(rows)
    speedups = [row["speedup"] for row in rows]
    found = {
        "geomean_speedup": round(statistics.geometric_mean(speedups), 2),
        "best_gops": best,
        "limit_share": None if best is None else round(best / limit_gops(), 3),
        "kernels": kernels.implementation(),
        "cpu": machine.cpu_name(),
    }
    if not default_wait_ms:
        return found | {"rows": list(rows)}
    both = [row | {"torch_default_wait_ms": ms} for row, ms in zip(rows, default_wait_ms, strict=True)]
    ratios = [row["torch_default_wait_ms"] / row["packed_ms"] for row in both]
    return found | {"geomean_speedup_default_wait": round(statistics.geometric_mean(ratios), 2), "rows": both}


if __name__ == "__main__":
    main()
