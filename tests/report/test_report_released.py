"""Every result that was ever published still loads, renders, and joins a leaderboard."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pytest

from bnas_face.report import html, leaderboard, plates, results

RELEASED = sorted(path.parent for path in (Path(__file__).parent / "released").glob("*/result.json"))


def test_there_are_released_results() -> None:
    assert len(RELEASED) >= 5


@pytest.mark.parametrize("folder", RELEASED, ids=lambda folder: folder.name)
def test_a_released_result_still_renders_with_its_numbers(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plates, "_rasteriser", lambda: None)
    copy = Path(shutil.copytree(folder, tmp_path / folder.name))
    page = html.write(copy).read_text()
    result = results.load(copy)
    with (folder / "summary.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {(row["model"], row["protocol"]) for row in rows} == {(o.model, o.protocol) for o in result.outcomes}
    for row in rows:
        assert f"<b>{100 * float(row['accuracy']):.2f}</b>" in page, row["model"]
    assert 'id="comparison-table"' in page
    assert plates.write(copy)[0].endswith("figures as SVG)")


def test_released_results_join_a_leaderboard(tmp_path: Path) -> None:
    board = leaderboard.merge(leaderboard._named(RELEASED))
    expected = {model.id for folder in RELEASED for model in results.load(folder).models}
    assert {name for row in board.rows for name in row.names} == expected
    assert leaderboard.write(RELEASED, tmp_path / "all").stat().st_size < 500_000
