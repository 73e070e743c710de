"""Checking an imported set: what is wrong is listed, one sentence each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import small_sets

from bnas_face.config import data_root
from bnas_face.data import audit, contact_sheet, datasets
from bnas_face.data.formats import encoded, record_sets, recordio
from bnas_face.data.importing import Request, import_dataset
from bnas_face.errors import BrokenImageError, DatasetError

OTHER_COUNTS = "The counts fit no published variant (images: full 13,233, bin 12,000)."


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Folder of the images of a small imported LFW with a pair list."""
    source = small_sets.tar(tmp_path / "lfw.tar", small_sets.lfw_files(), "w")
    pairs = [small_sets.lfw_pairs(tmp_path / "pairs.txt")]
    import_dataset(Request(dataset="lfw", source=source, pairs=pairs, allow_other_counts=True))
    return data_root() / "lfw" / "images"


def test_a_sound_set_of_other_counts_has_only_that_problem(images: Path) -> None:
    told: list[tuple[int, int]] = []
    found = audit.check("lfw", progress=lambda *at: told.append(at))
    assert found.problems == (OTHER_COUNTS,)
    assert found.facts == ("lfw: 8 images of 4 identities, 16 px.", "Pair list lfw: 4 pairs in 2 folds.")
    assert told == [(8, 8)]


def test_a_broken_image_and_the_change_since_the_import_are_named(images: Path) -> None:
    path = images / "Bo_Ek" / "Bo_Ek_0002.jpg"
    path.write_bytes(path.read_bytes()[:200])
    assert audit.check("lfw").problems == (
        OTHER_COUNTS,
        "Image 'Bo_Ek/Bo_Ek_0002.jpg' cannot be decoded: the JPEG ends at byte 200, inside its header.",
        f"The images in '{images}' have changed since they were imported.",
    )


def test_an_image_of_another_size_is_named(images: Path) -> None:
    (images / "Cy_Oz" / "Cy_Oz_0001.jpg").write_bytes(small_sets.jpeg(1, 32))
    assert any("Image 'Cy_Oz/Cy_Oz_0001.jpg' is 32×32 px" in problem for problem in audit.check("lfw").problems)


def test_copies_are_a_fact_and_no_problem(images: Path, tmp_path: Path) -> None:
    files = small_sets.lfw_files()
    files["Cy_Oz/Cy_Oz_0001.jpg"] = files["Bo_Ek/Bo_Ek_0001.jpg"]
    source = small_sets.write_files(tmp_path / "twice", files)
    import_dataset(Request(dataset="lfw", source=source, allow_other_counts=True))
    assert "1 images are byte for byte copies of another." in audit.check("lfw").facts


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("0,Ann_Lee/Ann_Lee_0001.jpg,X/X_0001.jpg,1", "1 images are absent, first 'X/X_0001.jpg'."),
        ("0,Ann_Lee/Ann_Lee_0001.jpg,Ann_Lee/Ann_Lee_0001.jpg,1", "1 pairs compare an image with itself."),
        (
            "0,Ann_Lee/Ann_Lee_0001.jpg,Bo_Ek/Bo_Ek_0001.jpg,1",
            "1 pairs are marked genuine or impostor against the identities of their images.",
        ),
    ],
)
def test_a_wrong_pair_is_told(images: Path, row: str, problem: str) -> None:
    with (images.parent / "pairs" / "lfw.csv").open("a") as file:
        file.write(f"{row}\n")
    assert f"Pair list lfw: {problem}" in audit.check("lfw").problems


def test_a_pair_that_is_neither_genuine_nor_impostor_is_told(images: Path) -> None:
    with (images.parent / "pairs" / "lfw.csv").open("a") as file:
        file.write("0,Ann_Lee/Ann_Lee_0001.jpg,Ann_Lee/Ann_Lee_0002.jpg,2\n")
    assert any("lfw.csv' line 6 is damaged: expected" in problem for problem in audit.check("lfw").problems)


def test_a_damaged_pair_list_is_told(images: Path) -> None:
    (images.parent / "pairs" / "lfw.csv").write_text("x\n")
    assert any("lfw.csv' line 1 lacks the columns" in problem for problem in audit.check("lfw").problems)


