"""Below the averages: slices, the twin's threshold, people of the training set, bands, differences of AUC and TAR."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import small_protocol

from bnas_face.evaluate import breakdown, conventions, results
from bnas_face.evaluate.protocol import PAIR_COLUMNS, Protocol
from bnas_face.metrics import uncertainty

NAMES = tuple(
    f"{first} {last}" for first in ("Ann", "Bob", "Cid", "Dee", "Eve") for last in ("Ash", "Oak", "Elm", "Fir")
)


def protocol(**columns: Any) -> Protocol:
    found = small_protocol.protocol()
    images = replace(found.images, identity_names=NAMES)
    return replace(found, images=images, pairs=found.pairs[list(PAIR_COLUMNS)].assign(**columns))


def scores_of(of: Protocol, noise: float = 0.2, seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(of.is_genuine * 0.5, noise)


def measured(of: Protocol, scores: Any, convention: conventions.Convention = conventions.STRICT, **more: Any) -> Any:
    return results.measure("m", of, scores, convention, n_replicates=40, **more)


def test_slices_are_counted_at_one_threshold_and_add_up() -> None:
    of = protocol(light=np.tile(["dim", "dim", "sun", "sun"], 40))
    scores = scores_of(of)
    scores[[0, 2]] = np.nan
    found = measured(of, scores)
    [column] = found.entry["slices"]
    threshold = column["threshold"]
    assert threshold == sorted(found.verdicts.fold_threshold)[2]  # five folds: the middle one
    for group, chosen in zip(column["groups"], (of.pairs["light"] == "dim", of.pairs["light"] == "sun"), strict=True):
        own = chosen.to_numpy() & ~np.isnan(scores)
        impostor, genuine = own & ~of.is_genuine, own & of.is_genuine
        assert group["fmr"] == np.mean(scores[impostor] >= threshold)
        assert group["fnmr"] == np.mean(scores[genuine] < threshold)
        assert (group["n_genuine"], group["n_impostor"], group["n_failed"]) == (genuine.sum(), impostor.sum(), 1)
    assert [group["label"] for group in column["groups"]] == ["dim", "sun"]


def test_small_groups_say_so_and_a_missing_class_has_no_rate() -> None:
    of = protocol(age=np.where(small_protocol.protocol().is_genuine, "young", "old"))
    old, young = measured(of, scores_of(of)).entry["slices"][0]["groups"]
    assert (old["fnmr"], old["fnmr_low"], young["fmr"]) == (None, None, None)
    assert young["small"] == "0 impostor pairs, fewer than 30"


def test_two_columns_of_numbers_give_their_difference() -> None:
    ages = np.arange(160.0)
    of = protocol(reference_age=ages, probe_age=ages[::-1], reference_hat="yes", probe_hat="no")
    columns = {entry["column"]: entry for entry in measured(of, scores_of(of)).entry["slices"]}
    assert set(columns) == {"reference_age", "probe_age", "age_difference", "reference_hat", "probe_hat"}
    assert columns["age_difference"]["groups"][0]["label"].startswith("1 to under ")


def test_a_difference_that_the_protocol_tells_itself_stays_and_large_numbers_do_not_wrap() -> None:
    ages = np.full(160, 2**64 - 1, np.uint64)
    of = protocol(reference_age=ages, probe_age=ages - np.uint64(2**12), age_difference="told")
    columns = {entry["column"]: entry for entry in measured(of, scores_of(of)).entry["slices"]}
    assert [group["label"] for group in columns["age_difference"]["groups"]] == ["told"]
    of = protocol(reference_age=ages, probe_age=ages - np.uint64(2**12))
    columns = {entry["column"]: entry for entry in measured(of, scores_of(of)).entry["slices"]}
    assert [group["label"] for group in columns["age_difference"]["groups"]] == ["4096"]


def test_the_twins_threshold_is_applied_unchanged() -> None:
    of = protocol()
    first, twin = measured(of, scores_of(of, seed=1) - 0.3), measured(of, scores_of(of))
    found = results.compare(first, twin, n_replicates=40)["transfer"]
    threshold = sorted(twin.verdicts.fold_threshold)[2]
    assert found["threshold"] == threshold
    assert found["moved"]["fnmr"] == np.mean(first.scores[of.is_genuine] < threshold)
    assert found["moved"]["fmr"] == np.mean(first.scores[~of.is_genuine] >= threshold)
    assert found["moved"]["fnmr"] > found["own"]["fnmr"]


def test_differences_of_auc_and_tar_pair_the_replicates() -> None:
    """The same draws for both: a model against itself differs by nothing, in every replicate."""
    of = protocol()
    one = measured(of, scores_of(of))
    found = results.compare(one, one, n_replicates=40)
    assert (found["auc_difference"]["ci_low"], found["auc_difference"]["ci_high"]) == (0, 0)
    assert [entry["fmr_target"] for entry in found["tar_difference"]] == [0.1]
    other = measured(of, scores_of(of, noise=0.4, seed=2))
    gap = results.compare(other, one, n_replicates=40)["auc_difference"]
    assert gap["value"] == other.entry["auc"]["value"] - one.entry["auc"]["value"]
    assert gap["ci_low"] < gap["value"] < gap["ci_high"] < 0


def test_replicates_of_models_that_failed_elsewhere_are_not_paired() -> None:
    of = protocol()
    scores = scores_of(of)
    broken = scores.copy()
    broken[0] = np.nan
    found = results.compare(measured(of, broken), measured(of, scores), n_replicates=40)
    assert (found["auc_difference"], found["tar_difference"]) == (None, [])


def test_the_band_holds_the_curve_and_ends_where_the_data_end() -> None:
    of = protocol()
    entry = results.measure("m", of, scores_of(of), conventions.STRICT, n_replicates=400).entry
    band = entry["band"]
    assert band["fmr"][0] == 1 / 80
    assert band["fmr"] == sorted(band["fmr"])
    fnmr = [1 - entry["tar_at_fmr"][0]["tar"]]
    at = int(np.searchsorted(band["fmr"], 0.1, side="right")) - 1
    assert band["fnmr_low"][at + 1] <= fnmr[0] <= band["fnmr_high"][at]


def people(*names: str, reason: str | None = None) -> breakdown.People:
    return breakdown.People(names=frozenset(names), reason=reason)


def test_pairs_that_show_a_person_of_the_training_set_are_left_out() -> None:
    of = protocol()
    scores = scores_of(of)
    found = measured(of, scores, people=people("annash", "boboak", "nobody")).entry["without_overlap"]
    known = {NAMES.index("Ann Ash"), NAMES.index("Bob Oak")}
    labels = of.images.labels
    kept = [k for k in range(160) if not {int(labels[of.reference[k]]), int(labels[of.probe[k]])} & known]
    assert (found["n_people"], found["n_pairs"], found["n_left_out"]) == (2, len(kept), 160 - len(kept))
    again = conventions.decide(conventions.STRICT, "k_fold", scores[kept], of.is_genuine[kept], of.fold[kept])
    assert found["accuracy"]["value"] == again.accuracy.value
    assert found["reason"] is None


def test_nobody_shared_everybody_shared_and_not_known_are_told_apart() -> None:
    of = protocol()
    scores = scores_of(of)
    nobody = measured(of, scores, people=people("x")).entry["without_overlap"]
    assert (nobody["n_people"], nobody["n_left_out"], nobody["accuracy"]) == (0, 0, None)
    everybody = measured(of, scores, people=people(*(name.replace(" ", "").lower() for name in NAMES))).entry
    assert everybody["without_overlap"]["n_pairs"] == 0
    assert everybody["without_overlap"]["reason"].startswith("too little is left")
    unknown = measured(of, scores, people=people(reason="it has no names")).entry
    assert (unknown["without_overlap"], unknown["overlap_unknown"]) == (None, "it has no names")


def test_numbered_people_have_no_names() -> None:
    of = small_protocol.protocol()  # p00, p01, …
    entry = results.measure("m", of, scores_of(of), conventions.STRICT, n_replicates=40, people=people("p")).entry
    assert entry["overlap_unknown"] == "protocol 'small' has no names of people"


@pytest.mark.parametrize("training", [None, {}])
def test_a_model_without_a_known_training_set_says_so(training: Any) -> None:
    assert breakdown.people_of(training).reason == "what the model was trained on is not known"


def test_a_training_set_that_is_not_here_is_no_error() -> None:
    found = breakdown.people_of({"dataset": "casia"})
    assert found.names == frozenset()
    assert (found.reason or "").startswith("training set 'casia' cannot be looked up: ")


def test_weighted_tar_equals_counting_at_every_target() -> None:
    """`searchsorted` in the replicates is the strict rule: the last threshold whose FMR does not exceed the target."""
    rng = np.random.default_rng(3)
    genuine = rng.random(60) < 0.5
    last = np.flatnonzero(rng.random(60) < 0.7)
    last = np.unique(np.append(last, 59))
    weights = rng.integers(0, 3, (5, 60)).astype(np.int32)
    targets = (0.01, 0.1, 0.25, 0.5)
    _, _, tar = uncertainty.weighted_statistics(weights, genuine, last, targets)
    for row, w in enumerate(weights):
        for column, target in enumerate(targets):
            best = 0.0
            for end in last:
                fmr = w[: end + 1][~genuine[: end + 1]].sum() / w[~genuine].sum()
                if fmr <= target:
                    best = w[: end + 1][genuine[: end + 1]].sum() / w[genuine].sum()
            assert tar[row, column] == best


def test_people_of_the_training_set_are_known_by_their_audited_names_too(monkeypatch: pytest.MonkeyPatch) -> None:
    images = replace(small_protocol.images(), identity_names=NAMES)
    monkeypatch.setattr(breakdown.selection, "select", lambda *arguments, **options: images)
    found = breakdown.people_of({"dataset": "x"}, [("Ann Ash", "Anne Asch"), ("Somebody Else", "Nobody Known")])
    assert {"annash", "anneasch"} <= found.names
    assert not {"somebodyelse", "nobodyknown"} & found.names
    assert found.n_same == 2


def test_a_number_that_an_audit_pairs_with_a_name_makes_nobody_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers have no letters: all would be one normalised name, that of every numbered person of the training set."""
    images = replace(small_protocol.images(), identity_names=("0000045", *NAMES[1:]))
    monkeypatch.setattr(breakdown.selection, "select", lambda *arguments, **options: images)
    found = breakdown.people_of({"dataset": "x"}, [("0000099", "Somebody Else")])
    assert not {"somebodyelse", ""} & found.names


