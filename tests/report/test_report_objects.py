"""The page of a report on object recognition: its own table, and nothing empty about pairs."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bnas_face.errors import ReportError
from bnas_face.report import html

NAMES = ("c10", "c10_twin")
TOP = {"c10": (0.85, 0.99), "c10_twin": (0.88, 0.993)}


def _top(value: float | None) -> dict[str, Any]:
    if value is None:
        return dict.fromkeys(("value", "ci_low", "ci_high", "ci_method")) | {"reason": "of 5 classes always right"}
    interval = {"ci_low": value - 0.007, "ci_high": value + 0.006, "ci_method": "Wilson 95 %"}
    return {"value": value, **interval, "reason": None}


def _entry(name: str) -> dict[str, Any]:
    undefined = {"value": None, "ci_low": None, "ci_high": None, "ci_method": None, "reason": "no pairs"}
    return {
        "model": name, "protocol": "cifar10", "task": "classification", "convention": "top-k",
        "convention_stamp": "top-k: one view of each image", "n_images": 10000, "n_classes": 10, "n_failed": 0,
        "top1": _top(TOP[name][0]), "top5": _top(TOP[name][1]), "n_pairs": 0, "n_genuine": 0, "n_impostor": 0,
        "accuracy": {**_top(TOP[name][0]), "std": None, "sem": None, "per_fold": [], "thresholds": []},
        "auc": undefined, "eer": {**undefined, "low": None, "high": None, "threshold": None},
        "tar_at_fmr": [], "curve": None, "histogram": None, "failures": [],
    }  # fmt: skip


@pytest.fixture
def objects(content: dict[str, Any]) -> dict[str, Any]:
    """The result of two networks on CIFAR-10, the second the twin of the first."""
    models = []
    for name, bits in zip(NAMES, (1, 32), strict=True):
        model = next(m for m in content["models"] if m["weight_bits"] == bits and m["activation_bits"] == 32)
        models.append(model | {"id": name, "twin": NAMES[1] if bits == 1 else None})
    protocol = {
        "name": "cifar10", "title": "CIFAR-10 (JPEG), test images", "version": 1, "task": "classification",
        "dataset": "cifar10:test", "n_images": 10000, "n_classes": 10, "n_pairs": 0, "n_genuine": 0, "n_impostor": 0,
        "n_folds": 0, "scheme": "one test set", "labels_sha256": "ab" * 32, "images_hash": "cd" * 32,
    }  # fmt: skip
    comparison = {
        "protocol": "cifar10", "model": NAMES[0], "twin": NAMES[1], "difference": -0.03, "ci_low": -0.036,
        "ci_high": -0.024, "ci_method": "paired bootstrap over images 95 %", "p_value": 1e-9, "p_holm": 1e-9,
        "p_method": "exact McNemar, two-sided",
    }  # fmt: skip
    return {
        **content,
        "models": models,
        "protocols": [protocol],
        "results": [_entry(name) for name in NAMES],
        "comparisons": [comparison],
    }


def test_a_page_of_objects_has_their_table_and_no_section_of_pairs(
    objects: dict[str, Any], save_report: Callable[..., Path]
) -> None:
    page = html.write(save_report(objects)).read_text()
    sections = re.findall(r'<section id="(\w+)"', page)
    assert sections == ["verdict", "objects", "size", "provenance"]
    assert re.findall(r'<a href="#(\w+)"><span class="number">(\d)', page) == [
        ("verdict", "1"), ("objects", "2"), ("size", "3"), ("provenance", "4"),
    ]  # fmt: skip
    assert "CIFAR-10 (JPEG), test images" in page
    assert re.findall(r'data-field="top1" data-sort="([\d.]+)"', page) == ["0.88", "0.85"], "the twin comes first"
    assert "85.00" in page and "99.30" in page and "84.30–85.60" in page
    for word in ("EER", "TAR at", "Face verification", "pairs", "over the folds"):
        assert word not in page.partition("<body>")[2].partition("<script")[0], word


def test_the_verdict_speaks_of_images(objects: dict[str, Any], save_report: Callable[..., Path]) -> None:
    page = html.write(save_report(objects)).read_text()
    assert "is 3.00 points below" in page
    assert "of 10,000 images decided rightly" in page
    assert "Holm" in page


def test_without_a_twin_the_verdict_says_top1(objects: dict[str, Any], save_report: Callable[..., Path]) -> None:
    objects["comparisons"] = []
    page = html.write(save_report(objects)).read_text()
    assert "of the images decided rightly" in page
    assert "Gap" not in page.partition('id="objects"')[2]


def test_markdown_and_latex_have_the_table_of_objects(
    objects: dict[str, Any], save_report: Callable[..., Path]
) -> None:
    folder = save_report(objects)
    html.write(folder)
    text = (folder / "tables.md").read_text()
    assert "| Protocol | Model | Bits | Top-1 % | 95 % interval | Top-5 % |" in text
    assert "EER" not in text
    assert r"\begin{tabular}" in (folder / "tables.tex").read_text()


def test_faces_and_objects_stand_on_one_page_each_in_its_table(
    content: dict[str, Any], objects: dict[str, Any], save_report: Callable[..., Path]
) -> None:
    both = {key: content[key] + objects[key] for key in ("models", "protocols", "results", "comparisons")}
    page = html.write(save_report({**content, **both})).read_text()
    sections = re.findall(r'<section id="(\w+)"', page)
    assert sections == [
        "verdict", "comparison", "objects", "size", "curves", "scores", "failures", "tar", "provenance",
    ]  # fmt: skip
    faces, _, rest = page.partition('id="objects-table"')
    assert 'data-model-id="c10"' not in faces
    assert 'data-model-id="c10"' in rest
    assert "Face verification and object recognition" in page
    places = re.findall(r'class="area"[^>]*data-protocol="(\d)"', page)
    assert set(places) == {"0", "1"}, "curves are numbered as in the data of the page"


def test_an_undefined_top5_is_a_dash_with_its_reason(objects: dict[str, Any], save_report: Callable[..., Path]) -> None:
    for entry in objects["results"]:
        entry["top5"] = _top(None)
    page = html.write(save_report(objects)).read_text()
    assert 'title="of 5 classes always right"><b>–</b>' in page


def test_a_result_of_objects_without_top1_names_the_field(
    objects: dict[str, Any], save_report: Callable[..., Path]
) -> None:
    del objects["results"][0]["top1"]
    with pytest.raises(ReportError, match=r"lacks the field 'results\[0\]\.top1'"):
        html.write(save_report(objects))
