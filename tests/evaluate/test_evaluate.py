"""The whole stage on a small protocol: numbers, files, twins, and what the command line says."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
import small_protocol
from click.testing import CliRunner

from bnas_face.cli.compare import command as compare_command
from bnas_face.cli.eval import command
from bnas_face.errors import BnasFaceError, ConfigError, DatasetError, MetricError
from bnas_face.evaluate import evaluate, output, plan
from bnas_face.evaluate.kinds.pairs import N_FAILURES

SUMMARY_HEADER = (
    "model,protocol,convention,weight_bits,activation_bits,n_parameters,file_bytes,n_pairs,"
    "accuracy,accuracy_std,accuracy_ci_low,accuracy_ci_high,auc,eer,"
)
FAST = {"n_replicates": 60}


class World:
    """The protocols and models of a test, by name; what is asked for is opened here instead of on disk."""

    def __init__(self) -> None:
        self.protocols: dict[str, Any] = {"small": small_protocol.protocol()}
        self.networks: dict[str, Any] = {
            "fine": small_protocol.Network(),
            "coarse": small_protocol.Network(levels=2),
        }
        self.info: dict[str, dict[str, Any]] = {"coarse": {"binarizer": "xnor", "weight_bits": 1}}

    def open(self, spec: str, **options: Any) -> Any:
        name = spec.removeprefix("runs/")
        return small_protocol.embedder(name, self.networks[name], **self.info.get(name, {}))


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World()
    monkeypatch.setattr(plan.protocol, "load", lambda name: made.protocols[name])
    monkeypatch.setattr(plan, "open_embedder", made.open)
    return made


def run(*models: str, protocols: tuple[str, ...] = ("small",), **options: Any) -> dict[str, Any]:
    return evaluate.evaluate([f"runs/{name}" for name in models], protocols, Path("out"), **{**FAST, **options})


def test_result_is_the_file_on_disk_and_counts_add_up(world: World) -> None:
    result = run("fine", "coarse")
    assert json.loads(Path("out/result.json").read_text()) == result
    assert result["schema"] == "bnas_face.result/1"
    assert [(entry["model"], entry["protocol"]) for entry in result["results"]] == [
        ("fine", "small"),
        ("coarse", "small"),
    ]
    for entry in result["results"]:
        assert (entry["n_pairs"], entry["n_genuine"], entry["n_impostor"], entry["n_failed"]) == (160, 80, 80, 0)
        assert len(entry["accuracy"]["per_fold"]) == len(entry["accuracy"]["thresholds"]) == 5
        assert np.mean(entry["accuracy"]["per_fold"]) == pytest.approx(entry["accuracy"]["value"])
        assert entry["accuracy"]["ci_low"] <= entry["accuracy"]["value"] <= entry["accuracy"]["ci_high"]
        assert sum(entry["histogram"]["genuine"]) == sum(entry["histogram"]["impostor"]) == 80
    fine, coarse = (entry["accuracy"]["value"] for entry in result["results"])
    assert fine > coarse > 0.5


def test_a_target_the_data_cannot_support_is_refused_with_its_reason(world: World) -> None:
    allowed, refused = run("fine")["results"][0]["tar_at_fmr"]
    assert allowed["refused"] is None
    assert allowed["fmr_achieved"] <= allowed["fmr_target"] == 0.1
    assert refused["refused"].startswith(
        "Insufficient data: FMR target 0.001 needs at least 1000 impostor pairs, there are 80"
    )
    assert {refused[key] for key in ("tar", "fmr_achieved", "threshold", "ci_low", "ci_high")} == {None}


def test_pairs_csv_repeats_the_accuracy_and_summary_csv_the_result(world: World) -> None:
    result = run("fine", "coarse")
    pairs = pd.read_csv("out/pairs.csv")
    assert len(pairs) == 320
    assert ((pairs["score"] >= pairs["threshold"]) == pairs["is_match"]).all()
    assert ((pairs["is_match"] == pairs["is_genuine"]) == pairs["is_correct"]).all()
    summary = pd.read_csv("out/summary.csv")
    assert Path("out/summary.csv").read_text().startswith(SUMMARY_HEADER)
    for row, entry in zip(summary.itertuples(), result["results"], strict=True):
        assert row.accuracy == entry["accuracy"]["value"]
        own = pairs[pairs["model"] == row.model]
        assert own.groupby("fold")["is_correct"].mean().mean() == pytest.approx(row.accuracy)


@pytest.mark.parametrize("convention", ["strict", "insightface", "facex"])
def test_the_folds_of_pairs_csv_are_those_of_the_thresholds_under_every_convention(
    world: World, convention: str
) -> None:
    """The references cut the list into ten runs; the protocol has five folds."""
    accuracy = run("coarse", convention=convention)["results"][0]["accuracy"]
    folds = pd.read_csv("out/pairs.csv").groupby("fold")
    assert folds["is_correct"].mean().tolist() == pytest.approx(accuracy["per_fold"])
    assert folds["threshold"].unique().str[0].tolist() == pytest.approx(accuracy["thresholds"])


def test_an_explicit_twin_is_compared_on_the_same_pairs(world: World) -> None:
    result = run("fine", "coarse", twin=["coarse=runs/fine"])
    [gap] = result["comparisons"]
    assert (gap["protocol"], gap["model"], gap["twin"]) == ("small", "coarse", "fine")
    pairs = pd.read_csv("out/pairs.csv").pivot(index=["reference_id", "probe_id"], columns="model", values="is_correct")
    assert gap["difference"] == pytest.approx((pairs["coarse"] - pairs["fine"]).mean())
    assert gap["ci_low"] < gap["difference"] < gap["ci_high"]
    assert gap["n_only_model_correct"] == ((pairs["coarse"] == 1) & (pairs["fine"] == 0)).sum()
    assert 0 < gap["p_value"] <= gap["p_holm"] <= 1
    assert [model["twin"] for model in result["models"]] == [None, "fine"]


def test_twins_are_found_by_their_settings(world: World) -> None:
    for name, binarizer in (("fine", "none"), ("coarse", "xnor")):
        folder = Path("runs") / name
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(json.dumps({"name": name, "model": {"binarizer": binarizer}}))
    assert run("fine", "coarse")["comparisons"][0]["twin"] == "fine"


def test_failures_are_wrong_decisions_hardest_first_with_their_images(world: World) -> None:
    [entry] = run("coarse")["results"]
    pairs = pd.read_csv("out/pairs.csv")
    assert 0 < len(entry["failures"]) <= N_FAILURES
    margins = [abs(failure["score"] - failure["threshold"]) for failure in entry["failures"]]
    assert margins == sorted(margins, reverse=True)
    wrong = pairs[pairs["is_correct"] == 0].set_index(["reference_id", "probe_id"])
    for failure in entry["failures"]:
        assert wrong.loc[(failure["reference_id"], failure["probe_id"]), "score"] == pytest.approx(failure["score"])
        for side in ("reference_image", "probe_image"):
            assert cv2.imread(str(Path("out") / failure[side])).shape == (8, 8, 3)


def test_thumbnails_show_the_image_in_its_own_colours(world: World) -> None:
    pixels = np.zeros((80, 8, 8, 3), np.uint8)
    pixels[...] = (250, 10, 10)  # red
    opened = world.protocols["small"]
    red = small_protocol.images(read=small_protocol.Pixels(pixels))
    name = output.Thumbnails(Path("out")).name(type(opened)(**{**vars_of(opened), "images": red}), 3)
    assert name == "images/small-000003.jpg"
    blue, _, first = cv2.imread("out/images/small-000003.jpg")[4, 4]
    assert first > 200 > 60 > blue


def vars_of(opened: Any) -> dict[str, Any]:
    return {name: getattr(opened, name) for name in ("card", "images", "pairs", "reference", "probe")}


def test_no_images_writes_none_and_removes_those_of_an_earlier_report_but_nothing_else(world: World) -> None:
    run("coarse")
    assert list(Path("out/images").glob("small-*.jpg"))
    Path("out/images/mine.jpg").write_bytes(b"not ours")
    [entry] = run("coarse", images=False)["results"]
    assert [file.name for file in Path("out/images").iterdir()] == ["mine.jpg"]
    assert {failure["reference_image"] for failure in entry["failures"]} == {None}


def test_a_network_that_embeds_nothing_is_told_what_failed(world: World) -> None:
    world.protocols["small"] = small_protocol.protocol(broken=frozenset(range(80)))
    with pytest.raises(
        MetricError, match="'fine' on protocol 'small': none of 160 pairs was compared, because an image"
    ):
        run("fine")
    assert not Path("out/result.json").exists()


def test_failed_images_are_counted_and_their_pairs_are_wrong(world: World) -> None:
    whole = run("fine")["results"][0]["accuracy"]["value"]
    world.protocols["small"] = small_protocol.protocol(broken=frozenset({0, 1}))
    [entry] = run("fine")["results"]
    pairs = pd.read_csv("out/pairs.csv")
    failed = pairs["score"].isna()
    assert entry["n_images_failed"] == 2
    assert entry["n_failed"] == failed.sum() > 0
    assert len(pairs) == entry["n_pairs"] == 160
    assert (pairs.loc[failed, ["is_match", "is_correct"]] == 0).all(axis=None)
    assert entry["accuracy"]["value"] < whole
    assert sum(entry["histogram"]["genuine"]) < 80


def test_train_test_measures_the_second_fold_alone(world: World) -> None:
    world.protocols["small"] = small_protocol.protocol(n_folds=2, scheme="train_test")
    [entry] = run("fine")["results"]
    assert entry["n_pairs"] == 80
    assert entry["accuracy"]["std"] is None
    assert entry["accuracy"]["std_method"] == "one tested fold has no spread"
    assert set(pd.read_csv("out/pairs.csv")["fold"]) == {1}


def test_a_second_evaluation_reuses_the_embeddings_and_says_so(world: World) -> None:
    first, second = run("fine"), run("fine")
    assert first["results"][0]["n_images_from_cache"] == 0
    assert second["results"][0]["n_images_from_cache"] == second["results"][0]["n_images"] == 80
    assert sum(world.networks["fine"].calls) == 2 * 80  # the image and its mirror, once
    assert first["results"][0]["auc"] == second["results"][0]["auc"]


def test_insightface_stamps_itself_and_leaves_the_rates_to_the_strict_rule(world: World) -> None:
    strict, insightface = run("fine")["results"][0], run("fine", convention="insightface")["results"][0]
    assert insightface["convention"] == "insightface"
    assert "VAL raises on duplicate FARs" in insightface["convention_stamp"]
    assert len(insightface["accuracy"]["per_fold"]) == 10
    assert insightface["auc"] == strict["auc"]
    for found, expected in zip(insightface["tar_at_fmr"], strict["tar_at_fmr"], strict=True):
        assert found.pop("threshold") == pytest.approx(expected.pop("threshold"), abs=1e-6)  # scores are float32 here
        assert found == expected


def test_a_network_that_gives_the_same_for_all_is_at_chance_not_an_error(world: World) -> None:
    world.networks["flat"] = lambda batch: np.ones((len(batch), 192), np.float32)
    [entry] = run("flat")["results"]
    assert entry["accuracy"]["value"] == entry["auc"]["value"] == 0.5
    assert entry["d_prime"]["value"] is None
    assert "constant" in entry["d_prime"]["reason"]


def test_a_network_that_fails_on_everything_is_one_clear_sentence(world: World) -> None:
    world.networks["nan"] = lambda batch: np.full((len(batch), 192), np.nan, np.float32)
    with pytest.raises(MetricError, match="Model 'nan' on protocol 'small': "):
        run("nan")
    assert not Path("out/result.json").exists()


def test_models_of_the_same_name_are_told_apart_by_their_source(world: World) -> None:
    world.networks |= {"a/net": small_protocol.Network(), "b/net": small_protocol.Network(levels=2)}
    world.info |= {"a/net": {"id": "net"}, "b/net": {"id": "net"}}
    assert [model["id"] for model in run("a/net", "b/net")["models"]] == ["runs/a/net", "runs/b/net"]


def test_repeated_names_are_evaluated_once_and_none_is_an_error(world: World) -> None:
    assert len(run("fine", "fine", protocols=("small", "small"))["results"]) == 1
    assert [entry["model"] for entry in run("coarse", "fine", "coarse")["results"]] == ["coarse", "fine"]
    with pytest.raises(ConfigError, match="No protocol was given"):
        run("fine", protocols=())


@pytest.mark.parametrize(
    ("first", "second"),
    [("runs/a", "runs/a/"), ("runs/a", "./runs/../runs/a"), ("onnx:net.onnx", "onnx:some/../net.onnx")],
)
def test_two_spellings_of_one_model_are_one_model(
    world: World, monkeypatch: pytest.MonkeyPatch, first: str, second: str
) -> None:
    opened = []
    monkeypatch.setattr(plan, "open_embedder", lambda spec, **options: opened.append(spec) or world.open("runs/fine"))
    evaluate.evaluate([first, second], ["small"], Path("out"), **FAST)
    assert opened == [first]


def test_a_folder_that_cannot_be_written_is_said_before_anything_is_embedded(world: World) -> None:
    Path("file").write_text("in the way")
    with pytest.raises(BnasFaceError, match=r"Cannot write into the report folder 'file/out': .*--out"):
        evaluate.evaluate(["runs/fine"], ["small"], Path("file/out"), **FAST)
    assert world.networks["fine"].calls == []


def test_an_error_while_writing_leaves_the_files_of_an_earlier_report_as_they_were(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("result.json", "summary.csv", "pairs.csv")
    run("fine")
    before = [Path("out", name).read_bytes() for name in names]
    monkeypatch.setattr(
        output, "summary_table", lambda result, measured: (_ for _ in ()).throw(OSError(28, "disk full"))
    )
    with pytest.raises(BnasFaceError, match="disk full"):
        run("coarse")
    assert [Path("out", name).read_bytes() for name in names] == before
    assert not list(Path("out").glob(".*"))


def test_a_fold_without_compared_pairs_keeps_its_place_among_the_thresholds(world: World) -> None:
    fold_2 = frozenset(i * 4 + k for i in range(20) if i % 5 == 2 for k in range(4))
    world.protocols["small"] = small_protocol.protocol(broken=fold_2)
    accuracy = run("fine")["results"][0]["accuracy"]
    assert accuracy["per_fold"][2] == 0
    assert [threshold is None for threshold in accuracy["thresholds"]] == [False, False, True, False, False]


def test_a_gap_says_how_small_a_gap_the_test_could_have_seen(world: World) -> None:
    [gap] = run("fine", "coarse", twin=["coarse=fine"])["comparisons"]
    n_discordant = gap["n_only_model_correct"] + gap["n_only_twin_correct"]
    assert 0 < gap["smallest_gap"] <= n_discordant / 160
    assert (abs(gap["difference"]) >= gap["smallest_gap"]) == (gap["p_value"] < 0.05)


def test_no_model_and_no_run_says_what_to_do_next() -> None:
    with pytest.raises(
        DatasetError, match="bnasface train --dataset demo --name mine; or name a model: --model onnx:FILE"
    ):
        plan.models_or_runs([], ["lfw"], "strict")


def test_no_model_takes_every_run_with_weights() -> None:
    for name in ("b", "a", "unfinished"):
        folder = Path("runs") / name
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
        if name != "unfinished":
            (folder / "weights.safetensors").write_bytes(b"")
    assert plan.models_or_runs([], ["lfw"], "strict") == ["runs/a", "runs/b"]


@pytest.mark.parametrize(
    ("models", "protocols", "name"),
    [
        (["runs/mine"], ["lfw"], "mine_lfw"),
        (["runs/mine/", "onnx:some/net.onnx"], ["lfw", "cfp_fp"], "mine-vs-net_lfw+cfp_fp"),
        (["runs/a", "runs/b", "runs/c", "runs/d", "runs/e"], ["lfw"], "a-vs-b-vs-c-and-2-more_lfw"),
        (["facenet:vggface2"], ["lfw"], "vggface2_lfw"),
        (["runs/../../x y"], ["lfw"], "x-y_lfw"),
    ],
)
def test_default_folder_is_named_after_what_is_compared(models: list[str], protocols: list[str], name: str) -> None:
    assert plan.default_out(Path("reports"), models, protocols) == Path("reports") / name


def invoke(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Any:
    monkeypatch.setattr(plan.protocol, "kind_of", lambda name: "pairs")
    return CliRunner().invoke(command, arguments, catch_exceptions=False)


def test_the_command_prints_percent_interval_gap_and_the_report(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ["--protocol", "small", "--model", "runs/fine", "--model", "runs/coarse", "--twin", "coarse=fine"]
    done = invoke(monkeypatch, *arguments, "--out", "reports/x")
    assert done.exit_code == 0
    assert done.output.splitlines()[-1] == "Report: reports/x/report.html"
    assert "<html" in Path("reports/x/report.html").read_text()
    [fine, coarse] = [line.split() for line in done.output.splitlines() if line.strip().startswith(("fine", "coarse"))]
    result = json.loads(Path("reports/x/result.json").read_text())
    assert fine[2] == f"{100 * result['results'][0]['accuracy']['value']:.1f}"
    assert fine[-4:] == ["80", "new,", "0", "cached"]
    gap = 100 * result["comparisons"][0]["difference"]
    assert f"−{abs(gap):.1f}" in coarse
    assert "Convention strict: " in done.output
    shutil.rmtree("reports/x")
    again = invoke(monkeypatch, *arguments, "--out", "reports/x")
    assert "80 cached" in again.output
    assert "80 new" not in again.output


def test_a_long_model_name_never_cuts_the_numbers(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.info["fine"] = {"id": "onnx:/" + "long/" * 30 + "net.onnx"}
    done = invoke(monkeypatch, "--protocol", "small", "--model", "runs/fine", "--out", "out")
    [entry] = json.loads(Path("out/result.json").read_text())["results"]
    assert f"{100 * entry['accuracy']['value']:.1f} (" in done.output
    assert "80 new, 0 cached" in done.output
    assert "…" not in done.output


def test_the_command_says_how_many_pairs_were_not_compared(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.protocols["small"] = small_protocol.protocol(broken=frozenset({0}))
    done = invoke(monkeypatch, "--protocol", "small", "--model", "runs/fine", "--no-images")
    assert "of 160 pairs were not" in done.output
    assert "Report: reports/fine_small/report.html" in done.output


@pytest.mark.parametrize("value", ["1,2", "a,b,c", ""])
def test_onnx_mean_that_is_not_three_numbers_is_a_usage_error(value: str) -> None:
    done = CliRunner().invoke(command, ["--protocol", "lfw", "--onnx-mean", value])
    assert done.exit_code == 2
    assert f"'{value}' is not three numbers separated by commas, such as 0.5,0.5,0.5." in done.output


@pytest.mark.parametrize("of", [command, compare_command])
def test_a_negative_seed_is_a_usage_error(of: Any) -> None:
    done = CliRunner().invoke(of, ["a", "b"] * (of is compare_command) + ["--protocol", "lfw", "--seed", "-1"])
    assert done.exit_code == 2
    assert "Invalid value for '--seed': -1 is not in the range x>=0." in done.output


def test_onnx_options_reach_the_model(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def opener(spec: str, **options: Any) -> Any:
        asked.update(options)
        return world.open("runs/fine")

    monkeypatch.setattr(plan, "open_embedder", opener)
    arguments = ["--onnx-mean", "0.485,0.456,0.406", "--onnx-std", "1,2,3", "--onnx-colour-order", "BGR"]
    done = invoke(monkeypatch, "--protocol", "small", "--model", "onnx:fine.onnx", *arguments)
    assert done.exit_code == 0
    assert asked == {"onnx_mean": (0.485, 0.456, 0.406), "onnx_std": (1.0, 2.0, 3.0), "onnx_colour_order": "BGR"}


def test_compare_tells_two_models_apart_in_ten_lines(world: World) -> None:
    done = CliRunner().invoke(
        compare_command, ["runs/coarse", "runs/fine", "--protocol", "small"], catch_exceptions=False
    )
    lines = [line for line in done.output.splitlines() if line]
    assert done.exit_code == 0
    assert len(lines) <= 10
    assert lines[0].split() == ["small,", "160", "pairs,", "strict", "coarse", "fine"]
    found = run("coarse", "fine", twin=["coarse=fine"], n_replicates=1000)
    accuracies = [f"{100 * entry['accuracy']['value']:.1f}" for entry in found["results"]]
    assert all(text in next(line for line in lines if line.startswith("accuracy")) for text in accuracies)
    assert lines[-1].startswith("Verdict: coarse is ")
    assert lines[-1].endswith(".")
    assert "at that of fine, unchanged: FMR" in lines[-2]


def test_compare_writes_nothing(world: World) -> None:
    evaluate.compare("runs/coarse", "runs/fine", ["small"], n_replicates=60)
    assert [path for path in Path().rglob("*") if "embeddings" not in str(path) and path.is_file()] == []


def test_comparing_a_model_with_itself_is_an_error(world: World) -> None:
    with pytest.raises(ConfigError, match="are the same model; name two different ones"):
        evaluate.compare("runs/fine", "runs/fine/", ["small"])


def elsewhere(of: Any) -> Any:
    """The same protocol on images of other content."""
    return replace(of, images=replace(of.images, content_hash="elsewhere"))


def test_images_of_two_protocols_never_share_a_file_and_names_are_short() -> None:
    names = [
        "csv:a-b.csv",
        "csv:a_b.csv",
        "csv:A-B.csv",
        "csv:人.csv",
        "csv:脸.csv",
        f"csv:{'x' * 300}.csv",
        "lfw",
        "csv_a_b",
    ]
    slugs = [output.slug(name) for name in names]
    assert len(set(slugs)) == len(names)
    assert slugs[6] == "lfw"
    assert all(output.THUMBNAIL.fullmatch(f"{slug}-1234567.jpg") and len(slug) <= 49 for slug in slugs)


def test_a_threshold_from_another_protocol_decides_too(world: World) -> None:
    world.protocols["own_dev"] = elsewhere(small_protocol.protocol(name="own_dev"))
    [entry] = run("fine", threshold_from="own_dev")["results"]
    found = entry["development"]
    table = pd.read_csv("out/pairs.csv")
    match = table["score"] >= found["threshold"]
    assert found["accuracy"]["value"] == pytest.approx((match == table["is_genuine"]).mean())
    assert found["n_false_matches"] == (match & (table["is_genuine"] == 0)).sum()
    assert found["threshold_method"] == "fitted on all 160 compared pairs of own_dev"
    assert run("fine")["results"][0]["development"] is None


def test_a_threshold_from_the_tested_protocol_is_refused(world: World) -> None:
    with pytest.raises(ConfigError, match="--threshold-from names 'small', which is tested here too"):
        run("fine", threshold_from="small")


def test_pairs_that_are_tested_do_not_fit_the_threshold_they_are_tested_at(world: World) -> None:
    """Lists overlap under other names: LFW's views, one group of RFW and all four, two spellings of one path."""
    whole = small_protocol.protocol(name="own_dev")
    half = np.arange(160) % 4 < 2
    tested = replace(
        whole, card=small_protocol.card(n_pairs=80, n_genuine=40, n_impostor=40), pairs=whole.pairs[half],
        reference=whole.probe[half], probe=whole.reference[half],
    )  # fmt: skip
    world.protocols |= {"own_dev": whole, "small": tested}
    [entry] = run("fine", threshold_from="own_dev")["results"]
    found = entry["development"]
    assert found["threshold_method"] == "fitted on all 80 compared pairs of own_dev that are not tested here (80 are)"
    world.protocols["rest"] = replace(
        elsewhere(whole), pairs=whole.pairs[~half], reference=whole.reference[~half], probe=whole.probe[~half]
    )
    assert found["threshold"] == run("fine", threshold_from="rest")["results"][0]["development"]["threshold"]


def test_a_development_protocol_that_is_tested_as_a_whole_under_another_name_is_refused(world: World) -> None:
    world.protocols["again"] = small_protocol.protocol(name="again")
    with pytest.raises(ConfigError, match="names 'again', and 160 of its 160 pairs are tested here too"):
        run("fine", threshold_from="again")


def test_onnx_options_without_an_onnx_model_are_an_error(world: World) -> None:
    with pytest.raises(ConfigError, match=r"--onnx-std is for ONNX models, and none is evaluated here"):
        run("fine", onnx_std=(1.0, 1.0, 1.0))
