"""Protocol cards: what a protocol promises, one ``.toml`` each; read and validated key by key."""

from __future__ import annotations

import dataclasses
import importlib.util
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from bnas_face import tables
from bnas_face.errors import ProtocolError

FORMATS = ("lfw_pairs", "cfp", "agedb", "calfw", "rendered")
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


Card = ProtocolCard | ObjectCard


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

    Raises
    ------
    UnknownNameError
        If there is no such card; suggests the nearest.
    ProtocolError
        If the card is damaged; names file, line and key.
    """
    tables.check_known("protocol", name, names())
    return read_card(folder() / f"{name}.toml")


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
    of_objects = "task" in content
    fields = {field.name: str(field.type) for field in dataclasses.fields(ObjectCard if of_objects else ProtocolCard)}
    for key in content:
        if key not in fields:
            raise _BadKeyError(key, f"unknown key '{key}'.{tables.suggest(key, fields)} Known: {', '.join(fields)}")
    for key, kind in fields.items():
        if key not in content:
            raise _BadKeyError(key, f"key '{key}' is missing")
        _check_type(key, kind, content[key])
    if of_objects:
        recognition = ObjectCard(**content)
        _check_object_values(recognition, stem)
        return recognition
    values = {**content, "fmr_targets": tuple(float(target) for target in content["fmr_targets"])}
    made = ProtocolCard(**values)
    _check_values(made, stem)
    return made


def _check_type(key: str, kind: str, value: Any) -> None:
    if kind == "str":
        fits = isinstance(value, str)
    elif kind == "int":
        fits = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    else:
        fits = isinstance(value, list) and all(isinstance(item, float) and 0 < item < 1 for item in value)
    if not fits:
        word = {"str": "text", "int": "a whole number"}.get(kind, "a list of rates between 0 and 1")
        raise _BadKeyError(key, f"{key} is {value!r}; expected {word}")


def _check_values(made: ProtocolCard, stem: str) -> None:
    least_folds = 2
    for key, fits, expected in (
        ("name", made.name == stem, f"the file's name '{stem}'"),
        ("version", made.version >= 1, "1 or more"),
        ("format", made.format in FORMATS, f"one of {', '.join(FORMATS)}"),
        ("scheme", made.scheme in SCHEMES, f"one of {', '.join(SCHEMES)}"),
        ("n_pairs", made.n_pairs == made.n_genuine + made.n_impostor, "n_genuine + n_impostor"),
        ("n_genuine", made.n_genuine > 0, "1 or more"),
        ("n_impostor", made.n_impostor > 0, "1 or more"),
        ("n_folds", made.n_folds >= least_folds, "2 or more"),
        ("n_folds", made.scheme != "train_test" or made.n_folds == least_folds, "2 for scheme train_test"),
        ("size_px", made.size_px > 0, "1 or more"),
        (
            "fmr_targets",
            made.fmr_targets == tuple(sorted({*made.fmr_targets}, reverse=True)),
            "each once, largest first",
        ),
    ):
        _check_value(made, key, fits, expected)


def _check_object_values(made: ObjectCard, stem: str) -> None:
    for key, fits, expected in (
        ("name", made.name == stem, f"the file's name '{stem}'"),
        ("version", made.version >= 1, "1 or more"),
        ("task", made.task == "classification", "classification"),
        ("n_images", made.n_images > 0, "1 or more"),
        ("n_classes", made.n_classes > 1, "2 or more"),
    ):
        _check_value(made, key, fits, expected)


def _check_value(made: Card, key: str, fits: bool, expected: str) -> None:
    if not fits:
        raise _BadKeyError(key, f"{key} is {getattr(made, key)!r}; expected {expected}")
