"""From files of the exact published formats to result.json: IJB 1:1 and 1:N, TinyFace, RFW."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

sys.path.append(str(Path(__file__).parents[1] / "data"))

import small_protocol
import small_sets
import small_templates

from bnas_face.cli.eval import command as eval_command
from bnas_face.data.importing import Request, import_dataset
from bnas_face.errors import ConfigError, MetricError, ProtocolError, UnknownNameError
from bnas_face.evaluate import cards, evaluate, plan, protocol
from bnas_face.metrics import rates
from bnas_face.report import html

COUNTS: dict[str, dict[str, int]] = {
    "ijbc": {"n_templates": 36, "n_pairs": 288, "n_genuine": 24, "n_impostor": 264},
    "ijbc_1n_g1": {"n_gallery": 8, "n_probes": 24},
    "tinyface": {"n_gallery": 21, "n_probes": 12},
    "rfw": {"n_pairs": 160, "n_genuine": 80, "n_impostor": 80},
    "rfw_asian": {"n_pairs": 40, "n_genuine": 20, "n_impostor": 20},
}
TARGETS = {
    "ijbc": {"fmr_targets": [0.1, 0.01, 0.001], "decision_fmr": 0.01},
    "ijbc_1n_g1": {"fpir_targets": [0.5, 0.25, 0.01]},
    "tinyface": {"ranks": [1, 5, 20, 21]},
}


def card_text(name: str) -> str:
    """The project's card with the counts of the small set."""
    lines = (cards.folder() / f"{name}.toml").read_text().splitlines()
    changes = {**COUNTS[name], **TARGETS.get(name, {})}
    kept = [f"{key} = {changes[key]}" if (key := line.partition(" ")[0]) in changes else line for line in lines]
    return "\n".join(kept) + "\n"


class Blocks:
    """Average colours of 4×4 blocks, so that a person's pattern is the embedding; `levels` coarsens it."""

    def __init__(self, levels: int = 256, dead: bool = False) -> None:
        self.levels, self.dead = levels, dead

    def __call__(self, batch: Any) -> Any:
        pixels = batch.astype(np.float32).reshape(len(batch), 4, 28, 4, 28, 3).mean(axis=(2, 4))
        step = 256 // self.levels
        values = (np.floor(pixels / step) * step - 128 + step / 2).reshape(len(batch), -1)
        return np.full_like(values, np.nan) if self.dead else values


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    networks: dict[str, Any] = {"fine": Blocks(), "coarse_xnor": Blocks(2), "dead": Blocks(dead=True)}

    def opened(spec: str, **_: Any) -> Any:
        name = spec.removeprefix("runs/")
        made = small_protocol.embedder(name, networks[name], embedding_dim=48, size_px=112)
        return type(made)(**{**vars(made), "preprocessing": type(made.preprocessing)(size_px=112, source="run")})

    monkeypatch.setattr(plan, "open_embedder", opened)
    small = tmp_path / "cards"
    small.mkdir()
    for name in COUNTS:
        (small / f"{name}.toml").write_text(card_text(name))
    monkeypatch.setattr(cards, "folder", lambda: small)
    return networks


def import_ijbc(tmp_path: Path) -> None:
    root = small_templates.write_ijb(tmp_path / "IJBC")
    source, pairs = root / "loose_crop", [root / "meta"]
    import_dataset(Request(dataset="ijbc", source=source, pairs=pairs, allow_other_counts=True))


def import_tinyface(tmp_path: Path) -> None:
    files = small_templates.tinyface_files()
    source = small_sets.tar(tmp_path / "tinyface.tar", files, "w")
    lists = small_templates.write_mats(tmp_path / "lists", files)
    import_dataset(Request(dataset="tinyface", source=source, pairs=lists, allow_other_counts=True))


def run(*models: str, protocols: tuple[str, ...], **options: Any) -> dict[str, Any]:
    names = [f"runs/{name}" for name in models]
    found = evaluate.evaluate(names, protocols, Path("out"), **{"n_replicates": 100, **options})
    assert json.loads(Path("out/result.json").read_text()) == found
    return found


