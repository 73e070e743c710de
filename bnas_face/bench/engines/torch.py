"""torch, float32, channels last: what a float network was trained with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnas_face.bench.model import BenchError, Model
from bnas_face.bench.prepared import Prepared

TITLE = "torch float32"


def prepare(model: Model, threads: int) -> Prepared:
    """The run's own weights."""
    if model.kind != "run":
        raise BenchError("it is no network of torch")
    if model.is_one_bit:
        raise BenchError("simulated: in torch its 1-bit values are floats, and their time is not its own")
    weights = model.path / "weights.safetensors"
    return Prepared(file=model.path, file_bytes=weights.stat().st_size, file_format="safetensors")


def open(file: Path, threads: int, options: dict[str, Any]) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    """Embed on `threads` threads; ``options["compile"]`` compiles it first."""
    import torch

    from bnas_face.models import saved
    from bnas_face.models.backbones._preprocessing import Preprocessing

    torch.set_num_threads(threads)
    model, config, _ = saved.load(file)
    model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    network: Any = torch.compile(model) if options.get("compile") else model
    preprocessing = Preprocessing(size_px=config.size_px)

    def run(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        values = torch.from_numpy(preprocessing.apply(images))
        with torch.inference_mode():
            embeddings: NDArray[np.float32] = network(values.to(memory_format=torch.channels_last)).numpy()
        return embeddings

    return run
