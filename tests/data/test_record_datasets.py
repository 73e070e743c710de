"""Record sets by path, and rendered ones of CASIA's shape."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from bnas_face.config import cache_root
from bnas_face.data import audit, datasets
from bnas_face.data.formats import encoded, record_sets, recordio
from bnas_face.data.synthetic import record_sets as rendered
from bnas_face.errors import BnasFaceError, BrokenImageError, DatasetError, FormatError


def _image(value: int, size_px: int = 16) -> bytes:
    return encoded.encode_png(np.full((size_px, size_px, 3), value, np.uint8))


@pytest.fixture
def rec(tmp_path: Path) -> Path:
    """Three people (labels 0, 1, 5) with three images each; image k is of grey k."""
    path = tmp_path / "set" / "train.rec"
    people = {label: [_image(10 * row + column) for column in range(3)] for row, label in enumerate((0, 1, 5))}
    record_sets.write_identities(path, people)
    return path


def _overwrite(rec: Path, key: int, content: bytes, at: int = 0) -> int:
    offset = recordio.read_index(rec.with_suffix(".idx"))[key]
    with rec.open("r+b") as file:
        file.seek(offset + at)
        file.write(content)
    return offset


def test_a_folder_and_its_rec_open_the_same_set(rec: Path) -> None:
    images, same = datasets.load(f"records:{rec.parent}"), datasets.load(f"records:{rec}")
    assert (len(images), images.identity_names, images.size_px) == (9, ("0", "1", "5"), 16)
    assert images.labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert images.read(np.array([0, 4, 8]))[:, 0, 0, 0].tolist() == [0, 11, 22]
    assert images.content_hash == same.content_hash and images.name == "records:set"


def test_a_listing_is_kept_until_the_files_change(rec: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = datasets.load(f"records:{rec}")
    with monkeypatch.context() as patch:
        patch.setattr(record_sets, "list_images", None)
        assert datasets.load(f"records:{rec}").content_hash == first.content_hash
    record_sets.write_identities(rec, {0: [_image(1)], 3: [_image(2)]})
    changed = datasets.load(f"records:{rec}")
    assert len(changed) == 2 and changed.content_hash != first.content_hash


def test_a_damaged_listing_is_made_again(rec: Path) -> None:
    datasets.load(f"records:{rec}")
    (kept,) = (cache_root() / "records").iterdir()
    kept.write_bytes(b"damaged")
    assert len(datasets.load(f"records:{rec}")) == 9


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("records", "needs a path: records:PATH"),
        ("records:nowhere", "is neither a folder nor a .rec file"),
        ("records:.", r"holds 0 \.rec files; expected one"),
    ],
)
def test_a_wrong_path_is_told(spec: str, words: str) -> None:
    with pytest.raises(DatasetError, match=words):
        datasets.load(spec)


def test_a_record_without_its_frame_keeps_its_place_and_gets_its_label_from_the_identity_records(rec: Path) -> None:
    offset = _overwrite(rec, 5, bytes(8))
    images = datasets.load(f"records:{rec}")
    assert images.labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    with pytest.raises(BrokenImageError) as error:
        images.read(np.array([4]))
    assert str(error.value) == (
        f"Image '5' cannot be decoded: '{rec}' is damaged at byte {offset}: expected the magic 0xced7230a, found "
        f"0x00000000 (record 5 at byte {offset} of '{rec}')."
    )


def test_a_person_none_of_whose_records_has_a_frame_is_an_error(rec: Path) -> None:
    for key in (4, 5, 6):
        _overwrite(rec, key, bytes(8))
    with pytest.raises(FormatError, match=r"train\.rec' is damaged at byte"):
        datasets.load(f"records:{rec}")


def test_a_first_image_that_cannot_be_decoded_does_not_hide_the_set(rec: Path) -> None:
    _overwrite(rec, 1, bytes(8), at=32)
    assert datasets.load(f"records:{rec}").size_px == 16


def test_a_check_names_what_is_damaged(rec: Path) -> None:
    assert audit.check(f"records:{rec}").problems == ()
    offset = _overwrite(rec, 5, bytes(8), at=32)
    (problem,) = audit.check(f"records:{rec}").problems
    assert f"record 5 at byte {offset} of" in problem


def test_offsets_of_any_order_are_found(tmp_path: Path) -> None:
    path = tmp_path / "x.idx"
    path.write_text("7\t0\n3\t40\n5\t80\n")
    offsets = recordio.read_index(path)
    assert list(offsets) == [7, 3, 5] and dict(offsets) == {7: 0, 3: 40, 5: 80}
    assert 4 not in offsets and 8 not in offsets
    assert offsets.many(np.array([5, 7])).tolist() == [80, 0]
    path.write_text("7 0\n\n3\t40")  # not as MXNet writes it, but readable
    assert dict(recordio.read_index(path)) == {7: 0, 3: 40}


PLAN = rendered.RenderPlan(n_images=67, n_identities=33, variants=2)


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Parts are rendered here, as grey images that say whose they are; counts the parts."""
    parts: list[int] = []

    def pretended(plan, remaining, workers):
        for people in remaining:
            parts.append(len(people))
            yield people, [_image(int(person) + 1) for person in people for _ in range(int(plan.counts[person]))]

    monkeypatch.setattr(rendered, "_rendered", pretended)
    return parts


