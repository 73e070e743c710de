"""Random changes of one image: what they do, within what bounds, and that they depend on the generator alone."""

from __future__ import annotations

import numpy as np
import pytest

from bnas_face.data.augment import Augmenter, coarse, tinted
from bnas_face.errors import ConfigError

STRONG = Augmenter(
    rotate_deg=15, zoom=0.2, squeeze=0.3, colour_share=1.0, low_resolution_share=1.0, occlusion_share=1.0
)


@pytest.fixture
def face() -> np.ndarray:
    rows, columns = np.mgrid[0:64, 0:64]
    return np.stack([rows * 4, columns * 4, (rows + columns) * 2], axis=2).astype(np.uint8)


def test_nothing_asked_for_changes_nothing(face: np.ndarray) -> None:
    assert not Augmenter().changes
    np.testing.assert_array_equal(Augmenter()(face, np.random.default_rng(0)), face)


def test_the_generator_alone_decides(face: np.ndarray) -> None:
    before = face.copy()
    first, again = (STRONG(face, np.random.default_rng((7, 1, 2))) for _ in range(2))
    other = STRONG(face, np.random.default_rng((7, 1, 3)))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    np.testing.assert_array_equal(face, before)
    assert first.shape == face.shape and first.dtype == np.uint8


def test_a_squeezed_image_is_narrower_about_its_centre() -> None:
    image = np.zeros((64, 64, 3), np.uint8)
    image[:, 16:48] = 255  # 32 px wide, in the middle
    widths = [int((Augmenter(squeeze=0.5)(image, np.random.default_rng(i))[32, :, 0] > 127).sum()) for i in range(200)]
    assert 15 <= min(widths) <= 18 and 30 <= max(widths) <= 32
    heights = Augmenter(squeeze=0.5)(image, np.random.default_rng(0))[:, 32, 0] > 127
    assert heights.all()


def test_a_half_turn_turns_the_image_upside_down(face: np.ndarray) -> None:
    class Half:
        def uniform(self, low: float, high: float) -> float:
            return high

        def random(self) -> float:
            return 0.9

    turned = Augmenter(rotate_deg=180)(face, Half())  # type: ignore[arg-type]
    assert np.abs(turned.astype(int) - face[::-1, ::-1]).max() <= 2  # bilinear at pixel centres


def test_zoom_enlarges_and_reduces_alike() -> None:
    image = np.zeros((101, 101, 3), np.uint8)
    image[30:71, 30:71] = 255
    sides = [int((Augmenter(zoom=0.5)(image, np.random.default_rng(i))[50, :, 0] > 127).sum()) for i in range(200)]
    assert min(sides) == pytest.approx(41 / 1.5, abs=2) and max(sides) == pytest.approx(41 * 1.5, abs=2)
    assert np.median(sides) == pytest.approx(41, abs=3)


def test_low_resolution_keeps_the_mean_and_loses_the_detail() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    blurred = coarse(noise, 0.25)
    assert blurred.mean() == pytest.approx(noise.mean(), abs=2)
    assert blurred.std() < 0.4 * noise.std()
    np.testing.assert_array_equal(coarse(noise, 1.0), noise)


def test_colour_follows_its_formula(face: np.ndarray) -> None:
    np.testing.assert_array_equal(tinted(face, 1, 1, 1), face)
    grey = tinted(face, 1, 1, 0)
    luma = face.astype(float) @ [0.299, 0.587, 0.114]
    assert np.abs(grey - luma[..., None]).max() <= 1
    assert np.abs(tinted(face, 0.5, 1, 1) - face / 2).max() <= 1
    flat = tinted(face, 1, 0, 1)
    assert np.abs(flat - luma.mean()).max() <= 1


def test_an_occlusion_covers_its_share_with_one_colour() -> None:
    image = np.full((112, 112, 3), 7, np.uint8)
    for seed in range(100):
        covered = Augmenter(occlusion_share=1)(image, np.random.default_rng(seed))
        changed = (covered != image).any(axis=2)
        colours = np.unique(covered[changed], axis=0)
        assert len(colours) == 1
        assert 0.03 <= changed.mean() <= 0.27


def test_shares_are_shares(face: np.ndarray) -> None:
    rare = Augmenter(occlusion_share=0.2)
    changed = sum((rare(face, np.random.default_rng((0, i))) != face).any() for i in range(500))
    assert 70 <= changed <= 130


def test_a_value_out_of_range_is_named() -> None:
    with pytest.raises(ConfigError, match=r"'occlusion_share' is 1\.5; expected 0 to 1"):
        Augmenter(occlusion_share=1.5)
    with pytest.raises(ConfigError, match="'zoom' is -1"):
        Augmenter(zoom=-1)
