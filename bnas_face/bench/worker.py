"""One engine with one network in a process of its own, told what to do through its standard input.

Line in: ``{"batch": 1, "seconds": 0.5, "least": 5}``. Line out: ``{"seconds": [0.0021, …], "peak_bytes": 123456789}``,
or ``{"error": "…"}``. The first line out, after opening: ``{"ready": true, "embedding_dim": 128}``.

    python -m bnas_face.bench.worker '{"engine": "packed", "file": "model.bnn", "threads": 1, "size_px": 64, …}'
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

WARM_UP = 3
"""Calls before the first that is measured, once for every batch size."""
LONGEST = 300
"""Characters of an error."""


def main(arguments: str) -> int:
    """Open the engine, then answer lines until the input ends; an error is an answer, too."""
    answer = _answerer()
    job: dict[str, Any] = json.loads(arguments)
    warm: set[int] = set()
    try:
        engine = importlib.import_module(f"bnas_face.bench.engines.{job['engine']}")
        run = engine.open(Path(job["file"]), job["threads"], job["options"])
        answer({"ready": True, "embedding_dim": int(run(_images(1, job["size_px"])).shape[1])})
    except Exception as error:  # told to the parent, which knows which network and engine it is
        answer({"error": _sentence(error)})
        return 1
    for line in sys.stdin:
        order = json.loads(line)
        try:
            images = _images(order["batch"], job["size_px"])
            for _ in range(0 if order["batch"] in warm else WARM_UP):
                run(images)
            warm.add(order["batch"])
            answer({"seconds": _timed(run, images, order["seconds"], order["least"]), "peak_bytes": _peak_bytes()})
        except Exception as error:  # as above; other batch sizes may do
            answer({"error": _sentence(error)})
    return 0


def _answerer() -> Callable[[dict[str, Any]], None]:
    """Writes lines to standard output, which then is closed to whatever else prints."""
    own = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def answer(values: dict[str, Any]) -> None:
        print(json.dumps(values), file=own, flush=True)

    return answer


def _sentence(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:LONGEST]


def _timed(run: Any, images: Any, seconds: float, least: int) -> list[float]:
    found: list[float] = []
    begin = time.perf_counter()
    while len(found) < least or time.perf_counter() - begin < seconds:
        start = time.perf_counter()
        run(images)
        found.append(time.perf_counter() - start)
    return found


def _images(n: int, size_px: int) -> Any:
    return np.random.default_rng(n).integers(0, 256, (n, size_px, size_px, 3), dtype=np.uint8)


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


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
