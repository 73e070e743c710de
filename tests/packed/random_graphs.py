"""Random graphs that fit together, with sizes drawn at, below and just beyond every limit of `packed.graph`.

Nothing is checked here: the loader is to find what is beyond. One size in `RARITY` is an extreme one, so that graphs of
several operations with one extreme are frequent, and sound ones, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnas_face.packed import graph as graphs
from bnas_face.packed.graph import IMAGE, Bits, Graph, Operation, Shape

RARITY = 10
MOST_WEIGHTS = 1 << 20
"""Of an operation: files stay small, whatever they ask for."""
SIZES_PX = ((1, 2, 3, 5, 8, 16, 17, 32), (256, 1024, 2364, 2365, 4096, 4097))
CHANNELS = ((1, 2, 3, 15, 16, 17, 31, 63, 64, 65, 130), (1000, 4096, graphs.MOST_CHANNELS, graphs.MOST_CHANNELS + 1))
DRAWN: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "stride": ((1, 1, 1, 2, 3), (0, 8, 100, 4095, 4096, 4097)),
    "dilation": ((1, 1, 2, 3), (0, 15, 16, 17)),
    "padding": ((0, 1, 2), (3, 31, 63, 64, 65)),
    "kernel": ((1, 2, 3, 5), (0, 64, 100, 4095, 4096, 4097)),
    "offset": ((0, 1), (2,)),
}
SIDES = {
    "binary_convolution": ((1, 3, 3, 5), (2, 13, 15, 17)),
    "signed_convolution": ((1, 3, 3, 5), (2, 15, 17, 63, 65)),
    "convolution": ((1, 2, 3, 3, 4, 5), (63, 64, 65)),
}
KINDS = tuple(graphs.SETTINGS)


class RandomGraph:
    """Operations as they are drawn, and the values that exist so far."""

    def __init__(self, random: np.random.Generator) -> None:
        self.random = random
        self.size_px = self.draw(SIZES_PX)
        self.shapes = {IMAGE: Shape(self.size_px, self.size_px, 3)}
        self.operations: list[Operation] = []

    def made(self) -> Graph:
        """The whole graph; its last operation makes the embedding."""
        for _ in range(int(self.random.integers(1, 10))):
            self.add(KINDS[int(self.random.integers(len(KINDS)))])
        if self.chance(4):
            self.crowd()
        last = self.values(is_bits=False)[-1]
        shape = self.shapes[last]
        if self.n_numbers(last) > MOST_WEIGHTS // 4:
            settings = {"kernel": shape.height, "stride": shape.height, "padding": 0}
            self.enter(Operation("average_pool", "mean", [last], settings=settings), 1, shape.channels)
        self.linear()
        return Graph(operations=self.operations, size_px=self.size_px, embedding_dim=self.last_channels())

    def last_channels(self) -> int:
        """Of the embedding."""
        weight: Any = self.operations[-1].tensors["weight"]
        return int(weight.shape[0])

    def chance(self, one_in: int) -> bool:
        """True once in so many times."""
        return bool(self.random.integers(one_in) == 0)

    def draw(self, choices: tuple[Sequence[int], Sequence[int]]) -> int:
        """A usual number, or rarely an extreme one."""
        usual, extreme = choices
        return int(self.random.choice(extreme if self.chance(RARITY) else usual))

    def values(self, *, is_bits: bool) -> list[int]:
        """Those that exist."""
        return [number for number, shape in self.shapes.items() if shape.is_bits == is_bits]

    def n_numbers(self, value: int) -> int:
        """Of a value of an image."""
        shape = self.shapes[value]
        return shape.height * shape.width * shape.channels

    def add(self, kind: str) -> None:
        """One operation of this kind; of bits only where there are some."""
        sources = self.values(is_bits=kind == "binary_convolution")
        if not sources:
            return
        source = sources[-1 - int(self.random.integers(min(len(sources), 3)))]
        if kind in graphs.CONVOLUTIONS:
            self.convolution(kind, source)
        elif kind == "linear":
            if self.n_numbers(self.values(is_bits=False)[-1]) <= MOST_WEIGHTS:
                self.linear()
        elif kind in graphs.SEVERAL_INPUTS:
            self.joined(kind, source)
        else:
            self.map(kind, source)

    def numbers(self, *shape: int) -> NDArray[np.float32]:
        """Quarters from −1 to 1."""
        return (self.random.integers(-4, 5, shape) / 4).astype(np.float32)

    def convolution(self, kind: str, source: int) -> None:
        """A convolution whose weights fit its input."""
        seen, side = self.shapes[source], self.draw(SIDES[kind])
        divisors = [n for n in range(1, min(seen.channels, 300) + 1) if seen.channels % n == 0]
        groups = seen.channels if self.chance(4) else int(self.random.choice(divisors))
        inputs = seen.channels // groups
        most = MOST_WEIGHTS // max(1, side * side * inputs * groups)
        outside = 1 if self.chance(2) and groups > 1 else min(self.draw(CHANNELS), max(1, most))
        shape = (groups * outside, side, side, inputs)
        if np.prod(shape, dtype=np.float64) > 2 * MOST_WEIGHTS:
            return
        settings = {name: self.draw(DRAWN[name]) for name in graphs.SETTINGS[kind] if name != "groups"}
        settings["groups"] = groups
        reach = settings["dilation"] * (side - 1) + 1
        if "padding" in settings and not self.chance(RARITY):
            settings["padding"] = reach if self.chance(RARITY) else min(settings["padding"], reach // 2)
        padding = settings.get("padding", settings["dilation"] * (side // 2))
        sides = [(one + 2 * padding - reach) // max(1, settings["stride"]) + 1 for one in (seen.height, seen.width)]
        operation = Operation(kind, kind, [source], settings=settings, tensors={"weight": self.weight(kind, shape)})
        self.shortcut(operation, sides[0], shape[0])
        self.enter(operation, sides[0], shape[0])

    def weight(self, kind: str, shape: tuple[int, ...]) -> Any:
        """Random weights of a convolution."""
        if kind == "convolution":
            return self.numbers(*shape).astype(np.float16 if self.chance(2) else np.float32)
        n = int(np.prod(shape))
        octets = np.frombuffer(self.random.bytes(-(-n // 8)), np.uint8).copy()
        if n % 8:
            octets[-1] &= (1 << n % 8) - 1
        return Bits(octets, shape)

    def shortcut(self, operation: Operation, side: int, channels: int) -> None:
        """Some value of the right size as shortcut, if there is one."""
        stride = max(1, operation.settings["stride"])
        heights = {number: self.shapes[number].height for number in self.values(is_bits=False)}
        fitting = [number for number, height in heights.items() if side in (height, -(-height // stride))]
        if not fitting or self.chance(2):
            return
        operation.shortcut = int(self.random.choice(fitting))
        if self.chance(3):
            n = self.shapes[operation.shortcut].channels
            operation.tensors |= {"shortcut_gain": self.numbers(n), "shortcut_offset": self.numbers(n)}

    def joined(self, kind: str, source: int) -> None:
        """A sum or a concatenation of values of one size."""
        seen = self.shapes[source]
        same = [n for n in self.values(is_bits=False) if self.shapes[n] == seen]
        n_inputs = self.draw(((1, 2, 3), (63, 64, 65)))
        inputs = [int(self.random.choice(same)) for _ in range(n_inputs)]
        channels = seen.channels * (n_inputs if kind == "concatenate" else 1)
        self.enter(Operation(kind, kind, inputs), seen.height, channels)

    def map(self, kind: str, source: int) -> None:
        """A pool, signs, or every second pixel."""
        seen = self.shapes[source]
        settings = {name: self.draw(DRAWN[name]) for name in graphs.SETTINGS[kind]}
        if "padding" in settings and not self.chance(RARITY):
            settings["padding"] = min(settings["padding"], max(0, settings["kernel"] - 1))
        stride = 2 if kind == "pick" else max(1, settings.get("stride", 1))
        self.enter(Operation(kind, kind, [source], settings=settings), -(-seen.height // stride), seen.channels)

    def linear(self) -> None:
        """A linear layer of the latest floats."""
        source = self.values(is_bits=False)[-1]
        inputs = self.n_numbers(source)
        out = max(1, min(self.draw(CHANNELS), MOST_WEIGHTS // max(1, inputs)))
        dtype = [np.float32, np.float16, np.int8][int(self.random.integers(3))]
        tensors: dict[str, Any] = {
            "weight": self.random.integers(-1, 2, (out, max(0, min(inputs, 1 << 24)))).astype(dtype)
        }
        if self.chance(2):
            tensors |= {"scale": self.numbers(out), "bias": self.numbers(out)}
        self.enter(Operation("linear", "linear", [source], tensors=tensors), 1, out)

    def crowd(self) -> None:
        """Many small operations whose results all stay until they are added up; or many with padded weights."""
        source = IMAGE if self.chance(2) else self.values(is_bits=False)[-1]
        seen, n = self.shapes[source], int(self.random.choice([10, 64, 300, 2000]))
        copies = []
        for _ in range(n):
            if self.chance(2):
                self.enter(Operation("elementwise", "copy", [source]), seen.height, seen.channels, plain=True)
            elif seen.channels <= 64:
                shape = (seen.channels, 1, 1, 1)
                settings = {"stride": 1, "dilation": 1, "groups": seen.channels}
                one = Operation("signed_convolution", "narrow", [source], settings=settings)
                one.tensors["weight"] = self.weight(one.kind, shape)
                self.enter(one, seen.height, seen.channels, plain=True)
            copies.append(self.values(is_bits=False)[-1])
        for at in range(0, n, graphs.MOST_INPUTS):
            inputs = copies[at : at + graphs.MOST_INPUTS]
            self.enter(Operation("elementwise", "sum", inputs), seen.height, seen.channels, plain=True)

    def enter(self, operation: Operation, side: int, channels: int, *, plain: bool = False) -> None:
        """Draw the epilogue, number what the operation makes, and remember its shape."""
        if operation.kind in (*graphs.WITH_EPILOGUE, "signs") and not plain:
            self.epilogue(operation, channels)
        if operation.kind != "signs" and "integer_threshold" not in operation.tensors:
            operation.floats = self.value(Shape(side, side, channels))
        if {"threshold", "integer_threshold"} & set(operation.tensors):
            operation.bits = self.value(Shape(side, side, channels, is_bits=True))
        self.operations.append(operation)

    def value(self, shape: Shape) -> int:
        """A new number for a value of this shape."""
        number = len(self.shapes)
        self.shapes[number] = shape
        return number

    def epilogue(self, operation: Operation, channels: int) -> None:
        """Random tensors of an epilogue, complete and of the right length."""
        tensors, n = operation.tensors, min(channels, 1 << 17)
        whole = operation.kind == "binary_convolution" and operation.shortcut is None and self.chance(3)
        if operation.kind == "signs" or (not whole and self.chance(2)):
            tensors["threshold"] = self.numbers(n)
        if whole:
            tensors["integer_threshold"] = self.random.integers(-9, 10, n).astype(np.int32)
        if (whole or "threshold" in tensors) and self.chance(2):
            tensors["flip"] = self.random.integers(0, 2, n).astype(np.uint8)
        if whole or operation.kind == "signs":
            return
        roles = [role for role in ("magnitude", "scale", "bias", "slope") if self.chance(2)]
        roles += [role for role in ("before", "after") if "slope" in roles and self.chance(2)]
        tensors |= {role: self.numbers(n) for role in roles}


def random_graph(random: np.random.Generator) -> Graph:
    """One of them."""
    return RandomGraph(random).made()
