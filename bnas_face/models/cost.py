"""What a network costs: parameters by precision, and the bytes of the file that is shipped today."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from bnas_face.config import ModelConfig


def binary_parameters(model: nn.Module) -> int:
    """Number of weights of which the network uses one bit only (of modules whose ``weight_bits`` is 1)."""
    return sum(part.weight.numel() for part in model.modules() if isinstance(part, nn.Conv2d) and _is_binary(part))


def _is_binary(module: nn.Module) -> bool:
    return getattr(module, "weight_bits", 32) == 1


def summary(model: nn.Module, config: ModelConfig, *, weights_file: Path | None = None) -> dict[str, Any]:
    """Bits, parameters and bytes of a network without its head.

    Returns
    -------
    dict
        ``weight_bits``, ``activation_bits`` : 1 or 32, of the binarizer's convolutions.
        ``n_parameters``, ``n_binary_parameters``, ``n_float_parameters`` : learned numbers; batch norm statistics and
        the scales a, which follow from the weights, are not counted.
        ``packed_bytes`` : lower bound of a packed file: binary weights at one bit, everything else (with batch norm
        statistics and one float scale per filter or layer) at 32. Computed, not measured.
        ``file_bytes`` : length of `weights_file`, or None without one. Today this is ``weights.safetensors``, which
        holds latent float32 weights: a 1-bit network simulated in float is **not** smaller on disk.
        ``file_format`` : ``"float32 safetensors (simulated)"`` for a 1-bit network, else ``"float32 safetensors"``.
    """
    n_parameters = sum(p.numel() for p in model.parameters())
    n_binary = binary_parameters(model)
    n_float = n_parameters - n_binary
    n_buffers = sum(b.numel() for b in model.buffers() if b.is_floating_point())
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


def _n_scales(model: nn.Module) -> int:
    parts = [p for p in model.modules() if isinstance(p, nn.Conv2d) and _is_binary(p)]
    return sum(p.out_channels if getattr(p, "per_filter", True) else 1 for p in parts)
