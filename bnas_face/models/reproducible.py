"""W1A1 networks whose output does not depend on the order in which a library adds numbers up.

A sign hangs on the last bit of its input where that is near zero. How convolutions of floats are rounded depends on the
memory layout, the size of the batch and the processor, so that in some images a few signs turn from one call to the
next (83 of 1,583 photographs in an IResNet-18, reports/packed/equality.json), in torch as anywhere. Here

- sums of ±1 · ±1 are made without the weights' magnitude, which makes them whole numbers, and are scaled afterwards;
- float convolutions are summed in double precision and rounded once;
- RPReLU is two additions around ``max(z, 0) + slope · min(z, 0)``.

Everything else (batch norms, pools, shortcuts) is torch's own. The packed engine computes the same, to the last bit of
every number that a sign depends on.
"""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bnas_face.models.backbones._blocks import RPReLU
from bnas_face.models.binarizers._convolution import BinaryConv2d


def reproducible(model: nn.Module) -> nn.Module:
    """A copy of a W1A1 network in evaluation mode for inference; any other network as it is."""
    if not any(isinstance(part, BinaryConv2d) and part.activation_bits == 1 for part in model.modules()):
        return model
    found = copy.deepcopy(model)
    for name, part in list(found.named_modules()):
        if isinstance(part, BinaryConv2d):
            found.set_submodule(name, _WholeSums(part))
        elif isinstance(part, nn.Conv2d):
            found.set_submodule(name, _DoubleSums(part))
        elif isinstance(part, RPReLU):
            found.set_submodule(name, _PlainRPReLU(part))
    return found.eval()


class _WholeSums(nn.Module):
    """A 1-bit convolution of 1-bit inputs as whole numbers times the magnitude of each filter."""

    def __init__(self, layer: BinaryConv2d) -> None:
        super().__init__()
        self.layer = layer
        with torch.no_grad():
            weight = layer.binary_weight()
            self.register_buffer("signs", torch.where(torch.signbit(weight), -1.0, 1.0).to(weight.dtype))
            self.register_buffer("magnitude", weight[:, :1, :1, 0].abs())

    def forward(self, values: Tensor) -> Tensor:
        """As the layer's own."""
        layer = self.layer
        sums = _convolve(layer, layer.activation(values), self.get_buffer("signs"))
        result: Tensor = sums * self.get_buffer("magnitude")
        return result * layer._input_magnitude(values) if layer.input_scale else result


class _DoubleSums(nn.Module):
    """A float convolution summed in double precision."""

    def __init__(self, layer: nn.Conv2d) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, values: Tensor) -> Tensor:
        """As the layer's own."""
        sums = _convolve(self.layer, values.double(), self.layer.weight.double())
        bias = self.layer.bias
        return (sums if bias is None else sums + bias.double()[:, None, None]).to(values.dtype)


class _PlainRPReLU(nn.Module):
    """``max(z, 0) + slope · min(z, 0) + after`` with ``z = x + before``."""

    def __init__(self, layer: RPReLU) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, values: Tensor) -> Tensor:
        """As the layer's own."""
        moved = values + self.layer.before[:, None, None]
        return F.prelu(moved, self.layer.slope) + self.layer.after[:, None, None]


def _convolve(layer: nn.Conv2d, values: Tensor, weight: Tensor) -> Tensor:
    return F.conv2d(values, weight, None, layer.stride, layer.padding, layer.dilation, layer.groups)