def test_ijbc_one_to_one_gives_tar_at_fmr_without_an_accuracy(tmp_path: Path, world: Any) -> None:
    import_ijbc(tmp_path)
    found = run("fine", "coarse_xnor", protocols=("ijbc",), twin=["coarse_xnor=fine"])
    fine, coarse = found["results"]
    assert (fine["n_pairs"], fine["n_genuine"], fine["n_impostor"], fine["n_failed"]) == (288, 24, 264, 0)
    assert (fine["n_templates"], fine["n_images"], fine["pooling"]) == (36, 108, "N1D1F1")
    assert fine["convention"] == "templates N1D1F1" and "images of one medium are averaged" in fine["convention_stamp"]
    assert fine["accuracy"]["value"] is None and fine["accuracy"]["reason"].startswith("no folds")
    assert coarse["auc"]["value"] < fine["auc"]["value"] <= 1.0
    tars = {tar["fmr_target"]: tar for tar in fine["tar_at_fmr"]}
    assert tars[0.001]["refused"].startswith("Insufficient data") and tars[0.001]["tar"] is None
    assert tars[0.01]["fmr_achieved"] <= 0.01 and tars[0.01]["ci_low"] <= tars[0.01]["tar"] <= tars[0.01]["ci_high"]
    assert tars[0.1]["ci_low"] is None and tars[0.1]["ci_method"].startswith("not computed")
    [gap] = found["comparisons"]
    assert gap["quantity"] == "TAR at FMR 0.01, failed pairs as misses"
    assert gap["difference"] == pytest.approx(coarse["decision"]["tar"] - fine["decision"]["tar"])
    assert 0 < gap["p_value"] <= gap["p_holm"] <= 1
    moved = gap["transfer"]
    assert (moved["own_threshold"], moved["threshold"]) == tuple(e["decision"]["threshold"] for e in (coarse, fine))
    assert moved["own"]["fmr"] <= 0.01 and 1 - moved["own"]["fnmr"] == pytest.approx(coarse["decision"]["tar"])
    assert moved["moved"] != moved["own"] and moved["moved"]["n_pairs"] == 288
    table = pd.read_csv("out/templates.csv")
    assert list(table) == ["protocol", "model", "template", "n_images", "n_media", "is_failed"]
    assert (table["n_images"] == 3).all() and (table["n_media"] == 2).all() and len(table) == 72
    assert html.write(Path("out")).is_file()


def test_a_failed_image_leaves_its_template_and_a_failed_template_its_pairs(tmp_path: Path, world: Any) -> None:
    root = small_templates.write_ijb(tmp_path / "IJBC")
    for number in (1, 4, 5, 6):  # one image of template 1, all of template 2
        (root / "loose_crop" / f"{number}.jpg").write_bytes(b"no image")
    request = Request(dataset="ijbc", source=root / "loose_crop", pairs=[root / "meta"], allow_other_counts=True)
    import_dataset(request)
    [entry] = run("fine", protocols=("ijbc",))["results"]
    assert (entry["n_images_failed"], entry["n_templates_failed"], entry["n_failed"]) == (4, 1, 24)
    [entry] = run("fine", protocols=("ijbc_1n_g1",))["results"]
    assert (entry["n_gallery_failed"], entry["n_failed"], entry["n_mated"], entry["n_nonmated"]) == (1, 0, 16, 8)
    assert entry["ranks"][0]["value"] <= 14 / 16, "both probes of the lost subject are misses, not non-mated"
    table = pd.read_csv("out/searches.csv")
    assert table[table["subject"] == 101]["rank"].isna().all()


def test_ijbc_one_to_many_gives_ranks_and_the_open_set(tmp_path: Path, world: Any) -> None:
    import_ijbc(tmp_path)
    found = run("fine", "coarse_xnor", protocols=("ijbc_1n_g1",), twin=["coarse_xnor=fine"])
    fine, coarse = found["results"]
    assert fine["task"] == "identification"
    assert [fine[key] for key in ("n_gallery", "n_subjects", "n_mated", "n_nonmated", "n_failed")] == [8, 8, 16, 8, 0]
    table = pd.read_csv("out/searches.csv")
    for entry in (fine, coarse):
        mated = table[(table["model"] == entry["model"]) & (table["is_mated"] == 1)]
        others = table[(table["model"] == entry["model"]) & (table["is_mated"] == 0)]
        for rank in entry["ranks"][:2]:
            assert rank["value"] == pytest.approx((mated["rank"] <= rank["rank"]).mean())
            assert rank["ci_low"] <= rank["value"] <= rank["ci_high"]
        assert entry["ranks"][2] == {
            **dict.fromkeys(("value", "ci_low", "ci_high", "ci_method")),
            **{"rank": 10, "reason": "rank 10 of 8 subjects is always right"},
        }
        assert entry["cmc"]["rank"] == list(range(1, 9)) and entry["cmc"]["value"][-1] == 1.0
        for one in entry["open_set"][:2]:
            assert one["fpir_achieved"] <= one["fpir_target"]
            assert one["n_false_positives"] == (others["best_other_score"] >= one["threshold"]).sum()
            right = (mated["rank"] == 1) & (mated["own_score"] >= one["threshold"])
            assert one["tpir"] == pytest.approx(right.mean()) and one["fnir"] == pytest.approx(1 - right.mean())
        assert "there are 8" in entry["open_set"][2]["refused"]
    assert fine["ranks"][0]["value"] > 0.9
    [gap] = found["comparisons"]
    assert gap["difference"] == pytest.approx(coarse["ranks"][0]["value"] - fine["ranks"][0]["value"])
    assert gap["p_method"].startswith("exact McNemar")
    entry = found["protocols"][0]
    assert (entry["task"], entry["n_probes"], entry["n_images_used"]) == ("identification", 24, 96)
    assert html.write(Path("out")).is_file()


