"""From the modules of a trained network to a graph of elementary nodes, one handler per kind of module.

Nothing is folded here: a node is what a layer does, in the order of the network's forward pass. `fusion` makes the
packed engine's operations of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from bnas_face.errors import PackingError
from bnas_face.genotype import N_INPUTS
from bnas_face.models import cells
from bnas_face.models.backbones import iresnet18, mobilefacenet, searched
from bnas_face.models.backbones._blocks import RPReLU, ShortcutConvolution
from bnas_face.models.binarizers._convolution import BinaryConv2d
from bnas_face.models.spaces import _base, onebit, paper


@dataclass(eq=False)
class Node:
    """One elementary step.

    Attributes
    ----------
    kind : str
        ``image``, ``norm``, ``activation``, ``convolution``, ``shortcut``, ``add``, ``max_pool``, ``average_pool``,
        ``concatenate``, ``pick`` or ``linear``.
    name : str
        Full name of the layer.
    inputs : list of Node
    channels, side : int
        Of its output; images are square, and so is everything after them.
    module : nn.Module or None
        Whose parameters it uses.
    settings : dict of str to int
    """

    kind: str
    name: str
    inputs: list[Node]
    channels: int
    side: int
    module: Any = None
    settings: dict[str, int] = field(default_factory=dict)


Handler = Callable[["Lowering", Any, str, Node], Node]


class Lowering:
    """The nodes of a network, in the order of its forward pass.

    Attributes
    ----------
    nodes : list of Node
        The first is the image.
    positive : dict of int to Node
        What ReLU makes of a node, by the node's `id`.
    """

    def __init__(self, size_px: int) -> None:
        self.image = Node("image", "image", [], 3, size_px)
        self.nodes = [self.image]
        self.positive: dict[int, Node] = {}

    def add(
        self,
        kind: str,
        name: str,
        *inputs: Node,
        channels: int | None = None,
        stride: int = 1,
        module: Any = None,
        **settings: int,
    ) -> Node:
        """A new node; `channels` None are those of its first input, the side is the first input's over `stride`."""
        first = inputs[0]
        found = first.channels if channels is None else channels
        node = Node(kind, name, list(inputs), found, -(-first.side // stride), module, {"stride": stride, **settings})
        self.nodes.append(node)
        return node

    def lower(self, module: nn.Module, name: str, source: Node) -> Node:
        """What `module`, whose full name is `name`, makes of `source`.

        Raises
        ------
        PackingError
            If it, or a module within it, cannot be lowered; names it.
        """
        for kind in type(module).__mro__:
            if kind in HANDLERS:
                return HANDLERS[kind](self, module, name, source)
        raise PackingError(
            f"Layer '{name or 'network'}' is a {type(module).__name__}, which the packed engine does not have. "
            "It runs iresnet18, mobilefacenet and searched networks."
        )

    def chain(self, parts: Sequence[tuple[str, nn.Module]], source: Node) -> Node:
        """What modules, each with its full name, make of `source` one after the other."""
        for name, module in parts:
            source = self.lower(module, name, source)
        return source


def lower(model: nn.Module, size_px: int) -> Lowering:
    """All nodes of `model`, of which the last is its output; raises `PackingError`."""
    lowering = Lowering(size_px)
    lowering.lower(model, "", lowering.image)
    return lowering


def _of(name: str, child: str) -> str:
    return f"{name}.{child}".lstrip(".")


def _children(module: nn.Module, name: str, *names: str) -> list[tuple[str, nn.Module]]:
    return [(_of(name, child), module.get_submodule(child)) for child in names]


def _in_a_row(*names: str) -> Handler:
    """A module whose forward pass is its children `names`, one after the other."""
    return lambda lowering, module, name, source: lowering.chain(_children(module, name, *names), source)


def _sequential(lowering: Lowering, module: nn.Sequential, name: str, source: Node) -> Node:
    return lowering.chain([(_of(name, child), part) for child, part in module.named_children()], source)


def _nothing(lowering: Lowering, module: nn.Module, name: str, source: Node) -> Node:
    return source


def _norm(lowering: Lowering, module: Any, name: str, source: Node) -> Node:
    if module.running_mean is None:
        raise PackingError(f"Layer '{name}' normalises by its batch: it has no statistics to fold in.")
    return lowering.add("norm", name, source, module=module)


def _activation(lowering: Lowering, module: nn.Module, name: str, source: Node) -> Node:
    return lowering.add("activation", name, source, module=module)


def _relu(lowering: Lowering, module: nn.Module, name: str, source: Node) -> Node:
    """ReLU(source), which several operations of a cell begin with, once."""
    if id(source) not in lowering.positive:
        lowering.positive[id(source)] = lowering.add("activation", name, source, module=module)
    return lowering.positive[id(source)]


def _convolution(lowering: Lowering, module: nn.Conv2d, name: str, source: Node) -> Node:
    sides = (module.kernel_size, module.stride, module.dilation, module.padding)
    if module.padding_mode != "zeros" or any(isinstance(pair, str) or pair[0] != pair[1] for pair in sides):
        raise PackingError(f"Layer '{name}' ({module}) is not a square convolution with zeros around it.")
    if isinstance(module, BinaryConv2d) and module.input_scale:
        raise PackingError(
            f"Layer '{name}' multiplies by the magnitudes of its input (--input-scale), which the packed engine does "
            "not do: it would need the floats again. Train without --input-scale to pack it."
        )
    return _convolved(lowering, module, name, source, module.stride[0])


def _convolved(lowering: Lowering, module: nn.Conv2d, name: str, source: Node, stride: int) -> Node:
    """A convolution with this stride, whatever the module's own; its output may be smaller than "same"."""
    node = lowering.add("convolution", name, source, channels=module.out_channels, stride=stride, module=module)
    reach = module.dilation[0] * (module.kernel_size[0] - 1) + 1
    node.side = (source.side + 2 * int(module.padding[0]) - reach) // stride + 1
    return node


def _linear(lowering: Lowering, module: nn.Linear, name: str, source: Node) -> Node:
    return lowering.add("linear", name, source, channels=module.out_features, stride=source.side, module=module)


def _max_pool(lowering: Lowering, module: Any, name: str, source: Node) -> Node:
    return _pool(lowering, "max_pool", module, name, source)


def _average_pool(lowering: Lowering, module: Any, name: str, source: Node) -> Node:
    if module.padding and module.count_include_pad:
        raise PackingError(f"Layer '{name}' averages zeros of its padding in, which the packed engine does not do.")
    return _pool(lowering, "average_pool", module, name, source)


def _pool(lowering: Lowering, kind: str, module: Any, name: str, source: Node) -> Node:
    if (module.kernel_size, module.padding) != (3, 1) or module.stride not in (1, 2):
        raise PackingError(f"Layer '{name}' ({module}) is not a 3×3 pool of stride 1 or 2 with padding 1.")
    return lowering.add(kind, name, source, kernel=3, stride=module.stride, padding=1)


def _halved(lowering: Lowering, module: nn.Module, name: str, source: Node) -> Node:
    return lowering.add("average_pool", name, source, kernel=2, stride=2, padding=0)


def _zero(lowering: Lowering, module: nn.Module, name: str, source: Node) -> Node:
    raise PackingError(f"Layer '{name}' is the operation 'none', zeros alone. Search or edit a genotype without it.")


def _joined(lowering: Lowering, name: str, inner: Node, source: Node, out: int, stride: int) -> Node:
    """``inner + shortcut(source)``."""
    way = lowering.add("shortcut", name, source, channels=out, stride=stride)
    return lowering.add("add", name, inner, way)


def _shortcut_convolution(lowering: Lowering, module: ShortcutConvolution, name: str, source: Node) -> Node:
    inner = lowering.chain(_children(module, name, "norm_in", "conv", "norm_out"), source)
    joined = _joined(lowering, name, inner, source, module.out_channels, module.stride)
    return lowering.lower(module.activation, _of(name, "activation"), joined)


def _onebit_block(lowering: Lowering, module: onebit.Block, name: str, source: Node) -> Node:
    values = lowering.lower(module.norm_in, _of(name, "norm_in"), source)
    inner = lowering.chain(_children(module, name, "conv", "norm_out"), values)
    joined = _joined(lowering, name, inner, values, module.n_out, module.stride)
    return lowering.lower(module.activation, _of(name, "activation"), joined)


def _published_block(lowering: Lowering, module: Any, name: str, source: Node) -> Node:
    way = source
    if isinstance(module.shortcut, nn.Sequential):
        projection: Any = module.shortcut[0]
        norm = module.shortcut[1]
        way = _convolved(lowering, projection, _of(name, "shortcut.0"), source, module.stride)
        way = lowering.lower(norm, _of(name, "shortcut.1"), way)
    inner = lowering.chain(_children(module, name, "norm1", "conv1", "norm2", "activation", "conv2", "norm3"), source)
    return lowering.add("add", name, inner, way)


def _published_bottleneck(
    lowering: Lowering, module: mobilefacenet.PublishedBottleneck, name: str, source: Node
) -> Node:
    inner = lowering.lower(module.layers, _of(name, "layers"), source)
    return lowering.add("add", name, inner, source) if module.keeps_shape else inner


def _shifted_reduce(lowering: Lowering, module: paper.ShiftedReduce, name: str, source: Node) -> Node:
    positive = _relu(lowering, nn.ReLU(), name, source)
    parts = []
    for offset, child in enumerate(("conv1", "conv2")):
        if getattr(module, child) is not None:
            picked = lowering.add("pick", name, positive, stride=2, offset=offset)
            parts.append(lowering.lower(getattr(module, child), _of(name, child), picked))
    joined = _concatenated(lowering, name, parts) if len(parts) > 1 else parts[0]
    return lowering.lower(module.norm, _of(name, "norm"), joined)


def _class_head(lowering: Lowering, module: searched.ClassHead, name: str, source: Node) -> Node:
    mean = lowering.add("average_pool", name, source, kernel=source.side, stride=source.side, padding=0)
    return lowering.lower(module.classifier, _of(name, "classifier"), mean)


def _searched_cell(lowering: Lowering, module: Any, name: str, inputs: tuple[Node, Node]) -> Node:
    before, previous = inputs
    nodes = [
        lowering.lower(module.before, _of(name, "before"), before),
        lowering.lower(module.previous, _of(name, "previous"), previous),
    ]
    outputs: list[Node] = []
    for number, (source, operation) in enumerate(zip(module.sources, module.operations, strict=True)):
        outputs.append(lowering.lower(operation, _of(name, f"operations.{number}"), nodes[source]))
        if len(outputs) % 2 == 0:
            nodes.append(lowering.add("add", f"{name}.node{len(nodes)}", outputs[-2], outputs[-1]))
    return _concatenated(lowering, name, nodes[N_INPUTS:])


def _concatenated(lowering: Lowering, name: str, parts: Sequence[Node]) -> Node:
    return lowering.add("concatenate", name, *parts, channels=sum(part.channels for part in parts))


def _searched(lowering: Lowering, module: searched.SearchedNetwork, name: str, source: Node) -> Node:
    stem: cells.Stem = module.stem
    before = lowering.lower(stem.first, _of(name, "stem.first"), source)
    previous = before if stem.second is None else lowering.lower(stem.second, _of(name, "stem.second"), before)
    for number, cell in enumerate(module.cells):
        path = _of(name, f"cells.{number}")
        before, previous = previous, _searched_cell(lowering, cell, path, (before, previous))
    return lowering.lower(module.head, _of(name, "head"), previous)


HANDLERS: dict[type, Handler] = {
    iresnet18.IResNet: _in_a_row("stem", "blocks", "norm", "embedding", "features"),
    mobilefacenet.MobileFaceNet: _in_a_row("stem", "blocks", "widen", "pool", "embedding", "features"),
    searched.SearchedNetwork: _searched,
    searched.FaceHead: _in_a_row("pool", "norm", "embedding", "features"),
    searched.ClassHead: _class_head,
    ShortcutConvolution: _shortcut_convolution,
    iresnet18.PublishedBlock: _published_block,
    mobilefacenet.PublishedBottleneck: _published_bottleneck,
    onebit.Block: _onebit_block,
    paper.ShiftedReduce: _shifted_reduce,
    _base.AveragePool: _halved,
    _base.Zero: _zero,
    nn.Sequential: _sequential,
    nn.Identity: _nothing,
    nn.Dropout: _nothing,
    nn.BatchNorm2d: _norm,
    nn.BatchNorm1d: _norm,
    nn.PReLU: _activation,
    nn.ReLU: _relu,
    RPReLU: _activation,
    nn.Conv2d: _convolution,
    nn.Linear: _linear,
    nn.MaxPool2d: _max_pool,
    nn.AvgPool2d: _average_pool,
}
