"""Every compiled implementation that runs here does what the numpy definition does."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from bnas_face.errors import ConfigError
from bnas_face.packed import kernels
from bnas_face.packed.kernels import Epilogue, fallback

IMPLEMENTATIONS = [name for name in kernels.available() if name != "numpy"]
compiled = pytest.mark.parametrize("name", IMPLEMENTATIONS or ["none"])
many = settings(max_examples=60, deadline=None, derandomize=True)


@pytest.fixture(autouse=True)
def needs_compiled(request: pytest.FixtureRequest) -> None:
    if "name" in request.fixturenames and not IMPLEMENTATIONS:
        pytest.skip("the kernels are not compiled here")


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One convolution; sizes are drawn around the widths of words and blocks."""

    n: int
    height: int
    width: int
    inputs: int
    outputs: int
    groups: int
    kernel: int
    stride: int
    dilation: int
    threads: int
    seed: int


@st.composite
def layers(draw: st.DrawFn) -> Layer:
    groups = draw(st.sampled_from([1, 1, 1, 2, 3, 8]))
    inside = draw(st.sampled_from([1, 3, 16, 20, 63, 64, 65, 128, 160]))
    outside = draw(st.sampled_from([1, 7, 16, 17, 24, 64, 70]))
    if draw(st.integers(0, 4)) == 0:
        groups, inside, outside = draw(st.sampled_from([2, 16, 37, 64, 96, 200])), 1, 1
    return Layer(
        n=draw(st.integers(1, 3)),
        height=draw(st.integers(1, 12)),
        width=draw(st.integers(1, 17)),
        inputs=groups * inside,
        outputs=groups * outside,
        groups=groups,
        kernel=draw(st.sampled_from([1, 3, 3, 5])),
        stride=draw(st.sampled_from([1, 1, 2, 3])),
        dilation=draw(st.sampled_from([1, 1, 2])),
        threads=draw(st.sampled_from([1, 2, 3])),
        seed=draw(st.integers(0, 2**32 - 1)),
    )


def small(rng: np.random.Generator, *shape: int) -> NDArray[np.float32]:
    """Quarters from −2 to 2: every sum of products of few of them is exact in float32, in whatever order."""
    return (rng.integers(-8, 9, shape) / 4).astype(np.float32)


def signs(rng: np.random.Generator, *shape: int) -> NDArray[np.uint64]:
    return fallback.pack(rng.integers(0, 2, shape) == 1)


def epilogue_of(rng: np.random.Generator, out: int, kind: int, source: int | None) -> Epilogue:
    """Of the 24 kinds: activation, floats and/or bits, an integer threshold, gain and offset of the shortcut."""
    active, outputs, gained = kind % 2, kind // 2 % 4, kind // 8
    result = Epilogue(scale=small(rng, out), bias=small(rng, out))
    flip = rng.integers(0, 2, out).astype(np.uint8)
    if active:
        result = replace(result, before=small(rng, out), slope=small(rng, out), after=small(rng, out))
    if outputs:
        threshold = small(rng, out)
        threshold[rng.integers(0, out)] = rng.choice([-np.inf, np.inf])
        result = replace(result, threshold=threshold, flip=flip, keep_floats=outputs != 1)
    if outputs == 3 and source is None:
        limits = rng.integers(-9, 10, out).astype(np.int32)
        limits[rng.integers(0, out)] = rng.choice([-(2**31), 2**31 - 1])
        result = replace(result, threshold=None, integer_threshold=limits, keep_floats=False)
    if kind % 5 < 2:
        result = replace(result, magnitude=small(rng, out))
    if gained and source is not None:
        result = replace(result, shortcut_gain=small(rng, source), shortcut_offset=small(rng, source))
    return result


