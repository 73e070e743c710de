"""The graph of a packed network: its operations in the order in which they run, and what makes them valid.

Values are numbered and made once; number 0 is the image, float32 (n, size_px, size_px, 3). An operation reads values
that earlier ones have made, so that a graph has no cycles. Every operation but `linear`, `concatenate` and `pick` ends
in an epilogue (`kernels.Epilogue`), whose arrays are among its tensors, and makes floats, bits, or both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnas_face.errors import ArtifactError

IMAGE = 0
MOST_OPERATIONS = 20_000
MOST_CHANNELS = 1 << 16
MOST_NUMBERS = 1 << 24
"""Of one value, for one image, and of what a window sees of it with its padding."""
LARGEST = {"stride": 4096, "dilation": 16, "groups": MOST_CHANNELS, "padding": 64, "kernel": 4096, "offset": 1}
"""Of every setting; the smallest is 1, of `padding` and `offset` 0."""

SETTINGS = {
    "binary_convolution": ("stride", "dilation", "groups"),
    "signed_convolution": ("stride", "dilation", "groups"),
    "convolution": ("stride", "dilation", "groups", "padding"),
    "average_pool": ("kernel", "stride", "padding"),
    "max_pool": ("kernel", "stride", "padding"),
    "elementwise": (),
    "signs": (),
    "concatenate": (),
    "pick": ("offset",),
    "linear": (),
}
"""Kinds of operations and their settings."""
CONVOLUTIONS = ("binary_convolution", "signed_convolution", "convolution")
WITH_EPILOGUE = (*CONVOLUTIONS, "average_pool", "max_pool", "elementwise")
SEVERAL_INPUTS = ("elementwise", "concatenate")
DTYPES = {
    **dict.fromkeys(("magnitude", "scale", "bias", "before", "slope", "after", "threshold"), ("float32",)),
    **dict.fromkeys(("shortcut_gain", "shortcut_offset"), ("float32",)),
    "flip": ("uint8",),
    "integer_threshold": ("int32",),
}
"""Of the tensors of an epilogue. Absent means 0, of `magnitude` and `scale` 1; no slope means no activation."""
LARGEST_SIDE = {"binary_convolution": 15, "signed_convolution": 64, "convolution": 64}
"""Of kernels, in pixels; what the compiled operations take."""
MOST_INPUTS = 64
WEIGHTS = {
    "binary_convolution": ("bits",),
    "signed_convolution": ("bits",),
    "convolution": ("float32", "float16"),
    "linear": ("float32", "float16", "int8"),
}


@dataclass(frozen=True)
class Bits:
    """Signs of any shape, one bit each, in C order, bit 1 where negative; the first is the lowest bit of octet 0."""

    octets: NDArray[np.uint8]
    shape: tuple[int, ...]

    @property
    def dtype(self) -> str:
        """``"bits"``."""
        return "bits"


Tensor = NDArray[Any] | Bits


@dataclass
class Operation:
    """One operation.

    Attributes
    ----------
    kind : str
        A key of `SETTINGS`.
    name : str
        Full name of the layer of the trained network.
    inputs : list of int
        Values it reads: one, or more of `SEVERAL_INPUTS`. A map of bits for ``binary_convolution``, else floats.
    shortcut : int or None
        Map of floats that the epilogue of a convolution adds.
    settings : dict of str to int
    tensors : dict of str to array or Bits
        By role: ``weight`` (out, k, k, in / groups), for ``linear`` (out, in); the epilogue's, see `DTYPES`.
    floats, bits : int or None
        Values it makes.
    signs_of : str
        Full name of the convolution whose input the bits are; empty without bits.
    """

    kind: str
    name: str
    inputs: list[int]
    shortcut: int | None = None
    settings: dict[str, int] = field(default_factory=dict)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    floats: int | None = None
    bits: int | None = None
    signs_of: str = ""

    @property
    def reads(self) -> list[int]:
        """All values it reads."""
        return [*self.inputs, *([] if self.shortcut is None else [self.shortcut])]

    @property
    def makes(self) -> list[int]:
        """All values it makes."""
        return [number for number in (self.floats, self.bits) if number is not None]


@dataclass(frozen=True)
class Shape:
    """Of a value, without the batch: floats or bits of height, width and channels."""

    height: int
    width: int
    channels: int
    is_bits: bool = False


@dataclass(frozen=True, kw_only=True)
class Graph:
    """Operations in order, the last of which makes the embedding."""

    operations: Sequence[Operation]
    size_px: int
    embedding_dim: int


def before_signs(operations: Sequence[Operation]) -> list[bool]:
    """Which operations a sign depends on, its own included: there the last bit of a float matters."""
    matters: set[int] = set()
    found = []
    for operation in reversed(operations):
        found.append(operation.bits is not None or operation.floats in matters)
        if found[-1]:
            matters.update(operation.reads)
    return found[::-1]


def done_with(operations: Sequence[Operation]) -> list[list[int]]:
    """For every operation the values that nobody reads after it; never the image and the embedding."""
    last = {number: at for at, operation in enumerate(operations) for number in (*operation.makes, *operation.reads)}
    found: list[list[int]] = [[] for _ in operations]
    for number, at in last.items():
        if number not in (IMAGE, operations[-1].floats):
            found[at].append(number)
    return found


def check(graph: Graph) -> dict[int, Shape]:
    """Shapes of all values, when everything fits.

    Raises
    ------
    ArtifactError
        If anything does not: says which operation, by number and name.
    """
    if not 1 <= len(graph.operations) <= MOST_OPERATIONS:
        raise ArtifactError(f"it has {len(graph.operations)} operations; expected 1 to {MOST_OPERATIONS}")
    shapes = {IMAGE: Shape(graph.size_px, graph.size_px, 3)}
    for number, operation in enumerate(graph.operations):
        try:
            _check_operation(operation, shapes)
        except ArtifactError as error:
            raise ArtifactError(
                f"operation {number} ({operation.kind[:40]!r}, {operation.name[:80]!r}) {error}"
            ) from None
    last = graph.operations[-1]
    if last.kind != "linear":
        raise ArtifactError(
            f"its last operation is of kind '{last.kind}'; expected 'linear', which makes the embedding"
        )
    found = shapes[last.floats] if last.floats is not None else None
    if found != Shape(1, 1, graph.embedding_dim):
        raise ArtifactError(f"its last operation makes {found}, not an embedding of {graph.embedding_dim} numbers")
    return shapes


def _check_operation(operation: Operation, shapes: dict[int, Shape]) -> None:
    """Check one operation and enter the values it makes into `shapes`."""
    if operation.kind not in SETTINGS:
        raise ArtifactError(f"is of no known kind; known: {', '.join(SETTINGS)}")
    _check_settings(operation)
    inputs = _inputs(operation, shapes)
    _check_weight(operation, inputs[0])
    made = _made(operation, inputs)
    if made.height < 1 or made.width < 1 or not 1 <= made.channels <= MOST_CHANNELS:
        raise ArtifactError(f"makes {made.height}×{made.width} pixels of {made.channels} channels")
    if made.height * made.width * made.channels > MOST_NUMBERS:
        raise ArtifactError(f"makes {made.height}×{made.width}×{made.channels} numbers; at most {MOST_NUMBERS}")
    _check_padded(operation, inputs[0], made)
    _check_tensors(operation, made, shapes)
    _check_outputs(operation, shapes)
    if operation.floats is not None:
        shapes[operation.floats] = made
    if operation.bits is not None:
        shapes[operation.bits] = Shape(made.height, made.width, made.channels, is_bits=True)


def _check_settings(operation: Operation) -> None:
    expected = SETTINGS[operation.kind]
    if set(operation.settings) != set(expected):
        raise ArtifactError(f"has the settings {sorted(operation.settings)}; expected {sorted(expected)}")
    for name, value in operation.settings.items():
        smallest = 0 if name in ("padding", "offset") else 1
        if not smallest <= value <= LARGEST[name]:
            raise ArtifactError(f"has {name} {value}; expected {smallest} to {LARGEST[name]}")


def _inputs(operation: Operation, shapes: Mapping[int, Shape]) -> list[Shape]:
    """Shapes of its inputs, which must exist and be of the right sort."""
    for number in operation.reads:
        if number not in shapes:
            raise ArtifactError(f"reads value {number}, which no earlier operation makes")
    if len(operation.inputs) > MOST_INPUTS:
        raise ArtifactError(f"reads {len(operation.inputs)} values; at most {MOST_INPUTS}")
    if not operation.inputs or (len(operation.inputs) > 1 and operation.kind not in SEVERAL_INPUTS):
        raise ArtifactError(f"reads {len(operation.inputs)} values")
    found = [shapes[number] for number in operation.inputs]
    wants_bits = operation.kind == "binary_convolution"
    if any(shape.is_bits != wants_bits for shape in found):
        raise ArtifactError(f"must read {'bits' if wants_bits else 'floats'}")
    first = found[0]
    for other in found[1:]:
        same_channels = other.channels == first.channels or operation.kind == "concatenate"
        if (other.height, other.width) != (first.height, first.width) or not same_channels:
            raise ArtifactError(f"joins values of different shapes: {first} and {other}")
    return found


def _check_weight(operation: Operation, source: Shape) -> None:
    """Shape and dtype of the weight, where there is one."""
    weight = operation.tensors.get("weight")
    if (weight is not None) != (operation.kind in WEIGHTS):
        raise ArtifactError("lacks its weight" if weight is None else "has a weight it cannot use")
    if weight is None:
        return
    if str(weight.dtype) not in WEIGHTS[operation.kind]:
        raise ArtifactError(f"has weights of type {weight.dtype}; expected {' or '.join(WEIGHTS[operation.kind])}")
    if operation.kind == "linear":
        expected: tuple[int, ...] = (weight.shape[0], source.height * source.width * source.channels)
    else:
        groups = operation.settings["groups"]
        if source.channels % groups or weight.shape[0] % groups:
            raise ArtifactError(f"cannot have {groups} groups of {source.channels} → {weight.shape[0]} channels")
        side = weight.shape[1] if len(weight.shape) == 4 else 0
        expected = (weight.shape[0], side, side, source.channels // groups)
        if side > LARGEST_SIDE[operation.kind]:
            raise ArtifactError(f"has a kernel of side {side}; at most {LARGEST_SIDE[operation.kind]}")
        reach = operation.settings["dilation"] * (side - 1) + 1
        if operation.settings.get("padding", 0) > reach:
            raise ArtifactError(f"pads {operation.settings['padding']} pixels beside a kernel that reaches {reach}")
        if "padding" not in operation.settings and side % 2 == 0:
            raise ArtifactError(f"has a kernel of side {side}; expected an odd one")
    if tuple(weight.shape) != expected:
        raise ArtifactError(f"has weights of shape {tuple(weight.shape)}; expected {expected}")


def _made(operation: Operation, inputs: Sequence[Shape]) -> Shape:
    """Shape of the floats it makes."""
    first, settings = inputs[0], operation.settings
    sides = (first.height, first.width)
    if operation.kind == "linear":
        return Shape(1, 1, operation.tensors["weight"].shape[0])
    if operation.kind == "concatenate":
        return Shape(*sides, sum(shape.channels for shape in inputs))
    if operation.kind == "convolution":
        weight = operation.tensors["weight"]
        reach = settings["dilation"] * (weight.shape[1] - 1) + 1
        rows, columns = ((side + 2 * settings["padding"] - reach) // settings["stride"] + 1 for side in sides)
        return Shape(rows, columns, weight.shape[0])
    if settings.get("padding", 0) >= settings.get("kernel", 1):
        raise ArtifactError(f"pads {settings['padding']} pixels beside windows of {settings['kernel']}")
    stride = 2 if operation.kind == "pick" else settings.get("stride", 1)
    channels = operation.tensors["weight"].shape[0] if "weight" in operation.tensors else first.channels
    return Shape(-(-first.height // stride), -(-first.width // stride), channels)


def _check_padded(operation: Operation, source: Shape, made: Shape) -> None:
    """What the windows see, padding included, is no larger than a value may be."""
    settings, weight = operation.settings, operation.tensors.get("weight")
    kernel = settings.get("kernel", 1) if weight is None or operation.kind == "linear" else weight.shape[1]
    stride, dilation = settings.get("stride", 1), settings.get("dilation", 1)
    padding = settings.get("padding", dilation * (kernel // 2))
    height, width = (
        max(side + 2 * padding, (outputs - 1) * stride + dilation * (kernel - 1) + 1)
        for side, outputs in ((source.height, made.height), (source.width, made.width))
    )
    if height * width * source.channels > MOST_NUMBERS:
        raise ArtifactError(f"sees {height}×{width}×{source.channels} numbers with its padding; at most {MOST_NUMBERS}")


def _check_tensors(operation: Operation, made: Shape, shapes: Mapping[int, Shape]) -> None:
    """Roles, types and lengths of everything but the weight."""
    roles = set(operation.tensors) - {"weight"}
    unknown = roles - _known_roles(operation)
    if unknown:
        raise ArtifactError(f"has a tensor '{min(unknown)[:40]}' it cannot use")
    missing = _required_roles(operation) - roles
    if missing:
        raise ArtifactError(f"lacks its tensor '{min(missing)}'")
    source = shapes[operation.shortcut] if operation.shortcut is not None else None
    if source is not None:
        _check_shortcut(operation, source, made)
    for role in roles:
        tensor = operation.tensors[role]
        length = source.channels if source is not None and role.startswith("shortcut") else made.channels
        if str(tensor.dtype) not in DTYPES[role] or tuple(tensor.shape) != (length,):
            raise ArtifactError(
                f"has '{role}' of type {tensor.dtype} and shape {tuple(tensor.shape)}; "
                f"expected {DTYPES[role][0]} and ({length},)"
            )


def _known_roles(operation: Operation) -> set[str]:
    if operation.kind == "linear":
        return {"scale", "bias"}
    if operation.kind == "signs":
        return {"threshold", "flip"}
    if operation.kind not in WITH_EPILOGUE:
        return set()
    known = set(DTYPES)
    if operation.shortcut is None:
        known -= {"shortcut_gain", "shortcut_offset"}
    return known if operation.kind == "binary_convolution" else known - {"integer_threshold"}


def _required_roles(operation: Operation) -> set[str]:
    roles = set(operation.tensors)
    if operation.kind == "signs":
        return {"threshold"}
    if operation.kind not in (*WITH_EPILOGUE, "linear"):
        return set()
    if "integer_threshold" in roles:
        if (
            operation.floats is not None
            or operation.shortcut is not None
            or roles - {"weight", "flip", "integer_threshold"}
        ):
            raise ArtifactError("has integer thresholds beside floats")
        return set()
    required: set[str] = set()
    if roles & {"before", "after"}:
        required.add("slope")
    if roles & {"shortcut_gain", "shortcut_offset"}:
        required |= {"shortcut_gain", "shortcut_offset"}
    if operation.bits is not None or "flip" in roles:
        required.add("threshold")
    return required


def _check_shortcut(operation: Operation, source: Shape, made: Shape) -> None:
    """A shortcut is a map of floats, of the output's sides or `stride` times as large."""
    if operation.kind not in CONVOLUTIONS or source.is_bits:
        raise ArtifactError("has a shortcut it cannot add")
    stride = operation.settings["stride"]
    sides = (source.height, source.width)
    if (made.height, made.width) not in (sides, tuple(-(-side // stride) for side in sides)):
        raise ArtifactError(
            f"has a shortcut of {source.height}×{source.width} pixels beside {made.height}×{made.width}"
        )


def _check_outputs(operation: Operation, shapes: Mapping[int, Shape]) -> None:
    """It makes at least one value, none of them a second time; bits come with a threshold."""
    made = operation.makes
    if not made:
        raise ArtifactError("makes no value")
    if len(set(made)) < len(made) or any(number in shapes for number in made):
        raise ArtifactError(f"makes a value a second time: {made}")
    has_threshold = bool({"threshold", "integer_threshold"} & set(operation.tensors))
    if (operation.bits is not None) != has_threshold:
        raise ArtifactError("has bits without thresholds, or thresholds without bits")
    if operation.kind == "signs" and operation.floats is not None:
        raise ArtifactError("makes floats out of signs")
