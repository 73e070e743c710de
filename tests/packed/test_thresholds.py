"""The float32 at which a sign turns: exact for every float32, whatever gain, offset and shift."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from bnas_face.packed import thresholds
from bnas_face.packed.kernels import fallback

ENDS = [0.0, -0.0, 1e-45, -1e-45, 1.17549435e-38, -1.17549435e-38, 3.4028235e38, -3.4028235e38]


def norm_of(gain: list[float], bias: list[float], mean: list[float], variance: list[float]) -> nn.BatchNorm2d:
    """A batch norm in evaluation mode."""
    norm = nn.BatchNorm2d(len(gain)).eval()
    with torch.no_grad():
        for tensor, values in (
            (norm.weight, gain),
            (norm.bias, bias),
            (norm.running_mean, mean),
            (norm.running_var, variance),
        ):
            tensor.copy_(torch.tensor(values))  # type: ignore[union-attr]
    return norm


def around(values: np.ndarray, n: int = 40) -> np.ndarray:
    """The `n` float32 on either side of each value, (2 n + 1, …)."""
    found = [values]
    for direction in (-np.inf, np.inf):
        at = values
        for _ in range(n):
            at = np.nextafter(at, np.float32(direction), dtype=np.float32)
            found.append(at)
    return np.stack(found)


def disagreements(norm: nn.BatchNorm2d, shift: torch.Tensor, probes: np.ndarray) -> int:
    """How many of `probes` (m, c) have another sign by the threshold than by the layers."""

    def negative(values: torch.Tensor) -> torch.Tensor:
        return norm(values) - shift[None, :, None, None] < 0

    turn, flip = thresholds.threshold(negative, probes.shape[1])
    values = np.ascontiguousarray(probes, np.float32).reshape(len(probes), 1, 1, -1)
    with torch.inference_mode():
        expected = negative(torch.from_numpy(values).permute(0, 3, 1, 2)).permute(0, 2, 3, 1).numpy()
    bits = fallback.pack_signs(values, turn, flip)
    return int(((fallback.unpack(bits, probes.shape[1]) < 0) != expected).sum())


NUMBER = st.floats(-1e6, 1e6, width=32)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(NUMBER, NUMBER, NUMBER, st.floats(0, 1e6, width=32), NUMBER), min_size=1, max_size=5),
    st.integers(0, 99),
)
def test_the_comparison_equals_norm_and_sign_near_the_turn_and_at_the_ends(
    channels: list[tuple[float, ...]], seed: int
) -> None:
    gain, bias, mean, variance, shift = (list(values) for values in zip(*channels, strict=True))
    norm = norm_of(gain, bias, mean, variance)
    with torch.no_grad():
        algebraic = (
            norm.running_mean - (norm.bias - torch.tensor(shift)) * (norm.running_var + norm.eps).sqrt() / norm.weight
        )  # type: ignore[operator]
    near = around(np.nan_to_num(algebraic.numpy(), nan=0, posinf=1e38, neginf=-1e38).astype(np.float32))
    anywhere = thresholds.of_keys(np.random.default_rng(seed).integers(-0x7F7FFFFF, 0x7F800000, (500, len(gain))))
    ends = np.repeat(np.array(ENDS, np.float32)[:, None], len(gain), axis=1)
    probes = np.concatenate([near, anywhere, ends])
    assert disagreements(norm, torch.tensor(shift), probes) == 0


def test_the_algebraic_threshold_would_be_wrong_somewhere() -> None:
    """Else the search would be for nothing."""
    generator = torch.Generator().manual_seed(0)
    norm = norm_of(*(torch.rand(4, 4096, generator=generator) + 0.1).tolist())

    def negative(values: torch.Tensor) -> torch.Tensor:
        return norm(values) < 0

    found, _ = thresholds.threshold(negative, 4096)
    with torch.no_grad():
        algebraic = norm.running_mean - norm.bias * (norm.running_var + norm.eps).sqrt() / norm.weight  # type: ignore[operator]
    assert (found != algebraic.numpy()).any()
    np.testing.assert_allclose(found, algebraic.numpy(), rtol=1e-3, atol=1e-5)


def test_a_gain_of_zero_is_a_constant_sign_and_a_negative_one_turns_the_comparison() -> None:
    norm = norm_of([0.0, 0.0, 1.0, -1.0], [1.0, -1.0, 0.5, 0.5], [0, 0, 0, 0], [1, 1, 1, 1])
    turn, flip = thresholds.threshold(lambda values: norm(values) < 0, 4)
    assert turn[:2].tolist() == [-np.inf, np.inf]
    assert flip.tolist() == [0, 0, 0, 1]
    np.testing.assert_allclose(turn[2:], [-0.5, 0.5], rtol=1e-4)


def test_keys_number_the_floats_in_order() -> None:
    keys = np.array([-0x7F800000, -0x7F7FFFFF, -1, 0, 1, 0x7F7FFFFF, 0x7F800000])
    values = thresholds.of_keys(keys)
    assert (np.diff(values) > 0).all()
    assert values[[0, -1]].tolist() == [-np.inf, np.inf]
    assert values[[2, 4]].tolist() == [np.nextafter(np.float32(0), np.float32(side)) for side in (-1, 1)]


@pytest.mark.parametrize(
    ("signs", "turn", "flip"),
    [
        ("-----", thresholds.ALWAYS, 0),
        ("+++++", thresholds.NEVER, 0),
        ("--+++", 0, 0),
        ("++---", -1, 1),
        ("----+", 2, 0),
        ("+----", -2, 1),
    ],
)
def test_integer_thresholds_by_hand(signs: str, turn: int, flip: int) -> None:
    negative = np.array([[sign == "-" for sign in signs]])
    found = thresholds.integer_threshold(negative, -2)
    assert found is not None
    assert (found[0].tolist(), found[1].tolist()) == ([turn], [flip])
    sums = np.arange(-2, 3)
    np.testing.assert_array_equal(sums > turn if flip else sums < turn, negative[0])


def test_a_sign_that_turns_twice_has_no_integer_threshold() -> None:
    assert thresholds.integer_threshold(np.array([[True, False, True]]), -1) is None
