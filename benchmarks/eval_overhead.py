"""How much of ``bnasface eval`` is not the model: share of wall time outside the forward pass, memory above the model.

Run: ``python benchmarks/eval_overhead.py --protocol lfw --model onnx:FILE`` (the set must be imported). One evaluation
from start to written report, without cached embeddings and with thumbnails, in this process. Peak memory is the largest
resident set of the process minus the one after the model has seen a batch. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from bnas_face import machine


def resident_mb() -> float:
    """Resident set of this process now."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / 2**20


def main() -> None:
    """Evaluate once and count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--protocol", default="lfw")
    parser.add_argument("--model", required=True)
    parser.add_argument("--batch-size", type=int, default=64)
    chosen = parser.parse_args()
    from bnas_face.evaluate import evaluate, plan
    from bnas_face.report import html

    forward: list[float] = []
    memory: list[float] = []
    real_opener = plan.open_embedder

    def opened(spec: str, **options: Any) -> Any:
        embedder = real_opener(spec, **options)
        size_px = embedder.preprocessing.size_px
        embedder.forward(np.zeros((chosen.batch_size, size_px, size_px, 3), np.uint8))
        memory.append(resident_mb())

        def timed(images: Any) -> Any:
            started = time.perf_counter()
            found = embedder.network(images)
            forward.append(time.perf_counter() - started)
            return found

        return dataclasses.replace(embedder, network=timed)

    plan.open_embedder = opened  # the model as it is, with a watch
    with tempfile.TemporaryDirectory() as folder:
        os.environ["BNASFACE_CACHE"] = str(Path(folder) / "cache")
        started = time.perf_counter()
        evaluate.evaluate([chosen.model], [chosen.protocol], Path(folder) / "report", batch_size=chosen.batch_size)
        html.write(Path(folder) / "report")
        wall = time.perf_counter() - started
    found = {
        "overhead_share": round(1 - sum(forward) / wall, 4),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - memory[0]),
        "wall_s": round(wall, 2),
        "forward_s": round(sum(forward), 2),
        "protocol": chosen.protocol,
        "threads": os.cpu_count(),
        "cpu": machine.cpu_name(),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