def test_a_rendered_set_has_the_published_layout(tmp_path: Path, in_this_process: list[int]) -> None:
    seen: list[tuple[int, int]] = []
    path = rendered.write(tmp_path / "set", PLAN, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(65, 67), (67, 67)]
    with recordio.RecordFile(path) as file:
        listing = record_sets.list_images(file)
        assert record_sets.identity_problems(file, listing) == []
        assert file.read(0).label == (68.0, 101.0) and file.read(68).label == (1.0, 4.0)
    assert len(file) == 1 + 67 + 33 and listing.keys.tolist() == list(range(1, 68))
    assert np.bincount(listing.labels).tolist() == [3] + [2] * 32
    assert (path.parent / "property").read_text() == "33,112,112"
    lines = (path.parent / "train.lst").read_text().splitlines()
    assert len(lines) == 67 and lines[3] == "1\tperson_000001/000.jpg\t1"
    described = json.loads((path.parent / "render.json").read_text())
    assert described["n_renderings"] == PLAN.n_renderings == 34 and described["variants"] == 2
    images = datasets.load(f"records:{path.parent}")
    assert images.read(np.array([66]))[0, 0, 0, 0] == 33


def test_a_set_that_is_there_is_not_rendered_again_and_another_not_over_it(
    tmp_path: Path, in_this_process: list[int]
) -> None:
    rendered.write(tmp_path, PLAN)
    rendered.write(tmp_path, PLAN)
    assert in_this_process == [32, 1]
    other = rendered.RenderPlan(n_images=68, n_identities=33)
    with pytest.raises(DatasetError, match=r"holds another record set \('train\.rec'\)"):
        rendered.write(tmp_path, other)


def test_a_killed_rendering_goes_on(
    tmp_path: Path, in_this_process: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rendered.write(tmp_path / "x", PLAN, progress=killed)
    path = rendered.write(tmp_path / "x", PLAN)
    assert in_this_process == [32, 1]
    whole = rendered.write(tmp_path / "whole", PLAN)
    assert path.read_bytes() == whole.read_bytes()


def test_a_disk_that_is_too_small_is_told_before_anything_is_rendered(
    tmp_path: Path, in_this_process: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(10, 9, 1_000_000))
    plan = rendered.RenderPlan(n_images=500_000, n_identities=10_000)
    with pytest.raises(DatasetError, match=r"500,000 images need about 3\.0 GB, and '.*' has 0\.0 GB free\."):
        rendered.write(tmp_path, plan)
    assert not in_this_process


@pytest.mark.parametrize(("n_images", "n_identities", "variants"), [(5, 6, 1), (9, 1, 1), (9, 3, 0)])
def test_impossible_plans_are_refused(n_images: int, n_identities: int, variants: int) -> None:
    with pytest.raises(DatasetError, match="cannot be rendered"):
        rendered.RenderPlan(n_images=n_images, n_identities=n_identities, variants=variants)


def test_variants_are_the_rendering_and_changed_copies_of_it() -> None:
    plan = rendered.RenderPlan(n_images=6, n_identities=2, variants=2)
    images = [encoded.decode(content, "x") for content in rendered.render_part(plan, np.arange(2))]
    plain = rendered.RenderPlan(n_images=4, n_identities=2)
    distinct = [encoded.decode(content, "x") for content in rendered.render_part(plain, np.arange(2))]
    assert len(images) == 6 and images[0].shape == (112, 112, 3)
    for position, same in ((0, 0), (2, 1), (3, 2), (5, 3)):
        assert np.array_equal(images[position], distinct[same])
    assert not np.array_equal(images[1], images[0])


def test_processes_render_the_same(tmp_path: Path) -> None:
    plan = rendered.RenderPlan(n_images=4, n_identities=2, variants=2)
    path = rendered.write(tmp_path, plan, workers=1)
    expected = rendered.render_part(plan, np.arange(2))
    with recordio.RecordFile(path) as file:
        assert [file.read(key).payload for key in range(1, 5)] == expected


def test_a_rendering_process_that_dies_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from concurrent.futures.process import BrokenProcessPool

    class Pool:
        def __init__(self, *arguments, **options):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *error):
            return None

        def submit(self, *arguments):
            raise BrokenProcessPool("killed")

        def shutdown(self, **options):
            pass

    monkeypatch.setattr(rendered, "ProcessPoolExecutor", Pool)
    with pytest.raises(BnasFaceError, match=r"A rendering process died .*The same command goes on where it was"):
        rendered.write(tmp_path, PLAN)
