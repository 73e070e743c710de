"""The loop: folder, log, checkpoints, resume and everything that can go wrong on the way."""

from __future__ import annotations

import csv
import json
import resource
from collections import Counter
from dataclasses import replace

import planted
import pytest

from bnas_face import genotype as genotypes
from bnas_face.config import SearchConfig
from bnas_face.errors import BnasFaceError, CheckpointError, ConfigError, TrainingError, UnknownNameError
from bnas_face.genotype import EDGES
from bnas_face.search import folder, log, presets
from bnas_face.search.loop import search
from bnas_face.search.progress import Moment, SearchProgress, TimeLeft, text

DATA = {"dataset": "planted", "content_hash": "abc", "n_images": 10, "n_identities": 3}
CONFIG = SearchConfig(name="s1", repeats=1, warmup_epochs=1, checkpoint_minutes=0.0)
N_UNITS = 1 + 19 + 7


class Stopped(Exception):
    pass


def begin(run_dir, config=CONFIG, engine=None, data=DATA, **more):
    def make(resolved, n_units):
        begin.n_units = n_units
        return engine or planted.PlantedEngine(resolved.space, noise=0.01), data

    return search(config, run_dir, make_engine=make, **more)


def stop_after(n_units):
    def stop(moment):
        if moment.n_done == n_units:
            raise Stopped

    return stop


def table(run_dir):
    with (run_dir / "log.csv").open() as file:
        return list(csv.DictReader(file))


