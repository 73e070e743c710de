"""The demo protocols hold what their cards say, and conditions give no identity away."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from bnas_face.data.datasets import load
from bnas_face.data.synthetic import conditions, protocols
from bnas_face.errors import UnknownNameError

NAMES = ("demo_lfw", "demo_cfp", "demo_agedb")


@pytest.fixture(scope="module", params=NAMES)
def built(request: pytest.FixtureRequest) -> tuple[str, object, pd.DataFrame]:
    return (request.param, *protocols.build(request.param))


def people(pairs: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    return pairs.reference_id.str.split("/").str[0], pairs.probe_id.str.split("/").str[0]


def test_every_fold_has_300_genuine_and_300_impostor_pairs(built: tuple[str, object, pd.DataFrame]) -> None:
    counts = built[2].groupby("fold").is_genuine.agg(["sum", "count"])
    assert list(counts.index) == list(range(10))
    assert (counts["sum"] == 300).all()
    assert (counts["count"] == 600).all()


def test_pairs_are_genuine_exactly_when_the_identity_is_the_same(built: tuple[str, object, pd.DataFrame]) -> None:
    reference, probe = people(built[2])
    assert ((reference == probe) == (built[2].is_genuine == 1)).all()


def test_no_pair_occurs_twice(built: tuple[str, object, pd.DataFrame]) -> None:
    assert not built[2].duplicated(["reference_id", "probe_id"]).any()


def test_no_identity_is_in_two_folds(built: tuple[str, object, pd.DataFrame]) -> None:
    reference, probe = people(built[2])
    folds = pd.concat([reference, probe]).to_frame("who").assign(fold=pd.concat([built[2].fold] * 2).values)
    assert (folds.groupby("who").fold.nunique() == 1).all()


def test_an_eval_is_quick_because_the_images_are_few(built: tuple[str, object, pd.DataFrame]) -> None:
    assert len(built[1]) <= 2500  # type: ignore[arg-type]


def test_identities_are_disjoint_from_training_and_between_protocols() -> None:
    sets = [set(protocols.build(name)[0].identity_names) for name in NAMES] + [set(load("demo:500x1").identity_names)]
    assert len(set().union(*sets)) == sum(len(one) for one in sets)


def test_a_protocol_is_the_same_every_time() -> None:
    first, second = (protocols.build("demo_lfw") for _ in range(2))
    assert first[0].content_hash == second[0].content_hash
    pd.testing.assert_frame_equal(first[1], second[1])


def test_demo_cfp_compares_frontal_with_profile() -> None:
    pairs = protocols.build("demo_cfp")[1]
    assert (pairs.reference_yaw_deg.abs() <= 10).all()
    assert pairs.probe_yaw_deg.abs().between(60, 90).all()
    assert (pairs.probe_yaw_deg > 0).mean() == pytest.approx(0.5, abs=0.1)


def test_demo_agedb_has_thirty_years_between_the_images() -> None:
    pairs = protocols.build("demo_agedb")[1]
    assert (pairs.probe_age_years - pairs.reference_age_years >= 30).all()


def test_metadata_covers_both_images_of_a_pair(built: tuple[str, object, pd.DataFrame]) -> None:
    for side in ("reference", "probe"):
        for fact in ("yaw_deg", "age_years", "light", "occluder", "glasses"):
            assert not built[2][f"{side}_{fact}"].isna().any()
    assert set(built[2].probe_glasses) <= set(conditions.GLASSES)
    assert set(built[2].probe_light) <= set(conditions.LIGHTS)


def test_metadata_belongs_to_the_picture() -> None:
    images, pairs = protocols.build("demo_lfw")
    dark = pairs[(pairs.probe_glasses == "sun") & (pairs.probe_yaw_deg.abs() < 15) & (pairs.probe_occluder == "none")]
    bare = pairs[(pairs.probe_glasses == "none") & (pairs.probe_yaw_deg.abs() < 15) & (pairs.probe_occluder == "none")]
    places = {image_id: place for place, image_id in enumerate(images.image_ids)}

    def eye_light(ids: pd.Series) -> float:
        chosen = images.read(np.array([places[i] for i in ids.drop_duplicates()[:8]]))
        return float(chosen[:, 47:57, 32:80].mean() / chosen[:, 75:85, 32:80].mean())

    assert eye_light(dark.probe_id) < 0.8 * eye_light(bare.probe_id)


def test_conditions_do_not_depend_on_identity() -> None:
    """Between-identity variance of each condition is what chance gives: an F ratio near 1."""
    n_people, n_images = 300, 12
    who, index = np.repeat(np.arange(n_people), n_images), np.tile(np.arange(n_images), n_people)
    drawn = conditions.draw(protocols.MIXED, 3, who, index)
    for name, values in drawn.items():
        table = values.reshape(n_people, n_images)
        within = table.var(axis=1, ddof=1).mean()
        if within == 0:
            continue
        ratio = n_images * table.mean(axis=1).var(ddof=1) / within
        assert 0.65 < ratio < 1.45, name


def test_conditions_are_alike_in_genuine_and_impostor_pairs() -> None:
    pairs = protocols.build("demo_lfw")[1]
    for fact in ("light", "occluder", "glasses"):
        agree = pairs[f"reference_{fact}"] == pairs[f"probe_{fact}"]
        assert agree[pairs.is_genuine == 1].mean() == pytest.approx(agree[pairs.is_genuine == 0].mean(), abs=0.05)


def test_an_unknown_demo_protocol_is_named_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'demo_cfp'"):
        protocols.build("demo_cpf")
