"""The section "Cost": rows meet the models they were measured on, and a damaged bench.json is one sentence."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from benches import BINARY_HASH, FLOAT_HASH, INT8_HASH, build_bench, hashed
from chromium import CONTRAST, open_page, select

from bnas_face.errors import ReportError
from bnas_face.report import bench, cost, figures, html, numbers, plates, results, size, tradeoff, verdict
from bnas_face.report.records import Result

Content = dict[str, Any]
Save = Callable[..., Path]


@pytest.fixture
def both(content: Content, save_report: Save) -> Path:
    """A report folder with result.json and bench.json of the same weights."""
    folder = save_report(hashed(content))
    (folder / "bench.json").write_text(json.dumps(build_bench()), encoding="utf-8")
    return folder


def read(folder: Path) -> tuple[Result, bench.Bench]:
    measured = bench.load(folder)
    assert measured is not None
    return bench.joined(results.load(folder), measured), measured


def measured_of(changes: dict[str, Any], content: Content, save_report: Save) -> Any:
    """What is measured of the float network with `changes` to its entry in result.json."""
    content["models"][0] |= changes
    folder = save_report(content)
    (folder / "bench.json").write_text(json.dumps(build_bench()), encoding="utf-8")
    return read(folder)[0].models[0].measured


def test_a_model_is_measured_where_its_weights_were(both: Path) -> None:
    found = {model.id: model.measured for model in read(both)[0].models}
    assert found["lfw-xnor"] is None and found["onnx:vface_mobilefacenet.onnx"] is None
    float_network, one_bit = found["lfw-float"], found["lfw-xnor-w1a1"]
    assert float_network is not None and one_bit is not None
    assert (float_network.engine, float_network.p50_ms) == ("onnxruntime float32", 40.0), "8 bits are another network"
    assert (float_network.threads, float_network.batch, float_network.file_bytes) == (1, 1, 8_400_000)
    assert (one_bit.engine, one_bit.p50_ms, one_bit.file_bytes) == ("packed fp16", 2.0, 400_000)


def test_an_evaluated_packed_file_is_what_it_was_packed_from(content: Content, save_report: Save) -> None:
    bits = {"weight_bits": 1, "activation_bits": 1}
    packed = {"weights_sha256": "12" * 32, "packed_from_sha256": BINARY_HASH, "floats": "fp16", **bits}
    found = measured_of(packed, hashed(content), save_report)
    assert (found.engine, found.p50_ms) == ("packed fp16", 2.0)
    for floats in ("int8", "fp32", None):
        assert measured_of(packed | {"floats": floats}, hashed(content), save_report) is None, "other numbers"
    same_file = packed | {"weights_sha256": "02" * 32, "floats": None}
    assert measured_of(same_file, hashed(content), save_report).p50_ms == 2.0
    of_float = packed | {"packed_from_sha256": FLOAT_HASH}
    assert measured_of(of_float, hashed(content), save_report) is None, "no row of a packed float network"


def test_a_bench_of_before_has_runs_in_half_precision(content: Content, save_report: Save) -> None:
    folder, old = save_report(hashed(content)), build_bench()
    for entry in old["rows"]:
        del entry["floats"]
    del old["environment"]["usable_cores"]
    (folder / "bench.json").write_text(json.dumps(old), encoding="utf-8")
    found = {model.id: model.measured for model in read(folder)[0].models}
    assert found["lfw-xnor-w1a1"] is not None and found["lfw-xnor-w1a1"].engine == "packed fp16"


def test_an_evaluated_file_of_eight_bits_has_the_rows_of_that_file(content: Content, save_report: Save) -> None:
    found = measured_of({"weights_sha256": "20" * 32}, hashed(content), save_report)
    assert (found.engine, found.p50_ms, found.file_bytes) == ("onnxruntime int8", 20.0, 2_200_000)
    assert measured_of({"weights_sha256": INT8_HASH}, hashed(content), save_report) is None


def test_the_same_weights_with_other_bits_are_another_network(content: Content, save_report: Save) -> None:
    assert measured_of({"weight_bits": 1, "activation_bits": 1}, hashed(content), save_report) is None


def test_only_a_result_without_hash_is_matched_by_name(content: Content, save_report: Save) -> None:
    assert measured_of({"weights_sha256": None}, hashed(content), save_report).p50_ms == 40.0
    assert measured_of({"weights_sha256": "ff" * 32}, hashed(content), save_report) is None


def test_a_packed_file_takes_the_place_of_the_computed_size(both: Path) -> None:
    result, _ = read(both)
    points = {point.name: point for point in size.plots(result, figures.marks(result.models))[0].points}
    assert (points["lfw-xnor-w1a1"].amount.value, points["lfw-xnor-w1a1"].is_computed) == (400_000, False)
    assert (points["lfw-xnor"].amount.value, points["lfw-xnor"].is_computed) == (690_000, True)
    assert points["lfw-float"].amount.value == 8_421_376


def test_accuracy_stands_against_the_fastest_engine_that_keeps_the_numbers(both: Path) -> None:
    result, measured = read(both)
    section = cost.section(measured, result, figures.marks(result.models))
    assert section is not None and len(section.plots) == 2
    plot = section.plots[0]
    assert [(point.name, point.told) for point in plot.points] == [
        ("lfw-xnor-w1a1", "2.00 ms"),
        ("lfw-float", "40.0 ms"),
    ]
    assert plot.without == ("lfw-xnor", "onnx:vface_mobilefacenet.onnx")
    assert tradeoff.tips(plot)["tips"][0].endswith("\n2.00 ms with packed fp16")
    assert all(point.on_front for point in plot.points)


def test_the_verdict_says_how_much_smaller_and_faster(both: Path) -> None:
    said = {entry.comparison.model: entry for entry in verdict.verdicts(read(both)[0])}
    one_bit = said["lfw-xnor-w1a1"]
    assert one_bit.bytes_saved == "Its file is 21× smaller (400 kB against 8.42 MB)."
    assert one_bit.time_saved == (
        "It is 20× faster on 1 thread (2.00 ms with packed fp16 against 40.0 ms with onnxruntime float32, batch 1)."
    )
    assert said["lfw-xnor"].time_saved == ""


def test_the_page_shows_every_row_and_who_was_only_simulated(both: Path) -> None:
    page = html.write(both).read_text()
    assert re.findall(r'<section id="(\w+)"', page)[:5] == ["verdict", "comparison", "size", "cost", "curves"]
    section = page[page.index('<section id="cost"') :]
    section = section[: section.index("</section>")]
    assert section.count('data-kind="time"') == 2 * 2  # figure and area of two protocols
    shown = re.findall(r'data-field="p50">(?:<b>)?([\d.]+)', section)
    assert shown == ["40.0", "20.0", "60.0", "26.7", "13.3", "40.0", "2.00", "1.33"]
    assert re.findall(r'data-field="p50"><b>([\d.]+)', section) == ["40.0", "26.7", "2.00", "1.33"]
    assert "its bits are floats in every engine here: no speed" in section
    assert "layer &#39;gate&#39; is not known" in section
    assert "on AMD EPYC with 64 cores, 2 of them usable, all in one run" in section
    assert "500 M" in section and "37.8 M" in section, "binary MACs and OPs"
    assert "Quantised after training on demo:50x4" in section
    assert section.count(">packed fp16<") == 2 and "the row of its fp16 packing" in section
    assert page.count('id="cost-title"') == 1
    data = json.loads(re.findall(r'<script type="application/json" id="data">(.*?)</script>', page)[0])
    assert {"size0-all", "size1-all", "time0-all", "time1-all"} <= set(data["curves"])


def test_without_a_bench_the_page_has_no_section_and_says_what_measures(report_folder: Path) -> None:
    page = html.write(report_folder).read_text()
    assert '<section id="cost"' not in page and "bnasface bench measures it" in page


def test_a_bench_without_result_is_a_page_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "bench.json").write_text(json.dumps(build_bench()), encoding="utf-8")
    page = html.write(tmp_path)
    assert page.name == "bench.html" and not (tmp_path / "report.html").exists()
    text = page.read_text()
    assert re.findall(r'<section id="(\w+)"', text) == ["cost"]
    assert "No plot" not in text and 'data-kind="time"' not in text
    assert text == html.write(tmp_path).read_text()


def test_models_that_were_not_measured_leave_a_sentence_for_the_plot(report_folder: Path) -> None:
    (report_folder / "bench.json").write_text(json.dumps(build_bench()), encoding="utf-8")
    page = html.write(report_folder).read_text()
    assert "fewer than two evaluated models were measured" in page and 'data-kind="time"' not in page


def test_figures_have_one_of_accuracy_against_time(both: Path) -> None:
    result, measured = read(both)
    drawn = dict(plates.plates(result, figures.marks(result.models), measured))
    assert "milliseconds (1 thread, batch 1)" in drawn["time_cfp_ff"]
    assert "bytes (hollow: computed, no file)" in drawn["size_cfp_ff"]


def test_hostile_names_are_escaped(tmp_path: Path) -> None:
    evil = "<img src=x onerror=alert(1)>"
    content = build_bench()
    content["kernels"] = content["environment"]["cpu"] = content["calibration"] = evil
    content["versions"] = {evil: evil}
    content["models"][0]["id"] = evil
    for entry in content["rows"]:
        entry["title"] = entry["file_format"] = evil
        entry["model"] = evil if entry["model"] == "lfw-float" else entry["model"]
        entry["reason"] = evil if entry["reason"] else None
    (tmp_path / "bench.json").write_text(json.dumps(content), encoding="utf-8")
    page = html.write(tmp_path).read_text()
    assert "<img" not in page and "&lt;img" in page


def damaged(change: Callable[[Content], Any]) -> Content:
    content = copy.deepcopy(build_bench())
    change(content)
    return content


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("models"), "lacks the field 'models'"),
        (lambda c: c.update(schema="bnas_face.bench/9"), "has the schema 'bnas_face.bench/9', expected"),
        (lambda c: c.update(rows={}), "holds {} in 'rows', expected a list"),
        (lambda c: c["rows"][0].update(model="nobody"), "names the unknown model 'nobody' in 'rows[0].model'"),
        (lambda c: c["rows"][0].update(p50_ms=-1.0), "holds -1.0 in 'rows[0].p50_ms', expected more than 0"),
        (lambda c: c["rows"][0].update(p50_ms=None), "has neither all times nor a reason in 'rows[0]'"),
        (lambda c: c["rows"][0].update(reason="none"), "has neither all times nor a reason in 'rows[0]'"),
        (lambda c: c["rows"][0].update(threads=0), "holds no number of threads or images in 'rows[0]'"),
        (lambda c: c["rows"][0].update(file_bytes=10**300), "holds a number beyond 1e+15 in 'rows[0].file_bytes'"),
        (lambda c: c["rows"][0].update(images_per_s=1e300), "holds 1e+300 in 'rows[0].images_per_s', expected"),
        (lambda c: c["rows"][0].update(is_quantised="no"), "holds 'no' in 'rows[0].is_quantised'"),
        (lambda c: c["models"][1].update(id="lfw-float"), "names a model twice in 'models'"),
        (lambda c: c["models"][0].update(n_ops="many"), "holds 'many' in 'models[0].n_ops'"),
        (lambda c: c["environment"].update(cpu=None), "holds None in 'environment.cpu', expected text"),
    ],
)
def test_a_damaged_bench_is_one_sentence(change: Callable[[Content], Any], message: str, tmp_path: Path) -> None:
    (tmp_path / "bench.json").write_text(json.dumps(damaged(change)), encoding="utf-8")
    with pytest.raises(ReportError) as refused:
        html.write(tmp_path)
    told = str(refused.value)
    assert message in told and "bench.json'" in told and "\n" not in told
    assert "bnasface bench" in told or "Update bnas_face" in told


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "[]", "null", '{"schema": NaN}', "\udcff"])
def test_a_bench_that_is_no_object_is_one_sentence(text: str, tmp_path: Path) -> None:
    (tmp_path / "bench.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ReportError, match="bnasface bench"):
        html.write(tmp_path)


@pytest.mark.parametrize(
    ("value", "told"),
    [(0.0452, "0.0452"), (0.9996, "1.00"), (1.005, "1.00"), (12.34, "12.3"), (999.6, "1,000"), (1613.0, "1,610"),
     (0.0, "0.00"), (None, "–")],
)  # fmt: skip
def test_three_digits_are_kept(value: float | None, told: str) -> None:
    assert numbers.three_digits(value) == told


@pytest.mark.browser
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (360, "dark")])
@pytest.mark.parametrize("alone", [False, True])
def test_the_section_fits_its_page_and_is_readable(
    browser: Any, both: Path, alone: bool, width: int, scheme: str
) -> None:
    if alone:
        (both / "result.json").unlink()
    open_page(browser, html.write(both), width, scheme)
    assert browser.get_log("browser") == []
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    assert browser.execute_script(CONTRAST)[0][0] >= 4.5
    assert [found.is_displayed() for found in select(browser, "#cost table")] == [True, True]


@pytest.mark.browser
def test_arrow_keys_read_milliseconds_and_engine(browser: Any, both: Path) -> None:
    open_page(browser, html.write(both))
    area = select(browser, '#cost .area[data-kind="time"]')[0]
    area.send_keys("\ue014")  # arrow to the right
    tip = select(browser, "#cost .tip")[0]
    assert tip.is_displayed() and "ms with " in tip.text
