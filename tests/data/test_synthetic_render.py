"""Rendered faces: the same number is the same picture, whatever is rendered beside it."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch

from bnas_face.data.datasets import demo, load
from bnas_face.data.synthetic import (
    conditions,
    faces,
    hashing,
    head,
    identity,
    protocols,
    raster,
    render,
    sheet,
    texture,
)
from bnas_face.errors import DatasetError


def small(n_identities: int = 3, n_images: int = 4, size_px: int = 64) -> faces.FaceImages:
    return faces.rendered(
        "small", np.arange(n_identities), protocols.training_groups(n_images), seed=3, size_px=size_px
    )


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    return small().read(np.arange(12))


def test_an_image_is_the_same_alone_and_in_any_batch(pictures: np.ndarray) -> None:
    alone = np.concatenate([small().read(np.array([index])) for index in (11, 0, 6)])
    np.testing.assert_array_equal(alone, pictures[[11, 0, 6]])


def test_an_image_is_the_same_rendered_singly_and_with_others() -> None:
    which, index = np.repeat(np.arange(3), 7), np.tile(np.arange(7), 3)
    drawn = conditions.draw(protocols.TRAINING, 9, which, index)
    people = identity.draw(9, np.arange(3))
    together = render.render(people, torch.from_numpy(which), drawn, 64)
    last = {name: value[-1:] for name, value in drawn.items()}
    single = render.render(identity.draw(9, np.array([2])), torch.tensor([0]), last, 64)
    torch.testing.assert_close(single[0], together[-1], rtol=0, atol=0)


def test_threads_and_company_change_neither_the_pictures_nor_the_callers_setting() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = small(5, 2).read(np.arange(10))
        torch.set_num_threads(3)
        three = small(5, 2).read(np.arange(10))
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    np.testing.assert_array_equal(three, one)


def test_reading_on_renders_whole_batches_and_nothing_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    rendered: list[np.ndarray] = []
    original = faces.RenderedReader._rendered

    def count(self: faces.RenderedReader, rows: np.ndarray) -> np.ndarray:
        rendered.append(rows)
        return original(self, rows)

    monkeypatch.setattr(faces.RenderedReader, "_rendered", count)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    images = small(40, 6)  # eight identities fill three batches
    first = images.read(np.arange(54))
    assert [len(rows) for rows in rendered] == [16, 16]
    images.read(np.arange(54, 240))
    assert sorted(np.concatenate(rendered)) == list(range(40))
    alone = small(40, 6).read(np.array([3]))
    np.testing.assert_array_equal(alone[0], first[3])
    assert rendered[-1].tolist() == [0]


def test_a_neutral_head_is_the_same_alone_and_among_others() -> None:
    model, shape = head.load("cpu"), identity.draw(4, np.arange(11)).shape
    for morph in (model.points, model.landmarks):
        together = morph.people(shape)
        for number in range(11):
            torch.testing.assert_close(morph.people(shape[number : number + 1])[0], together[number], rtol=0, atol=0)


def test_landmarks_are_the_same_on_the_grids_of_both_sizes() -> None:
    small, large = (head.load("cpu", size_px).landmarks for size_px in faces.SIZES_PX)
    torch.testing.assert_close(small.template, large.template, rtol=0, atol=0)
    torch.testing.assert_close(small.basis, large.basis, rtol=0, atol=0)
    assert small.basis.abs().max() > 1


def test_skin_painted_alone_and_among_others_is_the_same() -> None:
    people = identity.draw(4, np.arange(9))
    together = texture.paint(people)
    for number in (0, 4, 8):
        alone = texture.paint(identity.draw(4, np.array([number])))
        torch.testing.assert_close(alone[0], together[number], rtol=0, atol=0)


def test_pictures_are_uint8_rgb_of_the_asked_size() -> None:
    for size_px in faces.SIZES_PX:
        images = small(1, 2, size_px).read(np.array([1]))
        assert images.shape == (1, size_px, size_px, 3)
        assert images.dtype == np.uint8


def test_pictures_are_neither_flat_nor_all_alike(pictures: np.ndarray) -> None:
    assert (pictures.reshape(12, -1).std(axis=1) > 8).all()
    flat = pictures.reshape(12, -1).astype(float)
    distance = np.abs(flat[:, None] - flat[None]).mean(-1)
    assert distance[~np.eye(12, dtype=bool)].min() > 5


def test_images_forgotten_for_memory_are_rendered_again_alike(
    pictures: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(faces, "KEPT_BYTES", 1)
    images = small()
    again = np.concatenate([images.read(np.array([index])) for index in (0, 5, 0)])
    np.testing.assert_array_equal(again, pictures[[0, 5, 0]])


def test_reader_survives_pickling(pictures: np.ndarray) -> None:
    reader = pickle.loads(pickle.dumps(small().read))
    np.testing.assert_array_equal(reader(np.array([7])), pictures[[7]])


def test_content_hash_follows_identities_conditions_size_and_seed() -> None:
    groups = protocols.training_groups(4)
    made = [
        small(),
        small(n_identities=4),
        small(n_images=5),
        small(size_px=112),
        faces.rendered("small", np.arange(3), groups, seed=4, size_px=64),
        faces.rendered(
            "small", np.arange(3), (faces.Group(conditions=protocols.FRONTAL, count=4),), seed=3, size_px=64
        ),
    ]
    assert len({images.content_hash for images in made}) == len(made)
    assert small().content_hash == made[0].content_hash


def test_counter_based_numbers_do_not_depend_on_what_else_is_drawn() -> None:
    identity_number, index = np.arange(50), np.arange(50) * 3
    whole = hashing.uniforms(1, "x", identity_number, index, 4)
    np.testing.assert_array_equal(hashing.uniforms(1, "x", identity_number[7:9], index[7:9], 4), whole[7:9])
    assert not np.allclose(hashing.uniforms(2, "x", identity_number, index, 4), whole)
    assert not np.allclose(hashing.uniforms(1, "y", identity_number, index, 4), whole)


def test_counter_based_numbers_are_uniform_and_normal() -> None:
    counters = np.arange(4000)
    uniform = hashing.uniforms(5, "u", counters, counters % 7, 5)
    assert abs(uniform.mean() - 0.5) < 0.01
    assert abs(uniform.var() - 1 / 12) < 0.002
    assert np.abs(np.corrcoef(uniform.T) - np.eye(5)).max() < 0.06
    normal = hashing.normals(5, "n", counters, counters % 7, 5, limit=9.0)
    assert abs(normal.mean()) < 0.03
    assert abs(normal.std() - 1) < 0.03


def test_an_identity_has_at_least_forty_coefficients_and_no_two_are_alike() -> None:
    people = identity.draw(1, np.arange(200))
    table = torch.cat([people.shape, torch.stack(list(people.appearance.values()), 1)], 1)
    assert identity.N_COEFFICIENTS >= 40
    assert table.shape[1] >= 40
    distance = torch.cdist(table, table) + 1e9 * torch.eye(len(table))
    assert distance.min() > 1


def test_nose_points_where_yaw_says() -> None:
    model = head.load("cpu")
    for yaw_deg in (-60.0, 60.0):
        marks = model.landmarks.template.view(3, -1)
        turned = render._rotation(torch.tensor([yaw_deg]), torch.zeros(1), torch.zeros(1)) @ marks
        tip_x = turned[0, 0, 2]
        assert torch.sign(tip_x) == np.sign(yaw_deg)


def test_rasteriser_shows_the_nearer_of_two_sheets() -> None:
    line = torch.linspace(6, 18, 20)
    x, y = (grid.expand(1, -1, -1) for grid in torch.meshgrid(line, line, indexing="xy"))
    two_x, two_y = torch.cat([x, x], 1), torch.cat([y, y], 1)
    depth = torch.cat([torch.full_like(x, 10.0), torch.full_like(x, 50.0)], 1)
    visible = torch.ones_like(two_x)
    visible[:, [0, 19, 20, 39]] = 0
    hits = raster.rasterise(two_x, two_y, depth, visible, torch.zeros(40, 20, dtype=torch.bool), 24)
    middle = (slice(None), slice(9, 15), slice(9, 15))
    assert hits.depth[middle].sub(50).abs().max() < 0.1
    expected = 20 + (torch.arange(24.0)[9:15] + 0.5 - 6) / 12 * 19
    torch.testing.assert_close(hits.row[0, 9:15, 11], expected, rtol=0, atol=1e-3)
    assert hits.coverage[0, 12, 12] == 1
    assert hits.coverage[0, 0, 0] == 0


def test_contact_sheet_is_a_png_with_a_row_per_nuisance(tmp_path: object) -> None:
    import cv2

    path = sheet.write(tmp_path / "demo.png", n_people=1)  # type: ignore[operator]
    picture = cv2.imread(str(path))
    assert picture.shape[1] == sheet.COLUMNS * 112
    assert picture.shape[0] == (2 + 1 + len(sheet._varied())) * 112


def test_demo_reads_its_size_from_the_argument() -> None:
    images = load("demo:5x3@64")
    assert (len(images), images.n_identities, images.size_px) == (15, 5, 64)
    assert load("demo:5x3").size_px == 112


@pytest.mark.parametrize("argument", ["x", "5", "1x5", "5x0", "5x3@99", "-5x3"])
def test_demo_explains_a_wrong_argument(argument: str) -> None:
    with pytest.raises(DatasetError, match="expected IDENTITIESxIMAGES"):
        demo.load(argument)