def test_tinyface_is_a_closed_set_with_distractors(tmp_path: Path, world: Any) -> None:
    import_tinyface(tmp_path)
    [entry] = run("fine", protocols=("tinyface",))["results"]
    assert [entry[key] for key in ("n_gallery", "n_subjects", "n_mated", "n_nonmated")] == [21, 15, 12, 0]
    assert entry["open_set"] == [] and entry["pooling"] == "N0D0F1"
    assert entry["ranks"][0]["value"] > 0.5 and entry["ranks"][2]["reason"].startswith("rank 20 of 15 subjects")
    assert html.write(Path("out")).is_file()


def test_rfw_is_verified_in_ten_folds_with_races_as_slices(tmp_path: Path, world: Any) -> None:
    root = small_templates.write_rfw(tmp_path / "rfw")
    request = Request(dataset="rfw", source=root / "images", pairs=[root / "txts"], allow_other_counts=True)
    import_dataset(request)
    whole, asian = run("fine", protocols=("rfw", "rfw_asian"))["results"]
    assert (whole["n_pairs"], asian["n_pairs"], len(whole["accuracy"]["per_fold"])) == (160, 40, 10)
    assert whole["accuracy"]["value"] > 0.6
    [races] = whole["slices"]
    assert races["column"] == "race"
    assert sorted(group["label"] for group in races["groups"]) == list(small_templates.RACES)
    assert all(group["n_pairs"] == 40 for group in races["groups"])
    assert html.write(Path("out")).is_file()


def test_all_kinds_stand_in_one_report(tmp_path: Path, world: Any) -> None:
    import_ijbc(tmp_path)
    import_tinyface(tmp_path)
    found = run("fine", "coarse_xnor", protocols=("ijbc", "ijbc_1n_g1", "tinyface"), twin=["coarse_xnor=fine"])
    assert len(found["results"]) == 6 and len(found["comparisons"]) == 3
    summary = pd.read_csv("out/summary.csv")
    assert {"tar_at_fmr_0.01", "rank1", "rank20", "tpir_at_fpir_0.25", "difference_to_twin"} <= set(summary)
    assert html.write(Path("out")).is_file()


def test_the_terminal_shows_what_each_kind_counts(tmp_path: Path, world: Any) -> None:
    root = small_templates.write_ijb(tmp_path / "IJBC")
    for number in (37, 38, 39):  # template 13: a probe
        (root / "loose_crop" / f"{number}.jpg").write_bytes(b"no image")
    request = Request(dataset="ijbc", source=root / "loose_crop", pairs=[root / "meta"], allow_other_counts=True)
    import_dataset(request)
    arguments = [
        "--protocol",
        "ijbc",
        "--protocol",
        "ijbc_1n_g1",
        "--model",
        "runs/fine",
        "--model",
        "runs/coarse_xnor",
    ]
    done = CliRunner().invoke(eval_command, [*arguments, "--twin", "coarse_xnor=fine", "--out", "out"])
    assert done.exit_code == 0, done.output
    result = json.loads(Path("out/result.json").read_text())
    for heading in ("TAR % (95 %) at FMR", "Found % (95 %) at rank", "TPIR % (95 %) at FPIR"):
        assert heading in done.output
    tar = result["results"][0]["tar_at_fmr"][1]
    assert f"{100 * tar['tar']:.0f} (" in done.output and " at 0.01" in done.output
    assert "fine on ijbc: 12 of 288 pairs were not compared (templates without embedding: 1)" in done.output
    assert "fine on ijbc_1n_g1: 1 of 24 probes failed; mated ones count as misses." in done.output
    assert "Convention N1D1F1: the embedding of an image is f(x) + f(flip x)" in done.output
    assert "Accuracy" not in done.output


def test_one_view_without_flip_is_stamped_f0(tmp_path: Path, world: Any) -> None:
    import_ijbc(tmp_path)
    [entry] = run("fine", protocols=("ijbc",), convention="facex")["results"]
    assert entry["pooling"] == "N1D1F0"


def test_a_network_that_gives_everybody_the_same_embedding_finds_nobody(tmp_path: Path, world: Any) -> None:
    import_ijbc(tmp_path)
    world["same"] = lambda batch: np.ones((len(batch), 48), np.float32)
    found = run("same", "fine", protocols=("ijbc", "ijbc_1n_g1"), twin=["same=fine"])
    one_to_one, one_to_many = found["results"][:2]
    assert one_to_one["auc"]["value"] == 0.5 and one_to_one["tar_at_fmr"][0]["tar"] == 0
    assert one_to_many["ranks"][0]["value"] == 0
    gap = found["comparisons"][0]
    assert gap["n_only_model_correct"] == 0 and gap["transfer"]["own"]["n_false_matches"] == 0


