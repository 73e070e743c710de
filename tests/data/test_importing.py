"""Importing: what lands on disk, what is refused, and that a kill at any moment costs nothing."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import small_sets

from bnas_face import files
from bnas_face.config import data_root
from bnas_face.data import datasets, importing, library, overlap
from bnas_face.data.datasets import casia
from bnas_face.data.formats import record_sets, verification_bin
from bnas_face.data.images import FaceImages
from bnas_face.data.importing import Request, import_dataset
from bnas_face.errors import BnasFaceError, DatasetError, FormatError, UnknownNameError
from bnas_face.evaluate import protocol


def import_lfw(tmp_path: Path, files: dict[str, bytes] | None = None) -> library.Manifest:
    source = small_sets.tar(
        tmp_path / "lfw.tar.gz", {f"lfw/{k}": v for k, v in (files or small_sets.lfw_files()).items()}
    )
    pairs = [small_sets.lfw_pairs(tmp_path / "pairs.txt")]
    return import_dataset(Request(dataset="lfw", source=source, pairs=pairs, allow_other_counts=True))


def hidden() -> set[str]:
    return {path.name for path in data_root().glob(".*")}


def test_an_import_is_images_pairs_sources_and_a_manifest(tmp_path: Path) -> None:
    import_lfw(tmp_path)
    root = data_root() / "lfw"
    assert {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()} == {
        *(f"images/{image_id}" for image_id in small_sets.lfw_files()),
        "pairs/lfw.csv",
        "source/pairs.txt",
        "dataset.json",
    }
    assert (root / "pairs" / "lfw.csv").read_text().splitlines()[:2] == [
        "fold,reference_id,probe_id,is_genuine",
        "0,Ann_Lee/Ann_Lee_0001.jpg,Ann_Lee/Ann_Lee_0003.jpg,1",
    ]
    manifest = json.loads((root / "dataset.json").read_text())
    assert manifest["schema"] == "bnas_face.dataset/1"
    assert (manifest["n_images"], manifest["n_identities"], manifest["size_px"]) == (8, 4, 16)
    assert (manifest["name"], manifest["variant"]) == ("lfw", "other")
    assert set(manifest["imported_from"]) == {"lfw.tar.gz", "pairs.txt"}
    assert hidden() == {".lfw.lock"}


def test_an_imported_set_opens_with_folders_as_identities(tmp_path: Path) -> None:
    import_lfw(tmp_path)
    images = datasets.load("lfw")
    assert images.identity_names == ("Ann_Lee", "Bo_Ek", "Cy_Oz", "Di_Ng")
    assert images.labels.tolist() == [0, 0, 0, 1, 1, 2, 3, 3]
    assert images.read(np.array([2, 7])).shape == (2, 16, 16, 3)
    assert images.provenance["variant"] == "other"
    assert len(images.content_hash) == 64


def test_the_hash_does_not_depend_on_the_archive_but_on_its_content(tmp_path: Path) -> None:
    first = import_lfw(tmp_path).content_hash
    folder = small_sets.write_files(tmp_path / "unpacked", small_sets.lfw_files())
    again = import_dataset(Request(dataset="lfw", source=folder, allow_other_counts=True))
    assert again.content_hash == first
    files = {**small_sets.lfw_files(), "Cy_Oz/Cy_Oz_0001.jpg": small_sets.jpeg(99)}
    assert import_lfw(tmp_path, files).content_hash != first


def test_other_counts_than_published_are_refused_and_the_earlier_import_stays(tmp_path: Path) -> None:
    import_lfw(tmp_path)
    source = small_sets.tar(tmp_path / "few.tar.gz", dict(list(small_sets.lfw_files().items())[:3]))
    with pytest.raises(DatasetError) as caught:
        import_dataset(Request(dataset="lfw", source=source))
    assert str(caught.value) == (
        f"'{source}' holds 3 images of 1 identities; 'lfw' has 13,233 images of 5,749 identities (full) or "
        "12,000 images (bin). Give the complete file, or add --allow-other-counts to import it as it is."
    )
    assert len(datasets.load("lfw")) == 8


def test_pairs_that_name_absent_images_are_refused_or_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = small_sets.lfw_files()
    del files["Di_Ng/Di_Ng_0002.jpg"]
    told: list[str] = []
    source = small_sets.tar(tmp_path / "x.tar", files, "w")
    request = Request(dataset="lfw", source=source, pairs=[small_sets.lfw_pairs(tmp_path / "p.txt")])
    monkeypatch.setattr(importing, "_check_counts", lambda *_: None)
    monkeypatch.setattr(importing, "_check_pair_counts", lambda *_: None)
    sentence = f"1 of 7 images in the pairs of 'lfw' are not in '{source}', first 'Di_Ng/Di_Ng_0002.jpg'."
    with pytest.raises(DatasetError) as caught:
        import_dataset(request)
    assert str(caught.value).startswith(sentence)
    allowed = Request(dataset="lfw", source=source, pairs=request.pairs, allow_other_counts=True)
    import_dataset(allowed, told.append)
    assert sentence in told


def test_a_pair_list_of_other_length_than_its_protocol_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "_check_counts", lambda *_: None)
    source = small_sets.tar(tmp_path / "x.tar", small_sets.lfw_files(), "w")
    with pytest.raises(DatasetError, match="'lfw' holds 2 genuine and 2 impostor pairs, not 3,000 and 3,000"):
        import_dataset(Request(dataset="lfw", source=source, pairs=[small_sets.lfw_pairs(tmp_path / "p.txt")]))


@pytest.mark.parametrize("name", ["agedb_30", "calfw", "cfp", "cplfw", "lfw"])
def test_the_pair_counts_of_the_import_are_those_of_the_protocol_cards(name: str) -> None:
    for protocol_name, counts in importing.rules_of(name).protocols.items():
        card = protocol.card(protocol_name)
        assert (card.n_genuine, card.n_impostor) == counts
        assert card.dataset == name


@pytest.mark.parametrize("damage", ["archive", "pairs"])
def test_damage_leaves_the_earlier_import_as_it_was(tmp_path: Path, damage: str) -> None:
    import_lfw(tmp_path)
    before = (data_root() / "lfw" / "dataset.json").read_bytes()
    file = tmp_path / ("lfw.tar.gz" if damage == "archive" else "pairs.txt")
    file.write_bytes(file.read_bytes()[: len(file.read_bytes()) // 2])
    with pytest.raises(FormatError, match=r"lfw\.tar\.gz' is truncated|pairs\.txt'"):
        import_dataset(
            Request(
                dataset="lfw", source=tmp_path / "lfw.tar.gz", pairs=[tmp_path / "pairs.txt"], allow_other_counts=True
            )
        )
    assert (data_root() / "lfw" / "dataset.json").read_bytes() == before
    assert len(datasets.load("lfw")) == 8


KILLED = """
import os, signal, sys
left = int(sys.argv[1])
def deadly(function):
    def wrapped(*args, **kwargs):
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **kwargs)
    return wrapped
