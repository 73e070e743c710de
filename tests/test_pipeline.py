"""The whole chain on a handful of rendered people: every file is there, and the report says what was measured."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from bnas_face import files, pipeline


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "DATASET", "demo:24x4@64")
    monkeypatch.setattr(pipeline, "PROTOCOLS", ("demo_lfw",))
    monkeypatch.setitem(pipeline.RECIPE, "epochs", 1)
    monkeypatch.setattr(pipeline, "WIDTH", 0.125)


@pytest.mark.usefixtures("small")
def test_the_whole_chain_writes_every_file_and_goes_on_where_it_was(tmp_path: Path) -> None:
    said: list[str] = []
    report = pipeline.demo(tmp_path / "reports" / "demo", tmp_path / "runs", say=said.append)

    for name in pipeline.NETWORKS:
        run = tmp_path / "runs" / name
        assert {"config.json", "weights.safetensors", "log.csv", "environment.json"} <= {p.name for p in run.iterdir()}
    summary = pd.read_csv(report.parent / "summary.csv")
    assert list(summary.model) == list(pipeline.NETWORKS)
    assert list(zip(summary.weight_bits, summary.activation_bits, strict=True)) == [(32, 32), (1, 32), (1, 1)]
    assert summary.accuracy.between(0.4, 1).all()
    assert (summary.accuracy_ci_low < summary.accuracy).all() and (summary.accuracy < summary.accuracy_ci_high).all()
    assert len(pd.read_csv(report.parent / "pairs.csv")) == 3 * 6000

    result = files.read_json(report.parent / "result.json")
    twins = {entry["model"]: entry["twin"] for entry in result["comparisons"]}
    assert twins == {"demo_w1a32": "demo_full_precision", "demo_w1a1": "demo_full_precision"}
    page = report.read_text()
    assert all(name in page for name in pipeline.NETWORKS)
    assert "http://" not in page.replace("http://www.w3.org", "") and "https://" not in page

    said.clear()
    weights = (tmp_path / "runs" / "demo_w1a1" / "weights.safetensors").read_bytes()
    pipeline.demo(tmp_path / "reports" / "demo", tmp_path / "runs", say=said.append)
    assert sum("is trained already" in line for line in said) == 3
    assert (tmp_path / "runs" / "demo_w1a1" / "weights.safetensors").read_bytes() == weights
    again = files.read_json(report.parent / "result.json")
    assert all(entry["n_images_from_cache"] == entry["n_images"] for entry in again["results"])
    assert [e["accuracy"]["value"] for e in again["results"]] == [e["accuracy"]["value"] for e in result["results"]]
