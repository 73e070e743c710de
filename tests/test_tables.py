"""Tables of names: listing, lazy loading and suggestions."""

from __future__ import annotations

import pytest

from bnas_face import tables
from bnas_face.errors import UnknownNameError

HEADS = "bnas_face.models.heads"


def test_a_file_is_a_name_and_private_files_are_not() -> None:
    known = tables.names(HEADS)
    assert {"arcface", "cosface", "softmax"} <= set(known)
    assert not [name for name in known if name.startswith("_")]


def test_a_typo_suggests_the_right_name_and_lists_all() -> None:
    with pytest.raises(UnknownNameError, match=r"^Unknown head 'arcfce'\. Did you mean 'arcface'\? Known: .*cosface"):
        tables.load(HEADS, "head", "arcfce")


def test_a_name_unlike_any_other_gets_no_suggestion() -> None:
    with pytest.raises(UnknownNameError) as error:
        tables.load(HEADS, "head", "zzzzzz")
    assert "Did you mean" not in str(error.value)


def test_a_name_cannot_leave_its_folder() -> None:
    with pytest.raises(UnknownNameError):
        tables.load(HEADS, "head", "..errors")
    with pytest.raises(UnknownNameError):
        tables.load(HEADS, "head", "_base")


def test_summary_is_the_first_docstring_line() -> None:
    for name in tables.names(HEADS):
        assert len(tables.summary(HEADS, name)) > 10


def test_a_folder_that_is_no_package_is_reported() -> None:
    with pytest.raises(ModuleNotFoundError, match="not a package"):
        tables.names("bnas_face.errors")