def without_time(run_dir):
    return [{k: v for k, v in row.items() if k != "seconds"} for row in table(run_dir)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Folder and outcome of an uninterrupted search."""
    run_dir = tmp_path_factory.mktemp("runs") / "s1"
    return run_dir, begin(run_dir)


def test_a_search_leaves_config_environment_log_and_genotype(whole):
    run_dir, outcome = whole
    content = json.loads((run_dir / "config.json").read_text())
    assert content["schema"] == "bnas_face.search/1" and content["search_data"] == DATA
    assert (content["ucb"], content["channel_sampling"], content["lr"]) == (0.0, 2, 0.025), "resolved"
    assert json.loads((run_dir / "environment.json").read_text())["versions"]["torch"]
    assert genotypes.load(run_dir / "genotype.json") == outcome.genotype
    assert begin.n_units == N_UNITS
    assert not list(run_dir.glob("**/*.part"))


def test_the_origin_of_the_genotype_tells_the_whole_search(whole):
    run_dir, outcome = whole
    origin = genotypes.load(run_dir / "genotype.json").origin
    assert {key: origin[key] for key in ("searcher", "space", "binarizer", "fitness", "seed", "dataset")} == {
        "searcher": "bnas", "space": "paper", "binarizer": "xnor", "fitness": "classification", "seed": 0,
        "dataset": "demo",
    }  # fmt: skip
    assert (origin["dataset_hash"], origin["n_images"]) == ("abc", 10)
    assert [entry["k"] for entry in origin["history"]] == [8, 7, 6, 5, 4, 3, 2, 1]
    assert origin["config"]["repeats"] == 1 and origin["summary"]["single_path_epochs"] == 19
    assert origin["seconds"] == pytest.approx(outcome.seconds, abs=1e-3)


def test_the_log_has_every_epoch_sample_likelihood_and_abandonment(whole):
    rows = table(whole[0])
    assert tuple(rows[0]) == log.HEADER
    counts = Counter(row["phase"] for row in rows)
    n_edges = 2 * len(EDGES)
    assert counts == {
        "warm_up": 1, "mixed": 7, "sample": 19, "abandon": 7 * n_edges, "likelihood": n_edges * sum(range(2, 9)),
    }  # fmt: skip
    samples = [row for row in rows if row["phase"] == "sample"]
    assert all(row["accuracy"] and row["loss"] and row["seconds"] and row["path"].count(",") == 26 for row in samples)
    assert [(row["round"], row["k"], row["repeat"], row["draw"]) for row in samples[:5]] == [
        ("1", "8", "1", "1"), ("1", "8", "1", "2"), ("1", "8", "1", "3"), ("1", "8", "1", "4"), ("2", "7", "1", "1"),
    ]  # fmt: skip
    gone = next(row for row in rows if row["phase"] == "abandon")
    assert gone["margin"] and gone["likelihood"] and (gone["edge_source"], gone["edge_target"]) == ("0", "2")


def test_the_log_is_read_back_as_it_was_written(tmp_path):
    rows = [log.Row(unit=0, phase="sample", accuracy=0.25, path="a,b|c"), log.Row(unit=3, phase="mixed", loss=1.5, k=4)]
    log.write(tmp_path, rows)
    assert log.read(tmp_path, n_units=9) == rows and log.read(tmp_path, n_units=3) == rows[:1]
    (tmp_path / "log.csv").write_text((tmp_path / "log.csv").read_text().replace("1.5", "much"))
    with pytest.raises(CheckpointError, match=r"log.csv' is damaged at line 3: .*'much'\. Delete it"):
        log.read(tmp_path, n_units=9)


@pytest.mark.parametrize("n_units", [1, 2, 8, 20, N_UNITS - 1, N_UNITS])
def test_a_search_stopped_after_any_unit_goes_on_to_the_same_genotype_and_log(tmp_path, whole, n_units):
    run_dir = tmp_path / "s1"
    with pytest.raises(Stopped):
        begin(run_dir, on_progress=stop_after(n_units))
    assert not (run_dir / "genotype.json").exists()
    outcome = begin(run_dir, resume=True)
    assert outcome.genotype == whole[1].genotype
    assert outcome.genotype.origin["history"] == whole[1].genotype.origin["history"]
    assert without_time(run_dir) == without_time(whole[0])


def test_a_search_stopped_twice_without_checkpoints_between_goes_on_from_the_last_one(tmp_path, whole, monkeypatch):
    run_dir = tmp_path / "s1"
    with pytest.raises(Stopped):
        begin(run_dir, on_progress=stop_after(9))
    with monkeypatch.context() as patch:
        patch.setattr("bnas_face.search.loop.SAVING_SHARE", 1e-9)
        with pytest.raises(Stopped):
            begin(run_dir, replace(CONFIG, checkpoint_minutes=1e6), resume=True, on_progress=stop_after(20))
    assert folder.load_state(run_dir)[1]["n_done"] in (9, 10)
    assert begin(run_dir, resume=True).genotype == whole[1].genotype


def test_resume_refuses_other_images(tmp_path):
    with pytest.raises(Stopped):
        begin(tmp_path / "s1", on_progress=stop_after(3))
    with pytest.raises(CheckpointError, match="was begun on other images than 'planted' gives now"):
        begin(tmp_path / "s1", data={**DATA, "content_hash": "other"}, resume=True)


@pytest.mark.parametrize("content", [b"", b"junk", b"\x08\0\0\0\0\0\0\0{}      "])
def test_a_damaged_state_is_one_clear_error(tmp_path, content):
    with pytest.raises(Stopped):
        begin(tmp_path / "s1", on_progress=stop_after(3))
    (tmp_path / "s1" / folder.STATE).write_bytes(content)
    with pytest.raises(CheckpointError, match=r"last\.safetensors"):
        begin(tmp_path / "s1", resume=True)


@pytest.mark.parametrize(("value", "word"), [(float("nan"), "nan"), (float("inf"), "inf")])
def test_a_loss_that_is_not_finite_ends_the_search_and_keeps_the_state(tmp_path, value, word):
    engine = planted.PlantedEngine()
    usual = engine.path_epoch

    def broken(path, unit):
        return replace(usual(path, unit), loss=value) if unit == 6 else usual(path, unit)

    engine.path_epoch = broken
    with pytest.raises(TrainingError, match=rf"loss became {word} in epoch 7 .* saved state is kept.*lower --lr"):
        begin(tmp_path / "s1", engine=engine)
    assert folder.load_state(tmp_path / "s1")[1]["n_done"] == 6
    assert begin(tmp_path / "s1", resume=True).genotype


@pytest.fixture
def small_disk():
    """Sets the largest size a file may have: the kernel's own error, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda n_bytes: resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("what", ["log.csv", "last.safetensors"])
def test_a_full_disk_is_one_clear_error_and_the_earlier_state_is_kept(tmp_path, monkeypatch, small_disk, what):
    with pytest.raises(Stopped):
        begin(tmp_path / "s1", on_progress=stop_after(5))
    state = tmp_path / "s1" / folder.STATE
    before = state.read_bytes()
    with monkeypatch.context() as patch:
        if what == "last.safetensors":
            patch.setattr(log, "write", lambda run_dir, rows: None)
        small_disk(min(len(before), (tmp_path / "s1" / "log.csv").stat().st_size) // 2)
        with pytest.raises(BnasFaceError) as caught:
            begin(tmp_path / "s1", resume=True)
    small_disk(resource.getrlimit(resource.RLIMIT_FSIZE)[1])
    path = state if what == "last.safetensors" else tmp_path / "s1" / "log.csv"
    assert str(caught.value).startswith(f"Cannot write '{path}': File too large")
    assert str(caught.value).endswith("Earlier files are unchanged.")
    assert state.read_bytes() == before and not list(tmp_path.glob("**/*.part"))
    assert begin(tmp_path / "s1", resume=True).genotype


def test_only_one_process_works_in_a_folder(tmp_path):
    with folder.only_one(tmp_path / "s1"), pytest.raises(CheckpointError, match="Another process is working in"):
        begin(tmp_path / "s1")


def test_a_mistyped_name_is_told_first(tmp_path):
    for field, kind in (("searcher", "searcher"), ("space", "search space"), ("binarizer", "binarizer")):
        with pytest.raises(UnknownNameError, match=f"Unknown {kind} 'bmas'"):
            begin(tmp_path / "s1", replace(CONFIG, **{field: "bmas"}))
    assert not (tmp_path / "s1").exists()


def test_a_finished_search_is_never_destroyed_unasked(tmp_path):
    begin(tmp_path / "s1")
    for resume in (False, True):
        with pytest.raises(CheckpointError, match=r"is finished; it found .*genotype\.json\. Choose another --name"):
            folder.begin(CONFIG, tmp_path / "s1", resume=resume, overwrite=False)
    assert folder.begin(CONFIG, tmp_path / "s1", resume=False, overwrite=True) == CONFIG
    assert (tmp_path / "s1" / "genotype.json").exists(), "not before the new search is sure to begin"
    assert begin(tmp_path / "s1", replace(CONFIG, seed=5)).genotype.origin["seed"] == 5


def test_an_unfinished_search_asks_for_resume_and_uses_its_own_settings(tmp_path):
    with pytest.raises(Stopped):
        begin(tmp_path / "s1", replace(CONFIG, seed=4), on_progress=stop_after(2))
    with pytest.raises(CheckpointError, match=r"is not finished\. Go on with bnasface search --resume s1, or"):
        folder.begin(CONFIG, tmp_path / "s1", resume=False, overwrite=False)
    config = folder.begin(CONFIG, tmp_path / "s1", resume=True, overwrite=False)
    assert config == presets.resolve(replace(CONFIG, seed=4))
    with pytest.raises(ConfigError, match="--seed is '9', but search 's1' was begun with '4'"):
        folder.begin(replace(CONFIG, seed=9), tmp_path / "s1", resume=True, overwrite=False, given={"seed"})
    machine = folder.begin(replace(CONFIG, threads=1), tmp_path / "s1", resume=True, overwrite=False, given={"threads"})
    assert machine == replace(config, threads=1)
    with pytest.raises(ConfigError, match="contradict"):
        folder.begin(CONFIG, tmp_path / "s1", resume=True, overwrite=True)


def test_another_folder_is_left_alone(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"x")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text('{"schema": "bnas_face.run/1"}')
    for name in ("photos", "run"):
        for overwrite in (False, True):
            with pytest.raises(CheckpointError, match=r"is no search and not empty; it is left alone"):
                folder.begin(CONFIG, tmp_path / name, resume=False, overwrite=overwrite)
        with pytest.raises(CheckpointError, match="left alone"):
            begin(tmp_path / name)
    assert (tmp_path / "photos" / "a.jpg").exists() and (tmp_path / "run" / "config.json").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "damaged JSON"),
        ('{"schema": "bnas_face.run/1"}', "has schema 'bnas_face.run/1'; expected 'bnas_face.search/1'"),
        ('{"schema": "bnas_face.search/1", "name": "x", "colour": 1}', "unknown settings colour"),
        ('{"schema": "bnas_face.search/1", "name": "x", "cells": 0}', "number of cells is 0"),
    ],
)
def test_a_config_that_cannot_be_used_is_named(tmp_path, content, message):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(CheckpointError, match=message) as caught:
        folder.load_config(tmp_path)
    assert "config.json" in str(caught.value)


