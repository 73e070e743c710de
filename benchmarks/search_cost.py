"""Wall time and peak memory of full searches, BNAS beside PC-DARTS: same space, network size, data and machine.

Run: ``python benchmarks/search_cost.py [--space paper] [--max-images 1000] [--threads 2] [--repeats 1]``. CIFAR-10 must
be imported (``bnasface data import cifar10 …``). Each search is the searcher's whole default schedule, in a process of
its own; the searchers take turns. Seconds are those of the whole search, decoding of the images not counted; with
repeats the median. The network has 4 cells, not the 6 of the papers' searches, to keep two full schedules short;
``--cells 6`` is the papers' size. The paper reports a search 40 % faster than PC-DARTS: a ratio of 0.60. The last line
is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

SEARCHERS = ("bnas", "pc_darts")


def one(chosen: argparse.Namespace) -> None:
    """Search once in this process; prints seconds and peak memory as JSON."""
    from bnas_face.config import SearchConfig
    from bnas_face.search.loop import search

    config = SearchConfig(
        name="measured",
        dataset=chosen.dataset,
        searcher=chosen.one,
        space=chosen.space,
        max_images=chosen.max_images,
        cells=chosen.cells,
        channels=chosen.channels,
        channel_sampling=chosen.channel_sampling,
        size_px=chosen.size_px,
        threads=chosen.threads,
        devices="cpu",
        seed=chosen.seed,
        checkpoint_minutes=1e6,
    )
    with tempfile.TemporaryDirectory() as folder:
        outcome = search(config, Path(folder) / "measured")
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": outcome.seconds, "peak_mb": peak_mb}))


def in_own_process(searcher: str, arguments: list[str]) -> dict[str, float]:
    """What `one` prints, from a fresh interpreter."""
    command = [sys.executable, __file__, *arguments, "--one", searcher]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(repeats: int, arguments: list[str]) -> dict[str, Any]:
    """Median seconds and peak memory of both searchers, and the ratio."""
    seconds: dict[str, list[float]] = {name: [] for name in SEARCHERS}
    peaks: dict[str, list[float]] = {name: [] for name in SEARCHERS}
    for _ in range(repeats):
        for name in SEARCHERS:
            found = in_own_process(name, arguments)
            seconds[name].append(found["seconds"])
            peaks[name].append(found["peak_mb"])
            print(f"{name}: {found['seconds']:.0f} s, {found['peak_mb']:.0f} MB at most", flush=True)
    result: dict[str, Any] = {f"{name}_s": round(statistics.median(times), 1) for name, times in seconds.items()}
    result["ratio"] = round(result["bnas_s"] / result["pc_darts_s"], 3)
    result |= {f"{name}_peak_mb": round(statistics.median(values)) for name, values in peaks.items()}
    return result


def main() -> None:
    """Measure, or (with --one) be measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", default="cifar10:train")
    parser.add_argument("--space", default="paper")
    parser.add_argument("--max-images", type=int, default=1000)
    parser.add_argument("--size-px", type=int, default=32)
    parser.add_argument("--cells", type=int, default=4)
    parser.add_argument("--channels", type=int, default=16)
    parser.add_argument("--channel-sampling", type=int, help="the same for both; default: each its own")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--one", choices=SEARCHERS, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.one:
        one(chosen)
        return

    import torch

    from bnas_face import machine

    settings = {name: value for name, value in vars(chosen).items() if name != "one"}
    print(f"{machine.cpu_name()}, torch {torch.__version__}, {settings}")
    print(json.dumps(measure(chosen.repeats, sys.argv[1:]) | {"settings": settings}))


if __name__ == "__main__":
    main()