def source_of(rng: np.random.Generator, layer: Layer, kind: int) -> NDArray[np.float32] | None:
    """No shortcut, one of the input's size, or one of the output's; as many channels, twice as many, or half."""
    if kind == 0:
        return None
    strided = kind % 2 == 1
    height, width = (side if strided else -(-side // layer.stride) for side in (layer.height, layer.width))
    channels = (layer.outputs, layer.outputs * 2, -(-layer.outputs // 2), 16)[kind // 2 % 4]
    return small(rng, layer.n, height, width, channels)


def same(found: Any, expected: Any, *, exact: bool = True) -> None:
    for one, other in zip(found, expected, strict=True):
        assert (one is None) == (other is None)
        if one is None:
            continue
        assert one.dtype == other.dtype
        if exact:
            np.testing.assert_array_equal(one, other)
        else:
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


@compiled
@many
@given(layer=layers(), kind=st.integers(0, 15), source_kind=st.integers(0, 8))
def test_a_binary_convolution_is_exact(name: str, layer: Layer, kind: int, source_kind: int) -> None:
    rng = np.random.default_rng(layer.seed)
    one = kernels.available()[name]
    bits = signs(rng, layer.n, layer.height, layer.width, layer.inputs)
    weight = signs(rng, layer.outputs, layer.kernel, layer.kernel, layer.inputs // layer.groups)
    source = source_of(rng, layer, source_kind)
    epilogue = epilogue_of(rng, layer.outputs, kind, None if source is None else source.shape[3])
    settings_ = {"in_channels": layer.inputs, "groups": layer.groups}
    options: dict[str, Any] = {
        **settings_,
        "stride": layer.stride,
        "dilation": layer.dilation,
        "epilogue": epilogue,
        "shortcut": source,
        "threads": layer.threads,
    }
    expected = fallback.binary_convolution(bits, fallback.prepare_binary(weight, **settings_), **options)
    found = one.binary_convolution(bits, one.prepare_binary(weight, **settings_), **options)
    same(found, expected, exact=source is None or (source.shape[3] & (source.shape[3] - 1)) == 0)


@compiled
@many
@given(layer=layers(), kind=st.integers(0, 15), is_signed=st.booleans())
def test_a_convolution_of_floats_is_exact_where_its_numbers_are(
    name: str, layer: Layer, kind: int, is_signed: bool
) -> None:
    rng = np.random.default_rng(layer.seed)
    one = kernels.available()[name]
    values = small(rng, layer.n, layer.height, layer.width, layer.inputs)
    epilogue = epilogue_of(rng, layer.outputs, kind % 6, None)
    options: dict[str, Any] = {
        "groups": layer.groups,
        "stride": layer.stride,
        "dilation": layer.dilation,
        "epilogue": epilogue,
        "threads": layer.threads,
    }
    shape = (layer.outputs, layer.kernel, layer.kernel, layer.inputs // layer.groups)
    if is_signed:
        weight = signs(rng, *shape)
        about = {"in_channels": layer.inputs, "groups": layer.groups}
        expected = fallback.signed_convolution(values, fallback.prepare_signed(weight, **about), **options)
        found = one.signed_convolution(values, one.prepare_signed(weight, **about), **options)
    else:
        floats = small(rng, *shape)
        padding = (None, 0, 1)[kind % 3] if min(layer.height, layer.width) > 9 else None
        options["padding"] = padding
        ready = {"groups": layer.groups, "exact": kind % 3 == 0}
        expected = fallback.convolution(values, fallback.prepare_float(floats, **ready), **options)
        found = one.convolution(values, one.prepare_float(floats, **ready), **options)
    same(found, expected)


@compiled
@many
@given(
    n=st.integers(0, 3),
    c=st.integers(1, 200),
    kernel=st.integers(1, 5),
    stride=st.integers(1, 4),
    kind=st.integers(0, 5),
    seed=st.integers(0, 2**32 - 1),
)
def test_pools_sums_and_signs_are_those_of_the_definition(
    name: str, n: int, c: int, kernel: int, stride: int, kind: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    one = kernels.available()[name]
    values = [small(rng, n, *rng.integers(1, 9, 2), c)]
    values += [small(rng, *values[0].shape) for _ in range(kind % 3)]
    epilogue, threads = epilogue_of(rng, c, kind, None), 1 + kind % 2
    window = {"kernel": kernel, "stride": stride, "padding": int(rng.integers(0, kernel)), "threads": threads}
    same(
        one.max_pool(values[0], epilogue=epilogue, **window), fallback.max_pool(values[0], epilogue=epilogue, **window)
    )
    plain = replace(epilogue, threshold=None, keep_floats=True)
    found = one.average_pool(values[0], epilogue=plain, **window)
    same(found, fallback.average_pool(values[0], epilogue=plain, **window), exact=False)
    same(one.elementwise(values, epilogue=epilogue, threads=threads), fallback.elementwise(values, epilogue=epilogue))
    threshold, flip = small(rng, c), rng.integers(0, 2, c).astype(np.uint8)
    values[0][rng.random(values[0].shape) < 0.1] = rng.choice([np.nan, -0.0, np.inf])
    found = one.pack_signs(values[0], threshold, flip, threads=threads)
    np.testing.assert_array_equal(found, fallback.pack_signs(values[0], threshold, flip))


@compiled
@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int8])
@pytest.mark.parametrize(("n", "k", "out"), [(1, 7, 5), (4, 513, 64), (7, 128, 33), (0, 16, 16)])
def test_a_linear_layer_is_exact_where_its_numbers_are(name: str, dtype: type, n: int, k: int, out: int) -> None:
    rng = np.random.default_rng(k)
    one = kernels.available()[name]
    weight = small(rng, out, k).astype(dtype)
    weight[0] = 0
    ends = [-128, 127, -1, 1, 0] if dtype is np.int8 else [0, 2**-14, -(2**-24), 3 * 2**-20, 2**-15]
    weight[0, :5] = np.array(ends, dtype)  # subnormal halves, too
    values, scale, bias = small(rng, n, k), small(rng, out), small(rng, out)
    expected = fallback.linear(values, fallback.prepare_linear(weight), scale, bias)
    for threads in (1, 2):
        found = one.linear(values, one.prepare_linear(weight), scale, bias, threads=threads)
        np.testing.assert_array_equal(found, expected)


@compiled
@pytest.mark.parametrize(("size", "c"), [(56, 64), (14, 256), (7, 512)])
def test_results_do_not_depend_on_the_number_of_threads(name: str, size: int, c: int) -> None:
    rng = np.random.default_rng(c)
    one = kernels.available()[name]
    bits, weight = signs(rng, 2, size, size, c), signs(rng, c, 3, 3, c)
    prepared = one.prepare_binary(weight, in_channels=c, groups=1)
    ones = np.ones(c, np.float32)
    epilogue = Epilogue(scale=ones, bias=ones, threshold=0 * ones, flip=np.zeros(c, np.uint8))
    found = [
        one.binary_convolution(bits, prepared, in_channels=c, epilogue=epilogue, threads=threads)
        for threads in (1, 2, 3, 5)
    ]
    for other in found[1:]:
        same(other, found[0])


@pytest.mark.skipif(not IMPLEMENTATIONS, reason="the kernels are not compiled here")
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="the system does not tell how many threads there are")
def test_threads_that_have_to_be_woken_are_begun_where_that_is_worth_it() -> None:
    code = """
import os
import numpy as np
from bnas_face.packed import kernels
zeros, flip = np.zeros(64, np.float32), np.zeros(64, np.uint8)
for side in (8, 64, 256, 512):
    kernels.pack_signs(np.zeros((1, side, side, 64), np.float32), zeros, flip, threads=3)
    print(len(os.listdir("/proc/self/task")) - 1, end=" ")
"""
    env = {"OMP_WAIT_POLICY": "passive", "OMP_NUM_THREADS": "1", "OMP_DYNAMIC": "false", "OPENBLAS_NUM_THREADS": "1"}
    env |= {"BNASFACE_KERNELS": IMPLEMENTATIONS[0]}
    found = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | env, capture_output=True, text=True, check=True
    )
    small, _, large, largest = map(int, found.stdout.split())
    assert small == 0 and largest == 2 and large in (1, 2)


def test_a_missing_implementation_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BNASFACE_KERNELS", "avx3")
    kernels._chosen.cache_clear()
    with pytest.raises(ConfigError, match=r"^BNASFACE_KERNELS 'avx3' cannot run here: expected one of .*numpy\.$"):
        kernels.implementation()
    kernels._chosen.cache_clear()


@pytest.mark.parametrize("forced", kernels.available())
def test_the_environment_forces_an_implementation(forced: str) -> None:
    code = "from bnas_face.packed import kernels; print(kernels.implementation())"
    env = {**os.environ, "BNASFACE_KERNELS": forced}
    found = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == forced


def test_without_the_extension_numpy_runs_and_says_so() -> None:
    code = (
        "import sys, warnings; sys.modules['bnas_face.packed.kernels._kernels'] = None\n"
        "from bnas_face.packed import kernels\n"
        "with warnings.catch_warnings(record=True) as found:\n"
        "    warnings.simplefilter('always')\n"
        "    print(kernels.implementation(), kernels.implementation(), [str(each.message)[:40] for each in found])"
    )
    env = {key: value for key, value in os.environ.items() if key != "BNASFACE_KERNELS"}
    found = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "numpy numpy ['The kernels of the packed engine are not']"


@pytest.mark.skipif(not IMPLEMENTATIONS, reason="the kernels are not compiled here")
def test_memory_is_used_again_but_never_while_an_array_lives() -> None:
    from bnas_face.packed.kernels import compiled as module

    rng = np.random.default_rng(0)
    alive: list[tuple[int, NDArray[Any]]] = []
    addresses = set()
    for number in range(600):
        if len(alive) > 8 or (alive and rng.random() < 0.4):
            alive.pop(int(rng.integers(len(alive))))
        array = module._empty((int(rng.integers(1, 40)), 100, 25), np.float32, 4)
        array[:] = number
        alive.append((number, array[::2] if number % 3 else array))  # a view keeps its memory, too
        addresses.add(array.ctypes.data)
        assert array.ctypes.data % 64 == 0 or array.nbytes < module._SMALL_BYTES
        assert all((each == own).all() for own, each in alive)
    assert len(addresses) < 400


@compiled
def test_counters_hold_sums_in_which_every_bit_counts(name: str) -> None:
    """Bytes of eight bits each are added up; none of them may overflow before they are summed."""
    one, c = kernels.available()[name], 640
    bits = np.zeros((1, 6, 7, c // 64), np.uint64)
    weight = np.full((17, 5, 5, c // 64), 2**64 - 1, np.uint64)
    epilogue = Epilogue(scale=np.ones(17, np.float32), bias=np.zeros(17, np.float32))
    prepared = one.prepare_binary(weight, in_channels=c, groups=1)
    found, _ = one.binary_convolution(bits, prepared, in_channels=c, epilogue=epilogue)
    assert found[0, 3, 3].tolist() == [-25 * c] * 17
    assert found[0, 0, 0].tolist() == [-9 * c] * 17
