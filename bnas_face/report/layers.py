"""What a model's layers cost and how its training went: two optional parts of ``models[]``, and how they are read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from bnas_face.report.node import Node

ONE_BIT = "1-bit convolution"


@dataclass(frozen=True, kw_only=True)
class Layer:
    """All layers of one kind: how many, and their parameters, packed bytes and multiply-accumulates of one image.

    `packed_bytes` is computed (binary weights at one bit, everything else at 32).
    """

    kind: str
    n_layers: int
    n_parameters: int
    packed_bytes: int
    n_macs: int


@dataclass(frozen=True, kw_only=True)
class Training:
    """The rows of a training log: three sequences of equal length, None where a value was not measured.

    `epoch` counts from 1 and never falls; a long epoch has several rows. `development_accuracy` is a fraction.
    """

    epoch: tuple[float, ...]
    loss: tuple[float | None, ...]
    development_accuracy: tuple[float | None, ...]


def total(layers: Iterable[Layer]) -> Layer:
    """The sums over all kinds."""
    known = list(layers)
    return Layer(
        kind="total",
        n_layers=sum(layer.n_layers for layer in known),
        n_parameters=sum(layer.n_parameters for layer in known),
        packed_bytes=sum(layer.packed_bytes for layer in known),
        n_macs=sum(layer.n_macs for layer in known),
    )


def read(node: Node) -> tuple[Layer, ...]:
    """``layers`` of a model; none where it has none."""
    found = node.get("layers")
    return tuple(_layer(entry) for entry in found.items()) if found else ()


def _layer(node: Node) -> Layer:
    return Layer(
        kind=node["kind"].text(),
        n_layers=node["n_layers"].integer(),
        n_parameters=node["n_parameters"].integer(),
        packed_bytes=node["packed_bytes"].integer(),
        n_macs=node["n_macs"].integer(),
    )


def read_history(node: Node) -> Training | None:
    """``history`` of a model; None where it has none.

    Raises
    ------
    ReportError
        If its sequences differ in length or the epochs fall.
    """
    found = node.get("history")
    if found is None:
        return None
    epoch = found["epoch"].numbers()
    loss = tuple(entry.maybe() for entry in found["loss"].items())
    accuracy = tuple(entry.maybe_rate() for entry in found["development_accuracy"].items())
    if not len(epoch) == len(loss) == len(accuracy):
        counts = f"{len(epoch)}, {len(loss)} and {len(accuracy)}"
        raise found.error(f"holds {counts} values in '{found.where}', expected equal counts")
    if any(later < earlier for earlier, later in pairwise(epoch)):
        raise found.error(f"holds epochs that fall in '{found.where}.epoch', expected them in order")
    return Training(epoch=epoch, loss=loss, development_accuracy=accuracy)