def test_a_pooling_asked_for_is_named_and_changes_the_scores(tmp_path: Path, world: Any) -> None:
    import_ijbc(tmp_path)
    own, other = run("fine", protocols=("ijbc", "ijbc:N0D0"))["results"]
    assert (own["protocol"], other["protocol"]) == ("ijbc", "ijbc:N0D0")
    assert (own["pooling"], other["pooling"]) == ("N1D1F1", "N0D0F1")
    assert own["decision"]["threshold"] != other["decision"]["threshold"]
    assert html.write(Path("out")).is_file()


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("ijbc:N2D1", ConfigError, "Pooling 'N2D1' is not known; expected one of N0D0, N0D1, N1D0, N1D1"),
        ("ijbc:N0D1F0", ConfigError, "Pooling 'N0D1F0' is not known; .* with --convention facex F0"),
        ("rfw:N0D0", ProtocolError, "Protocol 'rfw' compares single images and takes no pooling"),
        ("ijbd:N0D0", UnknownNameError, "Unknown kind of protocol 'ijbd'"),
    ],
)
def test_a_pooling_that_cannot_be_is_told_before_anything_is_embedded(
    tmp_path: Path, world: Any, name: str, error: Any, message: str
) -> None:
    import_ijbc(tmp_path)
    with pytest.raises(error, match=message):
        run("fine", protocols=(name,))
    assert not Path("out").exists()


def test_a_network_without_embeddings_is_one_clear_error_and_nothing_is_written(tmp_path: Path, world: Any) -> None:
    import_ijbc(tmp_path)
    for name, message in (("ijbc", "Model 'dead' on protocol 'ijbc': "), ("ijbc_1n_g1", "no probe has an embedding")):
        with pytest.raises(MetricError, match=message):
            run("dead", protocols=(name,))
    assert not Path("out/result.json").exists()


@pytest.mark.parametrize("name", ["ijbc", "ijbc_1n_g1"])
def test_lists_of_other_counts_than_the_card_are_refused(tmp_path: Path, world: Any, name: str) -> None:
    import_ijbc(tmp_path)
    path = cards.folder() / f"{name}.toml"
    path.write_text(
        path.read_text().replace("n_probes = 24", "n_probes = 25").replace("n_templates = 36", "n_templates = 37")
    )
    with pytest.raises(ProtocolError, match=r"The lists of 'ijbc' hold (24 probes|36 templates); protocol"):
        protocol.load(name)


def test_a_protocol_whose_lists_were_not_imported_says_so(tmp_path: Path, world: Any) -> None:
    root = small_templates.write_ijb(tmp_path / "IJBC")
    (root / "meta" / "ijbc_template_pair_label.txt").unlink()
    request = Request(dataset="ijbc", source=root / "loose_crop", pairs=[root / "meta"], allow_other_counts=True)
    import_dataset(request)
    with pytest.raises(ProtocolError, match=r"ijbc.npz' does not exist. Import the dataset again, with its lists"):
        protocol.load("ijbc")


@pytest.mark.parametrize("name", ["ijbc", "ijbc:N0D1"])
def test_tar_is_that_of_all_pairs_scored_one_by_one(tmp_path: Path, world: Any, name: str) -> None:
    """An independent path: pool and score by hand from the cached embeddings' network."""
    import_ijbc(tmp_path)
    [entry] = run("fine", protocols=(name,))["results"]
    opened: Any = protocol.load("ijbc")
    images, found = opened.images, opened.templates
    pixels = images.read(np.arange(len(images)))
    raw = Blocks()(pixels) + Blocks()(pixels[:, :, ::-1])
    pooled = raw if name == "ijbc" else raw / np.linalg.norm(raw, axis=1, keepdims=True)
    vectors = []
    for template in range(len(found.number)):
        mine = found.template == template
        media = [
            np.mean(
                pooled[found.image[mine & (found.medium == m)]]
                * found.detector_score[mine & (found.medium == m)][:, None],
                0,
            )
            for m in np.unique(found.medium[mine])
        ]
        vectors.append(np.sum(media, 0) / np.linalg.norm(np.sum(media, 0)))
    scores = np.einsum("pd,pd->p", np.array(vectors)[opened.reference], np.array(vectors)[opened.probe])
    expected = rates.tar_at_fmr(scores, opened.is_genuine, 0.01)
    told = entry["tar_at_fmr"][1]
    assert (told["tar"], told["n_false_matches"]) == (expected.tar, expected.n_false_matches)
    assert told["threshold"] == pytest.approx(expected.threshold, abs=1e-5)
