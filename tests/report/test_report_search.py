"""The picture of a shrinking search space, what is said of its noise, and the section of the page that shows it."""

from __future__ import annotations

import json
import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import searches

from bnas_face.errors import FormatError, ReportError
from bnas_face.genotype import BNAS_XNOR_1, CELLS, EDGES, OPERATIONS
from bnas_face.report import history, html, search, searched

SVG = "{http://www.w3.org/2000/svg}"
Content = dict[str, Any]
Save = Callable[..., Path]


def _bars(text: str) -> dict[str, ET.Element]:
    """The bars of a picture by what a pointer over them reads."""
    found = ET.fromstring(text).iter(f"{SVG}g")
    return {str(group.findtext(f"{SVG}title")): group for group in found}


def _steps(bar: ET.Element) -> int:
    paths = [p.get("d", "") for p in bar.iter(f"{SVG}path") if "step" in p.get("class", "")]
    return sum(path.count("M") for path in paths)


def _bar(bars: dict[str, ET.Element], cell: str, edge: int, name: str) -> ET.Element:
    source, target = EDGES[edge]
    found = [bar for hint, bar in bars.items() if hint.split(":")[0] == f"{cell} cell, {source} → {target}, {name}"]
    assert len(found) == 1
    return found[0]


def test_a_bar_has_a_step_for_every_round_its_operation_was_left() -> None:
    rounds = searches.bnas_history("onebit")
    bars = _bars(search.shrinking(rounds))
    assert len(bars) == 2 * 14 * 8
    for cell in CELLS:
        for edge in range(len(EDGES)):
            for name in OPERATIONS["onebit"]:
                survived = sum(name in entry["remaining"][cell][edge] for entry in rounds)
                assert _steps(_bar(bars, cell, edge, name)) == survived


def test_coin_tosses_are_marked_and_counted_alike_everywhere() -> None:
    rounds = searches.bnas_history()
    expected = sum(item["margin"] <= searches.NOISE for entry in rounds for item in entry["abandoned"])
    assert 0 < expected < 196
    text = search.shrinking(rounds)
    marked = [hint for hint, bar in _bars(text).items() if bar.find(f"{SVG}circle") is not None]
    assert len(marked) == expected
    assert all(hint.endswith("(within the noise)") for hint in marked)
    assert f"{expected} of 196 abandonments had a margin within the noise" in text
    total = history.shrinkage(history.read(rounds))
    assert (total.n_abandoned, total.n_coin_tosses) == (196, expected)


def test_without_known_noise_only_a_tie_is_marked_and_nothing_is_counted() -> None:
    rounds = searches.bnas_history()
    for entry in rounds:
        del entry["noise"]
    rounds[2]["abandoned"][0]["margin"] = 0.0
    text = search.shrinking(rounds)
    assert len([bar for bar in _bars(text).values() if bar.find(f"{SVG}circle") is not None]) == 1
    assert history.shrinkage(history.read(rounds)).n_coin_tosses is None
    assert "had a margin" not in text and "of these within" not in text


def test_counting_noise_is_the_standard_error_of_a_difference_of_means() -> None:
    settings: dict[str, Any] = {"repeats": 3, "temperature": 0.5, "ucb": 1.0}
    origin = {"config": settings, "search_data": {"n_validation_images": 500, "n_pairs": 1000}}
    error = math.sqrt(2 * 0.3 * 0.7 / (500 * 3))
    assert history.counting_noise(origin, 0.3, 8) == pytest.approx(error)
    assert history.counting_noise(origin, 0.3, 2) == pytest.approx(error)
    settings["ucb"] = 0.0
    assert history.counting_noise(origin, 0.3, 7) == pytest.approx(error / (4 * 0.5))
    settings["fitness"] = "verification"
    assert history.counting_noise(origin, 0.3, 7) == pytest.approx(error / (4 * 0.5) / math.sqrt(2))


@pytest.mark.parametrize("origin", [{}, {"config": 3}, {"config": {}}, {"search_data": [3], "config": {"repeats": 3}}])
def test_counting_noise_is_not_guessed(origin: dict[str, Any]) -> None:
    assert history.counting_noise(origin, 0.5, 8) is None


def test_shares_are_shaded_on_one_scale_for_all_epochs() -> None:
    epochs = searches.alpha_history()
    bars = _bars(search.shrinking(epochs))
    shades = [re.findall(r"s(\d)", str(p.get("class"))) for bar in bars.values() for p in bar.iter(f"{SVG}path")]
    assert {"0", "4"} <= {shade for found in shades for shade in found}


