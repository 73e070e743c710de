"""Several studies on one page: models × protocols, and nothing in a column that was not measured alike."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from bnas_face.errors import ReportError
from bnas_face.files import write_text
from bnas_face.report import best, figures, headline, html, numbers, results, size, tables, tradeoff
from bnas_face.report.estimate import Estimate
from bnas_face.report.headline import Headline
from bnas_face.report.records import Model, Outcome, Protocol, Result

PAGE_NAME = "leaderboard.html"
BEST = (
    "★ = significantly best of its column: its 95 % interval overlaps no other. Studies are compared by their "
    "intervals alone; paired tests between a network and its twin stand in each study's own report."
)
_IDENTITY = (
    ("version", ("version",)),
    ("pairs", ("pairs_sha256", "labels_sha256", "lists_sha256")),
    ("images", ("images_hash",)),
)
_NETWORK = ("preprocessing", "backbone", "binarizer", "weight_bits", "activation_bits")
_HASH_DIGITS = 8


@dataclass(frozen=True)
class Key:
    """What must be equal for two numbers to stand in one column."""

    protocol: str
    version: str
    pairs: str
    images: str
    convention: str
    metric: str
    unit: str


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A number of one study; `outcome` is None for identification."""

    headline: Headline
    study: str
    created: str
    outcome: Outcome | None

    @property
    def estimate(self) -> Estimate:
        """The number with its interval."""
        return self.headline.estimate

    @property
    def n(self) -> int:
        """Decisions it was counted over."""
        return self.headline.n


@dataclass(kw_only=True)
class Row:
    """A model: the same weights, binarizer and preprocessing, whatever the studies call it."""

    model: Model
    names: list[str]
    studies: list[str]
    cells: dict[Key, Cell] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Column:
    """A protocol as it was measured; `differs` names what sets it apart from others of the same protocol."""

    key: Key
    protocol: Protocol
    n: int
    differs: tuple[str, ...]
    best: int | None


@dataclass(frozen=True, kw_only=True)
class Leaderboard:
    """All studies in one table; `notes` say what was merged and what was kept apart."""

    studies: tuple[str, ...]
    rows: tuple[Row, ...]
    columns: tuple[Column, ...]
    notes: tuple[str, ...]


def write(folders: Sequence[Path], out: Path) -> Path:
    """Write ``leaderboard.html``, ``.csv``, ``.md`` and ``.tex`` of several folders; returns the page.

    Raises
    ------
    ReportError
        If a folder is named twice, or its ``result.json`` is absent or damaged; nothing is written then.
    """
    board = merge(_named(folders))
    texts = {
        "leaderboard.csv": csv(board),
        "leaderboard.md": markdown(board),
        "leaderboard.tex": tables.latex_table(*_table(board)) + "\n",
        PAGE_NAME: render(board, out.resolve().name),
    }
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or error
        raise ReportError(f"Cannot write into the folder '{out}': {reason}. Name another one with --out.") from None
    for name, text in texts.items():
        write_text(out / name, text)
    return out / PAGE_NAME


def _named(folders: Sequence[Path]) -> list[tuple[str, Result]]:
    """Every study with a name of its own: its folder's, with the parent's before it where two are alike."""
    places = [folder.resolve() for folder in folders]
    twice = next((folder for at, folder in enumerate(folders) if places[at] in places[:at]), None)
    if twice is not None:
        raise ReportError(f"'{twice}' is named twice, expected different report folders. Name it once.")
    short = [place.name for place in places]
    names = [
        name if short.count(name) == 1 else f"{place.parent.name}/{name}"
        for name, place in zip(short, places, strict=True)
    ]
    return [(name, results.load(folder)) for name, folder in zip(names, folders, strict=True)]


