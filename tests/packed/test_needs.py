"""What a graph needs is counted as the engine takes it, and too much of it is refused."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_networks import built, config_of, images_of

from bnas_face.errors import ArtifactError
from bnas_face.models import cost
from bnas_face.packed import artifact, graph, kernels, load, needs, pack
from bnas_face.packed.artifact import Artifact
from bnas_face.packed.graph import Bits, Graph, Operation
from bnas_face.packed.runtime import Prepared, words

KINDS = ("iresnet18-xnor-a1-block", "mobilefacenet-react-a1-convolution", "onebit-xnor-a1", "paper-pcnn-a32")


def ended(*operations: Operation, size_px: int = 4, side: int = 4, channels: int = 3) -> Graph:
    """Operations, then a linear layer that makes one number of the last one's map."""
    source = operations[-1].makes[0] if operations else 0
    weight = np.ones((1, side * side * channels), np.float32)
    end = Operation("linear", "end", [source], tensors={"weight": weight}, floats=99_999)
    return Graph(operations=[*operations, end], size_px=size_px, embedding_dim=1)


def check(found: Graph) -> None:
    """Everything that is checked when a file is opened."""
    artifact.check(Artifact(graph=found, preprocessing=pack.PREPROCESSING, provenance={}))


def refusal(found: Graph) -> str:
    """Why a graph is refused."""
    with pytest.raises(ArtifactError) as caught:
        check(found)
    return str(caught.value)


def convolution(kind: str, weight: Any, **settings: int) -> Operation:
    """A convolution of the image, without an epilogue."""
    found = {"stride": 1, "dilation": 1, "groups": 1} | ({"padding": 0} if kind == "convolution" else {}) | settings
    return Operation(kind, "large", [0], settings=found, tensors={"weight": weight}, floats=1)


def bits(*shape: int) -> Bits:
    return Bits(np.zeros(-(-int(np.prod(shape)) // 8), np.uint8), shape)


def test_values_that_live_at_once_are_added_up() -> None:
    sums = [Operation("elementwise", f"{number}", [number - 1], floats=number) for number in (1, 2, 3)]
    last = Operation("elementwise", "sum", [1, 3], floats=4)
    found = ended(*sums, last)
    image = 4 * 4 * 4 * 3
    # the image stays, 1 is read at the end, 2 goes when 3 is made
    assert needs.living_bytes(found, graph.check(found)) == 4 * image
    signs = Operation("signs", "signs", [0], tensors={"threshold": np.zeros(3, np.float32)}, bits=1)
    both = Graph(operations=[signs, *ended().operations], size_px=4, embedding_dim=1)
    assert needs.living_bytes(both, graph.check(both)) == image + 4 * 4 * 8, "a word a pixel, gone when nobody reads it"


@pytest.mark.parametrize("name", KINDS)
def test_a_network_holds_no_more_than_was_counted(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, peaks = tmp_path / "x.bnn", [0]
    lowered = pack.lower(built(name), config_of(name).size_px)
    artifact.write(path, Artifact(graph=lowered, preprocessing=pack.PREPROCESSING, provenance={}))
    network = load(path, threads=1)
    enter = Prepared.enter

    def watched(self: Prepared, values: dict[int, Any], observe: Any) -> None:
        before = sum(value.nbytes for value in values.values())
        enter(self, values, lambda _, *made: peaks.append(before + sum(one.nbytes for one in made if one is not None)))

    monkeypatch.setattr(Prepared, "enter", watched)
    network.run(network.normalised(images_of(name, 1)))
    shapes = graph.check(lowered)
    assert max(peaks) == needs.living_bytes(lowered, shapes) < needs.MOST_LIVING_BYTES / 20
    assert sum(needs.prepared(one, shapes[one.makes[0]]) for one in lowered.operations) < needs.MOST_PREPARED / 20
    assert sum(needs.steps(one, shapes) for one in lowered.operations) < needs.MOST_STEPS / 20
    assert network.part == (1 << 25) // max(peaks)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.skipif("avx2" not in kernels.available() and "neon" not in kernels.available(), reason="not compiled")
def test_prepared_weights_are_those_of_the_kernels(name: str) -> None:
    lowered = pack.lower(built(name), config_of(name).size_px)
    shapes = graph.check(lowered)
    for operation in lowered.operations:
        weight: Any = operation.tensors.get("weight")
        if weight is None or operation.kind == "linear":
            continue
        groups, made = operation.settings["groups"], shapes[operation.makes[0]]
        counted = needs.prepared(operation, made) - made.channels
        if isinstance(weight, Bits):
            prepare = kernels.prepare_binary if operation.kind == "binary_convolution" else kernels.prepare_signed
            tiles = prepare(words(weight), in_channels=weight.shape[3] * groups, groups=groups).tiles
            assert 8 * tiles.nbytes <= counted <= 64 * 16 * 8 * weight.octets.nbytes
        else:
            assert kernels.prepare_float(weight, groups=groups).tiles.size == counted


def test_steps_are_the_multiply_accumulates_and_no_fewer() -> None:
    name = "iresnet18-none-a32-convolution"
    model, size_px = built(name), config_of(name).size_px
    lowered = pack.lower(model, size_px)
    shapes = graph.check(lowered)
    counted = cost.operations(model, config_of(name))
    found = sum(needs.steps(one, shapes) for one in lowered.operations)
    assert 1 <= found / (counted["n_float_macs"] + counted["n_binary_macs"]) < 1.1


def kept_alive(n: int, size_px: int) -> Graph:
    """n copies of the image, all of which are read in the end."""
    copies = [Operation("elementwise", "copy", [0], floats=1 + at) for at in range(n)]
    sums = [Operation("elementwise", "sum", [1 + at, 1 + (at + 1) % n], floats=1 + n + at) for at in range(n)]
    return ended(*copies, *sums, size_px=size_px, side=size_px)


def pools(n: int, size_px: int, kernel: int) -> Sequence[Operation]:
    settings = {"kernel": kernel, "stride": 1, "padding": 0}
    return [Operation("max_pool", "pool", [at], settings=settings, floats=1 + at) for at in range(n)]


def test_what_no_machine_could_run_is_refused_when_it_is_opened() -> None:
    check(kept_alive(100, 64))
    needed = 1002 * 256 * 256 * 3 * 4
    assert refusal(kept_alive(1000, 256)) == f"it needs {needed} bytes for the values of an image; at most 268435456"
    narrow = ended(convolution("signed_convolution", bits(60_000, 1, 1, 3)), side=4, channels=60_000)
    check(narrow)
    several = [
        Operation("signed_convolution", f"{at}", [0], settings={"stride": 1, "dilation": 1, "groups": 3}, floats=1 + at)
        for at in range(3_000)
    ]
    for one in several:
        one.tensors["weight"] = bits(6, 5, 5, 1)
    assert "prepared weights; at most 134217728" in refusal(ended(*several, channels=6))
    assert "steps for an image; at most 274877906944" in refusal(ended(*pools(1, 512, 600), size_px=512, side=512))
    check(ended(*pools(1, 64, 60), size_px=64, side=64))


def test_windows_that_see_more_than_a_value_may_hold_are_refused() -> None:
    weight = bits(64, 63, 63, 3)
    wide = ended(convolution("signed_convolution", weight, dilation=16), size_px=2048, side=2048, channels=64)
    assert "makes 2048×2048×64 numbers" in refusal(wide)
    deep = ended(convolution("signed_convolution", weight, dilation=16, stride=8), size_px=2048, side=256, channels=64)
    assert "sees 3040×3040×3 numbers with its padding; at most 16777216" in refusal(deep)
