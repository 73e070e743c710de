"""Images per second of a training step (forward, backward, optimizer) by bits and precision, in one run.

Run: ``python benchmarks/training_speed.py [--width 0.5] [--threads 2]``. Each figure is the median of 8 steps after 2
that do not count; the settings take turns, so that a slow moment of the machine hits all of them. The last line is one
JSON object.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time

import torch
from torch import nn

from bnas_face import machine, models
from bnas_face.config import ModelConfig

BITS = {"full_precision": ("none", 32), "w1a32": ("xnor", 32), "w1a1": ("xnor", 1)}
WARM_UP, STEPS = 2, 8


def step(network: nn.Module, optimizer: torch.optim.Optimizer, images: torch.Tensor, *, bf16: bool) -> float:
    """Seconds of one training step."""
    start = time.perf_counter()
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        loss = network(images).float().square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return time.perf_counter() - start


def main() -> None:
    """Measure all settings in turns."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=float, default=0.5)
    parser.add_argument("--size-px", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    images = torch.randn(chosen.batch_size, 3, chosen.size_px, chosen.size_px)
    images = images.to(memory_format=torch.channels_last)
    networks = {}
    for name, (binarizer, activation_bits) in BITS.items():
        config = ModelConfig(
            binarizer=binarizer, activation_bits=activation_bits, width=chosen.width, size_px=chosen.size_px
        )
        network = models.build(config).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        networks[name] = (network, torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9))
    seconds: dict[str, list[float]] = {}
    for _ in range(WARM_UP + STEPS):
        for name, (network, optimizer) in networks.items():
            for precision in ("fp32", "bf16"):
                taken = step(network, optimizer, images, bf16=precision == "bf16")
                seconds.setdefault(f"{name}_{precision}", []).append(taken)
    rates = {name: round(chosen.batch_size / statistics.median(times[WARM_UP:]), 1) for name, times in seconds.items()}
    print(f"{machine.cpu_name()}, torch {torch.__version__}, {vars(chosen)}")
    print(json.dumps({"images_per_s": rates, "threads": chosen.threads, "width": chosen.width}))


if __name__ == "__main__":
    main()
