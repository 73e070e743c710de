"""From elementary nodes to the packed engine's operations: everything after a sum is folded into its epilogue.

- The batch norm (and shift) before a sign becomes a threshold on what comes before it, so that activations leave the
  operation before as bits.
- Scale of the weights and batch norm after a convolution become its scale and bias; shortcut and PReLU follow.
- Where nothing but a sign follows a binary convolution, its sums are compared with integer thresholds.
- A batch norm before a linear layer goes into its weights.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bnas_face.errors import PackingError
from bnas_face.models.binarizers._base import same_padding
from bnas_face.models.binarizers._convolution import BinaryConv2d
from bnas_face.packed import thresholds
from bnas_face.packed.chains import Chain
from bnas_face.packed.folding import (
    activation_tensors,
    affine_tensors,
    gain_and_offset,
    scales,
    sign_bits,
    single,
    single_gain_and_offset,
)
from bnas_face.packed.graph import IMAGE, Operation
from bnas_face.packed.lowering import Node


def fuse(nodes: Sequence[Node]) -> list[Operation]:
    """Operations that compute the last node, in order.

    Raises
    ------
    PackingError
        If there is a combination of layers that the engine does not have; names the layer.
    """
    fusion = _Fusion(nodes)
    for node in nodes:
        if node.kind == "concatenate":  # from the first to the last, so that recursion stays within a cell
            fusion.floats(node)
    fusion.floats(nodes[-1])
    fusion.fold_integers()
    return fusion.operations


class _Fusion:
    def __init__(self, nodes: Sequence[Node]) -> None:
        self.operations: list[Operation] = []
        self.made: dict[int, Operation] = {}
        self.chains: dict[int, Chain] = {}
        self.n_values = IMAGE
        self.n_uses = Counter(id(source) for node in nodes for source in node.inputs)
        self.users: dict[int, list[Node]] = {id(node): [] for node in nodes}
        for node in nodes:
            for source in node.inputs:
                self.users[id(source)].append(node)
        self.signs: dict[int, Callable[[torch.Tensor], torch.Tensor]] = {}

    def value(self) -> int:
        """A new number."""
        self.n_values += 1
        return self.n_values

    def floats(self, node: Node) -> int:
        """The number of the value that holds the floats of `node`."""
        if node.kind == "image":
            return IMAGE
        if node.kind == "shortcut":
            raise PackingError(f"Layer '{node.name}' has a shortcut without a convolution beside it.")
        operation = self.operation(node)
        if operation.floats is None:
            operation.floats = self.value()
        return operation.floats

    def bits(self, node: Node, convolution: Node) -> int:
        """The number of the value that holds the signs which the 1-bit `convolution` takes of `node`."""
        source, norm = (node.inputs[0], node.module) if node.kind == "norm" else (node, None)
        module = convolution.module

        def negative(values: torch.Tensor) -> torch.Tensor:
            signs: torch.Tensor = module.activation(values if norm is None else norm(values))
            return signs < 0

        maker = None if source.kind == "image" else self.operation(source)
        if maker is None or maker.bits is not None or maker.kind in ("concatenate", "pick"):
            maker = Operation("signs", convolution.name, [self.floats(source)])
            self.operations.append(maker)
        found, flip = thresholds.threshold(negative, source.channels)
        maker.tensors |= {"threshold": found} | ({"flip": flip} if flip.any() else {})
        maker.bits, maker.signs_of = self.value(), convolution.name
        self.signs[id(maker)] = negative
        return maker.bits

    def operation(self, node: Node) -> Operation:
        """The operation that makes `node`; the first time it is added."""
        if id(node) not in self.made:
            self.made[id(node)] = operation = self._build(node)
            self.operations.append(operation)
        return self.made[id(node)]

    def _build(self, node: Node) -> Operation:
        if node.kind == "concatenate":
            return Operation("concatenate", node.name, [self.floats(part) for part in node.inputs])
        if node.kind == "pick":
            return Operation(
                "pick", node.name, [self.floats(node.inputs[0])], settings={"offset": node.settings["offset"]}
            )
        if node.kind == "linear" or (node.kind == "norm" and node.inputs[0].kind == "linear"):
            return self._linear(node)
        chain = Chain(node, self.n_uses)
        shortcut, tensors = self._shortcut(chain.way) if chain.way is not None else (None, {})
        operation = self._base(node, chain)
        operation.tensors |= affine_tensors(chain.base, chain.norm)
        operation.shortcut, operation.tensors = shortcut, operation.tensors | tensors
        if chain.activation is not None:
            operation.tensors |= activation_tensors(chain.activation)
        self.chains[id(operation)] = chain
        return operation

    def _base(self, node: Node, chain: Chain) -> Operation:
        """The operation that makes `node`, without its epilogue."""
        base = chain.base
        if base is None:
            return Operation("elementwise", node.name, [self.floats(part) for part in chain.operands])
        if base.kind == "convolution":
            return self._convolution(base)
        settings = {name: base.settings[name] for name in ("kernel", "stride", "padding")}
        return Operation(base.kind, base.name, [self.floats(base.inputs[0])], settings=settings)

    def _convolution(self, node: Node) -> Operation:
        """A convolution without its epilogue."""
        module, source = node.module, node.inputs[0]
        settings = {"stride": node.settings["stride"], "dilation": module.dilation[0], "groups": module.groups}
        if not isinstance(module, BinaryConv2d):
            weight = np.ascontiguousarray(module.weight.detach().permute(0, 2, 3, 1).numpy())
            settings["padding"] = module.padding[0]
            return Operation(
                "convolution", node.name, [self.floats(source)], settings=settings, tensors={"weight": weight}
            )
        if module.padding[0] != same_padding(module.kernel_size[0], module.dilation[0]):
            raise PackingError(f"Layer '{node.name}' ({module}) has 1-bit weights without \"same\" padding.")
        weight_bits = sign_bits(module)
        if module.activation_bits == 1:
            kind, value = "binary_convolution", self.bits(source, node)
        else:
            kind, value = "signed_convolution", self.floats(source)
        return Operation(kind, node.name, [value], settings=settings, tensors={"weight": weight_bits})

    def _shortcut(self, way: Node) -> tuple[int, dict[str, Any]]:
        """The value that a shortcut adds, and the tensors of a batch norm on its way."""
        source = way.inputs[0] if way.kind == "shortcut" else way
        if source.kind != "norm" or not self._is_only_signed(source):
            return self.floats(source), {}
        gain, offset = single_gain_and_offset(source.module)
        tensors = {"shortcut_gain": gain, "shortcut_offset": offset}
        return self.floats(source.inputs[0]), tensors

    def _is_only_signed(self, norm: Node) -> bool:
        """Whether nobody but shortcuts and signs reads a batch norm, so that its floats need not be."""
        return all(
            user.kind == "shortcut" or getattr(user.module, "activation_bits", 32) == 1 for user in self.users[id(norm)]
        )

    def _linear(self, node: Node) -> Operation:
        """Linear layer with the batch norms before and after it."""
        layer = node if node.kind == "linear" else node.inputs[0]
        source, norm = layer.inputs[0], None
        if source.kind == "norm" and source.inputs[0].kind != "convolution":
            source, norm = source.inputs[0], source.module
        weight = layer.module.weight.detach().double().numpy()
        bias = np.zeros(len(weight)) if layer.module.bias is None else layer.module.bias.detach().double().numpy()
        weight = weight.reshape(len(weight), source.channels, -1)
        if norm is not None:
            gain, offset = gain_and_offset(norm)
            bias = bias + (weight.sum(axis=2) * offset).sum(axis=1)
            weight = weight * gain[:, None]
        scale = np.ones(len(weight))
        if node.kind == "norm":
            scale, offset = gain_and_offset(node.module)
            bias = bias * scale + offset
        tensors = {
            "weight": single(weight.transpose(0, 2, 1).reshape(len(weight), -1)),
            "scale": single(scale),
            "bias": single(bias),
        }
        return Operation("linear", layer.name, [self.floats(source)], tensors=dict(tensors))

    def fold_integers(self) -> None:
        """Integer thresholds for binary convolutions of which only bits leave."""
        for operation in self.operations:
            if operation.kind == "binary_convolution" and operation.floats is None and operation.shortcut is None:
                found = self._integers(operation, self.chains[id(operation)])
                if found is not None:
                    turn, flip = found
                    operation.tensors = {"weight": operation.tensors["weight"], "integer_threshold": turn}
                    operation.tensors |= {"flip": flip} if flip.any() else {}

    def _integers(self, operation: Operation, chain: Chain) -> tuple[NDArray[np.int32], NDArray[np.uint8]] | None:
        """What the network's own layers make of every sum that can be."""
        module = chain.base.module  # type: ignore[union-attr]  # a convolution has one
        most = module.weight[0].numel()
        sums = torch.arange(-most, most + 1, dtype=torch.float32)
        with torch.inference_mode():
            values = (torch.from_numpy(scales(module))[:, None] * sums)[None, :, :, None]
            for node in (chain.norm, chain.activation):
                values = values if node is None else node.module(values)
            negative = self.signs[id(operation)](values)[0, :, :, 0].numpy()
        return thresholds.integer_threshold(negative, -most)