def test_people_rendered_for_training_are_strangers_everywhere() -> None:
    rendered = breakdown.people_of({"dataset": "demo:600x10@64"})
    of = protocol()
    found = measured(of, scores_of(of), people=rendered).entry
    assert found["overlap_unknown"] is None
    assert (found["without_overlap"]["n_people"], found["without_overlap"]["n_left_out"]) == (0, 0)
    assert found["without_overlap"]["reason"] == "people rendered for training are in no protocol"


def test_folds_of_unequal_size_have_intervals_around_their_mean() -> None:
    """A fold of four pairs counts as much in the mean as one of 78; intervals of the pooled count would miss it."""
    of = protocol()
    fold = np.where(np.arange(160) < 4, 0, 1 + np.arange(160) // 2 % 2)
    of = replace(of, card=small_protocol.card(n_folds=3), pairs=of.pairs.assign(fold=fold))
    scores = np.where(of.is_genuine, 0.9, 0.1) + np.arange(160)[::-1] / 1e4
    wrong = scores.copy()
    wrong[:4] = np.where(of.is_genuine[:4], 0.0, 1.0)
    entry = measured(of, wrong).entry["accuracy"]
    assert entry["value"] == np.mean(entry["per_fold"]) < 0.7
    assert entry["ci_low"] < entry["value"] < entry["ci_high"]
    assert entry["ci_method"].endswith("folds of unequal size weighed alike")
    gap = results.compare(measured(of, wrong), measured(of, scores), n_replicates=400)
    assert gap["difference"] < -0.3
    assert gap["ci_low"] <= gap["difference"] <= gap["ci_high"]


def test_a_training_set_that_models_share_is_looked_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def select(spec: str, **options: Any) -> Any:
        asked.append(spec)
        return replace(small_protocol.images(), identity_names=NAMES)

    monkeypatch.setattr(breakdown.selection, "select", select)
    one, other = {"dataset": "x", "min_images": 2}, {"dataset": "x", "min_images": 1}
    found = breakdown.people_of_all([one, dict(one), None, other])
    assert asked == ["x", "x"]
    assert found[0] is found[1]
    assert found[2].reason == "what the model was trained on is not known"
    assert found == [breakdown.people_of(training) for training in (one, one, None, other)]
