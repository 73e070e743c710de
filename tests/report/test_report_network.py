"""The section of networks: what each kind of layer costs, and training curves, with twins side by side."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import extended
import pytest

from bnas_face.errors import ReportError
from bnas_face.report import figures, html, network, plates, results, tables

Content = dict[str, Any]
Save = Callable[..., Path]
FAMILY = ("lfw-float", "lfw-xnor", "lfw-xnor-w1a1")


@pytest.fixture
def full(content: Content) -> Content:
    """A result with every later field."""
    return extended.extend(content)


def _families(folder: Path) -> list[network.Family]:
    result = results.load(folder)
    return network.families(result, figures.marks(result.models))


def _section(folder: Path) -> str:
    found = re.search(r'<section id="network".*?</section>', html.write(folder).read_text(), flags=re.S)
    assert found
    return found[0]


def _text(markup: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", markup.replace("<wbr>", "")))


def test_twins_stand_in_one_family_and_a_model_without_parts_in_none(full: Content, save_report: Save) -> None:
    (family,) = _families(save_report(full))
    assert family.models == (0, 1, 2)
    assert family.without_layers == family.without_curve == ()
    assert [chart.kind for chart in family.charts] == ["loss", "development"]


def test_models_without_a_common_twin_stand_apart(full: Content, save_report: Save) -> None:
    full["comparisons"] = []
    full["models"][2]["twin"] = None
    assert [family.models for family in _families(save_report(full))] == [(0, 1), (2,)]


def test_a_twin_named_by_a_comparison_alone_joins_the_family(full: Content, save_report: Save) -> None:
    for model in full["models"]:
        model["twin"] = None
    assert [family.models for family in _families(save_report(full))] == [(0, 1, 2)]


def test_models_that_name_each_other_as_twin_end_in_one_family(full: Content, save_report: Save) -> None:
    full["comparisons"] = []
    for model, twin in zip(full["models"], ("lfw-xnor-w1a1", "lfw-float", "lfw-xnor", None), strict=True):
        model["twin"] = twin
    assert [family.models for family in _families(save_report(full))] == [(0, 1, 2)]


def test_the_cost_table_reads_back_as_result_json_and_adds_up(full: Content, save_report: Save) -> None:
    bodies = re.findall(r"<tbody>.*?</tbody>", _section(save_report(full)), flags=re.S)
    assert len(bodies) == 2
    for body, model in zip(bodies, full["models"][:2], strict=True):
        assert f">{model['id']}<" in body.replace("<wbr>", "")
        rows = re.findall(r"<tr(?! class=\"group).*?</tr>", body, flags=re.S)
        assert len(rows) == len(model["layers"]) + 1
        for row, layer in zip(rows, model["layers"], strict=False):
            found = [int(n.replace(",", "")) for n in re.findall(r'data-field="\w+">([\d,]+)<', row)]
            assert found == [layer[key] for key in ("n_parameters", "packed_bytes", "n_macs")]
            assert layer["kind"] in row.replace("<wbr>", "")
        sums = [sum(layer[key] for layer in model["layers"]) for key in ("n_parameters", "packed_bytes", "n_macs")]
        assert [int(n.replace(",", "")) for n in re.findall(r'data-field="\w+">([\d,]+)<', rows[-1])] == sums
        assert sums[0] == model["n_parameters"]


def test_shares_are_percentages_of_the_total(full: Content, save_report: Save) -> None:
    text = _text(_section(save_report(full)))
    assert "W1A1: XNOR and popcount 16 1,990,000 94.7 248,750 35.2 25,000,000 77.7" in text
    assert network.share(1, 0) == "–"


def test_one_bit_convolutions_say_what_stands_for_a_multiplication(full: Content, save_report: Save) -> None:
    section = _section(save_report(full))
    assert "not measured" in section and "multiply nothing" in section
    expected = {32: "additions and subtractions", 1: "XNOR and popcount", 8: "", None: ""}
    full["models"][1]["layers"][0]["n_layers"] = 15
    for bits, how in expected.items():
        full["models"][1]["activation_bits"] = bits
        assert _families(save_report(full))[0].tables[1].how == how


def test_models_of_equal_cost_share_a_table(full: Content, save_report: Save) -> None:
    tables = _families(save_report(full))[0].tables
    assert [table.models for table in tables] == [(0,), (1, 2)]
    assert [table.how for table in tables] == ["", "W1A32: additions and subtractions; W1A1: XNOR and popcount"]


def test_parameters_that_do_not_add_up_are_said(full: Content, save_report: Save) -> None:
    full["models"][1]["layers"].pop()
    expected = "The layers of lfw-xnor hold 2,100,120 parameters, the model is said to have 2,101,440."
    text = _text(_section(save_report(full)))
    assert text.count("is said to have") == 1 and expected in text


@pytest.mark.parametrize("value", [None, "absent"])
def test_without_both_fields_there_is_no_section(value: Any, full: Content, save_report: Save) -> None:
    for model in full["models"]:
        for key in ("layers", "history"):
            model.pop(key, None)
            if value is None:
                model[key] = None
    page = html.write(save_report(full)).read_text()
    assert 'id="network"' not in page and "#network" not in page


def test_the_part_that_a_model_lacks_is_named(full: Content, save_report: Save) -> None:
    full["models"][0]["history"] = None
    full["models"][1]["layers"] = None
    section = _section(save_report(full))
    assert "No training curve in result.json for lfw-float." in section
    assert "No cost by kind of layer in result.json for lfw-xnor." in section


def test_a_model_without_both_parts_is_named_below_the_others(full: Content, save_report: Save) -> None:
    section = _section(save_report(full))
    assert (
        "Neither training curves nor cost by kind of layer in result.json for onnx:vface_mobilefacenet.onnx." in section
    )
    full["models"], full["results"] = full["models"][:3], [r for r in full["results"] if not r["model"].startswith("o")]
    assert "Neither" not in _section(save_report(full))


def test_without_any_curve_there_is_no_figure_and_no_legend(full: Content, save_report: Save) -> None:
    for model in full["models"]:
        model["history"] = {"epoch": [1.0], "loss": [None], "development_accuracy": [None]}
    section = _section(save_report(full))
    assert "<figure" not in section and "<fieldset" not in section
    assert f"No training curve in result.json for {', '.join(FAMILY)}" in section


def test_only_measured_development_accuracies_are_points(full: Content, save_report: Save) -> None:
    loss, development = _families(save_report(full))[0].charts
    assert [len(line.tips) for line in loss.lines] == [15, 15, 15]
    assert development.lines[0].tips == (
        "epoch 5\ndevelopment accuracy 84.0 %", "epoch 10\ndevelopment accuracy 87.0 %",
        "epoch 15\ndevelopment accuracy 88.0 %",
    )  # fmt: skip
    assert loss.x_ticks == development.x_ticks
    assert all(line.path.count("L") == len(line.tips) - 1 for line in (*loss.lines, *development.lines))


def test_a_falling_loss_falls_on_the_page_and_ends_in_its_mark(full: Content, save_report: Save) -> None:
    line = _families(save_report(full))[0].charts[0].lines[0]
    points = [tuple(map(float, pair.split())) for pair in line.path[1:].split("L")]
    assert points == sorted(points)
    assert points[-1] == (line.x, line.y)
    assert all(0 < x < 100 and 0 < y < 100 for x, y in points)
    assert line.told == "from loss 30 in epoch 1 to loss 4.507 in epoch 15"


def test_rows_of_one_epoch_are_spread_over_it(full: Content, save_report: Save) -> None:
    full["models"][0]["history"] = {
        "epoch": [1, 1, 2, 2], "loss": [4.0, 3.0, 2.0, 1.0], "development_accuracy": [None, 0.5, None, 0.6],
    }  # fmt: skip
    for model in full["models"][1:3]:
        model["history"] = None
    loss, development = _families(save_report(full))[0].charts
    points = [tuple(map(float, pair.split())) for pair in loss.lines[0].path[1:].split("L")]
    steps = [later[0] - earlier[0] for earlier, later in pairwise(points)]
    assert steps == pytest.approx([steps[0]] * 3, abs=0.02)
    assert loss.lines[0].tips[1] == "epoch 1, row 2 of 2\nloss 3"
    assert development.lines[0].x == loss.lines[0].x


@pytest.mark.parametrize(
    ("epoch", "loss"),
    [([1], [2.5]), ([1, 2], [0.0, 0.0]), ([1, 2], [-3.0, 1e15]), ([0, 1], [1e-12, 2e-12]), ([5, 5, 5], [1, 2, 3])],
)
def test_odd_curves_are_drawn_inside_their_plot(
    epoch: list[float], loss: list[float], full: Content, save_report: Save
) -> None:
    for model in full["models"]:
        model["history"] = None
    full["models"][0]["history"] = {"epoch": epoch, "loss": loss, "development_accuracy": [None] * len(epoch)}
    (chart,) = _families(save_report(full))[0].charts
    pairs = [tuple(map(float, pair.split())) for pair in chart.lines[0].path[1:].split("L")]
    assert len(pairs) == len(loss) and all(0 < x < 100 and 0 < y < 100 for x, y in pairs)


def test_a_loss_beyond_all_scales_is_not_drawn(full: Content, save_report: Save) -> None:
    full["models"][0]["history"] |= {"loss": [-1.7e308] + [1.7e308] * 14}
    assert [chart.kind for chart in _families(save_report(full))[0].charts] == ["development"]


def test_a_long_log_is_thinned_and_keeps_its_ends(full: Content, save_report: Save) -> None:
    full["models"][0]["history"] = extended.history(30.0, 20_000)
    line = _families(save_report(full))[0].charts[0].lines[0]
    assert 200 <= len(line.tips) <= 402
    assert line.tips[0].startswith("epoch 1\n") and line.tips[-1].startswith("epoch 20000\n")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda m: m["layers"][0].pop("kind"), "lacks the field 'models[0].layers[0].kind'"),
        (lambda m: m["layers"][1].update(n_macs=-1), "'models[0].layers[1].n_macs', expected a whole number"),
        (lambda m: m["layers"][1].update(packed_bytes=0.5), "'models[0].layers[1].packed_bytes', expected a whole"),
        (lambda m: m.update(layers={}), "'models[0].layers', expected a list"),
        (lambda m: m.update(layers=["x"]), "'models[0].layers[0]', expected an object"),
        (lambda m: m["history"].pop("loss"), "lacks the field 'models[0].history.loss'"),
        (lambda m: m["history"]["loss"].pop(), "holds 15, 14 and 15 values in 'models[0].history', expected equal"),
        (lambda m: m["history"]["epoch"].reverse(), "epochs that fall in 'models[0].history.epoch'"),
        (lambda m: m["history"]["epoch"].__setitem__(3, None), "'models[0].history.epoch[3]', expected a number"),
        (lambda m: m["history"]["loss"].__setitem__(3, "x"), "'models[0].history.loss[3]', expected a number"),
        (lambda m: m["history"]["development_accuracy"].__setitem__(4, 84.0), "expected a fraction between 0 and 1"),
        (lambda m: m.update(history=[]), "'models[0].history', expected an object"),
    ],
)
def test_a_damaged_field_is_named(
    change: Callable[[Content], Any], expected: str, full: Content, save_report: Save
) -> None:
    change(full["models"][0])
    with pytest.raises(ReportError) as error:
        results.load(save_report(full))
    assert expected in str(error.value)


def test_hostile_kinds_and_names_are_escaped_everywhere(full: Content, save_report: Save) -> None:
    hostile = "</svg></section><script>alert(1)</script><img src=x onerror=alert(1)>"
    text = json.dumps(full).replace('"lfw-xnor"', json.dumps(hostile)).replace('"linear"', json.dumps("b" + hostile))
    folder = save_report(json.loads(text))
    page = html.write(folder).read_text()
    assert page.count("<script") == 2 and "onerror=alert(1)>" not in page
    assert "b&lt;/svg&gt;&lt;/" in _section(folder).replace("<wbr>", "")
    result = results.load(folder)
    for _, svg in plates.plates(result, figures.marks(result.models)):
        assert not list(ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}script"))


def test_costs_and_unseen_people_stand_in_the_tables_of_a_paper(full: Content, save_report: Save) -> None:
    result = results.load(save_report(full))
    marks = figures.marks(result.models)
    markdown, latex = tables.markdown(result, marks), tables.latex(result, marks)
    assert (
        "| lfw-xnor, lfw-xnor-w1a1 | W1A32, W1A1 | 1-bit convolution | 16 | 1,990,000 | 248,750 | 25,000,000 |"
        in markdown
    )
    assert "| lfw-xnor, lfw-xnor-w1a1 | W1A32, W1A1 | total | 53 | 2,101,440 | 706,510 | 32,183,280 |" in markdown
    assert network.PACKED in markdown
    assert (
        r"lfw-xnor, lfw-xnor-w1a1 & W1A32, W1A1 & 1-bit convolution & 16 & 1,990,000 & 248,750 & 25,000,000 \\" in latex
    )
    lines = markdown.split("\n\n")[0].splitlines()
    place = lines[0].split(" | ").index("Unseen %")
    unseen = full["results"][0]["without_overlap"]["accuracy"]["value"]
    assert lines[2].split(" | ")[place] == f"{100 * unseen:.1f}"
    assert [line.split(" | ")[place] for line in lines[2:]].count("–") == 2
    assert "Unseen: people that the training set also has" in markdown


def test_training_curves_are_figures_of_their_own(full: Content, save_report: Save) -> None:
    result = results.load(save_report(full))
    drawn = dict(plates.plates(result, figures.marks(result.models)))
    assert {"loss_1", "development_1"} <= set(drawn)
    root = ET.fromstring(drawn["loss_1"])
    assert root.findtext("{http://www.w3.org/2000/svg}title") == "Training loss"
    assert "lfw-xnor-w1a1 (W1A1)" in "".join(root.itertext())
