"""Cards and pair lists: what they promise is checked, and damage is one line that names file and place."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import small_protocol
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bnas_face.data import datasets
from bnas_face.errors import ProtocolError, UnknownNameError
from bnas_face.evaluate import cards, protocol

LFW = Path(protocol.__file__).resolve().parents[2] / "protocols" / "lfw.toml"
PAIR_LIST = "fold,reference_id,probe_id,is_genuine,age\n0,a.jpg,b.jpg,1,30\n1,a.jpg,c.jpg,0,40.5\n"


@pytest.mark.parametrize("name", protocol.names())
def test_every_card_is_valid_and_adds_up(name: str) -> None:
    card = protocol.card(name)
    assert card.name == name
    assert card.title and card.source and card.licence
    dataset, _, split = card.dataset.partition(":")
    assert dataset in datasets.names()
    if isinstance(card, cards.ObjectCard):
        assert split == datasets.card(dataset).test_split
    elif not isinstance(card, cards.ProtocolCard):
        assert card.kind in ("templates", "identification") and card.pooling in cards.POOLINGS
    else:
        assert card.n_genuine + card.n_impostor == card.n_pairs
        assert card.format in cards.FORMATS


def test_the_promised_protocols_exist() -> None:
    promised = {"lfw", "lfw_dev", "cfp_ff", "cfp_fp", "agedb_30", "calfw", "cplfw"}
    assert promised <= set(protocol.names())


def test_a_typo_suggests_the_right_protocol() -> None:
    with pytest.raises(UnknownNameError, match=r"Unknown protocol 'cfp_pf'\. Did you mean 'cfp_fp'\?"):
        protocol.load("cfp_pf")


def test_cards_lie_beside_the_package_where_it_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert cards.folder() == LFW.parent


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("n_pairs = 6000", "n_pairs = = 6000", r"damaged TOML: .*line 9, column"),
        ("n_pairs = 6000", 'n_pairs = "6000"', r"line 9: n_pairs is '6000'; expected a whole number"),
        ("n_pairs = 6000", "n_pairs = 6001", r"line 9: n_pairs is 6001; expected n_genuine \+ n_impostor"),
        ("n_pairs = 6000\n", "", r"key 'n_pairs' is missing"),
        ("n_folds", "n_fold", r"line 12: unknown key 'n_fold'\. Did you mean 'n_folds'\?"),
        ('scheme = "k_fold"', 'scheme = "kfold"', r"line 13: scheme is 'kfold'; expected one of k_fold, train_test"),
        ('name = "lfw"', 'name = "lwf"', r"line 1: name is 'lwf'; expected the file's name 'lfw'"),
        ("[0.1, 0.01, 0.001]", "[0.1, 1.5]", r"fmr_targets is \[0.1, 1.5\]; expected a list of rates"),
        ("[0.1, 0.01, 0.001]", "[0.0, 0.01]", r"fmr_targets is \[0.0, 0.01\]; expected a list of rates"),
        ("[0.1, 0.01, 0.001]", "[0.1, nan]", r"fmr_targets is \[0.1, nan\]; expected a list of rates"),
        ("[0.1, 0.01, 0.001]", "[0.1, inf]", r"fmr_targets is \[0.1, inf\]; expected a list of rates"),
        ("[0.1, 0.01, 0.001]", "[0.01, 0.1]", r"fmr_targets is \(0.01, 0.1\); expected each once, largest first"),
        ("[0.1, 0.01, 0.001]", "[0.1, 0.1]", r"fmr_targets is \(0.1, 0.1\); expected each once, largest first"),
        ("version = 1", "version = 0", r"line 3: version is 0; expected 1 or more"),
        ('format = "lfw_pairs"', 'format = "lfw"', r"line 7: format is 'lfw'"),
    ],
)
def test_a_damaged_card_names_file_line_and_key(tmp_path: Path, old: str, new: str, message: str) -> None:
    text = LFW.read_text(encoding="utf-8")
    assert old in text
    path = tmp_path / "lfw.toml"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(ProtocolError, match=message) as caught:
        cards.read_card(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("ijbc", 'task = "templates"', 'task = "template"', r"line 4: task is 'template'; expected classification or"),
        ("ijbc", "n_genuine = 19557", "n_genuine = 19558", r"n_pairs is 15658489; expected n_genuine \+ n_impostor"),
        ("ijbc", 'pooling = "N1D1"', 'pooling = "N1D2"', r"pooling is 'N1D2'; expected one of N0D0, N0D1"),
        ("ijbc", "decision_fmr = 0.0001", "decision_fmr = 1", r"decision_fmr is 1; expected a rate between 0 and 1"),
        ("ijbc", "fmr_targets = [0.001,", "fmr_targets = [1e-9,", r"fmr_targets is .*; expected each once, largest"),
        ("ijbc_1n_g1", "ranks = [1, 5, 10]", "ranks = [0, 5]", r"ranks is \(0, 5\); expected each once, 1 or more"),
        ("ijbc_1n_g1", "ranks = [1, 5, 10]", "ranks = [1.5]", r"ranks is \[1.5\]; expected a list of whole numbers"),
        ("ijbc_1n_g1", "n_probes = 19593", "n_probes = 0", r"n_probes is 0; expected 1 or more"),
        ("ijbc_1n_g1", "n_probes", "n_probe", r"unknown key 'n_probe'. Did you mean 'n_probes'\?"),
    ],
)
def test_a_damaged_card_of_templates_names_line_and_key(
    tmp_path: Path, name: str, old: str, new: str, message: str
) -> None:
    text = (LFW.parent / f"{name}.toml").read_text(encoding="utf-8")
    assert old in text
    path = tmp_path / f"{name}.toml"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(ProtocolError, match=message):
        cards.read_card(path)


def test_the_published_counts_of_ijb_stand_in_the_cards() -> None:
    for name, genuine, impostor in (("ijbb", 10_270, 8_000_000), ("ijbc", 19_557, 15_638_932)):
        found = protocol.card(name)
        assert isinstance(found, cards.TemplateCard)
        assert (found.n_genuine, found.n_impostor) == (genuine, impostor)


@given(st.binary(max_size=300))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_any_bytes_as_a_card_are_a_protocol_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "lfw.toml"
    path.write_bytes(content)
    with pytest.raises(ProtocolError):
        cards.read_card(path)


def read(tmp_path: Path, content: str | bytes) -> pd.DataFrame:
    path = tmp_path / "small.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return protocol.read_pairs(path, small_protocol.card())


def test_pair_list_is_read_with_its_types(tmp_path: Path) -> None:
    pairs = read(tmp_path, PAIR_LIST)
    assert pairs["fold"].tolist() == [0, 1]
    assert pairs["is_genuine"].tolist() == [True, False]
    assert pairs["reference_id"].tolist() == ["a.jpg", "a.jpg"]
    assert pairs["age"].tolist() == [30, 40.5]


def test_an_id_that_looks_like_a_number_stays_text(tmp_path: Path) -> None:
    pairs = read(tmp_path, "fold,reference_id,probe_id,is_genuine\n0,0001,0002,1\n0,NA,nan,0\n")
    assert pairs["reference_id"].tolist() == ["0001", "NA"]
    assert pairs["probe_id"].tolist() == ["0002", "nan"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (PAIR_LIST + "2,a.jpg,d.j", r"line 4 is damaged: .*'2', 'a.jpg', 'd.j', nan"),
        (PAIR_LIST.replace("c.jpg,0", "c.jpg,maybe"), r"line 3 is damaged: expected .* is_genuine 0 or 1, .*'maybe'"),
        (PAIR_LIST.replace("1,a.jpg,c", "-1,a.jpg,c"), r"line 3 is damaged: .*'-1'"),
        (PAIR_LIST.replace("a.jpg,b", ",b"), r"line 2 is damaged"),
        (PAIR_LIST + "1,a,b,1,2,3,4\n", r"damaged pair list: .*line 4"),
        (PAIR_LIST.replace("probe_id,is_genuine", "probe,genuine"), r"line 1 lacks the columns probe_id, is_genuine"),
        ("", r"damaged pair list"),
        (b"fold,reference_id\n\xff\xfe", r"damaged pair list"),
    ],
)
def test_a_damaged_pair_list_names_file_and_line(tmp_path: Path, content: str | bytes, message: str) -> None:
    with pytest.raises(ProtocolError, match=message) as caught:
        read(tmp_path, content)
    assert str(tmp_path / "small.csv") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_absent_pair_list_says_how_to_import_it(tmp_path: Path) -> None:
    with pytest.raises(ProtocolError, match="bnasface data import small ARCHIVE --pairs PAIR_LIST"):
        protocol.read_pairs(tmp_path / "small.csv", small_protocol.card())


@given(st.binary(max_size=200) | st.text("fold,reference_id\n01\"'", max_size=200).map(str.encode))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100)
def test_any_bytes_as_a_pair_list_are_an_error_or_pairs(tmp_path: Path, content: bytes) -> None:
    header = b"fold,reference_id,probe_id,is_genuine\n"
    for text in (content, header + content):
        try:
            pairs = read(tmp_path, text)
        except ProtocolError as error:
            assert "\n" not in str(error)
        else:
            assert pairs["is_genuine"].dtype == np.bool_


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_pairs": 161, "n_genuine": 81}, "has pairs 160; protocol 'small' version 1 expects 161"),
        ({"n_genuine": 79, "n_impostor": 81}, "has genuine pairs 80; .* expects 79"),
    ],
)
def test_a_pair_list_that_breaks_the_card_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ProtocolError, match=message):
        small_protocol.protocol(**changes)


def test_a_missing_fold_is_refused() -> None:
    pairs = small_protocol.pairs().replace({"fold": {4: 7}})
    with pytest.raises(ProtocolError, match=r"has folds \[0, 1, 2, 3, 7\]; .* expects \[0, 1, 2, 3, 4\]"):
        protocol.assemble(small_protocol.card(), small_protocol.images(), pairs)


def test_a_pair_of_an_image_that_is_not_there_is_refused_not_dropped() -> None:
    pairs = small_protocol.pairs().replace({"probe_id": {"p03/2.jpg": "p03/9.jpg"}})
    with pytest.raises(ProtocolError, match=r"names image 'p03/9.jpg' and 1 more probe_ids that dataset 'small'"):
        protocol.assemble(small_protocol.card(), small_protocol.images(), pairs)


def test_positions_used_images_and_metadata() -> None:
    opened = small_protocol.protocol()
    ids = opened.images.image_ids
    assert [ids[i] for i in opened.reference] == opened.pairs["reference_id"].tolist()
    assert [ids[i] for i in opened.probe] == opened.pairs["probe_id"].tolist()
    assert opened.used_ids == list(ids)
    assert opened.metadata_columns == ["reference_age"]


def test_pairs_hash_changes_with_the_pairs() -> None:
    first = small_protocol.protocol()
    swapped = first.pairs.rename(columns={"reference_id": "probe_id", "probe_id": "reference_id"})
    second = protocol.assemble(small_protocol.card(), small_protocol.images(), swapped)
    assert first.pairs_hash == small_protocol.protocol().pairs_hash != second.pairs_hash


def test_an_image_of_unknown_identity_is_a_subject_of_its_own() -> None:
    labels = np.repeat(np.arange(20), 4)
    labels[:4] = -1
    of = small_protocol.card()
    opened = protocol.assemble(of, small_protocol.images(labels=labels), small_protocol.pairs())
    reference, probe = opened.subjects()
    unknown = np.flatnonzero(opened.reference < 4)
    assert len(unknown) == 8
    assert set(reference[unknown]) == {20, 21, 22, 23}
    genuine = opened.is_genuine
    assert (reference[genuine & (opened.reference >= 4)] == probe[genuine & (opened.reference >= 4)]).all()
