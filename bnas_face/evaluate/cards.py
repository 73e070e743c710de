"""Protocol cards: what a protocol promises, one ``.toml`` each; read and validated key by key."""

from __future__ import annotations

import dataclasses
import importlib.util
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from bnas_face import tables
from bnas_face.errors import ProtocolError

FORMATS = ("lfw_pairs", "cfp", "agedb", "calfw", "rfw", "rendered")
SCHEMES = ("k_fold", "train_test")


@dataclass(frozen=True, kw_only=True)
class ProtocolCard:
    """What a protocol promises. A change bumps `version`, so that results stay comparable.

    Attributes
    ----------
    name, title, source, licence, notes : str
    version : int
        >= 1.
    dataset : str
        What `bnas_face.data.datasets.load` opens.
    format : str
        One of `FORMATS`; ``"rendered"`` needs no data on disk.
    pairs_sha256 : str
        Of the original pair list; empty where unknown.
    n_pairs, n_genuine, n_impostor, n_folds : int
        Expected counts; a pair list that holds others is refused.
    scheme : str
        ``"k_fold"``, or ``"train_test"``: threshold from fold 0, everything measured on fold 1.
    size_px : int
    alignment, colour_order : str
    fmr_targets : tuple of float
        In (0, 1).
    """

    kind: ClassVar[str] = "pairs"
    name: str
    title: str
    version: int
    dataset: str
    source: str
    licence: str
    format: str
    pairs_sha256: str
    n_pairs: int
    n_genuine: int
    n_impostor: int
    n_folds: int
    scheme: str
    size_px: int
    alignment: str
    colour_order: str
    fmr_targets: tuple[float, ...]
    notes: str


@dataclass(frozen=True, kw_only=True)
class ObjectCard:
    """What a protocol of object recognition promises: a card with ``task = "classification"``.

    Attributes
    ----------
    name, title, source, licence, notes : str
    version : int
        >= 1.
    task : str
        ``"classification"``.
    dataset : str
        What `bnas_face.data.datasets.load` opens, with the test split: ``"cifar10:test"``.
    n_images, n_classes : int
        Expected counts; a set that holds others is refused.
    """

    kind: ClassVar[str] = "objects"
    name: str
    title: str
    version: int
    task: str
    dataset: str
    source: str
    licence: str
    n_images: int
    n_classes: int
    notes: str


@dataclass(frozen=True, kw_only=True)
class TemplateCard:
    """What a 1:1 protocol of templates promises: a card with ``task = "templates"``.

    Attributes
    ----------
    name, title, source, licence, alignment, notes : str
    version : int
        >= 1.
    task : str
        ``"templates"``.
    dataset : str
        What `bnas_face.data.datasets.load` opens.
    n_templates, n_pairs, n_genuine, n_impostor : int
        Expected counts; lists that hold others are refused.
    pooling : str
        How the images of a template become one vector, see `templates.Pooling`: ``"N0D1"``.
    fmr_targets : tuple of float
        In (0, 1).
    decision_fmr : float
        FMR at which the decisions of twins are compared.
    """

    kind: ClassVar[str] = "templates"
    name: str
    title: str
    version: int
    task: str
    dataset: str
    source: str
    licence: str
    n_templates: int
    n_pairs: int
    n_genuine: int
    n_impostor: int
    alignment: str
    pooling: str
    fmr_targets: tuple[float, ...]
    decision_fmr: float
    notes: str


@dataclass(frozen=True, kw_only=True)
class SearchCard:
    """What a protocol of identification (1:N) promises: a card with ``task = "identification"``.

    Attributes
    ----------
    name, title, source, licence, alignment, notes : str
    version : int
        >= 1.
    task : str
        ``"identification"``.
    dataset : str
        What `bnas_face.data.datasets.load` opens.
    n_gallery, n_probes : int
        Expected numbers of templates; lists that hold others are refused.
    pooling : str
        As in `TemplateCard`.
    ranks : tuple of int
        Ascending, >= 1.
    fpir_targets : tuple of float
        In (0, 1); none where every probe is mated (closed set).
    """

    kind: ClassVar[str] = "identification"
    name: str
    title: str
    version: int
    task: str
    dataset: str
    source: str
    licence: str
    n_gallery: int
    n_probes: int
    alignment: str
    pooling: str
    ranks: tuple[int, ...]
    fpir_targets: tuple[float, ...]
    notes: str


Card = ProtocolCard | ObjectCard | TemplateCard | SearchCard
POOLINGS = ("N0D0", "N0D1", "N1D0", "N1D1")
TASKS: Mapping[str, type[ObjectCard] | type[TemplateCard] | type[SearchCard]] = {
    "classification": ObjectCard,
    "templates": TemplateCard,
    "identification": SearchCard,
}


def folder() -> Path:
    """Where the cards lie: in the installed package, or beside it in a plain checkout."""
    spec = importlib.util.find_spec("bnas_face.protocols")
    if spec is not None and spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations)))
    return Path(__file__).resolve().parents[2] / "protocols"


def names() -> tuple[str, ...]:
    """Names of all protocols, sorted."""
    return tuple(sorted(file.stem for file in folder().glob("*.toml")))


