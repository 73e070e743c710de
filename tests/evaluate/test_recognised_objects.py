"""Object recognition in the same files: counts, twins, failed images, mismatched models, and old runs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import small_protocol
from click.testing import CliRunner

from bnas_face.cli.eval import command
from bnas_face.data.images import FaceImages
from bnas_face.errors import BrokenImageError, ConfigError, ProtocolError
from bnas_face.evaluate import evaluate, objects, plan, twins
from bnas_face.evaluate.cards import ObjectCard
from bnas_face.evaluate.objects import ObjectProtocol
from bnas_face.report import html

SIZE_PX = small_protocol.SIZE_PX
CLASSES = ("bird", "cat", "dog", "frog", "ship", "truck", "van")
N_EACH = 12


def draw(broken: frozenset[int] = frozenset(), seed: int = 0) -> FaceImages:
    """Images whose upper left pixel is their class and whose next one is a noisy guess of it."""
    labels = np.repeat(np.arange(len(CLASSES)), N_EACH)
    generator = np.random.default_rng(seed)
    pixels = np.zeros((len(labels), SIZE_PX, SIZE_PX, 3), np.uint8)
    pixels[:, 0, 0, 0] = labels
    pixels[:, 0, 1, 0] = np.where(generator.random(len(labels)) < 0.7, labels, (labels - 1) % len(CLASSES))
    pixels[:, 0, 2, 0] = generator.integers(0, len(CLASSES), len(labels))

    def read(indices: Any) -> Any:
        for index in indices:
            if int(index) in broken:
                raise BrokenImageError(f"{index}.png", "made so")
        return pixels[indices]

    return FaceImages(
        name="things:test",
        image_ids=tuple(f"test/{CLASSES[label]}/{i}.png" for i, label in enumerate(labels)),
        labels=labels,
        identity_names=CLASSES,
        content_hash=f"things {sorted(broken)} {seed}",
        size_px=SIZE_PX,
        read=read,
        provenance={"title": "Things"},
    )


def protocol(images: FaceImages | None = None, **changes: Any) -> ObjectProtocol:
    images = images or draw()
    card = ObjectCard(
        name="things", title="Things, test images", version=1, task="classification", dataset="things:test",
        source="made here", licence="none needed", n_images=84, n_classes=7, notes="",
    )  # fmt: skip
    return objects.assemble(replace(card, **changes), images)


class Classifier:
    """Logits from the pixel in a column: 0 knows the class, 1 guesses it, 2 draws it; `order` of its outputs."""

    def __init__(self, column: int, order: tuple[str, ...] = CLASSES) -> None:
        self.column, self.order, self.calls = column, order, list[int]()

    def __call__(self, batch: Any) -> Any:
        self.calls.append(len(batch))
        logits = np.zeros((len(batch), len(self.order)), np.float32)
        seen = batch[:, 0, self.column, 0]
        for place, name in enumerate(self.order):
            distance = (seen.astype(int) - CLASSES.index(name)) % len(CLASSES)
            logits[:, place] = 10 - distance
        return logits


class World:
    def __init__(self) -> None:
        self.protocols: dict[str, Any] = {"things": protocol(), "small": small_protocol.protocol()}
        self.networks: dict[str, Any] = {
            "sure": Classifier(0),
            "guess": Classifier(1),
            "guess_xnor": Classifier(2),
            "face": small_protocol.Network(),
        }

    def open(self, spec: str, **_: Any) -> Any:
        name = spec.removeprefix("runs/")
        network = self.networks[name]
        bits = {"binarizer": "xnor", "weight_bits": 1} if name.endswith("xnor") else {}
        if not isinstance(network, Classifier):
            return small_protocol.embedder(name, network, **bits)
        made = small_protocol.embedder(name, network, embedding_dim=len(network.order), task="classification", **bits)
        return replace(made, task="classification", class_names=network.order)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World()
    monkeypatch.setattr(plan.protocol, "load", lambda name: made.protocols[name])
    monkeypatch.setattr(plan, "open_embedder", made.open)
    return made


def run(*models: str, protocols: tuple[str, ...] = ("things",), **options: Any) -> dict[str, Any]:
    names = [f"runs/{name}" for name in models]
    return evaluate.evaluate(names, protocols, Path("out"), **{"n_replicates": 200, **options})


def test_top1_and_top5_are_counted_with_their_intervals(world: World) -> None:
    result = run("sure", "guess")
    assert json.loads(Path("out/result.json").read_text()) == result
    sure, guess = result["results"]
    assert (sure["task"], sure["n_images"], sure["n_classes"], sure["n_pairs"]) == ("classification", 84, 7, 0)
    assert sure["top1"]["value"] == sure["top5"]["value"] == 1.0
    images = world.protocols["things"].images.read(np.arange(84))
    share = float((images[:, 0, 1, 0] == images[:, 0, 0, 0]).mean())
    assert guess["top1"]["value"] == guess["accuracy"]["value"] == pytest.approx(share)
    assert guess["top1"]["ci_low"] < share < guess["top1"]["ci_high"]
    assert guess["top1"]["ci_method"].startswith("Wilson 95 %")
    assert guess["top5"]["value"] == pytest.approx(share), "the neighbour's own class is its last"
    for name in ("auc", "eer"):
        assert guess[name]["value"] is None
        assert guess[name]["reason"] == "objects are recognised, no pairs are compared"
    assert (guess["tar_at_fmr"], guess["curve"], guess["histogram"], guess["failures"]) == ([], None, None, [])


def test_images_are_seen_once_without_their_mirror_image(world: World) -> None:
    run("sure")
    assert sum(world.networks["sure"].calls) == 84


def test_twins_are_compared_on_images_by_mcnemar_with_the_gap_and_its_interval(world: World) -> None:
    result = run("guess", "guess_xnor", twin=["guess_xnor=guess"])
    [gap] = result["comparisons"]
    table = pd.read_csv("out/images.csv").pivot(index="image_id", columns="model", values="is_correct")
    assert gap["difference"] == pytest.approx((table["guess_xnor"] - table["guess"]).mean())
    assert gap["n_only_twin_correct"] == ((table["guess"] == 1) & (table["guess_xnor"] == 0)).sum()
    assert gap["ci_low"] < gap["difference"] < gap["ci_high"] < 0
    assert 0 < gap["p_value"] <= gap["p_holm"] < 0.001
    assert [model["twin"] for model in result["models"]] == [None, "guess"]


def test_images_csv_repeats_top1_and_no_pairs_csv_is_left(world: World) -> None:
    Path("out").mkdir()
    Path("out/pairs.csv").write_text("of an earlier report")
    result = run("guess")
    table = pd.read_csv("out/images.csv")
    assert list(table) == ["protocol", "image_id", "class", "model", "predicted", "rank", "is_correct"]
    assert table["is_correct"].mean() == result["results"][0]["top1"]["value"]
    assert ((table["rank"] <= 5).mean()) == result["results"][0]["top5"]["value"]
    assert ((table["predicted"] == table["class"]) == (table["is_correct"] == 1)).all()
    assert not Path("out/pairs.csv").exists()


def test_summary_has_the_columns_of_what_was_measured_and_no_others(world: World) -> None:
    run("sure")
    summary = pd.read_csv("out/summary.csv")
    assert list(summary)[:9] == [
        *("model", "protocol", "convention", "weight_bits", "activation_bits", "n_parameters", "file_bytes"),
        *("n_images", "n_classes"),
    ]
    assert {"top1", "top1_ci_low", "top1_ci_high", "top5", "mcnemar_p_holm"} <= set(summary)
    assert not {"n_pairs", "auc", "eer", "accuracy_std"} & set(summary)
    assert summary["top1"].tolist() == [1.0]


def test_a_failed_image_is_wrong_and_counted(world: World) -> None:
    world.protocols["things"] = protocol(draw(broken=frozenset({3, 50})))
    [entry] = run("sure")["results"]
    assert (entry["n_failed"], entry["n_images_failed"], entry["n_images"]) == (2, 2, 84)
    assert entry["top1"]["value"] == entry["top5"]["value"] == pytest.approx(82 / 84)
    table = pd.read_csv("out/images.csv")
    assert table[table["rank"].isna()]["is_correct"].tolist() == [0, 0]
    assert table[table["rank"].isna()]["predicted"].isna().all()


def test_outputs_are_matched_to_classes_by_name(world: World) -> None:
    world.networks["sure"] = Classifier(0, order=CLASSES[::-1])
    assert run("sure")["results"][0]["top1"]["value"] == 1.0


def test_top5_of_five_classes_is_undefined_with_its_reason() -> None:
    images = draw().select_identities(np.arange(7) < 5)
    scores = np.eye(5, dtype=np.float32)[images.labels]
    made = objects.measure("x", protocol(images, n_images=60, n_classes=5), scores, np.zeros(60, bool))
    assert made.entry["top5"]["value"] is None
    assert made.entry["top5"]["reason"] == "top-5 of 5 classes is always right"
    assert made.entry["top1"]["value"] == 1.0


@pytest.mark.parametrize(
    ("models", "protocols", "message"),
    [
        (("face",), ("things",), r"Model 'face' embeds faces, and protocol 'things' is one of object recognition"),
        (("sure",), ("small",), r"Model 'sure' recognises 7 kinds of objects, and protocol 'small' compares faces"),
        (("sure",), ("things", "small"), r"Model 'sure' recognises 7 kinds .* protocol 'small' compares faces"),
        (("face", "sure"), ("things",), r"Model 'face' embeds faces"),
    ],
)
def test_a_model_of_the_other_kind_is_one_clear_error(
    world: World, models: tuple[str, ...], protocols: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        run(*models, protocols=protocols)
    assert "\n" not in str(caught.value)
    assert not Path("out").exists()


@pytest.mark.parametrize("order", [CLASSES[:-1], (*CLASSES, "zebra"), (*CLASSES[:-1], "zebra")])
def test_a_model_of_other_classes_is_refused(world: World, order: tuple[str, ...]) -> None:
    world.networks["sure"] = Classifier(0, order=tuple(name for name in order if name != "zebra"))
    opened = replace(world.open("runs/sure"), class_names=order)
    with pytest.raises(ConfigError, match=rf"Model 'sure' tells {len(order)} classes apart"):
        objects.columns_of("sure", opened.class_names, world.protocols["things"])


def test_faces_and_objects_stand_in_one_report(world: World) -> None:
    result = run("face", "guess", "guess_xnor", protocols=("small", "things"), twin=["guess_xnor=guess"])
    assert [(entry["model"], entry["protocol"]) for entry in result["results"]] == [
        ("face", "small"), ("guess", "things"), ("guess_xnor", "things"),
    ]  # fmt: skip
    summary = pd.read_csv("out/summary.csv").set_index("model")
    assert summary["top1"].notna().tolist() == [False, True, True]
    assert summary["eer"].notna().tolist() == [True, False, False]
    page = html.write(Path("out")).read_text()
    assert 'id="objects-table"' in page
    assert 'id="comparison-table"' in page
    with pytest.raises(ConfigError, match="no protocol in common"):
        run("face", "guess", protocols=("small", "things"), twin=["guess=face"])


def test_a_set_of_other_counts_is_refused() -> None:
    with pytest.raises(ProtocolError, match=r"'things:test' has 84 images; protocol 'things' version 1 expects 90"):
        protocol(n_images=90)
    with pytest.raises(ProtocolError, match=r"has 7 classes; .* expects 10"):
        protocol(n_classes=10)


def test_jpeg_copies_of_cifar10_are_named_so(world: World) -> None:
    images = replace(draw(), provenance={"title": "CIFAR-10 (JPEG)"})
    assert protocol(images, title="CIFAR-10, test images").title == "CIFAR-10 (JPEG), test images"
    assert protocol(title="CIFAR-10, test images").title == "CIFAR-10, test images"


def test_the_command_prints_top1_and_top5(world: World) -> None:
    found = CliRunner().invoke(
        command, ["--protocol", "cifar10", "--model", "runs/guess", "--model", "runs/guess_xnor", "--out", "out"]
    )
    assert isinstance(found.exception, KeyError), "the card exists; this world has none of its images"
    world.protocols["cifar10"] = world.protocols["things"]
    found = CliRunner().invoke(command, ["--protocol", "cifar10", "--model", "runs/guess", "--out", "out"])
    assert found.exit_code == 0, found.output
    assert "Top-1 % (95 %)" in found.output
    assert "EER" not in found.output
    assert "84 cached" in found.output or "84 new" in found.output


def test_without_model_only_runs_of_the_protocols_kind_are_taken() -> None:
    for name, task in (("c10", "classification"), ("lfw", "embedding"), ("old", None)):
        folder = Path("runs") / name
        folder.mkdir(parents=True)
        model = {} if task is None else {"task": task}
        (folder / "config.json").write_text(json.dumps({"name": name, "model": model}))
        (folder / "weights.safetensors").write_bytes(b"")
    assert plan.models_or_runs((), ("cifar10",), "strict") == ["runs/c10"]
    assert plan.models_or_runs((), ("lfw",), "strict") == ["runs/lfw", "runs/old"]
    assert len(plan.models_or_runs((), ("lfw", "cifar10"), "strict")) == 3


def test_a_run_from_before_a_setting_existed_is_the_twin_of_one_at_its_default() -> None:
    models = []
    for name, binarizer, more in (("old", "none", {}), ("new", "xnor", {"drop_path": 0.0, "task": "embedding"})):
        folder = Path("runs") / name
        folder.mkdir(parents=True)
        content = {"name": name, "epochs": 3, "model": {"binarizer": binarizer, **more}}
        (folder / "config.json").write_text(json.dumps(content))
        models.append({"id": name, "source": f"runs/{name}"})
    assert twins.find(models) == ({"new": "old"}, [])
