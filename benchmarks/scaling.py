"""Step time and memory of a head over the number of identities, with and without Partial FC, in one process and two.

Run: ``python benchmarks/scaling.py [--identities 1000 10000 100000 1000000] [--steps 5] [--out FILE]``. A step is the
forward pass, the backward pass and the SGD step of a cosface head of 512 numbers, batch 64 over all processes; the
backbone is the same for all settings and is not part of it. Each setting runs in fresh processes (two of them share
the identities out, over gloo): median of the steps after one that does not count, and the growth of the largest
process's resident memory from before the head is built to its peak. ``computed_mb`` is the formula of
docs/scaling.md. A setting whose computed memory does not fit is listed with the reason. The last line is one JSON
object, and `--out` is the same in a file.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from bnas_face import files, machine

EMBEDDING_DIM, BATCH_SIZE, RATE = 512, 64, 0.1
MEMORY_SHARE = 0.6
LONGEST_S = 600
WEIGHT_SIZED_FULL, WEIGHT_SIZED_DRAWN, LOGIT_SIZED = 8, 10, 5
"""Arrays as large as the weights (of all rows; of the drawn ones) and as the logits that live at the peak of a step:
set so that 100,000 identities in one process come out right; all other rows check them."""


def computed_bytes(identities: int, rate: float, ranks: int) -> float:
    """Memory of a process at the peak of a step: see docs/scaling.md."""
    rows = identities / ranks
    drawn = max(rate * rows, min(rows, BATCH_SIZE))
    logits = LOGIT_SIZED * BATCH_SIZE * drawn
    if rate == 1:
        return 4 * (WEIGHT_SIZED_FULL * rows * EMBEDDING_DIM + logits)
    return 4 * ((2 * rows + WEIGHT_SIZED_DRAWN * drawn) * EMBEDDING_DIM + logits + 4 * rows)


def resident_bytes() -> int:
    """Of this process, at most so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measured(identities: int, rate: float, steps: int) -> dict[str, float]:
    """Run in each process of a setting."""
    import torch
    import torch.distributed as distributed

    from bnas_face.models import partial

    torch.set_num_threads(1)
    rank, ranks = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    if ranks > 1:
        distributed.init_process_group("gloo", rank=rank, world_size=ranks)
    shared = {"rank": rank, "world_size": ranks, "sample_rate": rate}
    _steps(partial.build("cosface", embedding_dim=8, n_identities=200, **shared), 200, ranks, 1)
    before = resident_bytes()
    head = partial.build("cosface", embedding_dim=EMBEDDING_DIM, n_identities=identities, **shared)
    seconds = _steps(head, identities, ranks, steps + 1)
    found = {"step_ms": 1000 * statistics.median(seconds[1:]), "peak_mb": (resident_bytes() - before) / 1e6}
    if ranks > 1:
        everybody: list[Any] = [None] * ranks
        distributed.all_gather_object(everybody, found)
        found = {name: max(one[name] for one in everybody) for name in found}
        distributed.destroy_process_group()
    return {name: round(value, 1) for name, value in found.items()}


def _steps(head: Any, identities: int, ranks: int, count: int) -> list[float]:
    """Seconds of each."""
    import torch

    from bnas_face.train import gradients

    optimizer = torch.optim.SGD(head.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4, nesterov=True)
    seconds = []
    for step in range(count):
        torch.manual_seed(step)
        embeddings = torch.randn(BATCH_SIZE // ranks, head.head.embedding_dim, requires_grad=True)
        labels = torch.randint(identities, (len(embeddings),))
        start = time.perf_counter()
        optimizer.zero_grad()
        head(embeddings, labels).backward()
        with gradients.rows_only(optimizer):
            optimizer.step()
        seconds.append(time.perf_counter() - start)
    return seconds


def run(identities: int, rate: float, ranks: int, steps: int) -> dict[str, Any]:
    """One row: the setting, and what was measured or why it was not."""
    from bnas_face.data.decoding import available_memory

    needed = computed_bytes(identities, rate, ranks)
    row: dict[str, Any] = {"identities": identities, "sample_rate": rate, "ranks": ranks}
    row["computed_mb"] = round(needed / 1e6, 1)
    bound = MEMORY_SHARE * available_memory()
    if ranks * needed > bound:
        reason = f"needs {ranks * needed / 1e9:.1f} GB, and {bound / 1e9:.1f} GB may be taken here"
        return row | {"not_run": reason}
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)] if ranks > 1 else []
    one = json.dumps([identities, rate, steps])
    command = [sys.executable, *launcher, __file__, "--one", one]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST_S, check=False)
    except subprocess.TimeoutExpired:
        return row | {"not_run": f"took more than {LONGEST_S} s"}
    if done.returncode:
        return row | {"not_run": " ".join(done.stderr.split())[-300:]}
    return row | json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Measure all settings."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--identities", type=int, nargs="+", default=[1_000, 10_000, 100_000, 1_000_000])
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--out", type=Path, help="Also write the result to this file.")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.one:
        identities, rate, steps = json.loads(chosen.one)
        found = measured(identities, rate, steps)
        if os.environ.get("RANK", "0") == "0":
            print(json.dumps(found))
        return
    print(f"{machine.cpu_name()}, one thread for each process, batch {BATCH_SIZE}, {EMBEDDING_DIM} numbers")
    rows = []
    for identities in chosen.identities:
        for ranks in chosen.ranks:
            for rate in (1.0, RATE):
                rows.append(run(identities, rate, ranks, chosen.steps))
                print(rows[-1], flush=True)
    result = {
        "rows": rows,
        "cpu": machine.cpu_name(),
        "threads_per_process": 1,
        "batch_size": BATCH_SIZE,
        "embedding_dim": EMBEDDING_DIM,
        "steps": chosen.steps,
        "versions": machine.versions(("torch",)),
    }
    if chosen.out:
        files.write_json(chosen.out, result)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
