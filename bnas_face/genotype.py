"""A genotype: the two cells a search found, as a value, as a file and as text.

A cell is a directed acyclic graph: nodes 0 and 1 are the outputs of the two cells before it, nodes 2 to 5 each sum two
operations on earlier nodes, and the cell's output concatenates nodes 2 to 5. A search space (`bnas_face.models.spaces`)
says which operations there are; this module needs neither torch nor the space to read, check and write a genotype.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bnas_face import files
from bnas_face.errors import FormatError

SCHEMA = "bnas_face.genotype/1"
FILE = "genotype.json"
N_INPUTS = 2
N_NODES = 4
EDGES_KEPT = 2
CELLS = ("normal", "reduction")
OPERATIONS: Mapping[str, tuple[str, ...]] = {
    # space: its operations, in the order of their architecture parameters
    "paper": (
        "none",
        "skip_connect",
        "max_pool_3x3",
        "avg_pool_3x3",
        "sep_conv_3x3",
        "sep_conv_5x5",
        "dil_conv_3x3",
        "dil_conv_5x5",
    ),
    "onebit": (
        "none",
        "skip_connect",
        "max_pool_3x3",
        "avg_pool_3x3",
        "conv_3x3",
        "conv_5x5",
        "dil_conv_3x3",
        "dil_conv_5x5",
    ),
}
EDGES: tuple[tuple[int, int], ...] = tuple(
    (source, target) for target in range(N_INPUTS, N_INPUTS + N_NODES) for source in range(target)
)
"""All 14 edges of a cell as (source node, target node), in the order every array of edges has."""


@dataclass(frozen=True)
class Edge:
    """One operation of a derived cell.

    Attributes
    ----------
    operation : str
    source : int
        The node it reads: 0 (the cell before the previous one), 1 (the previous cell), or 2, 3, 4.
    """

    operation: str
    source: int


Cell = tuple[tuple[Edge, Edge], ...]
"""For each of the nodes 2 to 5 its two incoming edges."""


@dataclass(frozen=True, kw_only=True)
class Genotype:
    """The cells of a searched network.

    Attributes
    ----------
    space : str
        A key of `OPERATIONS`.
    normal, reduction : Cell
    origin : dict
        Where it comes from (JSON values): searcher, binarizer, seed, dataset and its hash, and the history of the
        search for the report. Two genotypes are equal whatever their origin.

    Raises
    ------
    FormatError
        If the space or an operation is not known, or a cell is incomplete or cyclic.
    """

    space: str
    normal: Cell
    reduction: Cell
    origin: Mapping[str, Any] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        if not isinstance(self.space, str) or self.space not in OPERATIONS:
            raise FormatError(f"Search space '{_excerpt(self.space)}' is not known. Known: {', '.join(OPERATIONS)}.")
        for name in CELLS:
            _check_cell(name, getattr(self, name), self.space)

    def cell(self, name: str) -> Cell:
        """The ``"normal"`` or the ``"reduction"`` cell."""
        found: Cell = getattr(self, name)
        return found

    def to_json(self) -> dict[str, Any]:
        """JSON values with `SCHEMA`; `from_json` reads them back."""
        cells = {
            name: [[[edge.operation, edge.source] for edge in edges] for edges in self.cell(name)] for name in CELLS
        }
        return {"schema": SCHEMA, "space": self.space, **cells, "origin": dict(self.origin)}

    def short_text(self) -> str:
        """``paper-3f2a91c0``: the space and eight hex digits that equal genotypes share, for messages."""
        return f"{self.space}-{files.sha256_text(as_text(self))[:8]}"


def _check_cell(name: str, cell: Cell, space: str) -> None:
    if len(cell) != N_NODES or any(len(edges) != EDGES_KEPT for edges in cell):
        found = ", ".join(str(len(edges)) for edges in cell) or "none"
        raise FormatError(
            f"The {name} cell is incomplete: it has {len(cell)} nodes with {found} edges; expected {N_NODES} nodes "
            f"with {EDGES_KEPT} edges each."
        )
    for number, edges in enumerate(cell, N_INPUTS):
        for edge in edges:
            _check_edge(f"node {number} of the {name} cell", number, edge, space)


def _check_edge(where: str, number: int, edge: Edge, space: str) -> None:
    if edge.operation not in OPERATIONS[space]:
        raise FormatError(
            f"Operation '{_excerpt(edge.operation)}' at {where} is not in space '{space}'. Known: "
            f"{', '.join(OPERATIONS[space])}."
        )
    if not 0 <= edge.source < number:
        raise FormatError(
            f"{where[0].upper()}{where[1:]} reads node {edge.source}; it can read nodes 0 to {number - 1} only, "
            "because a cell has no cycles."
        )


def from_json(content: Any, where: str = "genotype") -> Genotype:
    """Read what `Genotype.to_json` wrote.

    Parameters
    ----------
    content : JSON value
    where : str
        Named in messages.

    Raises
    ------
    FormatError
        If it is of another schema, damaged, or describes no network.
    """
    if not isinstance(content, Mapping) or content.get("schema") != SCHEMA:
        found = content.get("schema") if isinstance(content, Mapping) else type(content).__name__
        raise FormatError(f"'{where}' has schema '{found}'; expected '{SCHEMA}'. Write one with bnasface search.")
    missing = [name for name in ("space", *CELLS) if name not in content]
    if missing:
        raise FormatError(f"'{where}' is no genotype: it lacks {', '.join(missing)}.")
    origin = content.get("origin", {})
    if not isinstance(origin, Mapping):
        raise FormatError(f"'{where}' is no genotype: its origin is '{_excerpt(origin)}'; expected an object.")
    try:
        cells = {name: _cell(name, content[name]) for name in CELLS}
        return Genotype(space=content["space"], **cells, origin=dict(origin))
    except FormatError as error:
        raise FormatError(f"'{where}': {error}") from error


def _cell(name: str, content: Any) -> Cell:
    """JSON ``[[[operation, source], [operation, source]], …]`` → cell; lengths are checked by `Genotype`."""
    if not isinstance(content, list) or not all(isinstance(edges, list) for edges in content):
        raise FormatError(
            f"The {name} cell is '{_excerpt(content)}'; expected a list of {N_NODES} nodes, each a list of "
            f"{EDGES_KEPT} edges ['operation', source node]."
        )
    return tuple(tuple(_edge(name, edge) for edge in edges) for edges in content)  # type: ignore[misc]


def _edge(name: str, content: Any) -> Edge:
    if not isinstance(content, list | tuple) or [type(part) for part in content] != [str, int]:
        raise FormatError(
            f"An edge of the {name} cell is '{_excerpt(content)}'; expected ['operation', source node], such as "
            "['skip_connect', 0]."
        )
    return Edge(*content)


def _excerpt(content: Any) -> str:
    text = "".join(letter if letter.isprintable() else " " for letter in str(content))
    text = " ".join(text.split())
    return text if len(text) <= 80 else text[:79] + "…"


def from_pairs(space: str, normal: Any, reduction: Any, **origin: Any) -> Genotype:
    """A genotype in the notation of papers: a flat list of eight ``(operation, source)``, two for each node.

    Raises
    ------
    FormatError
        As `Genotype`.
    """
    cells = {"normal": _paired("normal", normal), "reduction": _paired("reduction", reduction)}
    return Genotype(space=space, **cells, origin=origin)


def _paired(name: str, pairs: Any) -> Cell:
    edges = [_edge(name, pair) for pair in pairs]
    return tuple(tuple(edges[i : i + EDGES_KEPT]) for i in range(0, len(edges), EDGES_KEPT))  # type: ignore[misc]


BNAS_XNOR_1 = from_pairs(
    "paper",
    normal=[
        ("skip_connect", 1), ("dil_conv_3x3", 0), ("skip_connect", 0), ("dil_conv_5x5", 2),
        ("max_pool_3x3", 1), ("max_pool_3x3", 0), ("dil_conv_5x5", 4), ("sep_conv_3x3", 2),
    ],
    reduction=[
        ("sep_conv_3x3", 1), ("dil_conv_5x5", 0), ("skip_connect", 1), ("max_pool_3x3", 2),
        ("dil_conv_5x5", 0), ("avg_pool_3x3", 3), ("skip_connect", 2), ("dil_conv_3x3", 4),
    ],
    name="BNAS_XNOR_1",
    source="the cell the authors of BNAS released",
)  # fmt: skip
"""The cell the authors of BNAS released for CIFAR-10, found with XNOR binarization (W1A32)."""

PUBLISHED: Mapping[str, Genotype] = {"bnas_xnor_1": BNAS_XNOR_1}


def load(source: str | Path) -> Genotype:
    """Read a genotype file, or a published genotype by its name (``"bnas_xnor_1"``, in capitals or not).

    Parameters
    ----------
    source : str or Path
        A file, a folder that holds ``genotype.json``, or a name.

    Raises
    ------
    FormatError
        If the file is absent, damaged, or describes no network.
    """
    published = PUBLISHED.get(str(source).lower())
    if published is not None and not Path(source).is_file():
        return published
    if not Path(source).exists():
        raise FormatError(
            f"'{source}' is neither a genotype file nor a published genotype ({', '.join(PUBLISHED)}). "
            "Give runs/NAME/genotype.json of a search."
        )
    path = Path(source)
    if path.is_dir():
        path = path / FILE
        if not path.exists():
            raise FormatError(f"'{source}' holds no {FILE}. A search writes it when it has finished.")
    return from_json(files.read_json(path), str(path))


def save(target: Path, genotype: Genotype) -> None:
    """Write a genotype file, atomically."""
    files.write_json(target, genotype.to_json())


def as_text(genotype: Genotype) -> str:
    """Both cells as lines ``node 2 = skip_connect(1) + dil_conv_3x3(0)``; nodes 0 and 1 are the two cells before."""
    lines = [f"space {genotype.space}"]
    for name in CELLS:
        lines.append(f"{name} cell")
        for number, (first, second) in enumerate(genotype.cell(name), N_INPUTS):
            lines.append(f"  node {number} = {first.operation}({first.source}) + {second.operation}({second.source})")
    return "\n".join(lines)