def card(name: str) -> Card:
    """The card of a protocol.

    Parameters
    ----------
    name : str
        ``"lfw"``; a protocol of templates may be asked for with another pooling, ``"ijbc:N0D0"``, and is then named so.

    Raises
    ------
    UnknownNameError
        If there is no such card; suggests the nearest.
    ProtocolError
        If the card is damaged (names file, line and key), or takes no pooling.
    """
    base, colon, pooling = name.partition(":")
    tables.check_known("protocol", base, names())
    found = read_card(folder() / f"{base}.toml")
    if not colon:
        return found
    if not isinstance(found, TemplateCard | SearchCard):
        raise ProtocolError(f"Protocol '{base}' compares single images and takes no pooling; name it '{base}'.")
    return replace(found, name=name, title=f"{found.title}, {pooling}", pooling=pooling)


def read_card(path: Path) -> Card:
    """Read and validate one card; errors as in `card`."""
    try:
        text = path.read_text(encoding="utf-8")
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ProtocolError(f"'{path}' is damaged TOML: {error}. Restore the file from the project.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ProtocolError(f"'{path}' cannot be read: {error}.") from None
    try:
        return _validated(content, path.stem)
    except _BadKeyError as error:
        raise ProtocolError(f"'{path}'{_line_of(error.key, text)}: {error}.") from None


class _BadKeyError(Exception):
    """A key of a card that is missing, unknown or of the wrong type."""

    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key = key


def _line_of(key: str, text: str) -> str:
    """`` line 7`` where `key` is set, or nothing where it is not."""
    for number, line in enumerate(text.splitlines(), 1):
        if re.match(rf"\s*{re.escape(key)}\s*=", line):
            return f" line {number}"
    return ""


def _validated(content: Mapping[str, Any], stem: str) -> Card:
    task = content.get("task", "")
    if "task" in content and task not in TASKS:
        raise _BadKeyError("task", f"task is {task!r}; expected {' or '.join(TASKS)}")
    made_of: type[Card] = TASKS[task] if "task" in content else ProtocolCard
    fields = {field.name: str(field.type) for field in dataclasses.fields(made_of)}
    for key in content:
        if key not in fields:
            raise _BadKeyError(key, f"unknown key '{key}'.{tables.suggest(key, fields)} Known: {', '.join(fields)}")
    for key, kind in fields.items():
        if key not in content:
            raise _BadKeyError(key, f"key '{key}' is missing")
        _check_type(key, kind, content[key])
    values: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in content.items()}
    made = made_of(**values)
    _check_values(made, stem)
    return made


def _check_type(key: str, kind: str, value: Any) -> None:
    fits, word = {
        "str": (isinstance(value, str), "text"),
        "int": (_is_count(value), "a whole number"),
        "float": (_is_rate(value), "a rate between 0 and 1"),
        "tuple[int, ...]": (isinstance(value, list) and all(map(_is_count, value)), "a list of whole numbers"),
        "tuple[float, ...]": (isinstance(value, list) and all(map(_is_rate, value)), "a list of rates between 0 and 1"),
    }[kind]
    if not fits:
        raise _BadKeyError(key, f"{key} is {value!r}; expected {word}")


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_rate(value: Any) -> bool:
    return isinstance(value, float) and 0 < value < 1


def _check_values(made: Card, stem: str) -> None:
    common = (
        ("name", made.name == stem, f"the file's name '{stem}'"),
        ("version", made.version >= 1, "1 or more"),
    )
    for key, fits, expected in (*common, *_own_values(made)):
        if not fits:
            raise _BadKeyError(key, f"{key} is {getattr(made, key)!r}; expected {expected}")


Check = tuple[str, bool, str]
"""Key, whether its value fits, and what was expected."""


def _own_values(made: Card) -> tuple[Check, ...]:
    """The checks of one kind of card."""
    if isinstance(made, ObjectCard):
        return (("n_images", made.n_images > 0, "1 or more"), ("n_classes", made.n_classes > 1, "2 or more"))
    if isinstance(made, SearchCard):
        return (
            ("n_gallery", made.n_gallery > 0, "1 or more"),
            ("n_probes", made.n_probes > 0, "1 or more"),
            ("pooling", made.pooling in POOLINGS, f"one of {', '.join(POOLINGS)}"),
            ("ranks", made.ranks == tuple(sorted({*made.ranks} - {0})), "each once, 1 or more, smallest first"),
            _falling("fpir_targets", made.fpir_targets),
        )
    if isinstance(made, TemplateCard):
        return (
            *_pair_counts(made),
            ("n_templates", made.n_templates > 1, "2 or more"),
            ("pooling", made.pooling in POOLINGS, f"one of {', '.join(POOLINGS)}"),
        )
    return _fold_values(made)


def _pair_counts(made: ProtocolCard | TemplateCard) -> tuple[Check, ...]:
    return (
        ("n_pairs", made.n_pairs == made.n_genuine + made.n_impostor, "n_genuine + n_impostor"),
        ("n_genuine", made.n_genuine > 0, "1 or more"),
        ("n_impostor", made.n_impostor > 0, "1 or more"),
        _falling("fmr_targets", made.fmr_targets),
    )


def _falling(key: str, targets: tuple[float, ...]) -> Check:
    return key, targets == tuple(sorted({*targets}, reverse=True)), "each once, largest first"


def _fold_values(made: ProtocolCard) -> tuple[Check, ...]:
    least_folds = 2
    return (
        ("format", made.format in FORMATS, f"one of {', '.join(FORMATS)}"),
        ("scheme", made.scheme in SCHEMES, f"one of {', '.join(SCHEMES)}"),
        *_pair_counts(made),
        ("n_folds", made.n_folds >= least_folds, "2 or more"),
        ("n_folds", made.scheme != "train_test" or made.n_folds == least_folds, "2 for scheme train_test"),
        ("size_px", made.size_px > 0, "1 or more"),
    )
