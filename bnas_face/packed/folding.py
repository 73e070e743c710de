"""Parameters of trained layers as the tensors of an operation: signs, scales, folded batch norms, activations."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bnas_face.models.backbones._blocks import RPReLU
from bnas_face.models.binarizers._convolution import BinaryConv2d
from bnas_face.packed.graph import Bits
from bnas_face.packed.lowering import Node


def single(values: NDArray[Any]) -> NDArray[np.float32]:
    """As contiguous float32."""
    return np.ascontiguousarray(values, np.float32)


def double(tensor: Tensor) -> NDArray[np.float64]:
    """A parameter as float64."""
    found: NDArray[np.float64] = tensor.detach().double().numpy()
    return found


def gain_and_offset(norm: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A batch norm in evaluation mode as ``x · gain + offset``, float64 (n_channels,) each."""
    gain = 1 / np.sqrt(double(norm.running_var) + norm.eps)
    if norm.weight is not None:
        gain = gain * double(norm.weight)
    offset = -double(norm.running_mean) * gain
    return gain, offset if norm.bias is None else offset + double(norm.bias)


def sign_bits(module: BinaryConv2d) -> Bits:
    """The signs of the weights, (out, k, k, in / groups)."""
    with torch.no_grad():
        negative = torch.signbit(module.binary_weight()).permute(0, 2, 3, 1).contiguous().numpy()
    return Bits(np.packbits(negative.ravel(), bitorder="little"), negative.shape)


def scales(module: BinaryConv2d) -> NDArray[np.float32]:
    """The one magnitude of the weights of each filter, (out,)."""
    with torch.no_grad():
        found: NDArray[np.float32] = module.binary_weight()[:, 0, 0, 0].abs().numpy()
    return found


def single_gain_and_offset(norm: Any) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The same as torch has it: in single precision, the offset rounded once, so that ``fused(x, gain, offset)`` is
    what the network computes, to the last bit."""
    gain = np.float32(1) / np.sqrt(single(double(norm.running_var)) + np.float32(norm.eps))
    if norm.weight is not None:
        gain = gain * single(double(norm.weight))
    offset = 0 if norm.bias is None else double(norm.bias)
    return gain, single(offset - double(norm.running_mean) * gain)


def affine_tensors(base: Node | None, norm: Node | None) -> dict[str, NDArray[np.float32]]:
    """``magnitude``, ``scale`` and ``bias`` of an epilogue: of 1-bit weights, the batch norm, a convolution's bias."""
    found = {}
    if base is not None and isinstance(base.module, BinaryConv2d):
        found["magnitude"] = scales(base.module)
    if norm is not None:
        found["scale"], found["bias"] = single_gain_and_offset(norm.module)
    if base is not None and base.kind == "convolution" and base.module.bias is not None:
        scale = found.get("scale", np.float32(1))
        found["bias"] = single(double(base.module.bias) * scale + found.get("bias", np.float32(0)))
    return found


def activation_tensors(node: Node) -> dict[str, NDArray[np.float32]]:
    """``slope``, and for RPReLU ``before`` and ``after``, of an epilogue."""
    module = node.module
    if isinstance(module, RPReLU):
        return {name: single(double(getattr(module, name))) for name in ("before", "slope", "after")}
    slope = double(module.weight) if isinstance(module, nn.PReLU) else np.zeros(1)
    return {"slope": single(np.broadcast_to(slope, node.channels))}
