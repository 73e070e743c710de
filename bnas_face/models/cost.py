"""What a network costs: parameters by precision, and the bytes of the file that is shipped today."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bnas_face.config import ModelConfig

KINDS = ("1-bit convolution", "convolution", "depthwise convolution", "linear", "normalisation", "activation")
COUNTS = ("n_layers", "n_parameters", "packed_bytes", "n_macs")


def binary_parameters(model: nn.Module) -> int:
    """Number of weights of which the network uses one bit only (of modules whose ``weight_bits`` is 1)."""
    return sum(part.weight.numel() for part in _binary_convolutions(model))


def _binary_convolutions(model: nn.Module) -> list[nn.Conv2d]:
    return [part for part in model.modules() if isinstance(part, nn.Conv2d) and getattr(part, "weight_bits", 32) == 1]


def summary(model: nn.Module, config: ModelConfig, *, weights_file: Path | None = None) -> dict[str, Any]:
    """Bits, parameters and bytes of a network without its head.

    Left out everywhere but in ``file_bytes`` is what only training needs, which a module names in ``training_only``:
    the auxiliary classifier of a searched network, pcnn's projections. The authors of BNAS count alike.

    Returns
    -------
    dict
        ``weight_bits``, ``activation_bits`` : 1 or 32, of the binarizer's convolutions.
        ``n_parameters``, ``n_binary_parameters``, ``n_float_parameters`` : learned numbers, the gains and biases of
        batch norms among the float ones; batch norm statistics and the scales a, which follow from the weights, are
        not counted.
        ``packed_bytes`` : lower bound of a packed file: binary weights at one bit, everything else (with batch norm
        statistics and one float scale per filter or layer) at 32. Computed, not measured.
        ``file_bytes`` : length of `weights_file`, or None without one. Today this is ``weights.safetensors``, which
        holds latent float32 weights: a 1-bit network simulated in float is **not** smaller on disk.
        ``file_format`` : ``"float32 safetensors (simulated)"`` for a 1-bit network, else ``"float32 safetensors"``.
    """
    training_only = _training_only(model)
    n_parameters = _count(model.named_parameters(), training_only)
    n_binary = binary_parameters(model)
    n_float = n_parameters - n_binary
    floats = ((name, buffer) for name, buffer in model.named_buffers() if buffer.is_floating_point())
    n_buffers = _count(floats, training_only)
    return {
        "weight_bits": 1 if n_binary else 32,
        "activation_bits": config.activation_bits,
        "n_parameters": n_parameters,
        "n_binary_parameters": n_binary,
        "n_float_parameters": n_float,
        "packed_bytes": -(-n_binary // 8) + 4 * (n_float + n_buffers + _n_scales(model)),
        "file_bytes": weights_file.stat().st_size if weights_file is not None else None,
        "file_format": "float32 safetensors (simulated)" if n_binary else "float32 safetensors",
    }


def by_kind(model: nn.Module, size_px: int) -> list[dict[str, Any]]:
    """What each kind of layer costs, for one image.

    Parameters
    ----------
    model : nn.Module
        (1, 3, size_px, size_px) → embedding; left as it is, in training mode or not.
    size_px : int

    Returns
    -------
    list of dict
        One per kind that occurs, in the order of `KINDS`: ``kind``, ``n_layers``, ``n_parameters``, ``packed_bytes``
        (binary weights at one bit, everything else at 32, statistics and scales included), ``n_macs``:
        multiply-accumulates of convolutions and linear layers; with 1-bit weights they need no multiplication. What
        only training needs is left out, as in `summary`, and so the sums are those of `summary`.
    """
    training_only = _training_only(model)
    macs = _macs(model, size_px)
    found: dict[str, dict[str, Any]] = {}
    for path, part in model.named_modules():
        own = [(f"{path}.{name}", tensor) for name, tensor in part.named_parameters(recurse=False)]
        buffers = [(f"{path}.{name}", b) for name, b in part.named_buffers(recurse=False) if b.is_floating_point()]
        n_parameters, n_buffers = _count(own, training_only), _count(buffers, training_only)
        if not n_parameters + n_buffers:
            continue
        kind = _kind(part)
        row = found.setdefault(kind, {"kind": kind, **dict.fromkeys(COUNTS, 0)})
        n_binary = part.weight.numel() if kind == KINDS[0] else 0
        n_floats = n_parameters - n_binary + n_buffers + (_n_scales(part) if n_binary else 0)
        row["n_layers"] += 1
        row["n_parameters"] += n_parameters
        row["packed_bytes"] += n_binary / 8 + 4 * n_floats
        row["n_macs"] += macs.get(path, 0)
    for row in found.values():
        row["packed_bytes"] = -(-int(8 * row["packed_bytes"]) // 8)
    return sorted(found.values(), key=lambda row: KINDS.index(row["kind"]))


def operations(model: nn.Module, config: ModelConfig) -> dict[str, int]:
    """Multiply-accumulates of convolutions and linear layers for one image, by what they multiply.

    Returns
    -------
    dict
        ``n_binary_macs`` : of two 1-bit values, which a processor does 64 at a time; 0 unless activations are 1-bit.
        ``n_float_macs`` : all others; with 1-bit weights and float activations they are additions.
        ``n_ops`` : n_binary_macs / 64 + n_float_macs, rounded up: the literature's OPs.

    References
    ----------
    Liu et al., Bi-Real Net, ECCV 2018 (arXiv 1808.00278), section 4.3, counts operations so.
    """
    return operations_of(by_kind(model, config.size_px), config.activation_bits)


def operations_of(kinds: Iterable[Mapping[str, Any]], activation_bits: int) -> dict[str, int]:
    """As `operations`, from the rows of `by_kind`."""
    macs = {str(row["kind"]): int(row["n_macs"]) for row in kinds}
    every = sum(macs.values())
    one_bit = macs.get(KINDS[0], 0) if activation_bits == 1 else 0
    return {
        "n_binary_macs": one_bit,
        "n_float_macs": every - one_bit,
        "n_ops": -(-one_bit // 64) + every - one_bit,
    }


def _kind(part: nn.Module) -> str:
    if isinstance(part, nn.Conv2d):
        if getattr(part, "weight_bits", 32) == 1:
            return KINDS[0]
        return "depthwise convolution" if part.groups == part.in_channels > 1 else "convolution"
    if isinstance(part, nn.Linear):
        return "linear"
    return "normalisation" if isinstance(part, nn.modules.batchnorm._NormBase) else "activation"


def _macs(model: nn.Module, size_px: int) -> dict[str, int]:
    """Multiply-accumulates of every convolution and linear layer that one image passes, by the layer's full name."""
    found: dict[str, int] = {}

    def count(path: str, part: nn.Module, output: Tensor) -> None:
        weight: Tensor = part.weight  # type: ignore[assignment]  # convolutions and linear layers have one
        found[path] = found.get(path, 0) + weight[0].numel() * output[0].numel()

    handles = [
        part.register_forward_hook(lambda part, _, output, path=path: count(path, part, output))
        for path, part in model.named_modules()
        if isinstance(part, nn.Conv2d | nn.Linear)
    ]
    was_training = model.training
    try:
        model.eval()
        with torch.inference_mode():
            model(torch.zeros(1, 3, size_px, size_px, device=next(model.parameters()).device))
    finally:
        model.train(was_training)
        for handle in handles:
            handle.remove()
    return found


def _training_only(model: nn.Module) -> tuple[str, ...]:
    """Full names, each ending in a dot, of the parameters and modules that inference does without."""
    return tuple(
        f"{path}.{name}.".lstrip(".")
        for path, part in model.named_modules()
        for name in getattr(part, "training_only", ())
    )


def _count(named: Iterable[tuple[str, Tensor]], without: tuple[str, ...]) -> int:
    return sum(tensor.numel() for name, tensor in named if not f"{name}.".startswith(without))


def _n_scales(model: nn.Module) -> int:
    return sum(p.out_channels if getattr(p, "per_filter", True) else 1 for p in _binary_convolutions(model))
