"""Accuracy against bytes, and what the bytes consist of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bnas_face.report import figures, numbers, tradeoff
from bnas_face.report.records import Model, Outcome, Protocol, Result
from bnas_face.report.tradeoff import Amount, Plot, Quantity


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What the parameters and bytes of a model are; None where the result does not say."""

    index: int
    model: Model
    mark: figures.Mark
    n_binary: int | None
    n_float: int | None
    packed_bytes: int | None
    file_format: str


def is_simulated(model: Model) -> bool:
    """Whether its file holds floats of which the network uses one bit only."""
    return "simulated" in str(model.raw.get("file_format") or "")


def packed_bytes(model: Model) -> int | None:
    """The computed size with 1-bit weights at one bit, or None."""
    return _whole(model, "packed_bytes")


def size_of(model: Model) -> tuple[int, bool] | None:
    """Bytes, and whether they are computed.

    Of a network whose file holds floats for bits, the packed file that was measured, else the size computed for one; of
    any other its file.
    """
    packed = packed_bytes(model)
    if is_simulated(model) and model.measured is not None:
        return model.measured.file_bytes, False
    if is_simulated(model) and packed:
        return packed, True
    return (model.file_bytes, False) if model.file_bytes else None


def costs(result: Result, marks: Sequence[figures.Mark]) -> list[Cost]:
    """A row for every model."""
    return [
        Cost(
            index=place,
            model=model,
            mark=marks[place],
            n_binary=_whole(model, "n_binary_parameters"),
            n_float=_n_float(model),
            packed_bytes=packed_bytes(model),
            file_format=str(model.raw.get("file_format") or ""),
        )
        for place, model in enumerate(result.models)
    ]


def _whole(model: Model, key: str) -> int | None:
    found = model.raw.get(key)
    return found if isinstance(found, int) and not isinstance(found, bool) and found >= 0 else None


def _n_float(model: Model) -> int | None:
    found, binary = _whole(model, "n_float_parameters"), _whole(model, "n_binary_parameters")
    if found is None and model.n_parameters is not None and binary is not None:
        return max(0, model.n_parameters - binary)
    return found


def plots(result: Result, marks: Sequence[figures.Mark]) -> list[Plot]:
    """One plot for every protocol with at least two models of known size and accuracy."""
    return tradeoff.plots(result, marks, [_amount(model) for model in result.models], quantity())


def plot(
    protocol: Protocol,
    entries: Sequence[tuple[int, Outcome]],
    models: Sequence[Model],
    marks: Sequence[figures.Mark],
    caption: str = "",
) -> Plot | None:
    """The plot of one protocol, or None where fewer than two models have a place in it."""
    amounts = [_amount(model) for model in models]
    return tradeoff.plot(protocol, entries, models, marks, amounts, quantity(), caption)


def quantity() -> Quantity:
    """Bytes."""
    return Quantity(
        kind="size",
        title="bytes",
        axis="bytes (hollow: computed, no file)",
        tick=lambda value: _round_size(round(value)),
        told=lambda value: numbers.file_size(round(value)),
    )


def _amount(model: Model) -> Amount | None:
    found = size_of(model)
    if found is None:
        return None
    size, is_computed = found
    return Amount(value=size, exact=f"{size:,} bytes" + (", computed" if is_computed else ""), is_computed=is_computed)


def _round_size(value: int) -> str:
    """``"200 kB"`` for a round number of bytes."""
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if value >= size:
            return f"{value / size:g}\u00a0{unit}"
    return f"{value}\u00a0B"
