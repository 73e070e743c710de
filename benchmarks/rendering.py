"""Render faces at 112×112 and 64×64; prints images per second as one JSON object in its last line.

Training images, 20 of each identity, as `demo` draws them: shape and skin are worked out once per identity, inside the
time measured. The median of repeats, each with new identities; the first pass (constants, memory) is not counted.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time

import numpy as np
import torch

from bnas_face import machine
from bnas_face.data.synthetic import faces, protocols

IMAGES_PER_IDENTITY = 20


def images_per_s(size_px: int, n_identities: int, repeats: int) -> list[float]:
    """Rate of each repeat."""
    groups = protocols.training_groups(IMAGES_PER_IDENTITY)
    rates = []
    for number in range(repeats + 1):
        people = np.arange(n_identities, dtype=np.int64) + number * n_identities
        images = faces.rendered("benchmark", people, groups, seed=1, size_px=size_px)
        started = time.perf_counter()
        images.read(np.arange(len(images)))
        rates.append(len(images) / (time.perf_counter() - started))
    return rates[1:]


def main() -> None:
    """Both sizes, on as many threads as asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--identities", type=int, default=16, help="per repeat")
    parser.add_argument("--repeats", type=int, default=5)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    large, small = (images_per_s(size_px, chosen.identities, chosen.repeats) for size_px in (112, 64))
    print(
        json.dumps(
            {
                "images_per_s": round(statistics.median(large), 1),
                "images_per_s_64_px": round(statistics.median(small), 1),
                "repeats": [round(rate, 1) for rate in large],
                "images_per_repeat": chosen.identities * IMAGES_PER_IDENTITY,
                "threads": chosen.threads,
                "machine": machine.cpu_name(),
                "torch": torch.__version__,
            }
        )
    )


if __name__ == "__main__":
    main()
