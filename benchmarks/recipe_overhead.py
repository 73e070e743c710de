"""What the guard against numbers that are not finite and the moving average cost, as shares of a training step.

Run: ``python benchmarks/recipe_overhead.py [--width 0.5] [--threads 1]``. A step is forward, backward and optimizer
(W1A1 IResNet-18, bf16, CosFace over as many people as LFW has). Medians of 8 rounds after 2 that do not count; in every
round all parts take turns. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch

from bnas_face import machine
from bnas_face.config import ModelConfig, TrainConfig
from bnas_face.data.loader import Batch
from bnas_face.train import devices, guard, recipe
from bnas_face.train import step as steps
from bnas_face.train.average import average_of
from bnas_face.train.learner import Learner

WARM_UP, ROUNDS = 2, 8
N_IDENTITIES = 5749


def seconds_of(work: Callable[[], object]) -> float:
    """How long one call takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    """Measure all parts in turns."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=float, default=0.5)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    model = ModelConfig(binarizer="xnor", activation_bits=1, width=chosen.width)
    config = recipe.resolve(TrainConfig(name="x", model=model, batch_size=chosen.batch_size, devices="cpu"))
    fabric = devices.make_fabric(config)
    learner = Learner(config, N_IDENTITIES).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    wrapped, optimizer = fabric.setup(learner, recipe.make_optimizer(learner, config))
    average = average_of(learner.backbone, 0.999)
    random = np.random.default_rng(0)
    shape = (chosen.batch_size, model.size_px, model.size_px, 3)
    batch = Batch(
        random.integers(0, 256, shape, dtype=np.uint8),
        random.integers(0, N_IDENTITIES, chosen.batch_size),
        np.arange(chosen.batch_size),
    )

    def train_step() -> None:
        optimizer.zero_grad()
        steps.backward(fabric, wrapped, batch)
        optimizer.step()

    parts: dict[str, Callable[[], object]] = {
        "step": train_step,
        "guard": lambda: bool(guard.gradient_length(fabric, wrapped, optimizer, clip=0.0).isfinite()),
        "skip": lambda: guard.Buffers(learner),
        "ema": lambda: average.update_parameters(learner.backbone),
    }
    taken: dict[str, list[float]] = {name: [] for name in parts}
    for _ in range(WARM_UP + ROUNDS):
        for name, work in parts.items():
            taken[name].append(seconds_of(work))
    median = {name: statistics.median(times[WARM_UP:]) for name, times in taken.items()}
    print(f"{machine.cpu_name()}, torch {torch.__version__}, {vars(chosen)}")
    shares = {f"{name}_share": round(median[name] / median["step"], 5) for name in parts if name != "step"}
    print(json.dumps({**shares, "step_ms": round(1000 * median["step"], 1), "width": chosen.width}))


if __name__ == "__main__":
    main()
