"""The later fields of result.json on the page: slices, bands, moved thresholds, unseen people, galleries, sizes."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import extended
import pytest

from bnas_face.errors import ReportError
from bnas_face.report import best, curves, figures, html, ranks, results, size, slices, tradeoff
from bnas_face.report.estimate import Estimate

Content = dict[str, Any]
Save = Callable[..., Path]


@pytest.fixture
def full(content: Content) -> Content:
    """A result with every later field."""
    return extended.extend(content)


def _page(folder: Path) -> str:
    return html.write(folder).read_text()


def test_every_later_field_has_its_section(full: Content, save_report: Save) -> None:
    found = re.findall(r'<section id="(\w+)"', _page(save_report(full)))
    assert found == [
        "verdict", "comparison", "identification", "size", "curves", "scores", "failures", "tar", "slices",
        "network", "provenance",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda c: c["results"][0]["slices"][0].pop("column"), "lacks the field 'results[0].slices[0].column'"),
        (lambda c: c["results"][0]["slices"][0]["groups"][0].update(fmr=1.2), "slices[0].groups[0].fmr', expected a"),
        (lambda c: c["results"][0]["band"]["fmr"].pop(), "points in 'results[0].band', expected equal counts"),
        (lambda c: c["results"][0]["without_overlap"].update(n_people=-1), "'results[0].without_overlap.n_people'"),
        (lambda c: c["comparisons"][0]["transfer"].pop("moved"), "lacks the field 'comparisons[0].transfer.moved'"),
        (lambda c: c["comparisons"][0]["auc_difference"].update(value=-7), "'comparisons[0].auc_difference.value'"),
        (lambda c: c["results"][-1]["cmc"]["rank"].pop(), "499 ranks and 500 values in 'results[11].cmc'"),
        (lambda c: c["results"][-1].pop("n_gallery"), "lacks the field 'results[11].n_gallery'"),
    ],
)
def test_a_damaged_later_field_is_named(
    change: Callable[[Content], Any], expected: str, full: Content, save_report: Save
) -> None:
    change(full)
    with pytest.raises(ReportError) as error:
        results.load(save_report(full))
    assert expected in str(error.value)


def test_every_later_value_may_be_null_or_a_list_without_a_traceback(full: Content, tmp_path: Path) -> None:
    """Either the page does not need it, or the error is ours."""
    full["results"] = [full["results"][0], full["results"][-1]]
    full["comparisons"] = full["comparisons"][:1]
    first, gap, gallery = full["results"][0], full["comparisons"][0], full["results"][-1]
    first |= {"curve": None, "histogram": None, "failures": [], "slices": first["slices"][:1]}
    first["slices"][0]["groups"] = first["slices"][0]["groups"][:1]
    first["band"] = {"fmr": [0.1, 0.2], "fnmr_low": [0.1, 0.1], "fnmr_high": [0.2, 0.2], "method": "x"}
    gallery["cmc"] = {"rank": [1, 2], "value": [0.5, 0.6]}
    refused = 0
    for place, damage in itertools.product(
        [*_places(first, "slices", "band", "without_overlap", "development"), *_places(gap), *_places(gallery)],
        (None, [[]]),
    ):
        holder, key = place
        kept, holder[key] = holder[key], damage
        (tmp_path / "result.json").write_text(json.dumps(full))
        try:
            assert html.render(results.load(tmp_path), None, tmp_path)
        except ReportError:
            refused += 1
        holder[key] = kept
    assert refused > 100


def _places(holder: Any, *keys: str) -> list[tuple[Any, Any]]:
    """(object or list, key) of every value below some keys, or of all."""
    found = []
    for key, value in list(holder.items() if isinstance(holder, dict) else enumerate(holder)):
        if not keys or key in keys:
            found.append((holder, key))
            found += _places(value) if isinstance(value, dict | list) else []
    return found


def test_slices_show_rates_intervals_and_counts_and_grey_small_groups(full: Content, save_report: Save) -> None:
    result = results.load(save_report(full))
    tables = slices.tables(result, figures.marks(result.models))
    assert [(table.protocol.name, table.column) for table in tables] == [
        (protocol, column) for protocol in ("cfp_ff", "cfp_fp") for column in ("yaw", "age_gap")
    ]
    first = tables[0]
    assert [(part.label, part.small) for part in first.parts] == [
        ("0 to 30", None), ("30 to 60", None), ("60 to 90", extended.SMALL),
    ]  # fmt: skip
    line = first.parts[1].lines[0]
    assert (line.fmr.rate, line.fmr.counts, line.fnmr.counts) == ("1.2", "3 of 250", "11 of 180")
    for part in (part for table in tables for part in table.parts):
        for strip in (strip for line in part.lines for strip in (line.fmr, line.fnmr)):
            if strip.at is not None:
                assert strip.low is not None and strip.high is not None
                assert 0 <= strip.low <= strip.at <= strip.high <= 100
    assert first.worst == "highest FNMR 9.4 % (30 to 60, onnx:vface_mobilefacenet.onnx)", "the small group is left out"
    assert tables[1].parts[1].lines[0].fmr.at is None, "a group without impostor pairs has no FMR"
    page = _page(save_report(full))
    assert page.count('class="small-group"') == 4
    assert "12 pairs have no value of &#39;age_gap&#39;" in page


def test_too_many_groups_are_left_out_and_counted(full: Content, save_report: Save) -> None:
    many = [extended.group(f"g{k}", 10 + k, 40, (1, 1), None) for k in range(slices.MOST_GROUPS + 7)]
    for entry in full["results"][:8]:
        entry["slices"] = [{**entry["slices"][0], "groups": many}]
    result = results.load(save_report(full))
    table = slices.tables(result, figures.marks(result.models))[0]
    assert [part.label for part in table.parts] == [f"g{k}" for k in range(7, slices.MOST_GROUPS + 7)]
    assert "7 more groups with fewer pairs are not shown" in _page(save_report(full))


def test_too_many_columns_are_left_out_and_counted(full: Content, save_report: Save) -> None:
    for entry in full["results"][:4]:
        entry["slices"] = [{**entry["slices"][0], "column": f"column {k}"} for k in range(slices.MOST_COLUMNS + 3)]
    page = _page(save_report(full))
    assert page.count('<details class="slice"') == slices.MOST_COLUMNS + 2
    assert "3 more metadata columns of CFP Frontal-Frontal are not shown" in page


def test_the_audit_says_what_failed_and_whom_the_training_set_has(full: Content, save_report: Save) -> None:
    full["results"][0] |= {"n_images_failed": 7, "failed_images": {f"{k}.jpg": "no face" for k in range(7)}}
    full["results"][1] |= {"n_images_failed": 0, "failed_images": {}}
    full["results"][3]["overlap_unknown"] = "no training set is recorded"
    page = _page(save_report(full)).partition('id="provenance"')[2]
    assert "7 images without an embedding (0.jpg, 1.jpg, 2.jpg, 3.jpg, 4.jpg, …); 3 people are in its tr" in page
    assert "every image has an embedding; 3 people are in its training set too, in 60 pairs" in page
    assert "people shared with its training set: not known (no training set is recorded)" in page


def test_a_band_encloses_its_curve_where_the_pairs_support_it(full: Content, save_report: Save) -> None:
    result = results.load(save_report(full))
    outcome = result.outcomes[0]
    marks = figures.marks(result.models)
    assert outcome.band is not None
    n_supported = sum(fmr >= 1 / outcome.n_impostor for fmr in outcome.band.fmr)
    for plot in (curves.det([(0, outcome)], marks), curves.roc([(0, outcome)], marks)):
        assert plot is not None
        points = [tuple(map(float, pair.split())) for pair in plot.lines[0].band[1:-1].split("L")]
        assert len(points) == 2 * n_supported
        assert min(x for x, _ in points) >= plot.supported - 0.01
        there, back = points[:n_supported], points[n_supported:][::-1]
        assert all(x == u and y >= v for (x, y), (u, v) in zip(there, back, strict=True)), "low lies below high"


def test_a_band_of_unknown_intervals_is_left_out_and_the_page_written(full: Content, save_report: Save) -> None:
    band = full["results"][0]["band"]
    band["fnmr_low"][0] = None
    one_less = results.load(save_report(full)).outcomes[0].band
    assert one_less is not None and one_less.fmr == tuple(band["fmr"][1:])
    for name in ("fnmr_low", "fnmr_high"):
        band[name] = [None] * len(band["fmr"])
    folder = save_report(full)
    assert results.load(folder).outcomes[0].band is None and html.write(folder).is_file()


def test_a_result_without_bands_has_none(report_folder: Path) -> None:
    result = results.load(report_folder)
    plot = curves.det([(0, result.outcomes[0])], figures.marks(result.models))
    assert plot is not None and plot.lines[0].band == ""
    assert 'class="shade' not in _page(report_folder)


def test_drift_comes_from_the_file_and_without_it_from_pairs_csv(
    full: Content, save_report: Save, report_folder: Path
) -> None:
    page = _page(save_report(full))
    assert page.count("applied unchanged: FMR 5.2\u00a0% → 1.8\u00a0%, FNMR 12.2\u00a0% → 18.6\u00a0%.") == 8
    assert page.count('<table class="rates">') == 4
    older = _page(report_folder)
    assert "With its own threshold" in older
    assert '<table class="rates">' not in older


def test_the_threshold_of_a_development_protocol_has_its_table(full: Content, save_report: Save) -> None:
    for entry in full["results"][4:8]:
        entry["development"] = None
    page = _page(save_report(full)).partition('id="development-table"')[2].partition("</section>")[0]
    assert page.count("0.200<small>lfw_dev</small>") == 4
    assert page.count("<b>87.1</b><small>84.9–89.0</small>") == 4
    assert page.count("31 pairs") == page.count("98 pairs") == 4
    assert "Threshold fitted on all 1,000 compared pairs of lfw_dev." in page


def test_accuracy_without_shared_people_stands_beside_the_full_one(full: Content, save_report: Save) -> None:
    page = _page(save_report(full))
    assert page.count("60 pairs out") == 6
    assert page.count("<small>not known</small>") == 2, "the outside model's training set is not known"
    assert page.count('data-field="unseen"') == 8


def test_an_undefined_accuracy_without_shared_people_says_why(full: Content, save_report: Save) -> None:
    full["results"][0]["without_overlap"] |= {"accuracy": None, "auc": None, "reason": "no pair is left"}
    assert 'title="no pair is left">–' in _page(save_report(full))


def test_other_gaps_stand_in_a_table_and_say_that_no_test_is_behind_them(full: Content, save_report: Save) -> None:
    page = _page(save_report(full)).partition('id="differences-table"')[2].partition("</section>")[0]
    assert page.count('data-field="auc-difference" data-sort="-0.021">−2.1<small>−3.0 to −1.2</small>') == 4
    assert page.count("insufficient data") == 4
    assert "No test stands behind" in page


def test_an_older_result_has_no_empty_columns_of_later_fields(report_folder: Path) -> None:
    page = _page(report_folder)
    for words in ("Unseen", "differences-table", "development-table", 'id="slices"', 'id="identification"'):
        assert words not in page, words


def test_identification_shows_ranks_counts_and_refusals(full: Content, save_report: Save) -> None:
    result = results.load(save_report(full))
    [block] = ranks.blocks(result, figures.marks(result.models))
    assert block.ranks == (1, 5, 20)
    assert block.targets == (0.01, 0.001)
    assert block.cmc is not None
    for line in block.cmc.lines:
        xs, ys = zip(*(map(float, pair.split()) for pair in line.path[1:].split("L")), strict=True)
        assert xs[0] == 0 and list(xs) == sorted(xs)
        assert list(ys) == sorted(ys, reverse=True), "the rate never falls with the rank"
    page = _page(save_report(full)).partition('id="identification"')[2].partition("</section>")[0]
    assert "500 gallery entries of 480 people, 1,200 mated and 900 non-mated probes" in page
    assert page.count("insufficient data") == 4
    assert "<li>Insufficient data: FPIR target 0.001 needs at least 1000 non-mated probes" in page
    assert "FPIR 0.9 %, 8 of 900" in page


def test_a_long_cmc_curve_is_thinned_but_keeps_its_ends(full: Content, save_report: Save) -> None:
    full["results"][-1] = extended.identification(full["models"][-1]["id"], 0, n_gallery=20_000)
    result = results.load(save_report(full))
    points = result.identifications[-1].cmc
    assert len(points) <= 200
    assert [rank for rank, _ in points[:5]] == [1, 2, 3, 4, 5]
    assert points[-1][0] == 20_000
    assert len(_page(save_report(full))) < 1_000_000


def test_a_report_of_identification_alone_has_no_section_of_pairs(full: Content, save_report: Save) -> None:
    full["results"] = [entry for entry in full["results"] if entry.get("task")]
    full["protocols"], full["comparisons"] = full["protocols"][-1:], []
    page = _page(save_report(full))
    assert re.findall(r'<section id="(\w+)"', page) == ["verdict", "identification", "network", "provenance"]
    told = page.partition('id="verdict"')[2].partition("</section>")[0]
    assert told.count("of the mated probes named at rank 1; it has no twin here to be tested against.") == 4


def test_gaps_of_identification_stand_in_the_verdict_and_the_forest(full: Content, save_report: Save) -> None:
    full["comparisons"].append(extended.gallery_gap("lfw-xnor", "lfw-float", 0.07))
    page = _page(save_report(full)).partition('id="verdict"')[2].partition("</section>")[0]
    assert "is 7.00 points above" in page
    assert "63.00\u00a0% against 56.00\u00a0% of 1,200 mated probes named at rank 1; 95 % interval of the gap" in page
    assert page.count("it has no twin here to be tested against") == 2, "the twin and the model are compared"
    assert "percentage points of accuracy, rank-1 identification rate of mated probes with 95 % interval" in page
    assert page.count('<div class="forest-row c-') == 5


def test_pairs_of_templates_have_no_accuracy_and_are_summed_up_by_tar(content: Content, save_report: Save) -> None:
    of_templates = extended.templates(content)
    page = _page(save_report(of_templates))
    assert page.count("; TAR at FMR 0.01, failed pairs as misses") == 0
    assert page.count("TAR at FMR 0.01, failed pairs as misses; 95 % interval of the gap") == 4
    assert 'title="no folds"><b>–</b><small>' in page
    assert "<li>No accuracy where it is a dash: no folds.</li>" in page
    assert "mean over the folds" not in page
    of_templates["comparisons"] = []
    assert "of the genuine pairs accepted at FMR 1 %" in _page(save_report(of_templates))


def test_pairs_of_templates_need_not_be_in_pairs_csv(content: Content, save_report: Save, report_folder: Path) -> None:
    import pandas as pd

    of_templates = extended.templates(content)
    pairs = pd.read_csv(report_folder / "pairs.csv")
    of_templates["results"][:4] = content["results"][:4]
    of_templates["protocols"][0] = content["protocols"][0]
    assert "report" in _page(save_report(of_templates, pairs[pairs["protocol"] == "cfp_ff"]))
    with pytest.raises(ReportError, match="holds 0 pairs of 'lfw-float' on 'cfp_ff'"):
        html.write(save_report(of_templates, pairs[pairs["protocol"] == "cfp_fp"]))


def test_an_unknown_overlap_says_why(full: Content, save_report: Save) -> None:
    full["results"][3]["overlap_unknown"] = "no training set is recorded"
    expected = (
        "Overlap with the training set of onnx:vface_mobilefacenet.onnx is not known: no training set is recorded."
    )
    assert f"<li>{expected}</li>" in _page(save_report(full))


def _estimate(value: float | None, low: float | None = None, high: float | None = None) -> Estimate:
    return Estimate(value=value, low=low, high=high, method="", reason="")


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ([("a", _estimate(0.9, 0.88, 0.92)), ("b", _estimate(0.8, 0.78, 0.82))], "a"),
        ([("a", _estimate(0.9, 0.85, 0.95)), ("b", _estimate(0.88, 0.84, 0.92))], None),
        ([("a", _estimate(0.9)), ("b", _estimate(0.8, 0.78, 0.82))], None),
        ([("a", _estimate(0.9, 0.88, 0.92))], None),
        ([("a", _estimate(0.9, 0.88, 0.92)), ("b", _estimate(None))], None),
        ([("a", _estimate(0.9, 0.9, 0.9)), ("b", _estimate(0.9, 0.9, 0.9))], None),
    ],
)
def test_the_best_is_marked_only_where_it_is_beyond_all_others(
    entries: list[tuple[str, Estimate]], expected: str | None
) -> None:
    assert best.best(entries, more_is_better=True) == expected
    flipped = [
        (
            name,
            _estimate(*(None if v is None else 1 - v for v in (entry.value, entry.high, entry.low))),
        )
        for name, entry in entries
    ]
    assert best.best(flipped, more_is_better=False) == expected


def test_beside_its_twin_the_verdict_decides_who_is_best(content: Content, save_report: Save) -> None:
    models = ("lfw-float", "lfw-xnor-w1a1")
    content["models"] = [model for model in content["models"] if model["id"] in models]
    content["results"] = [entry for entry in content["results"] if entry["model"] in models]
    content["comparisons"] = [gap for gap in content["comparisons"] if gap["model"] in models]
    assert ("cfp_ff", "lfw-float", "accuracy") in best.marked(results.load(save_report(content)))
    for gap in content["comparisons"]:
        gap |= {"ci_low": -0.9, "ci_high": 0.9, "p_value": 0.4, "p_holm": 0.8}
    assert ("cfp_ff", "lfw-float", "accuracy") not in best.marked(results.load(save_report(content)))


def test_the_pareto_front_holds_models_that_no_smaller_one_beats() -> None:
    known = {0: (100, 0.9), 1: (200, 0.8), 2: (50, 0.7), 3: (50, 0.7), 4: (300, 0.95), 5: (300, 0.94)}
    assert tradeoff.pareto(known) == {0, 2, 3, 4}
    assert tradeoff.pareto({}) == set()


def test_a_simulated_network_is_hollow_at_its_computed_size(full: Content, save_report: Save) -> None:
    result = results.load(save_report(full))
    plot = size.plots(result, figures.marks(result.models))[0]
    found = {point.name: (point.amount.value, point.is_computed) for point in plot.points}
    assert found["lfw-xnor"] == (690_000, True)
    assert found["lfw-float"] == (8_421_376, False)
    assert [point.x for point in plot.points] == sorted(point.x for point in plot.points)
    on = {point.name for point in plot.points if point.on_measured_front}
    assert on == {"onnx:vface_mobilefacenet.onnx"}, "computed sizes are not on the front of files"
    page = _page(save_report(full))
    assert 'class="dot hollow"' in page
    assert "a lower bound and no file that exists" in page


def test_without_sizes_the_plot_says_what_is_missing(content: Content, save_report: Save) -> None:
    for model in content["models"]:
        model["file_bytes"] = None
    page = _page(save_report(content))
    assert "fewer than two models have both a size and an accuracy" in page
    assert 'data-kind="size"' not in page