def test_progress_says_phase_operations_and_time_left(capsys):
    moment = Moment(
        n_done=3, n_units=3, phase="sample", n_operations=5, loss=1.25, accuracy=0.5, images_per_s=99.6, seconds_left=61
    )
    assert text(moment) == "sampling  5 operations an edge  loss 1.250  accuracy 0.500  100 images/s  1:01 min left"
    with SearchProgress() as progress:
        progress(replace(moment, n_done=2))
        progress(moment)
    assert capsys.readouterr().out.splitlines() == [f"epoch 3/3  {text(moment)}"], "plain lines outside a terminal"


def test_the_time_left_counts_each_phase_with_its_own_time():
    left = TimeLeft(["warm_up", "sample", "sample", "mixed"])
    assert left.seconds(0) == 0.0
    left.add("warm_up", 10.0)
    assert left.seconds(1) == 30.0
    left.add("sample", 2.0)
    assert left.seconds(2) == 2.0 + 6.0


def test_progress_is_told_after_every_unit(tmp_path):
    moments = []
    begin(tmp_path / "s1", on_progress=moments.append)
    assert [moment.n_done for moment in moments] == list(range(1, N_UNITS + 1))
    assert [moment.n_operations for moment in moments if moment.phase == "mixed"] == [7, 6, 5, 4, 3, 2, 1]
    assert moments[-1].seconds_left == 0.0
