"""Running a packed model: numpy arrays in, numpy arrays out; no torch.

from bnas_face.packed import load
network = load("model.bnn")
embeddings = network(images)          # (n, size_px, size_px, 3) RGB → float32 (n, embedding_dim)
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnas_face import machine
from bnas_face.errors import ConfigError
from bnas_face.packed import artifact as artifacts
from bnas_face.packed import kernels
from bnas_face.packed.graph import CONVOLUTIONS, IMAGE, Bits, Graph, Operation, before_signs, done_with
from bnas_face.packed.kernels import Epilogue
from bnas_face.packed.needs import living_bytes

PART_BYTES = 1 << 25
"""Images go through the network in parts whose values take at most so many bytes at once (one image at least)."""

MOST_THREADS = 256
"""What the kernels take."""

Values = dict[int, Any]
Step = Callable[[Values], tuple[Any, Any]]
Observe = Callable[[Operation, Any, Any], None]


@dataclass(frozen=True)
class Prepared:
    """An operation that is ready to run: `run` reads values and gives floats and bits, either of them None."""

    operation: Operation
    run: Step
    done_with: Sequence[int]

    def enter(self, values: Values, observe: Observe | None) -> None:
        """Run it, enter what it makes into `values`, and drop what nobody reads any more."""
        floats, bits = self.run(values)
        if observe is not None:
            observe(self.operation, floats, bits)
        for number, made in ((self.operation.floats, floats), (self.operation.bits, bits)):
            if number is not None:
                values[number] = made
        for number in self.done_with:
            del values[number]


class Network:
    """A packed model that is ready to embed; see `load`.

    Attributes
    ----------
    graph : Graph
    provenance : mapping
        Where the model comes from, as its file says.
    shapes : mapping of int to Shape
        Of all values of an image, by number.
    size_px, embedding_dim : int
    file_bytes : int
        Length of the file.
    threads : int
    implementation : str
        Of the kernels: ``"avx512-vpopcntdq"``, …, ``"numpy"``.
    """

    def __init__(self, path: Path, threads: int) -> None:
        found = artifacts.read(path)
        self.graph: Graph = found.graph
        self.provenance: Mapping[str, Any] = found.provenance
        self.preprocessing: Mapping[str, Any] = found.preprocessing
        self.size_px, self.embedding_dim = self.graph.size_px, self.graph.embedding_dim
        self.file_bytes = path.stat().st_size
        self.threads = threads
        self.implementation = kernels.implementation()
        self._levels = _levels(self.preprocessing)
        self.shapes = found.shapes
        self.part = max(1, PART_BYTES // living_bytes(self.graph, self.shapes))
        self.steps: Sequence[Prepared] = _prepared(self.graph, threads)
        self._result = self.graph.operations[-1].makes[0]

    def __call__(self, images: NDArray[Any]) -> NDArray[np.float32]:
        """Embed images.

        Parameters
        ----------
        images : ndarray of shape (n, size_px, size_px, 3)
            RGB. uint8, 0 to 255; or floats, 0 to 1. Either becomes ``(x − mean) / std`` on the scale 0 to 1, with the
            mean and the standard deviation of the file.

        Returns
        -------
        float32 (n, embedding_dim)
            Not normalised; of no images (0, embedding_dim).

        Raises
        ------
        ConfigError
            If the images have another shape or type, or leave their range.
        """
        expected = (self.size_px, self.size_px, 3)
        if images.ndim != 4 or images.shape[1:] != expected:
            raise ConfigError(
                f"Images have the shape {images.shape}; expected (n, {', '.join(map(str, expected))}), RGB."
            )
        parts = [self.run(self.normalised(images[at : at + self.part])) for at in range(0, len(images), self.part)]
        return np.concatenate([np.zeros((0, self.embedding_dim), np.float32), *parts])

    def normalised(self, images: NDArray[Any]) -> NDArray[np.float32]:
        """What the network takes, float32 of the shape of `images`, which are uint8 or floats from 0 to 1."""
        if images.dtype == np.uint8:
            return np.stack([np.take(table, images[..., colour]) for colour, table in self._levels], axis=-1)
        if images.dtype.kind != "f":
            raise ConfigError(f"Images are of type {images.dtype}; expected uint8 (0 to 255) or floats (0 to 1).")
        if images.size and not (images.min() >= 0 and images.max() <= 1):  # NaN, too
            raise ConfigError("Images of floats have values outside of 0 to 1. Divide those of 0 to 255 by 255.")
        values = images[..., [colour for colour, _ in self._levels]]
        mean, std = (np.asarray(self.preprocessing[name], np.float32) for name in ("mean", "std"))
        return np.ascontiguousarray((values - mean) / std, np.float32)

    def run(self, values: NDArray[np.float32], observe: Observe | None = None) -> NDArray[np.float32]:
        """Embed a batch of normalised images, all at once.

        Parameters
        ----------
        values : float32 (n, size_px, size_px, 3)
            Of `normalised`.
        observe : callable or None
            Called after every operation with it, its floats (n, h, w, c) and its bits (n, h, w, words), or None.
        """
        alive: Values = {IMAGE: values}
        for step in self.steps:
            step.enter(alive, observe)
        embeddings: NDArray[np.float32] = alive[self._result][:, 0, 0]
        return embeddings


def load(path: str | os.PathLike[str], *, threads: int | None = None) -> Network:
    """Open a packed model.

    Parameters
    ----------
    path : path of a ``.bnn`` file
        It is mapped into memory and must not be changed while the network is used.
    threads : int or None
        At most; None takes all processors this process may use. Embeddings do not depend on it.

    Raises
    ------
    ArtifactError
        If the file is absent, damaged, hostile, or of another version; one line.
    ConfigError
        If the number of threads is out of range.
    """
    if threads is not None and not 1 <= threads <= MOST_THREADS:
        raise ConfigError(f"The number of threads is {threads}; it must lie between 1 and {MOST_THREADS}.")
    return Network(Path(path), threads or min(machine.processors(), MOST_THREADS))


def _levels(preprocessing: Mapping[str, Any]) -> list[tuple[int, NDArray[np.float32]]]:
    """For every channel of the network which colour of an RGB image it is, and the values of its 256 levels."""
    levels = np.arange(256) / 255.0
    colours = (0, 1, 2) if preprocessing["colour_order"] == "RGB" else (2, 1, 0)
    return [
        (colour, ((levels - mean) / std).astype(np.float32))
        for colour, mean, std in zip(colours, preprocessing["mean"], preprocessing["std"], strict=True)
    ]


def _prepared(graph: Graph, threads: int) -> list[Prepared]:
    """All operations with their weights as the kernels want them, and which values nobody reads any more."""
    channels = {IMAGE: 3}
    steps = []
    for operation, done, exact in zip(
        graph.operations, done_with(graph.operations), before_signs(graph.operations), strict=True
    ):
        run, n_channels = _step(operation, [channels[number] for number in operation.inputs], threads, exact)
        channels |= dict.fromkeys(operation.makes, n_channels)
        steps.append(Prepared(operation, run, done))
    return steps


def _step(operation: Operation, channels: Sequence[int], threads: int, exact: bool) -> tuple[Step, int]:
    """How to run an operation, and the channels of what it makes; `exact` sums floats in double precision."""
    if operation.kind in CONVOLUTIONS:
        return _convolution(operation, channels[0], threads, exact), _weight(operation).shape[0]
    if operation.kind == "linear":
        return _linear(operation, threads), _weight(operation).shape[0]
    return PLAIN[operation.kind](operation, channels, threads), sum(
        channels if operation.kind == "concatenate" else channels[:1]
    )


def _weight(operation: Operation) -> Any:
    return operation.tensors["weight"]


def epilogue(operation: Operation, n_channels: int) -> Epilogue:
    """The epilogue of an operation; what its tensors leave out is 0, or 1 for the scale."""
    own: dict[str, Any] = {role: value for role, value in operation.tensors.items() if role != "weight"}
    zeros = np.zeros(n_channels, np.float32)
    own.setdefault("scale", np.ones(n_channels, np.float32))
    own.setdefault("bias", zeros)
    if "slope" in own:
        own.setdefault("before", zeros)
        own.setdefault("after", zeros)
    if operation.bits is not None:
        own.setdefault("flip", np.zeros(n_channels, np.uint8))
    return Epilogue(**own, keep_floats=operation.floats is not None)


def words(weight: Bits) -> NDArray[np.uint64]:
    """1-bit weights (out, k, k, c) as uint64 (out, k, k, ceil(c / 64)); in place where c is a multiple of 64."""
    *outer, c = weight.shape
    if c % 64 == 0:
        return weight.octets.view("<u8").reshape(*outer, c // 64)
    n = int(np.prod(weight.shape))
    bits = np.unpackbits(weight.octets, count=n, bitorder="little").reshape(-1, c)
    padded = np.zeros((len(bits), -(-c // 64) * 64), np.uint8)
    padded[:, :c] = bits
    return np.packbits(padded, axis=1, bitorder="little").view("<u8").reshape(*outer, -1)


def _convolution(operation: Operation, in_channels: int, threads: int, exact: bool) -> Step:
    weight, groups = _weight(operation), operation.settings["groups"]
    convolve: Callable[..., tuple[Any, Any]]
    if operation.kind == "convolution":
        convolve, ready = kernels.convolution, kernels.prepare_float(weight, groups=groups, exact=exact)
    elif operation.kind == "signed_convolution":
        ready = kernels.prepare_signed(words(weight), in_channels=in_channels, groups=groups)
        convolve = kernels.signed_convolution
    else:
        ready = kernels.prepare_binary(words(weight), in_channels=in_channels, groups=groups)
        convolve = functools.partial(kernels.binary_convolution, in_channels=in_channels)
    after, source = epilogue(operation, weight.shape[0]), operation.inputs[0]
    return lambda values: convolve(
        values[source],
        ready,
        epilogue=after,
        shortcut=_shortcut(operation, values),
        threads=threads,
        **operation.settings,
    )


def _shortcut(operation: Operation, values: Values) -> Any:
    return None if operation.shortcut is None else values[operation.shortcut]


def _linear(operation: Operation, threads: int) -> Step:
    ready, source = kernels.prepare_linear(_weight(operation)), operation.inputs[0]
    after = epilogue(operation, _weight(operation).shape[0])

    def run(values: Values) -> tuple[Any, Any]:
        n = len(values[source])
        made = kernels.linear(values[source].reshape(n, -1), ready, after.scale, after.bias, threads=threads)
        return made[:, None, None], None

    return run


def _pool(operation: Operation, channels: Sequence[int], threads: int) -> Step:
    pool = kernels.max_pool if operation.kind == "max_pool" else kernels.average_pool
    after, source = epilogue(operation, channels[0]), operation.inputs[0]
    return lambda values: pool(values[source], epilogue=after, threads=threads, **operation.settings)


def _elementwise(operation: Operation, channels: Sequence[int], threads: int) -> Step:
    after = epilogue(operation, channels[0])
    return lambda values: kernels.elementwise([values[n] for n in operation.inputs], epilogue=after, threads=threads)


def _signs(operation: Operation, channels: Sequence[int], threads: int) -> Step:
    after, source = epilogue(operation, channels[0]), operation.inputs[0]
    threshold, flip = after.threshold, after.flip
    if threshold is None or flip is None:
        raise ValueError(f"operation '{operation.name}' was not checked")
    return lambda values: (None, kernels.pack_signs(values[source], threshold, flip, threads=threads))


def _concatenate(operation: Operation, channels: Sequence[int], threads: int) -> Step:
    return lambda values: (kernels.concatenate([values[n] for n in operation.inputs]), None)


def _pick(operation: Operation, channels: Sequence[int], threads: int) -> Step:
    """Every second pixel of every second row from `offset` on; zeros where there is none."""
    source, offset = operation.inputs[0], operation.settings["offset"]

    def run(values: Values) -> tuple[Any, Any]:
        n, height, width, c = values[source].shape
        picked = np.zeros((n, -(-height // 2), -(-width // 2), c), np.float32)
        found = values[source][:, offset::2, offset::2]
        picked[:, : found.shape[1], : found.shape[2]] = found
        return picked, None

    return run


PLAIN = {
    "average_pool": _pool,
    "max_pool": _pool,
    "elementwise": _elementwise,
    "signs": _signs,
    "concatenate": _concatenate,
    "pick": _pick,
}
