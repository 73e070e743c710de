"""What a search learns from: disjoint parts, limits, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from small_search import make_config

from bnas_face.data import datasets
from bnas_face.data.images import FaceImages
from bnas_face.errors import ConfigError, DatasetError, UnknownNameError
from bnas_face.search import data


@pytest.fixture
def opened(monkeypatch):
    """Every dataset name opens 12 identities of 5 images whose pixels hold label and number; lists the names."""
    names: list[str] = []

    def load(spec):
        names.append(spec)
        labels = np.repeat(np.arange(12), 5)
        pixels = np.zeros((60, 16, 16, 3), np.uint8)
        pixels[..., 0], pixels[..., 1] = labels[:, None, None], np.arange(60)[:, None, None]
        return FaceImages(
            name="few",
            image_ids=tuple(map(str, range(60))),
            labels=labels,
            identity_names=tuple(f"p{i}" for i in range(12)),
            content_hash="h",
            size_px=16,
            read=lambda indices: pixels[indices],
        )

    monkeypatch.setattr(datasets, "load", load)
    return names


def numbers(pixels):
    return set(pixels[:, 0, 0, 1].tolist())


def test_every_identity_is_in_both_halves_and_no_image_is(opened):
    found = data.prepare(make_config(dataset="folder:x"))
    training, validation = numbers(found.training_pixels), numbers(found.validation_pixels)
    assert training | validation == set(range(60)) and not training & validation
    assert set(found.training_labels) == set(found.validation_labels) == set(range(12))
    assert len(training) in (24, 36) and found.n_outputs == 12 and found.pairs is None
    assert np.array_equal(found.training_pixels[:, 0, 0, 0], found.training_labels)
    assert np.array_equal(found.validation_pixels[:, 0, 0, 0], found.validation_labels)


def test_images_are_in_random_order(opened):
    labels = data.prepare(make_config(dataset="folder:x")).validation_labels
    assert (np.diff(labels) < 0).sum() > len(labels) // 4


def test_the_seed_splits(opened):
    found = [data.prepare(make_config(dataset="folder:x", seed=s)).training_pixels.tobytes() for s in (0, 0, 1)]
    assert found[0] == found[1] != found[2]


@pytest.mark.parametrize("share", [0.05, 0.3, 0.95])
def test_a_share_leaves_each_side_an_image_of_everyone(share):
    labels = np.repeat(np.arange(5), [2, 3, 4, 20, 100])
    training, validation = data.split_images(labels, share, seed=0)
    assert sorted([*training, *validation]) == list(range(129))
    assert set(labels[training]) == set(labels[validation]) == set(range(5))
    assert abs((labels[validation] == 4).sum() - 100 * share) <= 0.5


def test_verification_pairs_are_of_people_nothing_is_trained_on(opened):
    found = data.prepare(make_config(dataset="folder:x", fitness="verification", pairs=40))
    held_out = set(found.held_out_pixels[:, 0, 0, 0].tolist())
    trained = {*found.training_pixels[:, 0, 0, 0].tolist(), *found.validation_pixels[:, 0, 0, 0].tolist()}
    assert len(held_out) == 6 and not held_out & trained and found.n_outputs == 6 == len(trained)
    people = found.held_out_pixels[:, 0, 0, 0]
    same = people[found.pairs.reference] == people[found.pairs.probe]
    assert len(found.pairs) == 40 and np.array_equal(same, found.pairs.is_genuine)
    assert found.provenance["n_held_out_identities"] == 6 and found.provenance["n_pairs"] == 40


def test_a_limit_keeps_whole_people_and_a_share_of_every_class(opened):
    faces = data.prepare(make_config(dataset="folder:x", max_images=33))
    assert faces.provenance["n_identities"] == 6 and faces.provenance["n_images"] == 30
    objects = data.prepare(make_config(dataset="cifar10", max_images=36))
    assert objects.provenance["n_identities"] == 12 and objects.provenance["n_images"] == 36
    counts = np.bincount(np.concatenate([objects.training_labels, objects.validation_labels]))
    assert counts.tolist() == [3] * 12


def test_objects_are_classified_and_faces_embedded(opened):
    assert data.prepare(make_config(dataset="cifar10")).task == "classification"
    assert data.prepare(make_config(dataset="folder:x")).task == "embedding"


def test_the_training_split_is_searched_on_and_the_test_split_refused(opened):
    data.prepare(make_config(dataset="cifar10"))
    assert opened == ["cifar10:train"]
    with pytest.raises(ConfigError, match="cifar10:test"):
        data.prepare(make_config(dataset="cifar10:test"))
    assert opened == ["cifar10:train"]


@pytest.mark.parametrize("name", ["cfp_fp", "agedb_30", "lfw_dev", "demo_lfw"])
def test_a_test_protocol_is_refused_by_name(name, opened):
    with pytest.raises(ConfigError, match=f"'{name}' is a test protocol and cannot be searched on"):
        data.prepare(make_config(dataset=name))
    assert not opened


def test_a_mistyped_dataset_is_suggested():
    with pytest.raises(UnknownNameError, match="Did you mean 'demo'"):
        data.prepare(make_config(dataset="demoo"))


@pytest.mark.parametrize(
    "more", [{"max_images": 6}, {"max_images": 13, "dataset": "cifar10"}, {"max_images": 15, "fitness": "verification"}]
)
def test_a_set_too_small_to_split_says_so(more, opened):
    with pytest.raises(DatasetError, match=r"too small (to split for a search|a part to learn from)"):
        data.prepare(make_config(**{"dataset": "folder:x", **more}))


def test_people_with_one_image_are_left_out(opened):
    with pytest.raises(DatasetError, match="0 identities with 6 or more images"):
        data.prepare(make_config(dataset="folder:x", min_images=6))