def test_equal_shares_are_all_of_a_middle_shade() -> None:
    epochs = searches.alpha_history()
    for entry in epochs:
        entry["alpha"] = {cell: [dict.fromkeys(edge, 0.125) for edge in entry["alpha"][cell]] for cell in CELLS}
    bars = _bars(search.shrinking(epochs)).values()
    assert {str(p.get("class")) for bar in bars for p in bar.iter(f"{SVG}path")} == {"step s2"}


def test_what_remains_follows_from_the_weights_where_it_is_not_written() -> None:
    epochs = searches.alpha_history()
    bare = [{key: value for key, value in entry.items() if key != "remaining"} for entry in epochs]
    assert search.shrinking(bare) == search.shrinking(epochs)


def test_many_epochs_are_thinned_to_first_last_and_some_between() -> None:
    epochs = searches.alpha_history(epochs=tuple(range(1, 51)))
    bars = _bars(search.shrinking(epochs))
    assert {_steps(bar) for bar in bars.values()} == {search.MOST_STEPS}
    assert len(search.shrinking(epochs)) < 120_000


def test_a_search_without_reduction_keeps_every_bar() -> None:
    bars = _bars(search.shrinking(searches.bnas_history(reduction=False)))
    assert {_steps(bar) for bar in bars.values()} == {8}


def test_random_search_is_a_line_of_text() -> None:
    assert search.shrinking([]) == search.NOTHING


def test_one_moment_and_equal_weights_are_drawn() -> None:
    entry = searches.bnas_history()[-1]
    entry["likelihood"] = {c: [dict.fromkeys(edge, 0.5) for edge in entry["remaining"][c]] for c in CELLS}
    assert {_steps(bar) for bar in _bars(search.shrinking([entry])).values()} == {0, 1}


def test_kept_edges_are_bold_and_name_the_operation_of_the_genotype() -> None:
    genotype, rounds = searches.genotype(), searches.bnas_history()
    root = ET.fromstring(search.shrinking(rounds, genotype=genotype))
    bold = [t.text for t in root.iter(f"{SVG}text") if "kept" in t.get("class", "")]
    expected = []
    for cell in CELLS:
        for (source, target), left in zip(EDGES, rounds[-1]["remaining"][cell], strict=True):
            kept = [e.operation for e in genotype.cell(cell)[target - 2] if e.source == source]
            replaced = "none → " if left == ["none"] else ""
            expected += [f"{source} → {target}", *(replaced + name for name in kept)] if kept else []
    assert bold == expected
    assert any(text.startswith("none → ") for text in expected)


