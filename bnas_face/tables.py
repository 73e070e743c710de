"""Tables of things a user can name: the modules of a folder, by file name.

One new head, binarizer, backbone, dataset or command is one new file. A module is imported only when its name is
asked for, so listing costs nothing and a missing optional package hurts only those who use it.
"""

from __future__ import annotations

import ast
import difflib
import importlib
import importlib.util
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

from bnas_face.errors import UnknownNameError


def names(package: str) -> tuple[str, ...]:
    """Names of the modules in `package` (dotted: ``"bnas_face.models.heads"``), sorted, without ``_private`` ones."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"{package} is not a package of this installation")
    files = (file for folder in spec.submodule_search_locations for file in Path(folder).glob("*.py"))
    return tuple(sorted(file.stem for file in files if not file.stem.startswith("_")))


def load(package: str, kind: str, name: str) -> ModuleType:
    """Import the module `name` of `package`; `kind` ("head", "dataset", …) is the word used in the error.

    Raises
    ------
    UnknownNameError
        If the package has no such module; the message suggests the nearest name and lists all.
    """
    check_known(kind, name, names(package))
    return importlib.import_module(f"{package}.{name}")


def check_known(kind: str, name: str, known: Iterable[str]) -> None:
    """Raise `UnknownNameError` with a suggestion unless `name` is one of `known`."""
    known = tuple(known)
    if name not in known:
        raise UnknownNameError(f"Unknown {kind} '{name}'.{suggest(name, known)} Known: {', '.join(known)}.")


def suggest(name: str, known: Iterable[str]) -> str:
    """`` Did you mean 'x'?`` (with a leading space), or an empty string if nothing is near."""
    near = difflib.get_close_matches(name, tuple(known), n=1, cutoff=0.6)
    return f" Did you mean '{near[0]}'?" if near else ""


def summary(package: str, name: str) -> str:
    """First line of a module's docstring, read without importing the module (and so without its packages)."""
    spec = importlib.util.find_spec(f"{package}.{name}")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"{package}.{name} is not a module of this installation")
    docstring = ast.get_docstring(ast.parse(Path(spec.origin).read_text(encoding="utf-8"))) or ""
    return docstring.partition("\n")[0]
