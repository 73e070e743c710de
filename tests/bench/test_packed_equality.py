"""``benchmarks/packed_equality.py``: what it compares, and that the pages quote what it measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from benchmark_scripts import ROOT, script
from small_runs import write_run

from bnas_face.evaluate import protocol
from bnas_face.evaluate.embed import open_embedder

EQUALITY = ROOT / "reports" / "packed" / "equality.json"
N_IMAGES = 12


@pytest.fixture(scope="module")
def equality() -> Any:
    return script("packed_equality")


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> protocol.Protocol:
    folder = tmp_path_factory.mktemp("pairs")
    images = np.random.default_rng(0).integers(0, 256, (N_IMAGES, 64, 64, 3), dtype=np.uint8)
    for number, image in enumerate(images):
        cv2.imwrite(str(folder / f"{number}.png"), image)
    rows = [f"{a}.png,{b}.png,{int(a % 2 == b % 2)},{a % 2}\n" for a in range(N_IMAGES) for b in range(a)]
    (folder / "pairs.csv").write_text("reference_id,probe_id,is_genuine,fold\n" + "".join(rows), encoding="utf-8")
    found = protocol.load(f"csv:{folder}/pairs.csv")
    assert isinstance(found, protocol.Protocol)
    return found


def test_a_run_is_compared_with_its_packed_files_and_with_itself(
    equality: Any, pairs: protocol.Protocol, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BNASFACE_CACHE", str(tmp_path / "cache"))
    run = write_run(tmp_path / "mine")
    entry = equality.compared(run, [pairs], ["fp32", "int8"], 2, 1)
    equality.add(tmp_path / "out.json", entry)
    equality.add(tmp_path / "out.json", entry)
    assert json.loads((tmp_path / "out.json").read_text(encoding="utf-8")) == {"runs": [entry]}
    assert str(tmp_path) not in json.dumps(entry) and entry["run"] == "mine"
    exact, rounded = entry["packed"]
    (decided,) = exact["protocols"]
    assert (exact["n_images"], decided["n_pairs"], decided["n_decided_otherwise"]) == (N_IMAGES, 66, 0)
    assert decided["one"]["accuracy"] == decided["other"]["accuracy"]
    assert exact["largest_difference"] < 1e-6 < rounded["largest_difference"] < 0.1
    assert exact["largest_drift"] < rounded["largest_drift"] and exact["file_bytes"] > rounded["file_bytes"]
    assert entry["torch"]["n_images"] == N_IMAGES
    assert [(each["channels_last"], each["batch"]) for each in entry["torch"]["settings"]] == [(False, 64), (True, 1)]
    assert equality.compared(write_run(tmp_path / "a32", activation_bits=32), [pairs], [], 2, 1)["torch"] is None


def test_a_sign_that_differs_anywhere_is_seen(equality: Any, tmp_path: Path) -> None:
    run = write_run(tmp_path / "mine")
    images = np.random.default_rng(1).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    found = []
    for change in (0.0, 0.0, 1e-3):
        network = equality.Watched(run, open_embedder(str(run)), channels_last=True)
        with torch.no_grad():
            network.model.get_parameter("blocks.3.1.norm_in.bias").add_(change)
        for part in (images[:2], images[:2, :, ::-1], images[2:], images[2:, :, ::-1]):
            network(part)
        found.append(network.of_images())
    assert found[0] == found[1] and len(found[0]) == 3
    assert sum(one != other for one, other in zip(found[0], found[2], strict=True)) > 0
    assert len({digest for image in found[0] for digest in image}) == 6, "an image and its mirror image are told apart"


def test_the_page_says_what_was_measured() -> None:
    page = (ROOT / "docs" / "packed.md").read_text(encoding="utf-8")
    runs = json.loads(EQUALITY.read_text(encoding="utf-8"))["runs"]
    assert len(runs) >= 4
    for run in runs:
        for found in run["packed"]:
            mantissa, power = f"{found['largest_drift']:.1e}".split("e")
            pairs = [f"{each['n_decided_otherwise']} of {each['n_pairs']:,}" for each in found["protocols"]]
            cells = f"| {found['floats']} | {found['file_bytes']:,} | {found['n_images']:,} | {mantissa}e{int(power)} |"
            (line,) = (line for line in page.splitlines() if cells in line)
            assert all(pair in line for pair in pairs), run["run"]
        if run["torch"] is not None:
            assert f"{run['torch']['n_images']:,}" in page


def test_without_rounding_no_pair_was_decided_otherwise() -> None:
    runs = json.loads(EQUALITY.read_text(encoding="utf-8"))["runs"]
    exact = [found for run in runs for found in run["packed"] if found["floats"] == "fp32"]
    assert sum(each["n_pairs"] for found in exact for each in found["protocols"]) >= 20_000
    for found in exact:
        assert found["largest_difference"] < 1e-6 and found["n_failed"] == 0
        for each in found["protocols"]:
            assert each["n_decided_otherwise"] == 0 and each["one"]["accuracy"] == each["other"]["accuracy"]
