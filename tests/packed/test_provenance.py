"""Whatever a packed file says of its origin, it is measured, evaluated and shown; damage counts as not said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_networks import built, config_of, images_of

from bnas_face import files
from bnas_face.bench import measure, output
from bnas_face.bench.model import open_model
from bnas_face.evaluate import evaluate, twins
from bnas_face.evaluate.embedders import open_embedder
from bnas_face.genotype import BNAS_XNOR_1
from bnas_face.packed import artifact, pack, provenance
from bnas_face.report import html

NAME = "iresnet18-xnor-a1-convolution"
LAYER = {"kind": "1-bit convolution", "n_layers": 1, "n_parameters": 4, "packed_bytes": 1, "n_macs": 100}
DEEP: Any = 0
for _ in range(900):
    DEEP = {"x": DEEP}
HOSTILE: dict[str, Any] = {
    "letters": {"layers": [LAYER | {"n_macs": "abc"}], "cost": {"weight_bits": "one", "n_parameters": [3]}},
    "infinite": {"layers": [LAYER | {"n_macs": float("inf")}], "cost": {"n_ops": float("inf"), "weight_bits": 1.5}},
    "huge": {"layers": [LAYER | {"n_macs": 10**400}], "cost": {"n_parameters": 10**400, "packed_bytes": 10**16}},
    "sums": {"layers": [LAYER | {"n_macs": 10**15}] * 3},
    "zeros": {"layers": [dict.fromkeys(LAYER, 0) | {"kind": ""}], "cost": dict.fromkeys(provenance.COUNTS, 0)},
    "negative": {"layers": [LAYER | {"n_layers": -1}], "cost": {"n_parameters": -1}},
    "rows": {"layers": [3, None], "weights_sha256": 3, "floats": ["fp16"], "run": {}},
    "text": {"layers": "layers", "config": "config", "cost": "cost", "weights_sha256": "zz" * 32},
    "genotype": {"config": {"model": {"genotype": {"schema": 3}, "backbone": [], "binarizer": None, "task": "x"}}},
    "cells": {"config": {"model": {"genotype": BNAS_XNOR_1.to_json() | {"normal": [[["none", 9]]]}}}},
    "history": {"config": {"model": {"genotype": BNAS_XNOR_1.to_json() | {"origin": {"history": [3]}}}}},
    "training": {"config": {"dataset": 3, "min_images": "x", "exclude_names_of": 5, "training_data": [1]}},
    "endless": {"config": {"dataset": float("inf"), "deep": DEEP, "lr": float("inf"), "name": "\ud800\u0000<b>"}},
}


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Sound packed files with these provenances; infinity is written as the JSON number 1e999."""
    folder = tmp_path_factory.mktemp("hostile")
    graph = pack.lower(built(NAME), config_of(NAME).size_px)
    sound = artifact.encode(artifact.Artifact(graph=graph, preprocessing=pack.PREPROCESSING, provenance={}))
    header, data = artifact._split(memoryview(sound))
    for name, said in HOSTILE.items():
        text = json.dumps(header | {"provenance": said}).replace("Infinity", "1e999")
        (folder / f"{name}.bnn").write_bytes(artifact.assemble(text.encode(), bytes(data)))
    return [str(folder / f"{name}.bnn") for name in HOSTILE]


def test_a_file_of_odd_origin_is_evaluated_and_shown(hostile: list[str], tmp_path: Path) -> None:
    for number, image in enumerate(images_of(NAME, 8)):
        cv2.imwrite(str(tmp_path / f"{number}.png"), image)
    rows = [f"{a}.png,{b}.png,{int(a % 2 == b % 2)},{a % 2}\n" for a in range(8) for b in range(a)]
    (tmp_path / "pairs.csv").write_text("reference_id,probe_id,is_genuine,fold\n" + "".join(rows), encoding="utf-8")
    out = tmp_path / "report"
    evaluate.evaluate(hostile, [f"csv:{tmp_path}/pairs.csv"], out, images=False)
    page = html.write(out).read_text(encoding="utf-8")
    assert all(f"{name}-packed" in page for name in HOSTILE)
    models = {model["id"]: model for model in files.read_json(out / "result.json")["models"]}
    for name in ("letters", "infinite", "huge", "sums", "negative", "rows", "text"):
        assert (models[f"{name}-packed"]["layers"], models[f"{name}-packed"]["n_parameters"]) == (None, None), name
    assert models["genotype-packed"]["genotype"] is None and models["history-packed"]["genotype"] is not None


def test_a_file_of_odd_origin_is_measured_and_shown(hostile: list[str], tmp_path: Path) -> None:
    for spec in hostile:
        info = open_model(spec).info
        assert info["id"] == open_embedder(spec).info["id"] == f"{Path(spec).stem}-packed"
        assert info["n_ops"] == (0 if "zeros" in spec else None), spec
    plan = measure.Plan(engines=("torch",), threads=(1,), batches=(1,), rounds=1, seconds=0.0)
    output.save(measure.bench(hostile, plan), tmp_path / "cost")
    page = html.write(tmp_path / "cost").read_text(encoding="utf-8")
    assert all(name in page for name in HOSTILE)


def test_a_file_of_odd_origin_is_no_twin(hostile: list[str]) -> None:
    entries = [dict(open_embedder(spec).info) for spec in hostile]
    assert twins.find(entries) == ({}, [])


def test_what_pack_writes_is_kept_as_it_is() -> None:
    config = {"model": {"backbone": "searched", "task": "classification", "genotype": BNAS_XNOR_1.to_json()}}
    config |= {"dataset": "lfw", "exclude_names_of": None, "min_images": 2, "training_data": {"class_names": ["a"]}}
    said = {
        "config": config,
        "layers": [LAYER],
        "cost": {"weight_bits": 1},
        "floats": "int8",
        "weights_sha256": "ab" * 32,
    }
    found = provenance.origin(said)
    assert (found.settings, found.layers, found.counts["weight_bits"]) == (config, [LAYER], 1)
    assert (found.floats, found.weights_sha256, found.task, found.class_names) == (
        *("int8", "ab" * 32, "classification", ("a",)),
    )
    assert found.genotype == BNAS_XNOR_1.to_json()


VALUES: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("fp16"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["kind", "n_macs", "model", "genotype", "task", "schema", "dataset"]), inner)
    ),
    max_leaves=12,
)


@settings(deadline=None, max_examples=200)
@given(st.dictionaries(st.sampled_from(["config", "cost", "layers", "floats", "weights_sha256", "run"]), VALUES))
def test_no_provenance_is_beyond_reading_and_writing(said: dict[str, Any]) -> None:
    found = provenance.origin(said)
    json.dumps([found.settings, found.layers, found.genotype, dict(found.counts)], allow_nan=False)
