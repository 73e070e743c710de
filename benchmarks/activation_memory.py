"""Memory that a training keeps for the backward pass, per image, and parameters of the backbones.

Run: ``python benchmarks/activation_memory.py [--out FILE]``. Counted, not timed: every tensor that autograd keeps in
one forward pass in float32, each storage once, without parameters and buffers, of two batch sizes, whose difference is
divided by the number of images between them. The last line is one JSON object, and `--out` is the same in a file.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bnas_face import files, machine, models
from bnas_face.config import ModelConfig

BATCHES = (4, 12)
NETWORKS: dict[str, dict[str, Any]] = {
    "full precision": {},
    "W1A32": {"binarizer": "xnor"},
    "W1A1": {"binarizer": "xnor", "activation_bits": 1},
}


def kept_bytes(backbone: torch.nn.Module, batch_size: int, size_px: int) -> int:
    """Bytes of the storages that one forward pass keeps."""
    own = {tensor.untyped_storage().data_ptr() for tensor in (*backbone.parameters(), *backbone.buffers())}
    kept: dict[int, tuple[int, Tensor]] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes(), tensor  # the tensor is held, so that no address comes twice
        return tensor

    pixels = torch.zeros(batch_size, 3, size_px, size_px).to(memory_format=torch.channels_last)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        result = backbone(pixels)
    del result
    return sum(n_bytes for n_bytes, _ in kept.values())


def row(backbone: str, bits: str, size_px: int, width: float) -> dict[str, Any]:
    """One network's numbers."""
    settings = NETWORKS[bits]
    config = ModelConfig(backbone=backbone, size_px=size_px, width=width, **settings)
    network = models.build(config).train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    few, many = (kept_bytes(network, n, size_px) for n in BATCHES)
    return {
        "backbone": backbone,
        "bits": bits,
        "size_px": size_px,
        "width": width,
        "embedding_dim": config.embedding_dim,
        "mb_per_image": round((many - few) / (BATCHES[1] - BATCHES[0]) / 1e6, 2),
        "n_parameters": sum(parameter.numel() for parameter in network.parameters()),
    }


def main() -> None:
    """Count all networks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="Also write the result to this file.")
    chosen = parser.parse_args()
    torch.manual_seed(0)
    default = ModelConfig().width
    cases = [("iresnet18", bits, size_px, default) for bits in NETWORKS for size_px in (112, 64)]
    cases += [("mobilefacenet", "full precision", size_px, default) for size_px in (112, 64)]
    cases += [("iresnet18", "full precision", 112, 1.0)]
    rows = []
    for case in cases:
        rows.append(row(*case))
        print(rows[-1], flush=True)
    result = {"rows": rows, "batches": BATCHES, "versions": machine.versions(("torch",))}
    if chosen.out:
        files.write_json(chosen.out, result)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