def merge(studies: Sequence[tuple[str, Result]]) -> Leaderboard:
    """Join studies: rows by weights, binarizer and preprocessing, columns by all that makes numbers comparable."""
    rows: dict[str, Row] = {}
    protocols: dict[Key, Protocol] = {}
    notes: list[str] = []
    for study, result in studies:
        known = {model.id: _row(rows, study, model) for model in result.models}
        by_name = {protocol.name: protocol for protocol in result.protocols}
        for entry in result.everything:
            protocol = by_name[entry.protocol]
            found = headline.of(entry)
            if found is not None:
                key = _key(protocol, entry.convention, found)
                protocols.setdefault(key, protocol)
                outcome = entry if isinstance(entry, Outcome) else None
                cell = Cell(headline=found, study=study, created=result.created, outcome=outcome)
                notes += _placed(known[entry.model], key, cell)
    columns = [_column(key, protocol, list(protocols), list(rows.values())) for key, protocol in protocols.items()]
    return Leaderboard(
        studies=tuple(study for study, _ in studies),
        rows=tuple(_ordered([row for row in rows.values() if row.cells], columns)),
        columns=tuple(columns),
        notes=tuple([*_merged(rows.values()), *_apart(columns), *dict.fromkeys(notes)]),
    )


def _row(rows: dict[str, Row], study: str, model: Model) -> Row:
    weights = model.raw.get("weights_sha256")
    same = [model.raw.get(name) for name in _NETWORK]
    row = rows.setdefault(
        f"{weights} {json.dumps(same, sort_keys=True)}" if weights else f"{study} {model.id}",
        Row(model=model, names=[], studies=[]),
    )
    row.names += [model.id] if model.id not in row.names else []
    row.studies += [study] if study not in row.studies else []
    return row


def _key(protocol: Protocol, convention: str, found: Headline) -> Key:
    parts = {
        name: next((str(protocol.raw[field]) for field in fields if protocol.raw.get(field) is not None), "")
        for name, fields in _IDENTITY
    }
    return Key(protocol=protocol.name, convention=convention, metric=found.metric, unit=found.unit, **parts)


def _placed(row: Row, key: Key, cell: Cell) -> list[str]:
    """Put a number where it belongs; of two studies the newer one stands, and a difference is said."""
    other = row.cells.get(key)
    if other is None:
        row.cells[key] = cell
        return []
    older, newer = sorted((other, cell), key=lambda one: one.created)
    row.cells[key] = newer
    if older.estimate.value == newer.estimate.value:
        return []
    shown = [f"{numbers.percent(one.estimate.value, one.n)} % in {one.study}" for one in (newer, older)]
    return [f"{row.names[0]} on {key.protocol}: {shown[0]} and {shown[1]}; the newer number stands."]


def _column(key: Key, protocol: Protocol, keys: Sequence[Key], rows: Sequence[Row]) -> Column:
    alike = [other for other in keys if other.protocol == key.protocol and other.metric == key.metric]
    differs = [name for name in ("version", "pairs", "images") if len({getattr(k, name) for k in alike}) > 1]
    cells = [(str(at), row.cells[key]) for at, row in enumerate(rows) if key in row.cells]
    winner = best.best([(at, cell.estimate) for at, cell in cells], more_is_better=True)
    ns = [cell.n for _, cell in cells]
    return Column(
        key=key,
        protocol=protocol,
        n=max(ns),
        differs=tuple(_told(name, getattr(key, name)) for name in differs),
        best=None if winner is None else id(rows[int(winner)]),
    )


def _told(name: str, value: str) -> str:
    return f"{name} {value if name == 'version' else value[:_HASH_DIGITS] or 'unknown'}"


def _ordered(rows: Sequence[Row], columns: Sequence[Column]) -> list[Row]:
    """Best first in the column that most models have; models without it below, in their own order."""
    if not columns:
        return list(rows)
    main = max(columns, key=lambda column: sum(column.key in row.cells for row in rows)).key

    def place(row: Row) -> float:
        value = row.cells[main].estimate.value if main in row.cells else None
        return 1.0 if value is None else -value

    return sorted(rows, key=place)


def _merged(rows: Iterable[Row]) -> list[str]:
    return [
        f"{row.names[0]} and {', '.join(row.names[1:])} are the same weights, binarizer and preprocessing: one row."
        for row in rows
        if len(row.names) > 1
    ]