def test_people_of_another_set_are_counted_by_name(images: Path, tmp_path: Path) -> None:
    small_sets.write_files(tmp_path / "o", {"bo ek/1.jpg": small_sets.jpeg(0), "Someone/1.jpg": small_sets.jpeg(1)})
    found = audit.check("lfw", against=f"folder:{tmp_path / 'o'}")
    assert "1 people have the same name in 'folder:o'." in found.facts


def test_identity_records_that_contradict_the_labels_are_told(tmp_path: Path) -> None:
    record_sets.write_identities(tmp_path / "ok.rec", {0: [small_sets.jpeg(0)], 1: [small_sets.jpeg(1)]})
    with recordio.RecordFile(tmp_path / "ok.rec") as file:
        content = {key: file.read(key) for key in file.offsets}
    content[3] = recordio.Record(label=(1.0, 3.0), id=3)
    (tmp_path / "casia").mkdir()
    recordio.write(tmp_path / "casia" / "train.rec", content.items())
    import_dataset(Request(dataset="casia", source=tmp_path / "casia", allow_other_counts=True))
    assert "Identity record 3 spans images 1 … 3 of 2 labels." in audit.check("casia").problems


def test_a_folder_is_checked_where_it_is(tmp_path: Path) -> None:
    folder = small_sets.write_files(tmp_path / "photos", small_sets.lfw_files())
    assert audit.check(f"folder:{folder}").problems == ()
    (folder / "Bo_Ek" / "Bo_Ek_0001.jpg").write_bytes(b"")
    assert audit.check(f"folder:{folder}").problems == (
        "Image 'Bo_Ek/Bo_Ek_0001.jpg' cannot be decoded: it is empty (0 bytes).",
    )


def test_rendered_faces_have_nothing_to_check() -> None:
    with pytest.raises(DatasetError, match="'demo' needs no import"):
        audit.check("demo")


def test_a_contact_sheet_is_a_png_of_ten_columns(tmp_path: Path) -> None:
    folder = small_sets.write_files(tmp_path / "photos", {f"a/{i:02d}.jpg": small_sets.jpeg(i) for i in range(13)})
    path = contact_sheet.write(datasets.load(f"folder:{folder}"), tmp_path / "sheet.png")
    pixels = encoded.decode(path.read_bytes(), "sheet")
    assert pixels.shape == (2 * 96, 10 * 96, 3)
    assert (pixels[96:, 3 * 96 :] == 255).all()
    assert not (pixels[:, : 3 * 96] == 255).all()
    again = contact_sheet.write(datasets.load(f"folder:{folder}"), tmp_path / "again.png")
    assert again.read_bytes() == path.read_bytes()


@pytest.mark.realdata
def test_records_written_by_mxnet_import_and_pass_but_for_their_counts(shared_data: Path) -> None:
    import_dataset(Request(dataset="casia", source=shared_data / "recordio", allow_other_counts=True))
    found = audit.check("casia")
    assert found.facts == ("casia: 247 images of 60 identities, 112 px.",)
    assert len(found.problems) == 1
    assert np.array_equal(datasets.load("casia").images_per_identity() > 0, np.ones(60, bool))


def test_all_broken_images_of_a_folder_are_told_even_the_first(tmp_path: Path) -> None:
    content = small_sets.lfw_files()
    first, *_, last = sorted(content)
    content |= {first: content[first][:100], last: b""}
    found = audit.check(f"folder:{small_sets.write_files(tmp_path / 'photos', content)}")
    assert [problem.split("'")[1] for problem in found.problems] == [first, last]


def test_a_folder_of_broken_images_only_is_an_error(tmp_path: Path) -> None:
    small_sets.write_files(tmp_path / "photos", {"anna/1.jpg": b"", "anna/2.jpg": b"x"})
    with pytest.raises(BrokenImageError, match=r"'anna/1\.jpg' cannot be decoded: it is empty"):
        audit.check(f"folder:{tmp_path / 'photos'}")
