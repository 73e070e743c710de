"""The colours of the models stay apart for readers who see fewer of them."""

from __future__ import annotations

import itertools
import re
from importlib import resources

import numpy as np
import pytest

# Machado, Oliveira & Fernandes, "A physiologically-based model for simulation of color vision deficiency", IEEE TVCG 15
# (2009): severity 1.0, applied to linear RGB.
VISION = {
    "full": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
WELL_APART = 15.0  # CIE76; 2.3 is a just noticeable difference


def _lab(color: str, vision: str) -> np.ndarray:
    srgb = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    xyz = XYZ @ np.clip(np.asarray(VISION[vision]) @ linear, 0, 1) / (XYZ @ np.ones(3))
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("vision", VISION)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_of_bits_can_be_told_apart(vision: str, scheme: str) -> None:
    style = (resources.files("bnas_face.report") / "templates" / "report.css").read_text()
    light, dark = re.findall(r":root \{(.*?)\}", style, flags=re.S)[:2]
    found = dict(re.findall(r"--(fp|w1a32|w1a1|other): (#[0-9a-f]{6})", light if scheme == "light" else dark))
    assert len(found) == 4
    for (first, a), (second, b) in itertools.combinations(found.items(), 2):
        distance = float(np.linalg.norm(_lab(a, vision) - _lab(b, vision)))
        assert distance > WELL_APART, (first, second, distance)
