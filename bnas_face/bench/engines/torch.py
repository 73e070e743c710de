"""torch, float32, channels last: what a float network was trained with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnas_face.bench.model import RUN, BenchError, Model
from bnas_face.bench.prepared import Prepared

TITLE = "torch float32"


def prepare(model: Model, folder: Path, calibrate: str) -> Prepared:
    """The run's own weights."""
    from bnas_face.bench import exports

    exports.refuse_packed(model)
    if model.kind != RUN:
        raise BenchError("it is no network of torch")
    if model.is_one_bit:
        raise BenchError("simulated: in torch its 1-bit values are floats, and their time is not its own")
    return Prepared(file=model.path, shipped=model.path / "weights.safetensors", file_format="safetensors")


def open(file: Path, threads: int, options: dict[str, Any]) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    """Embed on `threads` threads; ``options["compile"]`` compiles it first, once for every batch size."""
    import torch

    from bnas_face.models import saved
    from bnas_face.models.backbones._preprocessing import Preprocessing

    torch.set_num_threads(threads)
    model, config, _ = saved.load(file)
    model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    network: Any = torch.compile(model, dynamic=False) if options.get("compile") else model
    preprocessing = Preprocessing(size_px=config.size_px)

    def run(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        values = torch.from_numpy(preprocessing.apply(images))
        with torch.no_grad() if options.get("compile") else torch.inference_mode():
            embeddings: NDArray[np.float32] = network(values.to(memory_format=torch.channels_last)).numpy()
        return embeddings

    return run
