"""IJB, TinyFace and RFW are imported from files of the published formats, opened again, and checked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import small_sets
import small_templates
from click.testing import CliRunner

from bnas_face.cli.data import command as data_command
from bnas_face.config import data_root
from bnas_face.data import audit, datasets, importing, library
from bnas_face.data.align import TEMPLATE_112, align_face
from bnas_face.data.formats import encoded
from bnas_face.data.formats.template_files import TemplatePairs, TemplateRows, TemplateSearches
from bnas_face.data.importing import Request, import_dataset
from bnas_face.data.shaped import fit
from bnas_face.errors import BrokenImageError, DatasetError, FormatError
from bnas_face.evaluate import protocol


def import_ijb(root: Path, name: str = "ijbc", **options: Any) -> tuple[library.Manifest, list[str]]:
    told: list[str] = []
    options = {"allow_other_counts": True, "pairs": [root / "meta"], **options}
    return import_dataset(Request(dataset=name, source=root / "loose_crop", **options), told.append), told


def pairs_folder(name: str) -> Path:
    return data_root() / name / "pairs"


@pytest.mark.parametrize(("name", "galleries"), [("ijbc", ("G1", "G2")), ("ijbb", ("S1", "S2"))])
def test_an_ijb_is_imported_with_templates_pairs_and_galleries(
    tmp_path: Path, name: str, galleries: tuple[str, str]
) -> None:
    root = small_templates.write_ijb(tmp_path / "ijb", name, galleries)
    manifest, told = import_ijb(root, name)
    assert (manifest.n_images, manifest.size_px, manifest.n_identities) == (108, 112, 0)
    assert Path(manifest.reference or "") == root / "loose_crop"
    card: Any = protocol.card(name)
    assert any(f"impostor pairs, not {card.n_genuine:,} and {card.n_impostor:,}" in sentence for sentence in told)
    for suffix in galleries:
        card = protocol.card(f"{name}_1n_{suffix.lower()}")
        assert any(f"gallery_{suffix}.csv' holds" in one and f"not {card.n_gallery:,}." in one for one in told)
        assert any(f"probe_mixed.csv' holds 24 templates, not {card.n_probes:,}." in one for one in told)
    rows = TemplateRows.load(pairs_folder(name) / "templates.npz")
    assert len(rows.image_id) == 108 and rows.detector_score[:2] == pytest.approx([0.9, 0.5])
    assert len(TemplatePairs.load(pairs_folder(name) / f"{name}.npz").is_genuine) == 288
    for suffix, n_gallery, n_mated in ((galleries[0], 8, 16), (galleries[1], 4, 8)):
        found = TemplateSearches.load(pairs_folder(name) / f"{name}_1n_{suffix.lower()}.npz")
        assert (len(found.gallery), len(found.probe), found.is_mated.sum()) == (n_gallery, 24, n_mated)


def test_the_command_names_the_protocols_that_were_imported(tmp_path: Path) -> None:
    root = small_templates.write_ijb(tmp_path / "ijb")
    arguments = ["import", "ijbc", str(root / "loose_crop"), "--pairs", str(root / "meta"), "--allow-other-counts"]
    done = CliRunner().invoke(data_command, arguments)
    assert done.exit_code == 0, done.output
    assert "108 images of 0 identities, 112 px; pair lists: ijbc, ijbc_1n_g1, ijbc_1n_g2." in done.output
    shown = CliRunner().invoke(data_command, ["where", "ijbc"]).output
    assert "bnasface data import ijbc IJBC/loose_crop --pairs IJBC/meta" in shown and "469,375 images" in shown


def test_an_imported_crop_is_aligned_by_its_points_when_it_is_read(tmp_path: Path) -> None:
    root = small_templates.write_ijb(tmp_path / "ijb")
    import_ijb(root)
    images = datasets.load("ijbc")
    at = images.image_ids.index("5.jpg")
    crop = encoded.decode((root / "loose_crop" / "5.jpg").read_bytes(), "5.jpg")
    by_hand = align_face(crop, np.round(small_templates.points(), 3), 112)
    assert np.abs(images.read(np.array([at]))[0].astype(int) - by_hand).max() <= 1
    assert audit.check("ijbc").problems == ("The counts fit no published variant (images: full 469,375).",)


def test_points_decide_where_the_face_lies(tmp_path: Path) -> None:
    """A bright square that is where the template has its left eye must end up there, wherever it was in the crop."""
    crop = np.zeros((200, 160, 3), np.uint8)
    points = TEMPLATE_112 * 0.9 + [30.0, 60.0]
    x, y = points[0].round().astype(int)
    crop[y - 2 : y + 3, x - 2 : x + 3] = 255
    grey = cv2.cvtColor(align_face(crop, points, 112), cv2.COLOR_RGB2GRAY)
    ys, xs = np.nonzero(grey > 128)
    assert (xs.mean(), ys.mean()) == pytest.approx(TEMPLATE_112[0], abs=1.0)


def test_other_points_are_other_pixels_and_so_another_hash(tmp_path: Path) -> None:
    root = small_templates.write_ijb(tmp_path / "ijb")
    import_ijb(root)
    first = datasets.load("ijbc").content_hash
    path = root / "meta" / "ijbc_name_5pts_score.txt"
    path.write_text(path.read_text().replace("1.jpg ", "1.jpg 9", 1))
    import_ijb(root)
    assert datasets.load("ijbc").content_hash != first


def test_a_crop_whose_points_coincide_is_a_broken_image(tmp_path: Path) -> None:
    root = small_templates.write_ijb(tmp_path / "ijb")
    path = root / "meta" / "ijbc_name_5pts_score.txt"
    lines = path.read_text().splitlines()
    lines[0] = "1.jpg " + "7 7 " * 5 + "0.9"
    path.write_text("\n".join(lines))
    import_ijb(root)
    images = datasets.load("ijbc")
    with pytest.raises(BrokenImageError, match=r"Image '1.jpg' .*the five points of the face coincide"):
        images.read(np.array([images.image_ids.index("1.jpg")]))


@pytest.mark.parametrize(
    ("file", "change", "error", "message"),
    [
        (
            "ijbc_face_tid_mid.txt",
            None,
            DatasetError,
            "'ijbc' needs ijbc_face_tid_mid.txt and ijbc_name_5pts_score.txt",
        ),
        ("ijbc_name_5pts_score.txt", lambda t: t.split("\n", 1)[1], FormatError, "line 1: image '1.jpg' has no points"),
        (
            "ijbc_template_pair_label.txt",
            lambda t: t + "1 777 0\n",
            FormatError,
            "names template 777, which has no images",
        ),
        ("ijbc_1N_gallery_G1.csv", lambda t: t + "99,5,x,1,1,1,1,1\n", FormatError, "names template 99, which has no"),
        ("ijbc_template_pair_label.txt", lambda t: t + "1 2 3\n", FormatError, "line 289: label '3'"),
    ],
)
def test_lists_that_do_not_fit_each_other_are_refused(
    tmp_path: Path, file: str, change: Any, error: Any, message: str
) -> None:
    root = small_templates.write_ijb(tmp_path / "ijb")
    path = root / "meta" / file
    text = path.read_text()
    path.unlink() if change is None else path.write_text(change(text))
    with pytest.raises(error, match=message):
        import_ijb(root)
    assert not library.is_imported("ijbc")


def test_the_wrong_folder_of_crops_is_told(tmp_path: Path) -> None:
    root = small_templates.write_ijb(tmp_path / "ijb")
    for number in range(1, 100):
        (root / "loose_crop" / f"{number}.jpg").rename(root / "loose_crop" / f"face{number}.jpg")
    _, told = import_ijb(root)
    assert any("99 of 108 images of the templates are not among the 108 images imported" in line for line in told)


def test_counts_other_than_published_are_refused_without_leave(tmp_path: Path) -> None:
    root = small_templates.write_ijb(tmp_path / "ijb")
    with pytest.raises(DatasetError, match=r"'ijbc' has 469,375 images \(full\)"):
        import_ijb(root, allow_other_counts=False)


@pytest.mark.parametrize("with_lists", [True, False])
def test_tinyface_is_imported_with_distractors_that_are_nobody(tmp_path: Path, with_lists: bool) -> None:
    files = small_templates.tinyface_files()
    source = small_sets.tar(tmp_path / "tinyface.tar", files, "w")
    lists = small_templates.write_mats(tmp_path / "lists", files) if with_lists else []
    manifest = import_dataset(Request(dataset="tinyface", source=source, pairs=lists, allow_other_counts=True))
    assert (manifest.n_images, manifest.size_px) == (33, 112)
    found = TemplateSearches.load(pairs_folder("tinyface") / "tinyface.npz")
    assert (len(found.gallery), len(found.probe), (found.gallery_subject == -1).sum()) == (21, 12, 9)
    assert found.is_mated.all()
    images = datasets.load("tinyface")
    of_three = [images.image_ids[i] for i in found.probe[found.probe_subject == 3]]
    assert of_three == ["Probe/3_3.jpg", "Probe/3_4.jpg"]
    assert images.read(np.array([0, 20])).shape == (2, 112, 112, 3)


def test_a_list_of_tinyface_that_names_absent_images_is_refused_without_leave(tmp_path: Path) -> None:
    files = small_templates.tinyface_files()
    lists = small_templates.write_mats(tmp_path / "lists", files)
    del files["Testing_Set/Probe/3_4.jpg"]
    source = small_sets.tar(tmp_path / "tinyface.tar", files, "w")
    told: list[str] = []
    import_dataset(Request(dataset="tinyface", source=source, pairs=lists, allow_other_counts=True), told.append)
    assert any("1 of 12 images of 'probe_img_ID_pairs.mat' are not among" in line for line in told)


def test_tinyface_without_probes_is_refused(tmp_path: Path) -> None:
    files = {name: content for name, content in small_templates.tinyface_files().items() if "Probe" not in name}
    source = small_sets.tar(tmp_path / "tinyface.tar", files, "w")
    with pytest.raises(DatasetError, match="probes or gallery are absent"):
        import_dataset(Request(dataset="tinyface", source=source, allow_other_counts=True))


def test_a_small_image_is_fitted_into_the_square_with_its_proportions() -> None:
    tall = np.full((20, 10, 3), 200, np.uint8)
    square = fit(tall, 112)
    assert square.shape == (112, 112, 3)
    assert (square[:, 28:84] == 200).all() and (square[:, :28] == 0).all() and (square[:, 84:] == 0).all()
    assert fit(square, 112) is square
    assert fit(np.zeros((300, 1, 3), np.uint8), 112).shape == (112, 112, 3)


def import_rfw(tmp_path: Path) -> library.Manifest:
    root = small_templates.write_rfw(tmp_path / "rfw")
    request = Request(dataset="rfw", source=root / "images", pairs=[root / "txts"], allow_other_counts=True)
    return import_dataset(request)


def test_rfw_is_imported_as_four_protocols_and_one_of_all(tmp_path: Path) -> None:
    manifest = import_rfw(tmp_path)
    assert (manifest.n_images, manifest.n_identities) == (160, 80)
    whole = library.read_pairs("rfw", "rfw")
    assert list(whole) == ["fold", "reference_id", "probe_id", "is_genuine", "race"]
    assert whole.groupby(["race", "fold"])["is_genuine"].agg(["size", "sum"]).drop_duplicates().values.tolist() == [
        [4, 2]
    ]
    for race in small_templates.RACES:
        assert (library.read_pairs("rfw", f"rfw_{race.lower()}")["race"] == race).all()
    assert not [problem for problem in audit.check("rfw").problems if "Pair list" in problem]


def test_the_pair_counts_of_rfws_import_are_those_of_its_cards() -> None:
    rules = importing.rules_of("rfw")
    for name, counts in rules.protocols.items():
        card: Any = protocol.card(name)
        assert (card.n_genuine, card.n_impostor) == counts


def test_rfw_without_one_of_its_lists_is_refused(tmp_path: Path) -> None:
    root = small_templates.write_rfw(tmp_path / "rfw")
    (root / "txts" / "Asian" / "Asian_pairs.txt").unlink()
    with pytest.raises(
        DatasetError, match=r"RFW takes the four lists African_pairs.txt, .* found African_pairs.txt, Cau"
    ):
        import_dataset(Request(dataset="rfw", source=root / "images", pairs=[root / "txts"], allow_other_counts=True))
