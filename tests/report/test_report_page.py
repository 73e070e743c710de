"""What the page says without a browser: missing parts are named, files are escaped, images stay inside the folder."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bnas_face.errors import ReportError
from bnas_face.report import failures, html, results

Content = dict[str, Any]
Save = Callable[..., Path]


def _page(folder: Path) -> str:
    return html.write(folder).read_text()


def _without_images(content: Content) -> Content:
    for entry in content["results"]:
        for failure in entry["failures"]:
            failure["reference_image"] = failure["probe_image"] = None
    return content


def test_the_page_names_no_address_and_stays_small(report_folder: Path) -> None:
    page = _page(report_folder)
    assert not re.findall(r"https?:|//[a-z]+\.[a-z]", re.sub(r"data:image/jpeg;base64,[\w+/=]+", "", page))
    assert len(page) < 1_000_000


def test_the_same_result_gives_the_same_page(report_folder: Path) -> None:
    assert _page(report_folder) == _page(report_folder)


def test_sections_stand_in_order(report_folder: Path) -> None:
    found = re.findall(r'<section id="(\w+)"', _page(report_folder))
    assert found == ["verdict", "comparison", "size", "curves", "scores", "failures", "tar", "provenance"]


def test_people_read_folds_counted_from_one(report_folder: Path) -> None:
    content = json.loads((report_folder / "result.json").read_text())
    stored = {failure["fold"] for entry in content["results"] for failure in entry["failures"]}
    n_folds = {protocol["n_folds"] for protocol in content["protocols"]}
    shown = set(re.findall(r"fold (\d+) of (\d+)</span>", _page(report_folder)))
    assert 0 in stored and shown == {(str(fold + 1), str(n)) for fold in stored for n in n_folds}


def test_images_are_inlined_once_each(report_folder: Path) -> None:
    page = _page(report_folder)
    found = re.findall(r"data:image/jpeg;base64,([\w+/=]+)", page)
    assert found
    assert all(base64.b64decode(image).startswith(b"\xff\xd8\xff") for image in found)


def test_a_report_without_images_says_why_and_names_the_pairs(content: Content, save_report: Save) -> None:
    page = _page(save_report(_without_images(content)))
    assert "data:image/jpeg" not in page
    assert "must be when its photographs show real people" in page
    assert "<img" not in page
    assert content["results"][0]["failures"][0]["probe_id"].split("/")[0] in page


@pytest.mark.parametrize(
    "name", ["../secret.jpg", "/etc/hostname", "images/../../secret.jpg", "images/absent.jpg", "images\0x"]
)
def test_an_image_outside_the_folder_is_not_read(
    name: str, content: Content, save_report: Save, tmp_path: Path
) -> None:
    (tmp_path / "secret.jpg").write_bytes(b"\xff\xd8\xffsecret")
    folder = save_report(_without_images(content))
    content["results"][0]["failures"][0]["probe_image"] = name
    (folder / "result.json").write_text(json.dumps(content))
    page = _page(folder)
    assert base64.b64encode(b"\xff\xd8\xffsecret").decode()[:8] not in page
    assert "Images that are absent, or no JPEG inside this folder: 1;" in page


def test_a_link_out_of_the_folder_is_not_followed(content: Content, save_report: Save, tmp_path: Path) -> None:
    (tmp_path / "secret.jpg").write_bytes(b"\xff\xd8\xffsecret")
    folder = save_report(_without_images(content))
    (folder / "images").mkdir()
    (folder / "images" / "x.jpg").symlink_to(tmp_path / "secret.jpg")
    content["results"][0]["failures"][0]["probe_image"] = "images/x.jpg"
    (folder / "result.json").write_text(json.dumps(content))
    assert base64.b64encode(b"\xff\xd8\xffsecret").decode()[:8] not in _page(folder)


def test_images_beyond_the_budget_are_left_out_and_counted(
    report_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failures, "IMAGE_BUDGET_BYTES", 20_000)
    page = _page(report_folder)
    assert re.search(r"Images left out to keep the page small enough to mail: \d+", page)
    assert page.count("data:image/jpeg") < 20


def test_text_from_files_is_escaped(content: Content, save_report: Save) -> None:
    hostile = '"><script>alert(1)</script><img src=x onerror=alert(1)>'
    content["models"][0]["id"] = hostile
    for entry in content["results"] + content["comparisons"]:
        entry.update({key: hostile for key in ("model", "twin") if entry.get(key) == "lfw-float"})
    for model in content["models"]:
        model["twin"] = hostile if model["twin"] else None
    content["protocols"][0]["title"] = content["command"] = content["versions"]["numpy"] = hostile
    page = _page(save_report(_without_images(content)))
    assert "<script>alert" not in page
    assert "<img" not in page
    assert page.count("<script") == 2


def test_no_comparison_is_said_and_accuracies_stand_instead(content: Content, save_report: Save) -> None:
    content["comparisons"] = []
    page = _page(save_report(_without_images(content)))
    assert "Nothing to compare" in page
    assert 'class="forest"' not in page


def test_a_report_without_comparisons_offers_no_twin_columns_and_no_twin_filters(
    content: Content, save_report: Save
) -> None:
    with_twins = _page(save_report(content))
    content["comparisons"] = []
    without = _page(save_report(content))
    for words in ('data-field="gap"', "only twin", "Dashed line", "beside its full-precision twin;"):
        assert words in with_twins
        assert words not in without
    assert "bnasface eval --protocol cfp_ff --model runs/binarized" in without


def test_missing_parts_are_named_instead_of_drawn(content: Content, save_report: Save) -> None:
    for entry in content["results"]:
        entry["curve"] = entry["histogram"] = None
        entry["failures"] = entry["tar_at_fmr"] = []
    page = _page(save_report(content))
    assert "No curve in result.json for lfw-float, lfw-xnor" in page
    assert "No histogram: result.json holds none for lfw-xnor" in page
    assert "No failures: result.json lists none" in page
    assert "result.json holds no FMR targets" in page
    assert 'data-kind="det"' not in page and 'data-kind="roc"' not in page
    assert 'class="panel' not in page


def test_a_result_without_results_is_a_page_that_says_so(content: Content, save_report: Save) -> None:
    content["results"], content["comparisons"], content["models"], content["protocols"] = [], [], [], []
    page = _page(save_report(content))
    assert "No table: result.json holds no results." in page


def test_undefined_numbers_are_dashes_never_none_or_nan(content: Content, save_report: Save) -> None:
    for entry in content["results"]:
        for key in ("accuracy", "auc", "eer"):
            entry[key] |= {name: None for name in entry[key] if name not in ("per_fold", "thresholds", "ci_method")}
            entry[key]["reason"] = "one class only"
        entry["accuracy"]["thresholds"] = [None]
    for entry in content["comparisons"]:
        entry |= {"difference": None, "ci_low": None, "ci_high": None, "p_value": None, "p_holm": None}
    for model in content["models"]:
        model |= {"n_parameters": None, "file_bytes": None, "weight_bits": None, "activation_bits": None}
    page = _page(save_report(_without_images(content)))
    body = re.sub(r"<(style|script).*?</\1>", "", page, flags=re.S)
    assert not re.search(r"\b(None|nan|NaN)\b", body)
    assert "has no known gap to" in page
    assert "bits unknown" in page


def test_who_else_failed_comes_from_pairs_csv(report_folder: Path) -> None:
    result = results.load(report_folder)
    pairs = failures.read_pairs(report_folder)
    assert pairs is not None
    cards = failures.gallery(result, pairs, report_folder).cards
    for card in cards:
        own = pairs[(pairs["protocol"] == card.protocol) & (pairs["reference_id"] == card.reference_id)]
        expected = {row.model for row in own.itertuples() if row.is_match != row.is_genuine}
        assert {result.models[place].id for place in card.failed} == expected
        assert len(card.failed) + len(card.passed) == 4


@pytest.mark.parametrize("name", ["null", "NA", "nan"])
def test_a_run_may_have_a_name_that_tables_take_for_nothing(name: str, report_folder: Path) -> None:
    for file in ("result.json", "pairs.csv"):
        path = report_folder / file
        path.write_text(path.read_text().replace("lfw-float", name))
    html.write(report_folder)
    pairs = failures.read_pairs(report_folder)
    assert pairs is not None
    assert (pairs["model"] == name).sum() == 2000


def test_without_pairs_csv_the_page_says_what_is_not_known(report_folder: Path) -> None:
    (report_folder / "pairs.csv").unlink()
    page = _page(report_folder)
    assert "pairs.csv is not beside this report" in page
    assert "What the twin&#39;s threshold would do here is not known" in page


def test_a_pair_that_was_not_compared_counts_as_failed_and_not_in_rates(report_folder: Path) -> None:
    file = report_folder / "pairs.csv"
    table = pd.read_csv(file)
    own = (table["model"] == "lfw-xnor") & (table["protocol"] == "cfp_ff")
    before = failures.rates_at(table, "cfp_ff", "lfw-xnor", -9.0)
    table.loc[table.index[own][:10], "score"] = None
    table.to_csv(file, index=False)
    pairs = failures.read_pairs(report_folder)
    assert pairs is not None
    assert before == failures.rates_at(pairs, "cfp_ff", "lfw-xnor", -9.0) == (1.0, 0.0)
    page = _page(report_folder)
    assert not re.search(r"\bnan\b", re.sub(r"base64,[\w+/=]+", "", page))


def test_drift_counts_the_rates_at_the_twins_threshold() -> None:
    table = pd.DataFrame({"protocol": "p", "model": "m", "score": [0.1, 0.4, 0.5, 0.9], "is_genuine": [0, 0, 1, 1]})
    assert failures.rates_at(table, "p", "m", 0.4) == (0.5, 0.0)
    assert failures.rates_at(table, "p", "m", 0.6) == (0.0, 0.5)
    assert failures.rates_at(table, "p", "other", 0.6) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [("", "cannot be read"), ("a,b\n1,2\n", "lacks the column 'protocol'"), ('"', "cannot be read")],
)
def test_a_damaged_pairs_csv_is_named(text: str, expected: str, report_folder: Path) -> None:
    (report_folder / "pairs.csv").write_text(text)
    with pytest.raises(ReportError, match=expected) as error:
        html.write(report_folder)
    assert "pairs.csv" in str(error.value)


def test_text_in_a_number_column_of_pairs_csv_is_named(report_folder: Path) -> None:
    file = report_folder / "pairs.csv"
    table = pd.read_csv(file, dtype=str)
    table.loc[5, "score"] = "high"
    table.to_csv(file, index=False)
    with pytest.raises(ReportError, match="holds text in the column 'score'"):
        html.write(report_folder)