def _apart(columns: Sequence[Column]) -> list[str]:
    """Which columns of one protocol are kept apart, and why."""
    found: dict[str, set[str]] = {}
    for column in columns:
        alike = [other.key for other in columns if other.key.protocol == column.key.protocol]
        names = {"version": "version", "pairs": "pair list", "images": "images", "convention": "convention"}
        found.setdefault(column.protocol.title, set()).update(
            word for name, word in names.items() if len({getattr(key, name) for key in alike}) > 1
        )
    return [
        f"{title} stands in several columns, for its {' and '.join(sorted(words))} differ between the studies."
        for title, words in found.items()
        if words
    ]


def csv(board: Leaderboard) -> str:
    """One row per model and column: every number with its interval and everything that identifies it."""
    lines = [
        {
            "model": row.names[0], "study": cell.study, "protocol": column.key.protocol,
            "version": column.key.version, "convention": column.key.convention, "metric": column.key.metric,
            "value": cell.estimate.value, "ci_low": cell.estimate.low, "ci_high": cell.estimate.high, "n": cell.n,
            "weight_bits": row.model.weight_bits, "activation_bits": row.model.activation_bits,
            "n_parameters": row.model.n_parameters, "file_bytes": row.model.file_bytes,
            "weights_sha256": row.model.raw.get("weights_sha256"), "pairs_sha256": column.key.pairs,
            "images_hash": column.key.images, "created": cell.created,
        }
        for column in board.columns
        for row in board.rows
        if (cell := row.cells.get(column.key)) is not None
    ]  # fmt: skip
    return pd.DataFrame(lines).to_csv(index=False, lineterminator="\n")


def heading(column: Column) -> str:
    """What stands under the title of a column: metric, decisions, convention and what sets it apart."""
    parts = [f"{column.key.metric} %", f"{column.n:,} {column.key.unit}", column.key.convention, *column.differs]
    return ", ".join(parts)


def markdown(board: Leaderboard) -> str:
    """The table as Markdown (pipes), with its notes below."""
    notes = "\n".join(f"- {tables.markdown_text(note)}" for note in [*board.notes, BEST])
    return "\n\n".join(part for part in (tables.markdown_table(*_table(board)), notes) if part) + "\n"


def _table(board: Leaderboard) -> tuple[list[str], list[list[str]]]:
    """Head and cells."""
    head = ["Model", "Bits", "File", *(f"{column.protocol.title} ({heading(column)})" for column in board.columns)]
    marks = figures.marks([row.model for row in board.rows])
    lines = [
        [row.names[0], mark.bits, numbers.file_size(row.model.file_bytes)]
        + [_shown(row.cells.get(column.key), column.best == id(row)) for column in board.columns]
        for row, mark in zip(board.rows, marks, strict=True)
    ]
    return head, lines


def _shown(cell: Cell | None, is_best: bool) -> str:
    if cell is None or cell.estimate.value is None:
        return numbers.MISSING
    span = numbers.span(cell.estimate.low, cell.estimate.high, cell.n)
    return f"{'★ ' if is_best else ''}{numbers.percent(cell.estimate.value, cell.n)} ({span})"


def render(board: Leaderboard, name: str) -> str:
    """The page as text."""
    models = [row.model for row in board.rows]
    marks = figures.marks(models)
    plots = [plot for column in board.columns if (plot := _plot(column, board, marks)) is not None]
    script = html.template("report.js")
    curves = {f"size{place}-all": tradeoff.tips(plot) for place, plot in enumerate(plots)}
    return (
        html.environment()
        .get_template("leaderboard.html.j2")
        .render(
            style=html.template("report.css") + html.template("parts.css"),
            script=script,
            script_hash=html.script_hash(script),
            data=html.script_json({"models": [model.id for model in models], "twins": [], "curves": curves}),
            title=f"{name} – leaderboard",
            name=name,
            board=board,
            marks=marks,
            heading=heading,
            is_best=lambda column, row: column.best == id(row),
            best_note=BEST,
            plots=plots,
        )
    )


def _plot(column: Column, board: Leaderboard, marks: Sequence[figures.Mark]) -> tradeoff.Plot | None:
    entries = [
        (place, cell.outcome)
        for place, row in enumerate(board.rows)
        if (cell := row.cells.get(column.key)) is not None and cell.outcome is not None
    ]
    return size.plot(column.protocol, entries, [row.model for row in board.rows], marks, heading(column))