DAMAGED = {
    "no list": lambda h: {"rounds": h},
    "no object": lambda h: [3, *h],
    "nothing left": lambda h: [h[0] | {"remaining": {c: [[]] * 14 for c in CELLS}}],
    "thirteen edges": lambda h: [h[0] | {"remaining": {c: h[0]["remaining"][c][1:] for c in CELLS}}],
    "one cell": lambda h: [h[0] | {"remaining": {"normal": h[0]["remaining"]["normal"]}}],
    "unknown operation": lambda h: [h[0] | {"remaining": {c: [["<script>"]] * 14 for c in CELLS}}],
    "text for a number": lambda h: [h[0] | {"mean_accuracy": "high"}],
    "huge number": lambda h: [h[0] | {"mean_accuracy": 10**400}],
    "not finite": lambda h: [h[0] | {"mean_accuracy": math.nan}],
    "edge that is none": lambda h: [h[0] | {"abandoned": [h[0]["abandoned"][0] | {"source": 5}]}],
    "list for an edge": lambda h: [h[0] | {"abandoned": [h[0]["abandoned"][0] | {"source": [5]}]}],
    "round by name": lambda h: [h[0] | {"round": "first"}],
    "likelihood of an edge is a list": lambda h: [h[0] | {"likelihood": {c: [[]] * 14 for c in CELLS}}],
    "likelihood is a list": lambda h: [h[0] | {"likelihood": [1]}],
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_history_is_one_clear_error(damage: str) -> None:
    with pytest.raises(FormatError, match="The history of the search is") as error:
        search.shrinking(DAMAGED[damage](searches.bnas_history()))
    assert str(error.value).endswith(".") and "<script" not in search.NOTHING


# The section of the page.


def _without_images(content: Content) -> Content:
    for entry in content["results"]:
        for failure in entry["failures"]:
            failure["reference_image"] = failure["probe_image"] = None
    return content


def _searched_page(content: Content, save_report: Save, **origin: Any) -> str:
    genotype = searches.genotype(**searches.origin(**origin)).to_json()
    for model in content["models"][:2]:
        model["genotype"] = genotype
    return html.write(save_report(_without_images(content))).read_text()


def test_twins_that_share_a_genotype_share_its_pictures(content: Content, save_report: Save) -> None:
    page = _searched_page(content, save_report, history=searches.bnas_history())
    assert re.findall(r'<section id="(\w+)"', page)[-2:] == ["searched", "provenance"]
    assert page.count('class="picture cells"') == page.count('class="picture shrinking"') == 1
    heading = page[page.index('<h3 class="with">') :].split("</h3>")[0]
    assert "lfw-<wbr>float" in heading and "lfw-<wbr>xnor" in heading and "w1a1" not in heading
    for name, text in (("searcher", "bnas"), ("search took", "12 min 3 s"), ("single-path epochs", "57")):
        assert f"<dt>{name}</dt><dd>{text}</dd>" in page
    assert re.search(r"<dt>of these within the noise</dt><dd>\d+ \(\d+ %\)</dd>", page)
    assert "<dt>config.channel_sampling</dt><dd>2</dd>" in page


def test_every_abandonment_stands_in_a_table_with_its_margin(content: Content, save_report: Save) -> None:
    rounds = searches.bnas_history()
    page = _searched_page(content, save_report, history=rounds)
    table = page[page.index("Every abandonment with its margin") :].split("</table>")[0]
    assert re.findall(r"<th scope=\"col\">(?:Round )?(\w+)", table) == ["Edge", *"1234567"]
    first = rounds[0]["abandoned"][0]
    noise = ", within the noise" if first["margin"] <= searches.NOISE else ""
    assert f"normal 0 → 2</th><td>{first['operation']}<small>{first['margin']:.2g}{noise}</small>" in table
    assert table.count("<small>") == 196


def test_pictures_lie_beside_the_page_as_files_of_their_own(
    content: Content, save_report: Save, tmp_path: Path
) -> None:
    content["models"][3]["genotype"] = BNAS_XNOR_1.to_json()
    _searched_page(content, save_report, history=searches.bnas_history())
    found = sorted(tmp_path.glob("changed/*.svg"))
    assert [file.name for file in found] == ["cells_1.svg", "cells_2.svg", "search_1.svg"]
    assert all(ET.parse(file).getroot().tag == f"{SVG}svg" for file in found)


def test_a_published_genotype_says_that_its_search_is_not_recorded(content: Content, save_report: Save) -> None:
    content["models"][0]["genotype"] = BNAS_XNOR_1.to_json()
    page = html.write(save_report(_without_images(content))).read_text()
    assert "How these cells were found is not recorded" in page
    assert "<dt>name</dt><dd>BNAS_XNOR_1</dd>" in page


def test_random_search_and_a_damaged_history_are_said(content: Content, save_report: Save) -> None:
    assert search.NOTHING in _searched_page(content, save_report, searcher="random")
    page = _searched_page(content, save_report, history=[3])
    assert "The history of the search is damaged" in page
    assert 'class="picture cells"' in page


def test_a_page_without_searched_models_has_no_trace_of_them(content: Content, save_report: Save) -> None:
    plain = html.write(save_report(_without_images(content))).read_text()
    for model in content["models"]:
        model["genotype"] = None
    assert html.write(save_report(content)).read_text() == plain
    assert not re.search(r"searched|picture|--conv", plain)


def test_a_hostile_origin_is_escaped(content: Content, save_report: Save) -> None:
    hostile = "</svg></desc><script>alert(1)</script><img src=x onerror=alert(1)>"
    origin = {key: hostile for key in ("searcher", "binarizer", "dataset", "name", "seconds", "n_images", hostile)}
    page = _searched_page(content, save_report, **origin, config={hostile: hostile}, summary=hostile)
    assert "<script>alert" not in page and "<img" not in page
    assert page.count("<script") == 2
    assert "&lt;script&gt;alert" in page


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"schema": "other"}, "has schema 'other'"),
        ({"normal": []}, "incomplete"),
        ({"space": "<script>"}, "not known"),
    ],
)
def test_a_broken_genotype_in_result_json_is_named(
    change: dict[str, Any], expected: str, content: Content, save_report: Save
) -> None:
    content["models"][1]["genotype"] = searches.genotype().to_json() | change
    with pytest.raises(ReportError, match=re.escape(expected)) as error:
        html.write(save_report(_without_images(content)))
    assert "models[1].genotype" in str(error.value) and "result.json" in str(error.value)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (4.25, "4.25 s"), (59.4, "59 s"), (59.7, "1 min 0 s"), (723.4, "12 min 3 s"), (11_550, "3 h 12 min")]
    + [(value, None) for value in (-1, math.nan, math.inf, "x", None, True)],
)
def test_durations(seconds: Any, text: str | None) -> None:
    assert searched.duration(seconds) == text


def test_the_picture_of_a_real_looking_search_stays_small() -> None:
    text = search.shrinking(json.loads(json.dumps(searches.bnas_history())), genotype=searches.genotype())
    assert len(text) < 100_000
