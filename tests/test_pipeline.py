"""The whole chain on a handful of rendered people: every file is there, and the report says what was measured."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from bnas_face import files, genotype, pipeline
from bnas_face.config import ModelConfig, TrainConfig
from bnas_face.errors import DatasetError
from bnas_face.train import runs


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "DATASET", "demo:24x4@64")
    monkeypatch.setattr(pipeline, "PROTOCOLS", ("demo_lfw",))
    tiny = {"dataset": "demo:12x4@64", "size_px": 16, "cells": 3, "channels": 2, "batch_size": 24}
    monkeypatch.setattr(pipeline, "SEARCH", {**pipeline.SEARCH, **tiny})
    monkeypatch.setattr(pipeline, "CELLS", {"cells": 3, "channels": 2})
    monkeypatch.setitem(pipeline.RECIPE, "epochs", 1)


@pytest.mark.usefixtures("small")
def test_the_whole_chain_writes_every_file_and_goes_on_where_it_was(tmp_path: Path) -> None:
    said: list[str] = []
    report = pipeline.demo(tmp_path / "reports" / "demo", tmp_path / "runs", say=said.append)

    found = genotype.load(tmp_path / "runs" / "demo_search" / "genotype.json")
    assert found.space == "onebit" and found.origin["searcher"] == "bnas"
    for name in pipeline.NETWORKS:
        run = tmp_path / "runs" / name
        assert {"config.json", "weights.safetensors", "log.csv", "environment.json"} <= {p.name for p in run.iterdir()}
    summary = pd.read_csv(report.parent / "summary.csv")
    assert list(summary.model) == list(pipeline.NETWORKS)
    assert list(zip(summary.weight_bits, summary.activation_bits, strict=True)) == [(32, 32), (1, 1)]
    assert summary.accuracy.between(0.4, 1).all()
    assert (summary.accuracy_ci_low < summary.accuracy).all() and (summary.accuracy < summary.accuracy_ci_high).all()
    assert len(pd.read_csv(report.parent / "pairs.csv")) == 2 * 6000

    result = files.read_json(report.parent / "result.json")
    twins = {entry["model"]: entry["twin"] for entry in result["comparisons"]}
    assert twins == {"demo_w1a1": "demo_full_precision"}
    assert all(genotype.from_json(model["genotype"]).normal == found.normal for model in result["models"])
    page = report.read_text()
    assert all(name in page for name in (*pipeline.NETWORKS, "Searched cells"))
    assert "http://" not in page.replace("http://www.w3.org", "") and "https://" not in page

    said.clear()
    kept = ("demo_search/genotype.json", "demo_w1a1/weights.safetensors")
    before = [(tmp_path / "runs" / name).read_bytes() for name in kept]
    pipeline.demo(tmp_path / "reports" / "demo", tmp_path / "runs", say=said.append)
    assert sum("already (--fresh" in line for line in said) == 1 + len(pipeline.NETWORKS)
    assert [(tmp_path / "runs" / name).read_bytes() for name in kept] == before
    again = files.read_json(report.parent / "result.json")
    assert all(entry["n_images_from_cache"] == entry["n_images"] for entry in again["results"])
    assert [e["accuracy"]["value"] for e in again["results"]] == [e["accuracy"]["value"] for e in result["results"]]


def test_an_error_of_a_training_process_reaches_the_user(tmp_path: Path) -> None:
    config = TrainConfig(name="absent", model=ModelConfig(size_px=64), dataset=f"folder:{tmp_path / 'absent'}")
    with pytest.raises(DatasetError, match="absent"):
        pipeline._train_all({tmp_path / "run": config}, fresh=False, say=print)
    assert not runs.is_begun(tmp_path / "run")
