"""Every compiled implementation that runs here does what the numpy definition does."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
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


def same(found: Any, expected: Any) -> None:
    for one, other in zip(found, expected, strict=True):
        assert (one is None) == (other is None)
        if one is None:
            continue
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


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
    same(found, expected)


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
    found = one.average_pool(values[0], epilogue=epilogue, **window)
    same(found, fallback.average_pool(values[0], epilogue=epilogue, **window))
    same(one.elementwise(values, epilogue=epilogue, threads=threads), fallback.elementwise(values, epilogue=epilogue))
    threshold, flip = small(rng, c), rng.integers(0, 2, c).astype(np.uint8)
    values[0][rng.random(values[0].shape) < 0.1] = rng.choice([np.nan, -0.0, np.inf])
    found = one.pack_signs(values[0], threshold, flip, threads=threads)
    np.testing.assert_array_equal(found, fallback.pack_signs(values[0], threshold, flip))
    plain = Epilogue(scale=np.ones(c, np.float32), bias=np.zeros(c, np.float32))
    same(one.max_pool(values[0], epilogue=plain, **window), fallback.max_pool(values[0], epilogue=plain, **window))
    values = [each[..., : 1 + int(rng.integers(0, c))] for each in values]
    np.testing.assert_array_equal(one.concatenate(values), fallback.concatenate(values))


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


def large_calls(rng: np.random.Generator) -> dict[str, Callable[[Any, int], Any]]:
    """Every operation by its name, with enough to do for three threads; takes an implementation and threads."""
    bits, weight = signs(rng, 2, 40, 40, 128), signs(rng, 192, 3, 3, 128)
    depthwise, narrow = signs(rng, 128, 3, 3, 1), signs(rng, 128, 3, 3, 64)
    few, filters = small(rng, 2, 40, 40, 48), small(rng, 80, 3, 3, 48)
    one_pixel, wide = signs(rng, 1, 3, 3, 512), signs(rng, 1024, 3, 3, 512)  # parts of the channels
    deep, many_filters = small(rng, 1, 5, 5, 200), small(rng, 640, 3, 3, 200)
    maps = [small(rng, 2, 96, 96, 70) for _ in range(2)]
    rows, matrix, halves = small(rng, 5, 2000), small(rng, 700, 2000), small(rng, 700)
    epilogues = {c: epilogue_of(rng, c, 5, None) for c in (48, 70, 80, 128, 192, 640, 1024)}
    threshold, flip = small(rng, 70), rng.integers(0, 2, 70).astype(np.uint8)

    def binary(one: Any, values: Any, weight: Any, threads: int, groups: int = 1) -> Any:
        about = {"in_channels": weight.shape[3] * 64 * groups if groups != 128 else 128, "groups": groups}
        ready = one.prepare_binary(weight, **about)
        return one.binary_convolution(values, ready, **about, epilogue=epilogues[len(weight)], threads=threads)

    def floats(one: Any, values: Any, weight: Any, threads: int, exact: bool) -> Any:
        ready = one.prepare_float(weight, groups=1, exact=exact)
        return one.convolution(values, ready, epilogue=epilogues[len(weight)], threads=threads)

    def signed(one: Any, threads: int) -> Any:
        ready = one.prepare_signed(narrow, in_channels=48, groups=1)
        return one.signed_convolution(few, ready, epilogue=epilogues[128], threads=threads)

    window = {"kernel": 3, "stride": 1, "padding": 1, "epilogue": epilogues[70]}
    return {
        "binary": lambda one, threads: binary(one, bits, weight, threads),
        "depthwise": lambda one, threads: binary(one, bits, depthwise, threads, groups=128),
        "two groups": lambda one, threads: binary(one, bits, narrow, threads, groups=2),
        "parts of bits": lambda one, threads: binary(one, one_pixel, wide, threads),
        "floats": lambda one, threads: floats(one, few, filters, threads, False),
        "exact": lambda one, threads: floats(one, few, filters, threads, True),
        "parts of floats": lambda one, threads: floats(one, deep, many_filters, threads, False),
        "signed": signed,
        "pack": lambda one, threads: (one.pack_signs(maps[0], threshold, flip, threads=threads),),
        "max pool": lambda one, threads: one.max_pool(maps[0], **window, threads=threads),
        "average pool": lambda one, threads: one.average_pool(maps[0], **window, threads=threads),
        "sum": lambda one, threads: one.elementwise(maps, epilogue=epilogues[70], threads=threads),
        "linear": lambda one, threads: (one.linear(rows, one.prepare_linear(matrix), halves, halves, threads=threads),),
    }


@compiled
def test_results_do_not_depend_on_the_number_of_threads(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)  # threads are taken for less
    one = kernels.available()[name]
    for what, call in large_calls(np.random.default_rng(1)).items():
        expected = call(fallback, 1)
        assert sum(each.size for each in expected if each is not None) > 3000, what
        for threads in (1, 2, 3):
            same(call(one, threads), expected)


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


@pytest.mark.skipif(not IMPLEMENTATIONS, reason="the kernels are not compiled here")
@pytest.mark.parametrize("kind", [-1, 2])
def test_a_kind_of_pool_that_does_not_exist_is_refused(kind: int) -> None:
    from bnas_face.packed.kernels import _kernels

    ones, values = np.ones(3, np.float32), np.ones((1, 4, 4, 3), np.float32)
    arrays = (ones, ones, *[None] * 9)
    sizes = (1, 4, 4, 3, 3, 2, 1, 1, 0, 1)
    _kernels.pool(next(iter(_kernels.implementations().values())), 1, 1, sizes, values, arrays, values.copy(), None)
    with pytest.raises(ValueError, match=f"Kind {kind}: expected 0 to 1"):
        _kernels.pool(3, 1, kind, sizes, values, arrays, values.copy(), None)
