"""What a graph needs in order to run: memory for values and weights, and steps, of one image.

A file of a few kilobytes can describe a network that no machine could run: values that all stay alive, groups of
single channels that are padded to blocks, windows as large as the map. What needs more than these limits is refused
when the file is opened. They are far above the published networks: an IResNet-18 of width 1 at 112 px has values of
10 MB, 11 million weights and 2.6 thousand million steps.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from bnas_face.errors import ArtifactError
from bnas_face.packed.graph import IMAGE, Bits, Graph, Operation, Shape, done_with

MOST_LIVING_BYTES = 1 << 28
"""Of all values that live at once."""
MOST_PREPARED = 1 << 27
"""Weights of all operations as the kernels have them, with what they are padded with, and numbers per channel. One of
them takes a bit to four bytes in the compiled kernels, up to eight bytes in the numpy ones."""
MOST_STEPS = 1 << 38
"""Multiply-accumulates, comparisons and additions."""
BLOCK, WORD = 16, 64
"""Output channels and 1-bit input channels to which the kernels pad a group."""

Shapes = Mapping[int, Shape]


def check(graph: Graph, shapes: Shapes) -> None:
    """Raise `ArtifactError`, half a sentence, if a graph with these shapes (of `graph.check`) needs too much."""
    for what, found, most in (
        ("bytes for the values of an image", living_bytes(graph, shapes), MOST_LIVING_BYTES),
        ("prepared weights", sum(prepared(one, _made(one, shapes)) for one in graph.operations), MOST_PREPARED),
        ("steps for an image", sum(steps(one, shapes) for one in graph.operations), MOST_STEPS),
    ):
        if found > most:
            raise ArtifactError(f"it needs {found} {what}; at most {most}")


def living_bytes(graph: Graph, shapes: Shapes) -> int:
    """Octets of the values of one image that live at once, where they are most; the image lives throughout."""
    living = most = _bytes(shapes[IMAGE])
    for operation, done in zip(graph.operations, done_with(graph.operations), strict=True):
        living += sum(_bytes(shapes[number]) for number in operation.makes)
        most = max(most, living)
        living -= sum(_bytes(shapes[number]) for number in done)
    return most


def prepared(operation: Operation, made: Shape) -> int:
    """Weights that the kernels keep for an operation, padded to whole blocks and words, and numbers per channel."""
    weight = operation.tensors.get("weight")
    if weight is None or operation.kind == "linear":  # weights of linear layers stay in the file
        return made.channels
    out, side, _, inputs = weight.shape
    groups = operation.settings["groups"]
    is_depthwise = inputs == 1 and out == groups
    padded_out = _padded(out, BLOCK) if is_depthwise else groups * _padded(out // groups, BLOCK)
    padded_inputs = _padded(inputs, WORD) if isinstance(weight, Bits) else inputs
    return made.channels + padded_out * side * side * padded_inputs


def steps(operation: Operation, shapes: Shapes) -> int:
    """Multiply-accumulates, comparisons and additions of an operation, padding included."""
    made, source = _made(operation, shapes), shapes[operation.inputs[0]]
    if operation.kind == "linear":
        return made.channels * _numbers(source)
    weight = operation.tensors.get("weight")
    taps = math.prod(weight.shape[1:]) if weight is not None else operation.settings.get("kernel", 1) ** 2
    found = _numbers(made) * max(taps, len(operation.inputs))
    if operation.shortcut is not None:
        way = shapes[operation.shortcut]
        window = max(1, way.height * way.width // (made.height * made.width))
        found += made.height * made.width * math.lcm(way.channels, made.channels) * window
    return found


def _made(operation: Operation, shapes: Shapes) -> Shape:
    return shapes[operation.makes[0]]


def _numbers(shape: Shape) -> int:
    return shape.height * shape.width * shape.channels


def _bytes(shape: Shape) -> int:
    """Floats take four bytes each; bits whole words a pixel."""
    if not shape.is_bits:
        return 4 * _numbers(shape)
    return shape.height * shape.width * _padded(shape.channels, WORD) // 8


def _padded(n: int, whole: int) -> int:
    return -(-n // whole) * whole