from bnas_face.cli import main
for name in ("replace", "rename", "unlink", "rmdir", "mkdir"):
    setattr(os, name, deadly(getattr(os, name)))
sys.argv = ["bnasface", *sys.argv[2:]]
main()
"""


def killed_import(tmp_path: Path, n_calls: int) -> int:
    """Import in a process that is killed (SIGKILL) at its n-th change of the file system; the exit status."""
    arguments = ["data", "import", "lfw", "lfw.tar.gz", "--pairs", "pairs.txt", "--allow-other-counts"]
    return subprocess.run(
        [sys.executable, "-c", KILLED, str(n_calls), *arguments], cwd=tmp_path, capture_output=True
    ).returncode


@pytest.mark.parametrize("n_calls", [0, 5, 11, 19, 26, 30, 34])
def test_killed_at_any_moment_the_next_import_is_complete_and_the_earlier_one_intact(
    tmp_path: Path, n_calls: int
) -> None:
    old = {**small_sets.lfw_files(), "Cy_Oz/Cy_Oz_0001.jpg": small_sets.jpeg(99)}
    old_hash = import_lfw(tmp_path, old).content_hash
    shutil.copytree(data_root(), tmp_path / "kept")
    new_hash = import_lfw(tmp_path).content_hash
    shutil.rmtree(data_root())
    shutil.copytree(tmp_path / "kept", data_root())

    status = killed_import(tmp_path, n_calls)
    assert status == -signal.SIGKILL
    if (data_root() / "lfw").exists():  # away only between the last two renames, where .lfw.old has it
        images = datasets.load("lfw")
        assert images.content_hash in (old_hash, new_hash)
        assert len(images.read(np.arange(8))) == 8
    else:
        assert (data_root() / ".lfw.old" / "dataset.json").exists()

    assert import_lfw(tmp_path).content_hash == new_hash
    assert len(library.read_pairs("lfw", "lfw")) == 4
    assert hidden() == {".lfw.lock"}


def test_the_number_of_kill_points_covers_the_whole_import(tmp_path: Path) -> None:
    import_lfw(tmp_path)
    assert killed_import(tmp_path, 34) == -signal.SIGKILL
    assert killed_import(tmp_path, 1000) == 0


def test_an_import_killed_between_its_last_renames_is_put_right_by_the_next(tmp_path: Path) -> None:
    first = import_lfw(tmp_path).content_hash
    (data_root() / "lfw").rename(data_root() / ".lfw.old")
    with pytest.raises(DatasetError, match=r"few\.tar' does not exist"):
        import_dataset(Request(dataset="lfw", source=tmp_path / "few.tar"))
    assert datasets.load("lfw").content_hash == first


def test_files_of_an_interrupted_import_are_kept_only_for_the_same_source(tmp_path: Path) -> None:
    import_lfw(tmp_path)
    source = tmp_path / "lfw.tar.gz"
    told: list[str] = []
    killed_import(tmp_path, 16)
    again = Request(dataset="lfw", source=source, pairs=[tmp_path / "pairs.txt"], allow_other_counts=True)
    import_dataset(again, told.append)
    assert any(sentence.startswith("Kept ") for sentence in told)
    killed_import(tmp_path, 16)
    told.clear()
    other = {image_id: small_sets.jpeg(50 + i) for i, image_id in enumerate(small_sets.lfw_files())}
    small_sets.tar(source, other)
    import_dataset(again, told.append)
    assert told == []


def test_two_imports_of_one_set_do_not_run_at_once(tmp_path: Path) -> None:
    with importing._only_one("lfw"), pytest.raises(DatasetError, match="Another import of 'lfw' is running"):
        import_lfw(tmp_path)


def test_cfp_names_its_people_by_the_list_of_names(tmp_path: Path) -> None:
    images = {
        f"00{p}/{kind}/0{i}.jpg": small_sets.jpeg(10 * p + i)
        for p in (1, 2)
        for kind in ("frontal", "profile")
        for i in (1, 2)
    }
    lists = {
        "P/Pair_list_F.txt": b"1 ../Data/Images/001/frontal/01.jpg\n2 ../Data/Images/002/frontal/01.jpg\n",
        "P/Pair_list_P.txt": b"1 ../Data/Images/001/profile/01.jpg\n2 ../Data/Images/002/profile/02.jpg\n",
        "P/list_name.txt": "Ann Lee\nZoé O'Hara \n".encode(),
        **{f"P/Split/{s}/01/{f}.txt": b"1,2\n" for s in ("FF", "FP") for f in ("same", "diff")},
    }
    source = small_sets.tar(tmp_path / "cfp.tar", images, "w")
    protocols = small_sets.tar(tmp_path / "cfp_protocol.tar.gz", lists)
    found = import_dataset(Request(dataset="cfp", source=source, pairs=[protocols], allow_other_counts=True))
    assert found.identity_names_file == "source/P/list_name.txt"
    cfp = datasets.load("cfp")
    assert cfp.identity_names == ("Ann Lee", "Zoé O'Hara")
    assert cfp.labels.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    assert set(library.read_pairs("cfp", "cfp_fp")["probe_id"]) == {"002/profile/02.jpg"}
    import_lfw(tmp_path)
    assert overlap.shared_names(datasets.load("lfw"), cfp) == ("annlee",)
    left = overlap.exclude_names_of(datasets.load("lfw"), cfp)
    assert left.identity_names == ("Bo_Ek", "Cy_Oz", "Di_Ng")
    assert left.image_ids[0] == "Bo_Ek/Bo_Ek_0001.jpg"


def test_a_bin_becomes_images_and_pairs(tmp_path: Path) -> None:
    images = (*(small_sets.jpeg(i) for i in range(3)), np.zeros((16, 16, 3), np.uint8))
    content = verification_bin.VerificationBin(images=images, is_genuine=np.array([True, False]))
    verification_bin.write(tmp_path / "agedb_30.bin", content)
    import_dataset(Request(dataset="agedb_30", source=tmp_path / "agedb_30.bin", allow_other_counts=True))
    loaded = datasets.load("agedb_30")
    assert loaded.image_ids == ("000000.jpg", "000001.jpg", "000002.jpg", "000003.png")
    assert loaded.labels.tolist() == [-1] * 4
    assert not loaded.read(np.array([3])).any()
    pairs = library.read_pairs("agedb_30", "agedb_30")
    assert pairs["is_genuine"].tolist() == [1, 0]
    assert pairs["probe_id"].tolist() == ["000001.jpg", "000003.png"]
    with pytest.raises(DatasetError, match="carries no names of people"):
        overlap.exclude_names_of(loaded, loaded)


def test_calfw_files_carry_their_identities_and_raw_copies_are_left_out(tmp_path: Path) -> None:
    names = [f"{name}_{i:04d}.jpg" for name in ("Ann_Lee", "Bo_Ek") for i in range(1, 12)]
    files = {f"calfw/aligned images/{name}": small_sets.jpeg(i) for i, name in enumerate(names)}
    files["calfw/images&landmarks/images/Ann_Lee_0001.jpg"] = small_sets.jpeg(0, 32)
    genuine = "".join(f"Ann_Lee_0001.jpg {i}\nAnn_Lee_{1 + i:04d}.jpg {i}\n" for i in range(1, 11))
    impostor = "".join(f"Ann_Lee_0001.jpg 0\nBo_Ek_{1 + i:04d}.jpg 0\n" for i in range(1, 11))
    (tmp_path / "pairs_CALFW.txt").write_text(genuine + impostor)
    source = small_sets.tar(tmp_path / "calfw.tar", files, "w")
    request = Request(dataset="calfw", source=source, pairs=[tmp_path / "pairs_CALFW.txt"], allow_other_counts=True)
    assert import_dataset(request).n_identities == 2
    images = datasets.load("calfw")
    assert images.identity_names == ("Ann_Lee", "Bo_Ek")
    assert images.size_px == 16
    pairs = library.read_pairs("calfw", "calfw")
    assert pairs.groupby("fold")["is_genuine"].agg(["size", "sum"]).to_numpy().tolist() == [[2, 1]] * 10


def test_a_record_file_is_hashed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records, hashed = tmp_path / "train.rec", []
    record_sets.write_identities(records, {4: [small_sets.jpeg(0)], 9: [small_sets.jpeg(1)]})

    def hash_of(path: Path) -> str:
        hashed.append(path.name)
        return files.sha256_file(path)

    monkeypatch.setattr(importing, "sha256_file", hash_of)
    import_dataset(Request(dataset="casia", source=records, allow_other_counts=True))
    both = datasets.load("casia").content_hash
    assert sorted(hashed) == ["train.idx", "train.rec"]
    assert both == files.sha256_text(files.sha256_file(records), files.sha256_file(records.with_suffix(".idx")))


def test_casia_records_are_read_where_they_are(tmp_path: Path) -> None:
    folder = tmp_path / "faces_webface"
    folder.mkdir()
    record_sets.write_identities(
        folder / "train.rec", {4: [small_sets.jpeg(0)], 9: [small_sets.jpeg(1), small_sets.jpeg(2)]}
    )
    import_dataset(Request(dataset="casia", source=folder, allow_other_counts=True))
    images = datasets.load("casia")
    assert images.labels.tolist() == [0, 1, 1]
    assert images.identity_names == ("4", "9")
    assert images.image_ids == ("1", "2", "3")
    assert images.read(np.array([2])).shape == (1, 16, 16, 3)
    with (folder / "train.rec").open("ab") as file:
        file.write(b"more")
    with pytest.raises(DatasetError, match=r"train\.rec' has [0-9,]+ bytes, [0-9,]+ at import"):
        datasets.load("casia")


@pytest.mark.parametrize(
    ("counts", "variant"),
    [
        ((490_623, 10_572), "faces_webface_112x112"),
        ((494_414, 10_575), "original"),
        ((453_580, 10_575), "cleaned"),
        ((494_414, 10_572), "other"),
    ],
)
def test_the_variant_of_casia_is_told_by_its_counts(counts: tuple[int, int], variant: str, tmp_path: Path) -> None:
    """CASIA comes in several sizes; every run carries the variant of what it was trained on."""
    content = importing._Content(
        image_ids=("",) * counts[0],
        content_hash="",
        size_px=112,
        n_identities=counts[1],
        identity_level=0,
        identity_pattern=None,
        reference=None,
        pairs={},
    )
    request = Request(dataset="casia", source=tmp_path)
    found = importing._manifest(request, "casia", casia.IMPORT, content, {}, tmp_path)
    assert found.variant == variant


def test_casia_identity_folders_are_read_where_they_are(tmp_path: Path) -> None:
    folder = small_sets.write_files(tmp_path / "casia", small_sets.lfw_files())
    import_dataset(Request(dataset="casia", source=folder, allow_other_counts=True))
    assert not (data_root() / "casia" / "images").exists()
    images = datasets.load("casia")
    assert images.labels.tolist() == [0, 0, 0, 1, 1, 2, 3, 3]
    (folder / "Bo_Ek" / "Bo_Ek_0001.jpg").write_bytes(small_sets.jpeg(99, 32))
    assert datasets.load("casia").content_hash != images.content_hash


def test_your_own_images_by_path_and_by_name(tmp_path: Path) -> None:
    folder = small_sets.write_files(tmp_path / "photos", small_sets.lfw_files())
    by_path = datasets.load(f"folder:{folder}")
    archive = small_sets.tar(tmp_path / "p.tar", {f"top/{k}": v for k, v in small_sets.lfw_files().items()}, "w")
    import_dataset(Request(dataset="folder", source=archive, name="mine"))
    by_name = datasets.load("folder:mine")
    assert by_path.name == "folder:photos"
    assert by_path.image_ids == by_name.image_ids
    assert np.array_equal(by_path.read(np.arange(8)), by_name.read(np.arange(8)))


def test_cifar10_has_splits_and_ten_classes_as_identities(tmp_path: Path) -> None:
    files = {
        f"{split}/{kind}/000{i}.jpg": small_sets.jpeg(i, 32)
        for split in ("train", "test")
        for kind in ("cat", "ship")
        for i in range(2)
    }
    import_dataset(
        Request(dataset="cifar10", source=small_sets.tar(tmp_path / "c.tar", files, "w"), allow_other_counts=True)
    )
    train = datasets.load("cifar10:train")
    assert (len(train), train.identity_names, train.name) == (4, ("cat", "ship"), "cifar10:train")
    assert len(datasets.load("cifar10")) == 8
    with pytest.raises(DatasetError, match="has the splits train and test, found 'cifar10:val'"):
        datasets.load("cifar10:val")


def test_an_image_that_went_missing_since_the_import_is_told(tmp_path: Path) -> None:
    import_lfw(tmp_path)
    (data_root() / "lfw" / "images" / "Cy_Oz" / "Cy_Oz_0001.jpg").unlink()
    with pytest.raises(DatasetError, match=r"holds 7 images, but 8 were imported. Import 'lfw' again"):
        datasets.load("lfw")


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"schema": "other"}', '{"schema": "bnas_face.dataset/1", "colour": 1}']
)
def test_a_damaged_manifest_is_an_error(tmp_path: Path, content: str) -> None:
    import_lfw(tmp_path)
    (data_root() / "lfw" / "dataset.json").write_text(content)
    with pytest.raises(FormatError, match=r"dataset\.json'"):
        datasets.load("lfw")


@pytest.mark.parametrize("n_cut", [2, 3, 20, 30])
def test_a_pair_list_that_was_cut_is_named_with_its_line(tmp_path: Path, n_cut: int) -> None:
    import_lfw(tmp_path)
    path = data_root() / "lfw" / "pairs" / "lfw.csv"
    path.write_text(path.read_text()[:-n_cut])
    with pytest.raises(FormatError, match=r"lfw\.csv' line 5 is damaged: expected a fold number"):
        library.read_pairs("lfw", "lfw")


@pytest.mark.parametrize("content", ["", "a,b\n1,2\n", 'fold,reference_id\n"'])
def test_a_damaged_pair_list_is_an_error(tmp_path: Path, content: str) -> None:
    import_lfw(tmp_path)
    (data_root() / "lfw" / "pairs" / "lfw.csv").write_text(content)
    with pytest.raises(FormatError, match=r"lfw\.csv'"):
        library.read_pairs("lfw", "lfw")
    with pytest.raises(DatasetError, match="has no pair list"):
        library.read_pairs("lfw", "lfw_dev")


@pytest.mark.parametrize("name", ["agedb_30", "calfw", "casia", "cfp", "cifar10", "cplfw", "lfw"])
def test_an_absent_dataset_says_where_to_get_it_and_that_demo_needs_nothing(name: str) -> None:
    with pytest.raises(DatasetError) as caught:
        datasets.load(name)
    message = str(caught.value)
    assert f"Dataset '{name}'" in message
    assert datasets.card(name).source in message
    assert f"bnasface data import {name} " in message
    assert "'demo' (rendered faces) needs nothing" in message


@pytest.mark.parametrize("name", sorted(set(datasets.names()) - {"demo", "records"}))
def test_every_card_shows_its_import_command(name: str) -> None:
    card = datasets.card(name)
    assert f"bnasface data import {name} " in card.layout
    assert card.title
    assert card.licence
    assert card.source


@pytest.mark.parametrize(
    ("request_", "error", "what"),
    [
        (Request(dataset="lwf", source=Path("x")), UnknownNameError, "Did you mean 'lfw'?"),
        (Request(dataset="demo", source=Path("x")), DatasetError, "'demo' needs no import"),
        (Request(dataset="lfw", source=Path("x")), DatasetError, "'x' does not exist; expected an archive"),
        (Request(dataset="lfw", source=Path("x"), name="y"), DatasetError, "Only 'folder' takes --name"),
        (Request(dataset="folder", source=Path("x")), DatasetError, "--name NAME"),
        (Request(dataset="folder", source=Path("x"), name="lfw"), DatasetError, "is the name of a known dataset"),
        (Request(dataset="folder", source=Path("x"), name="../x"), DatasetError, "'../x' is no name for a dataset"),
    ],
)
def test_a_wrong_request_is_told(request_: Request, error: type[BnasFaceError], what: str) -> None:
    with pytest.raises(error) as caught:
        import_dataset(request_)
    assert what in str(caught.value)


@pytest.mark.parametrize("kind", ["empty", "no images", "bin without pairs", "pairs without pairs"])
def test_a_source_that_does_not_fit_is_told(tmp_path: Path, kind: str) -> None:
    source = small_sets.tar(tmp_path / "x.tar", {"a/readme.txt": b"", "b/x": b""} if kind == "no images" else {}, "w")
    verification_bin.write(
        tmp_path / "x.bin", verification_bin.VerificationBin(images=(b"",) * 2, is_genuine=np.array([True]))
    )
    request = {
        "bin without pairs": Request(dataset="casia", source=tmp_path / "x.bin"),
        "pairs without pairs": Request(dataset="casia", source=source, pairs=[tmp_path / "x.bin"]),
    }.get(kind, Request(dataset="lfw", source=source))
    with pytest.raises(DatasetError, match=r"No images were found|has no pairs|has no pair lists"):
        import_dataset(request)
    assert not library.is_imported(request.dataset)


def named(*names: str) -> FaceImages:
    return FaceImages(
        name="x",
        image_ids=tuple(f"{i}" for i in range(len(names))),
        labels=np.arange(len(names)),
        identity_names=names,
        content_hash="",
        size_px=1,
        read=lambda indices: np.zeros((len(indices), 1, 1, 3), np.uint8),
    )


@pytest.mark.parametrize(
    ("name", "normalised"),
    [
        ("Queen_Latifah", "queenlatifah"),
        ("Zoé O'Hara-Łuk ", "zoeoharałuk"),
        ("50 Cent", "cent"),
        ("STRASSE", "strasse"),
        ("0001", ""),
    ],
)
def test_names_are_letters_without_case_and_accents(name: str, normalised: str) -> None:
    assert overlap.normalised_name(name) == normalised


def test_nobody_left_is_an_error() -> None:
    with pytest.raises(DatasetError, match="Nobody is left of 'x' without the 1 people"):
        overlap.exclude_names_of(named("Ann Lee"), named("ann_lee"))


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory, shared_data: Path) -> Path:
    """LFW and CFP, imported once."""
    root = tmp_path_factory.mktemp("real")
    before = os.environ.get("BNASFACE_DATA")
    os.environ["BNASFACE_DATA"] = str(root)
    try:
        lists = [shared_data / "lfw" / name for name in ("pairs.txt", "pairsDevTrain.txt", "pairsDevTest.txt")]
        import_dataset(Request(dataset="lfw", source=shared_data / "lfw" / "lfw_aligned_112.tar.gz", pairs=lists))
        protocols = [shared_data / "cfp" / "cfp_protocol.tar.gz"]
        import_dataset(Request(dataset="cfp", source=shared_data / "cfp" / "cfp_aligned_112.tar.gz", pairs=protocols))
    finally:
        os.environ.pop("BNASFACE_DATA")
        if before is not None:
            os.environ["BNASFACE_DATA"] = before
    return root


@pytest.mark.realdata
def test_lfw_and_cfp_have_their_published_counts_and_share_176_names(
    real: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BNASFACE_DATA", str(real))
    lfw, cfp = datasets.load("lfw"), datasets.load("cfp")
    assert (len(lfw), lfw.n_identities, len(cfp), cfp.n_identities) == (13233, 5749, 7000, 500)
    assert (library.manifest("lfw").variant, library.manifest("cfp").variant) == ("full", "full")
    assert len(overlap.shared_names(lfw, cfp)) == 176
    without = overlap.exclude_names_of(lfw, cfp)
    assert len(without) == 11347
    several = without.select_identities(without.images_per_identity() >= 2)
    assert (len(several), several.n_identities) == (7323, 1549)


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("dataset", "name", "n"), [("lfw", "lfw", 6000), ("cfp", "cfp_ff", 7000), ("cfp", "cfp_fp", 7000)]
)
def test_genuine_pairs_are_one_identity_and_impostor_pairs_two(
    real: Path, monkeypatch: pytest.MonkeyPatch, dataset: str, name: str, n: int
) -> None:
    monkeypatch.setenv("BNASFACE_DATA", str(real))
    images, pairs = datasets.load(dataset), library.read_pairs(dataset, name)
    label = pd.Series(images.labels, index=list(images.image_ids))
    same = label[pairs["reference_id"]].to_numpy() == label[pairs["probe_id"]].to_numpy()
    assert len(pairs) == n
    assert np.array_equal(same, pairs["is_genuine"].to_numpy() == 1)


def test_two_lists_of_one_name_are_refused_before_one_replaces_the_other(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    lists = (small_sets.lfw_pairs(tmp_path / "pairs.txt"), small_sets.lfw_pairs(tmp_path / "b" / "pairs.txt"))
    source = small_sets.tar(tmp_path / "lfw.tar.gz", small_sets.lfw_files())
    with pytest.raises(DatasetError, match="have the same name"):
        import_dataset(Request(dataset="lfw", source=source, pairs=lists))


def test_a_known_dataset_cannot_be_opened_as_a_folder_of_its_name(tmp_path: Path) -> None:
    import_lfw(tmp_path)
    with pytest.raises(DatasetError, match="'folder:lfw' is neither a folder of images nor an imported name"):
        datasets.load("folder:lfw")


def test_images_of_unknown_people_are_never_selected() -> None:
    images = FaceImages(
        name="x",
        image_ids=("a.jpg", "b.jpg", "c.jpg"),
        labels=np.array([-1, 0, 1]),
        identity_names=("ann", "bo"),
        content_hash="0",
        size_px=16,
        read=lambda indices: np.zeros((len(indices), 16, 16, 3), np.uint8),
    )
    assert images.select_identities(np.array([True, True])).image_ids == ("b.jpg", "c.jpg")
    assert images.select_identities(np.array([False, True])).labels.tolist() == [0]
    nobody = replace(images, labels=np.array([-1, -1, -1]), identity_names=())
    assert len(nobody.select_identities(nobody.images_per_identity() >= 2)) == 0
