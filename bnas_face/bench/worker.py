"""One engine with one network in a process of its own, told what to do through its standard input.

Line in: ``{"batch": 1, "seconds": 0.5, "least": 5}``. Line out: ``{"seconds": [0.0021, …], "peak_bytes": 123456789}``,
or ``{"error": "…"}``. The first line out, after opening: ``{"ready": true, "embedding_dim": 128}``.

    python -m bnas_face.bench.worker '{"engine": "packed", "file": "model.bnn", "threads": 1, "size_px": 64, …}'
"""

from __future__ import annotations

import importlib
import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

WARM_UP = 3
"""Calls before the first that is measured, once for every batch size."""


def main(arguments: str) -> None:
    """Open the engine, then answer lines until the input ends."""
    job: dict[str, Any] = json.loads(arguments)
    engine = importlib.import_module(f"bnas_face.bench.engines.{job['engine']}")
    run = engine.open(Path(job["file"]), job["threads"], job["options"])
    size_px = job["size_px"]
    answer({"ready": True, "embedding_dim": int(run(_images(1, size_px)).shape[1])})
    warm: set[int] = set()
    for line in sys.stdin:
        order = json.loads(line)
        images = _images(order["batch"], size_px)
        for _ in range(0 if order["batch"] in warm else WARM_UP):
            run(images)
        warm.add(order["batch"])
        answer({"seconds": _timed(run, images, order["seconds"], order["least"]), "peak_bytes": _peak_bytes()})


def _timed(run: Any, images: Any, seconds: float, least: int) -> list[float]:
    found: list[float] = []
    begin = time.perf_counter()
    while len(found) < least or time.perf_counter() - begin < seconds:
        start = time.perf_counter()
        run(images)
        found.append(time.perf_counter() - start)
    return found


def _images(n: int, size_px: int) -> Any:
    return np.random.default_rng(n).integers(0, 256, (n, size_px, size_px, 3)).astype(np.uint8)


def _peak_bytes() -> int:
    """Largest resident memory of this process since it began.

    Where Linux tells it, from there: the other figure begins with that of the process which started this one.
    """
    try:
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    except OSError:
        pass
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else 1024 * peak)


def answer(values: dict[str, Any]) -> None:
    """One line to the parent."""
    print(json.dumps(values), flush=True)


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except Exception as error:  # told to the parent, which knows which network and engine it is
        answer({"error": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"})
        sys.exit(1)
