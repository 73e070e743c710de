"""Real faces, imported and embedded once for all tests of this folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bnas_face.data import importing
from bnas_face.evaluate.evaluate import evaluate

PROTOCOLS = ("lfw", "cfp_ff", "cfp_fp")


@pytest.fixture(scope="session")
def real_root(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A data root with LFW and CFP imported from the real archives, with a cache of its own."""
    root = tmp_path_factory.mktemp("real")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BNASFACE_DATA", str(root))
        for name, pairs in (
            ("lfw", ["pairs.txt", "pairsDevTrain.txt", "pairsDevTest.txt"]),
            ("cfp", ["cfp_protocol.tar.gz"]),
        ):
            importing.import_dataset(
                importing.Request(
                    dataset=name,
                    source=shared_data / name / f"{name}_aligned_112.tar.gz",
                    pairs=tuple(shared_data / name / file for file in pairs),
                )
            )
    yield root


@pytest.fixture(scope="session")
def real_results(
    real_root: Path, shared_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], dict[str, Any]]:
    """Convention → protocol → its entry of ``results``, by the outside model; strict embeds, in any order of tests."""
    pytest.importorskip("onnxruntime", reason="needs onnxruntime: pip install 'bnas_face[onnx]'")
    made: dict[str, dict[str, Any]] = {}

    def results(convention: str) -> dict[str, Any]:
        if convention != "strict":
            results("strict")
        if convention not in made:
            out = tmp_path_factory.mktemp(convention)
            spec = f"onnx:{shared_data / 'models' / 'vface_mobilefacenet.onnx'}"
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("BNASFACE_DATA", str(real_root))
                patch.delenv("BNASFACE_CACHE", raising=False)
                result = evaluate([spec], PROTOCOLS, out, convention, images=False)
            made[convention] = {entry["protocol"]: entry for entry in result["results"]}
        return made[convention]

    return results
