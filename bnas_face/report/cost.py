"""The section "Cost": what networks consist of, what they cost in every engine, and accuracy against milliseconds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bnas_face.report import figures, numbers, tradeoff
from bnas_face.report.bench import Bench, Network, Row, fewest
from bnas_face.report.records import Model, Result
from bnas_face.report.tradeoff import Amount, Plot, Quantity


@dataclass(frozen=True, kw_only=True)
class Line:
    """An engine with a number of threads: `first` at the smallest batch, `last` at the largest; None: not measured.

    `peak_bytes` is the memory of a process that has computed batches of all sizes, the largest among them.
    """

    title: str
    threads: int
    is_quantised: bool
    floats: str | None
    file_bytes: int | None
    file_format: str
    first: Row | None
    last: Row | None
    peak_bytes: int | None
    is_fastest: bool


@dataclass(frozen=True, kw_only=True)
class Block:
    """A network: its counts, its lines, and (engine, reason) of those that did not run it."""

    network: Network
    mark: figures.Mark
    lines: tuple[Line, ...]
    reasons: tuple[tuple[str, str], ...]

    @property
    def is_simulated(self) -> bool:
        """Whether its 1-bit weights are floats everywhere: no engine ran it."""
        return self.network.weight_bits == 1 and not self.lines


@dataclass(frozen=True, kw_only=True)
class Section:
    """Everything the section shows; `batches` are the smallest and the largest."""

    bench: Bench
    blocks: tuple[Block, ...]
    batches: tuple[int, int]
    threads: tuple[int, ...]
    plots: tuple[Plot, ...]


def section(bench: Bench | None, result: Result | None, marks: Sequence[figures.Mark]) -> Section | None:
    """The section of a bench, with plots where there is a result; None without a bench."""
    if bench is None or not bench.networks:
        return None
    batches = [row.batch for row in bench.rows] or [1]
    drawn = zip(bench.networks, figures.marks(bench.networks), strict=True)
    return Section(
        bench=bench,
        blocks=tuple(_block(network, mark, bench, (min(batches), max(batches))) for network, mark in drawn),
        batches=(min(batches), max(batches)),
        threads=tuple(sorted({row.threads for row in bench.rows})),
        plots=tuple(plots(result, marks, bench)) if result is not None else (),
    )


def _block(network: Network, mark: figures.Mark, bench: Bench, batches: tuple[int, int]) -> Block:
    own = [row for row in bench.rows if row.model == network.id]
    measured = [row for row in own if row.p50_ms is not None]
    keys = sorted({(row.threads, row.engine) for row in measured})
    fastest = {
        threads: min(rows, key=lambda row: row.p50_ms or 0.0).engine
        for threads in {row.threads for row in measured}
        if (rows := [r for r in measured if (r.threads, r.batch) == (threads, batches[0]) and not r.is_quantised])
    }
    lines = tuple(
        _line(
            [row for row in measured if (row.threads, row.engine) == (threads, engine)],
            batches,
            fastest.get(threads) == engine,
        )
        for threads, engine in keys
    )
    reasons = dict.fromkeys((row.title, row.reason) for row in own if row.reason)
    return Block(network=network, mark=mark, lines=lines, reasons=tuple(reasons))


def _line(rows: Sequence[Row], batches: tuple[int, int], is_fastest: bool) -> Line:
    by_batch = {row.batch: row for row in rows}
    return Line(
        title=rows[0].label,
        threads=rows[0].threads,
        is_quantised=rows[0].is_quantised,
        floats=rows[0].floats,
        file_bytes=rows[0].file_bytes,
        file_format=rows[0].file_format,
        first=by_batch.get(batches[0]),
        last=by_batch.get(batches[1]),
        peak_bytes=max((row.peak_bytes for row in rows if row.peak_bytes is not None), default=None),
        is_fastest=is_fastest,
    )


def plots(result: Result, marks: Sequence[figures.Mark], bench: Bench) -> list[Plot]:
    """Accuracy against the milliseconds of each model's fastest engine, one plot for every protocol."""
    return tradeoff.plots(result, marks, [_amount(model) for model in result.models], quantity(bench))


def quantity(bench: Bench) -> Quantity:
    """Milliseconds at the smallest batch size with the fewest threads."""
    threads, batch = fewest(bench)
    where = f"{_many(threads, 'thread')}, batch {batch}"
    return Quantity(
        kind="time",
        title=f"milliseconds on {where}",
        axis=f"milliseconds ({where})",
        tick=lambda value: f"{value:g}\u00a0ms",
        told=lambda value: f"{numbers.three_digits(value)} ms",
    )


def _amount(model: Model) -> Amount | None:
    found = model.measured
    if found is None or found.p50_ms is None:
        return None
    return Amount(value=found.p50_ms, exact=f"{numbers.three_digits(found.p50_ms)} ms with {found.engine}")


def _many(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"
