"""Several studies on one page: equal weights share a row, and nothing unlike shares a column."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import extended
import pytest
import studies
from click.testing import CliRunner

from bnas_face.cli.report import command
from bnas_face.errors import ReportError
from bnas_face.report import leaderboard

Content = dict[str, Any]


@pytest.fixture
def study(tmp_path: Path) -> Callable[..., Path]:
    """Writes a result of two models, whose hashes are their names, to a folder; `change` changes it first."""

    def write(name: str, change: Callable[[Content], Any] = lambda content: None, models: int = 2) -> Path:
        names = (studies.FLOAT, studies.W1A1, studies.OUTSIDE)[:models]
        content, _ = studies.build(names)
        for model in content["models"]:
            model["weights_sha256"] = model["id"].encode().hex()
        for entry in content["results"]:
            entry["failures"] = []
        change(content)
        return studies.save(tmp_path / name, content)

    return write


def _merged(*folders: Path) -> leaderboard.Leaderboard:
    return leaderboard.merge(leaderboard._named(folders))


def _set(content: Content, path: str, **values: Any) -> None:
    for entry in content[path]:
        entry.update(values)


def test_the_same_weights_share_a_row_whatever_they_are_called(study: Callable[..., Path]) -> None:
    def rename(content: Content) -> None:
        text = json.dumps(content).replace("lfw-float", "my-float")
        content.update(json.loads(text))
        content["models"][0]["weights_sha256"] = studies.FLOAT.encode().hex()

    board = _merged(study("a"), study("b", rename))
    assert [(row.names, row.studies) for row in board.rows] == [
        (["lfw-float", "my-float"], ["a", "b"]), (["lfw-xnor-w1a1"], ["a", "b"]),
    ]  # fmt: skip
    assert len(board.columns) == 2
    assert "lfw-float and my-float are the same weights, binarizer and preprocessing: one row." in board.notes


def test_the_same_name_with_other_weights_or_other_preprocessing_is_another_row(study: Callable[..., Path]) -> None:
    other = study("b", lambda content: _set(content, "models", weights_sha256="77" * 32), models=1)
    flipped = study("c", lambda content: _set(content, "models", preprocessing={"flip": "none"}), models=1)
    assert [row.names for row in _merged(study("a", models=1), other, flipped).rows] == [["lfw-float"]] * 3


def test_the_same_latent_weights_with_other_bits_are_another_row(study: Callable[..., Path]) -> None:
    board = _merged(study("a", lambda content: _set(content, "models", weights_sha256="77" * 32)))
    assert sorted(row.names for row in board.rows) == [["lfw-float"], ["lfw-xnor-w1a1"]]


def test_models_without_a_hash_are_never_merged(study: Callable[..., Path]) -> None:
    unknown = [
        study(name, lambda content: _set(content, "models", weights_sha256=None), models=1) for name in ("a", "b")
    ]
    assert len(_merged(*unknown).rows) == 2


@pytest.mark.parametrize(
    ("where", "change", "word"),
    [
        ("protocols", {"version": 2}, "version"),
        ("protocols", {"pairs_sha256": "00" * 32}, "pair list"),
        ("protocols", {"images_hash": "00" * 32}, "images"),
        ("results", {"convention": "insightface"}, "convention"),
    ],
)
def test_what_was_not_measured_alike_stands_in_another_column(
    where: str, change: dict[str, Any], word: str, study: Callable[..., Path]
) -> None:
    board = _merged(study("a"), study("b", lambda content: _set(content, where, **change)))
    assert len(board.columns) == 4
    assert len({leaderboard.heading(column) for column in board.columns}) >= 2
    expected = f"CFP Frontal-Frontal stands in several columns, for its {word} differ between the studies."
    assert expected in board.notes
    page = leaderboard.render(board, "both")
    assert page.count("stands in several columns") == 2


def test_of_two_numbers_of_one_model_the_newer_stands_and_it_is_said(study: Callable[..., Path]) -> None:
    def older(content: Content) -> None:
        content["created"] = "2026-01-01T00:00:00Z"
        content["results"][0]["accuracy"]["value"] = 0.5

    for folders in ((study("a"), study("b", older)), (study("b", older), study("a"))):
        board = _merged(*folders)
        [note] = [note for note in board.notes if "the newer number stands" in note]
        assert note == "lfw-float on cfp_ff: 89.1 % in a and 50.0 % in b; the newer number stands."
        assert board.rows[0].cells[board.columns[0].key].study == "a"


def test_the_best_of_a_column_is_marked_only_beyond_all_intervals(study: Callable[..., Path]) -> None:
    board = _merged(study("a"))
    assert [column.best == id(board.rows[0]) for column in board.columns] == [True, True]

    def wide(content: Content) -> None:
        for entry in content["results"]:
            entry["accuracy"] |= {"ci_low": 0.1, "ci_high": 0.99}

    assert [column.best for column in _merged(study("b", wide)).columns] == [None, None]


def test_galleries_and_pairs_stand_side_by_side(tmp_path: Path, content: Content) -> None:
    folder = studies.save(tmp_path / "full", extended.extend(content))
    board = _merged(folder)
    assert [(column.key.metric, column.key.unit) for column in board.columns] == [
        ("accuracy", "pairs"), ("accuracy", "pairs"), ("rank-1", "mated probes"),
    ]  # fmt: skip
    assert "rank-1 %, 1,200 mated probes, strict" in leaderboard.render(board, "x")


def test_pairs_of_templates_are_ranked_by_tar(tmp_path: Path, content: Content) -> None:
    for model in content["models"]:
        model["weights_sha256"] = model["id"].encode().hex()
    board = _merged(studies.save(tmp_path / "templates", extended.templates(content)))
    assert {column.key.metric for column in board.columns} == {"TAR at FMR 1 %"}
    row = next(row for row in board.rows if row.names == ["lfw-float"])
    first = content["results"][0]["tar_at_fmr"][1]
    assert row.cells[board.columns[0].key].estimate.value == first["tar"]


def test_csv_holds_every_number_with_what_identifies_it(study: Callable[..., Path], tmp_path: Path) -> None:
    leaderboard.write([study("a"), study("b", models=3)], tmp_path / "out")
    with (tmp_path / "out" / "leaderboard.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 6, "three models on two protocols, each once"
    first = next(line for line in lines if line["model"] == "lfw-float" and line["protocol"] == "cfp_ff")
    content = json.loads((tmp_path / "a" / "result.json").read_text())
    assert float(first["value"]) == content["results"][0]["accuracy"]["value"]
    assert (first["n"], first["convention"], first["pairs_sha256"]) == ("1000", "strict", "ab" * 32)
    text = (tmp_path / "out" / "leaderboard.md").read_text()
    assert "| lfw-float | W32A32 | 8.42 MB | 89.1 (87.2–91.0) |" in text
    assert r"lfw-float & W32A32 & 8.42 MB & 89.1 (87.2--91.0)" in (tmp_path / "out" / "leaderboard.tex").read_text()
    assert "| onnx:vface\\_mobilefacenet.onnx | W32A32 | 4.00 MB | ★ 99.1 (98.5–99.7) |" in text


def test_the_command_merges_several_folders_and_leaves_them_alone(study: Callable[..., Path], tmp_path: Path) -> None:
    a, b, out = study("a"), study("b"), tmp_path / "new" / "both"
    answer = CliRunner().invoke(command, [str(a), str(b), "--out", str(out)], catch_exceptions=False)
    size = (out / "leaderboard.html").stat().st_size / 1e6
    assert answer.output == f"{out / 'leaderboard.html'} ({size:.2f} MB, opens without network)\n"
    assert {file.name for file in out.iterdir()} == {f"leaderboard.{kind}" for kind in ("html", "csv", "md", "tex")}
    assert {file.name for file in a.iterdir()} == {"result.json"}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["a", "--out", "x"], "--out x is for the leaderboard of several folders; one folder's page stays in it."),
        (["a", "b", "--figures"], "--figures expects one folder, 2 are named. Ask for them one by one."),
    ],
)
def test_wrong_combinations_are_usage_errors(arguments: list[str], expected: str) -> None:
    answer = CliRunner().invoke(command, arguments)
    assert answer.exit_code == 2
    assert answer.output.endswith(f"Error: {expected}\n")


def test_a_folder_named_twice_or_damaged_writes_nothing(study: Callable[..., Path], tmp_path: Path) -> None:
    folder = study("a")
    with pytest.raises(ReportError, match="is named twice"):
        leaderboard.write([folder, folder], tmp_path / "out")
    broken = study("broken")
    (broken / "result.json").write_text("{}")
    with pytest.raises(ReportError, match=r"broken/result\.json"):
        leaderboard.write([folder, broken], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_studies_of_one_name_are_told_apart(study: Callable[..., Path]) -> None:
    assert _merged(study("x/demo"), study("y/demo")).studies == ("x/demo", "y/demo")
