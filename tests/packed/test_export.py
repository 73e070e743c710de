"""``bnasface export`` and the evaluation of what it writes."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from small_networks import built, config_of, images_of

from bnas_face import export
from bnas_face.cli import cli
from bnas_face.config import TrainConfig
from bnas_face.errors import MissingDependencyError, PackingError
from bnas_face.evaluate import evaluate, twins
from bnas_face.evaluate.embedders import open_embedder
from bnas_face.models import saved
from bnas_face.models.backbones.onnx import OnnxNetwork
from bnas_face.packed import artifact, load, pack, provenance

BINARY, TWIN = "iresnet18-xnor-a1-convolution", "iresnet18-none-a32-convolution"


def run_folder(name: str, folder: str) -> Path:
    """A finished run of one of the small networks."""
    path = Path("runs") / folder
    settings: dict[str, Any] = {"name": folder, "model": config_of(name)}
    saved.save(path, built(name), TrainConfig(**settings))
    return path


def test_export_writes_a_packed_model_and_says_how_it_compares() -> None:
    run = run_folder(BINARY, "mine")
    done = CliRunner().invoke(cli, ["export", str(run), "--to", "packed"])
    assert done.exit_code == 0, done.output
    size, weights = ((run / name).stat().st_size for name in ("model.bnn", "weights.safetensors"))
    first, second = done.output.splitlines()
    assert first == f"runs/mine/model.bnn: {size:,} bytes; the weights of the run have {weights:,}."
    assert second.startswith("Checked on 80 rendered faces: 1 − cosine at most ")
    percent = second.partition("accuracy ")[2].partition("%")[0]
    assert second.endswith(f"accuracy {percent}%, of the run {percent}%.")


def test_8_bits_are_for_the_embedding_layer_and_take_a_quarter_of_its_octets() -> None:
    run = run_folder(BINARY, "mine")
    single, eight = (export.export(run, "packed", floats=floats, out=run / floats) for floats in ("fp32", "int8"))
    layer = load(run / "int8").graph.operations[-1]
    weight, scale = np.asarray(layer.tensors["weight"]), np.asarray(layer.tensors["scale"])
    exact = load(run / "fp32").graph.operations[-1]
    wanted = np.asarray(exact.tensors["weight"]) * np.asarray(exact.tensors["scale"])[:, None]
    assert weight.dtype == np.int8 and (np.abs(weight).max(axis=1) == 127).all()
    assert (np.abs(weight * scale[:, None] - wanted) <= 0.5001 * np.abs(scale)[:, None]).all()
    assert single.file_bytes - eight.file_bytes == pytest.approx(3 * weight.size, abs=1000)
    assert eight.drift <= 1e-3 and eight.accuracy == pytest.approx(single.accuracy, abs=0.02)


def test_a_packed_model_is_opened_by_its_path_and_knows_where_it_comes_from() -> None:
    run, twin = run_folder(BINARY, "mine"), run_folder(TWIN, "twin")
    made = export.export(run, "packed")
    packed, simulated = open_embedder(str(made.path)), open_embedder(str(run))
    assert packed.info["file_bytes"] == made.file_bytes == made.path.stat().st_size
    assert (packed.info["file_format"], packed.info["id"]) == ("packed", "mine-packed")
    assert packed.info["weights_sha256"] != simulated.info["weights_sha256"], "embeddings are cached apart"
    for key in (
        "n_parameters",
        "n_binary_parameters",
        "weight_bits",
        "activation_bits",
        "layers",
        "backbone",
        "training",
    ):
        assert packed.info[key] == simulated.info[key], key
    images = images_of(BINARY, 3)
    np.testing.assert_allclose(packed.forward(images), simulated.forward(images), atol=0.02)
    entries = [dict(one.info) for one in (packed, simulated, open_embedder(str(twin)))]
    assert twins.find(entries) == ({"mine-packed": "twin", "mine": "twin"}, [])


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("records:/home/me/sets/casia", "records:casia"),
        ("folder:~/faces/", "folder:faces"),
        ("../teachers/big.onnx", "big.onnx"),
        (r"C:\\faces\\mine", "mine"),
        ("onnx:/models/big.onnx:112", "onnx:big.onnx:112"),
        ("demo:60x2@64", "demo:60x2@64"),
        ("runs/twin", "runs/twin"),
        ("https://vis-www.cs.umass.edu/lfw/ (also elsewhere)", "https://vis-www.cs.umass.edu/lfw/ (also elsewhere)"),
    ],
)
def test_a_packed_model_does_not_tell_of_folders_on_this_machine(said: str, told: str) -> None:
    found = provenance.portable({"training_data": {"sets": [said], "n": 3}})
    assert found == {"training_data": {"sets": [told], "n": 3}}


def test_a_packed_model_finds_its_twin_though_its_folders_are_cut() -> None:
    path = str(Path("sets/casia").resolve())
    runs = []
    for name, folder in ((BINARY, "mine"), (TWIN, "twin")):
        settings: dict[str, Any] = {"name": folder, "model": config_of(name), "dataset": f"records:{path}"}
        saved.save(Path("runs") / folder, built(name), TrainConfig(**settings), {"dataset": f"records:{path}"})
        runs.append(Path("runs") / folder)
    made = export.export(runs[0], "packed")
    assert path.encode() not in json.dumps(dict(load(made.path).provenance)).encode()
    entries = [{"id": "packed", "source": str(made.path)}, {"id": "twin", "source": str(runs[1])}]
    assert twins.find(entries) == ({"packed": "twin"}, [])


def test_eval_measures_the_packed_engine_itself() -> None:
    run = run_folder(BINARY, "mine")
    export.export(run, "packed", out=Path("small.bnn"))
    images, csv = images_of(BINARY, 16), Path("pairs.csv")
    import cv2

    for number, image in enumerate(images):
        cv2.imwrite(f"{number}.png", image)
    rows = [(f"{a}.png", f"{b}.png", int(a % 2 == b % 2), a % 2) for a in range(16) for b in range(a)]
    csv.write_text("reference_id,probe_id,is_genuine,fold\n" + "".join(",".join(map(str, row)) + "\n" for row in rows))
    evaluate.evaluate(["small.bnn", str(run)], [f"csv:{csv}"], Path("report"), images=False)
    result = json.loads(Path("report/result.json").read_text())
    assert [model["file_format"] for model in result["models"]] == ["packed", "float32 safetensors (simulated)"]
    assert result["models"][0]["kernels"]


@pytest.mark.parametrize("name", [TWIN, BINARY, "onebit-react-a1", "paper-pcnn-a32"])
def test_onnx_embeds_as_the_run_does(name: str) -> None:
    run = run_folder(name, "mine")
    made = export.export(run, "onnx")
    assert made.path == run / "model.onnx" and made.drift < 1e-4
    images = images_of(name, 3)
    network = OnnxNetwork(made.path, options={"size_px": config_of(name).size_px})
    np.testing.assert_allclose(network.forward(images), open_embedder(str(run)).forward(images), atol=0.02)


def test_a_file_that_embeds_otherwise_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_folder(BINARY, "mine")
    lower = pack.lower

    def wrong(model: torch.nn.Module, *arguments: Any, **more: Any) -> Any:
        with torch.no_grad():
            model.get_parameter("blocks.3.1.norm_out.bias").add_(0.5)
        found = lower(model, *arguments, **more)
        with torch.no_grad():
            model.get_parameter("blocks.3.1.norm_out.bias").sub_(0.5)
        return found

    monkeypatch.setattr(pack, "lower", wrong)
    with pytest.raises(
        PackingError, match=r"model.bnn' was not written: it embeds otherwise than the run \(1 − cosine"
    ):
        export.export(run, "packed")
    assert not [path for path in run.iterdir() if "bnn" in path.name]


def test_accuracy_is_over_as_many_genuine_as_impostor_pairs() -> None:
    people = np.eye(40, 41, dtype=np.float32)
    faces = np.repeat(people, 2, axis=0)
    assert export._accuracy(faces) == 1.0
    faces[1:20:2] = np.eye(41, dtype=np.float32)[40]  # the second image of ten people is somebody else
    assert export._accuracy(faces) == 70 / 80
    assert export._accuracy(np.ones((80, 3), np.float32)) == 0.5, "one embedding for all is chance"


def test_export_of_what_cannot_be_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    done = CliRunner().invoke(cli, ["export", "runs/none"])
    assert done.exit_code != 0 and "'runs/none' is no run folder" in str(done.exception)
    done = CliRunner().invoke(cli, ["export", "runs/none", "--to", "tflite"])
    assert done.exit_code == 2 and "'tflite' is not one of 'packed', 'onnx'" in done.output
    run = run_folder(TWIN, "twin")
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnx" else found(name))
    with pytest.raises(MissingDependencyError, match=r"needs the package 'onnx'"):
        export.export(run, "onnx")


@pytest.mark.parametrize(
    "config", [None, 3, {"model": 3}, {"training_data": "x"}, {"training_data": {"class_names": 3}}]
)
def test_a_packed_model_of_unknown_origin_is_opened_all_the_same(config: Any) -> None:
    """Its provenance is for people: whatever stands there, the network runs."""
    graph = pack.lower(built(BINARY), config_of(BINARY).size_px)
    provenance = {"config": config, "cost": "none", "layers": None}
    artifact.write(
        Path("x.bnn"), artifact.Artifact(graph=graph, preprocessing=pack.PREPROCESSING, provenance=provenance)
    )
    embedder = open_embedder("x.bnn")
    assert (embedder.info["id"], embedder.info["n_parameters"]) == ("x-packed", None)
    assert embedder.forward(images_of(BINARY, 1)).shape == (1, 16)
    assert twins.find([dict(embedder.info)]) == ({}, [])
