"""The packed file: what is written is read in place, and whatever is wrong is one line."""

from __future__ import annotations

import functools
import json
import os
import re
import subprocess
import sys
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import fuzz_artifact
import numpy as np
import pytest
import random_graphs
from small_networks import built, config_of, images_of

from bnas_face.errors import ArtifactError, ConfigError
from bnas_face.packed import artifact, load, pack
from bnas_face.packed import graph as graphs
from bnas_face.packed.artifact import Artifact
from bnas_face.packed.graph import Bits, Graph, Operation, check

NAME = "onebit-xnor-a1"


@pytest.fixture(scope="module")
def sound() -> bytes:
    """A packed model."""
    graph = pack.lower(built(NAME), config_of(NAME).size_px)
    return artifact.encode(Artifact(graph=graph, preprocessing=pack.PREPROCESSING, provenance={"run": "mine"}))


@pytest.fixture
def path(tmp_path: Path, sound: bytes) -> Path:
    """Its file."""
    (tmp_path / "model.bnn").write_bytes(sound)
    return tmp_path / "model.bnn"


def edited(content: bytes, edit: Callable[[dict[str, Any]], None]) -> bytes:
    """The file with another header and the right checksum."""
    end = artifact.START + artifact.PREFIX.unpack(content[: artifact.PREFIX.size])[2]
    header = json.loads(zlib.decompress(content[artifact.START : end]))
    edit(header)
    return artifact.assemble(json.dumps(header).encode(), content[end + -end % artifact.ALIGNMENT :])


def refusal(path: Path, content: bytes) -> str:
    """The one line that refuses `content`, without what every such line begins and ends with."""
    path.write_bytes(content)
    with pytest.raises(ArtifactError) as caught:
        load(path)
    text = str(caught.value)
    assert text.isprintable()
    return text.removeprefix(f"'{path}' is no packed model that can be run: ").removesuffix(". Export it again.")


def test_what_is_written_is_read(path: Path, sound: bytes) -> None:
    found = artifact.read(path)
    assert artifact.encode(found) == sound
    assert found.provenance == {"run": "mine"}


def test_tensors_are_aligned_read_only_and_in_the_file(path: Path) -> None:
    for operation in artifact.read(path).graph.operations:
        for tensor in operation.tensors.values():
            array = tensor.octets if isinstance(tensor, Bits) else tensor
            assert array.ctypes.data % artifact.ALIGNMENT == 0
            assert not array.flags.writeable and not array.flags.owndata


def test_1_bit_weights_take_one_bit_each(path: Path) -> None:
    tensors = [one.tensors["weight"] for one in artifact.read(path).graph.operations if "weight" in one.tensors]
    packed = [tensor for tensor in tensors if isinstance(tensor, Bits)]
    assert len(packed) > 20
    for tensor in packed:
        assert tensor.octets.nbytes == -(-int(np.prod(tensor.shape)) // 8)


def test_a_file_that_the_loader_would_refuse_is_not_written(tmp_path: Path) -> None:
    graph = pack.lower(built(NAME), config_of(NAME).size_px)
    graph.operations[0].tensors["weight"] = graph.operations[0].tensors["weight"] * np.float32("nan")  # type: ignore[operator]
    with pytest.raises(
        ArtifactError,
        match=r"^The packed model was not written: 'weight' of 'stem.first.0' has \d+ numbers that are not finite\. "
        r"Please report it\.$",
    ):
        artifact.write(tmp_path / "x.bnn", Artifact(graph=graph, preprocessing=pack.PREPROCESSING, provenance={}))
    assert list(tmp_path.iterdir()) == []


def test_a_header_that_the_loader_would_refuse_is_not_written(tmp_path: Path, sound: bytes) -> None:
    found = replace(artifact.decode(memoryview(sound)), provenance={"names": ["x" * 100] * 25_000})
    with pytest.raises(ArtifactError, match=r"not written: its header has \d+ bytes; at most 2097152\. Please"):
        artifact.write(tmp_path / "x.bnn", found)
    assert list(tmp_path.iterdir()) == []


def test_absent_empty_and_foreign_files_are_one_line(tmp_path: Path, sound: bytes) -> None:
    with pytest.raises(ArtifactError, match=r"^Packed model '.*x.bnn' does not exist. Make one with bnasface export"):
        load(tmp_path / "x.bnn")
    path = tmp_path / "y.bnn"
    path.write_bytes(b"")
    with pytest.raises(ArtifactError, match=r"is no packed model: it is empty"):
        load(path)
    assert refusal(path, b"PK\x03\x04" + bytes(100)) == "it does not begin with the signature of one"
    assert refusal(path, sound[:40]) == "it ends after 40 bytes, within its first 64"
    assert refusal(path, sound[:-1]) == f"it has {len(sound) - 1} bytes instead of {len(sound)}"
    assert refusal(path, sound + b"\0") == f"it has {len(sound) + 1} bytes instead of {len(sound)}"
    later = artifact.PREFIX.pack(artifact.MAGIC, 2, 0, len(sound))
    assert refusal(path, later + sound[24 + 8 :]) == "it is of version 2, and this program reads version 1"


@pytest.mark.parametrize("at", [33, 64, 100, -1, -5000])
def test_a_changed_octet_anywhere_is_noticed(path: Path, sound: bytes, at: int) -> None:
    changed = bytearray(sound)
    changed[at] ^= 1
    assert refusal(path, bytes(changed)) == "its checksum is wrong: it was damaged"


def _operation(number: int, **fields: Any) -> Callable[[dict[str, Any]], None]:
    return lambda header: header["graph"]["operations"][number].update(fields)


def _tensor(number: int, entry: Any) -> Callable[[dict[str, Any]], None]:
    def edit(header: dict[str, Any]) -> None:
        header["tensors"][number] = entry

    return edit


def _tiny(*before: Operation, size_px: int = 4) -> Graph:
    """Operations on an image, then a last one that makes 5 numbers."""
    number = before[-1].floats if before else 0
    weight = np.ones((5, size_px * size_px * 3), np.float32)
    end = Operation("linear", "end", [number or 0], tensors={"weight": weight}, floats=99)
    return Graph(operations=[*before, end], size_px=size_px, embedding_dim=5)


def test_what_the_kernels_would_not_take_is_refused_before_anything_runs() -> None:
    def convolution(side: int, padding: int) -> Operation:
        weight = np.ones((3, side, side, 3), np.float32)
        settings = {"stride": 1, "dilation": 1, "groups": 1, "padding": padding}
        return Operation("convolution", "stem", [0], settings=settings, tensors={"weight": weight}, floats=1)

    check(_tiny(convolution(1, 0)))
    with pytest.raises(ArtifactError, match=r"'stem'\) pads 3 pixels beside a kernel that reaches 1"):
        check(_tiny(convolution(1, 3)))
    with pytest.raises(ArtifactError, match="has a kernel of side 65; at most 64"):
        check(_tiny(convolution(65, 33)))
    with pytest.raises(ArtifactError, match="reads 65 values; at most 64"):
        check(_tiny(Operation("elementwise", "sum", [0] * 65, floats=1)))
    one = Graph(operations=[convolution(4, 0)], size_px=4, embedding_dim=3)
    with pytest.raises(ArtifactError, match="last operation is of kind 'convolution'; expected 'linear'"):
        check(one)


def test_a_tensor_named_twice_is_refused(path: Path, sound: bytes) -> None:
    def share(header: dict[str, Any]) -> None:
        first, second = [one for one in header["graph"]["operations"] if one["tensors"]][:2]
        role = next(iter(first["tensors"]))
        first["tensors"][role] = next(iter(second["tensors"].values()))

    assert re.fullmatch(r"its tensor \d+ is used 2 times; expected once", refusal(path, edited(sound, share)))


@pytest.mark.parametrize("threads", [0, -1, 257])
def test_a_number_of_threads_that_cannot_be_is_refused_when_the_model_is_opened(path: Path, threads: int) -> None:
    with pytest.raises(ConfigError, match=f"The number of threads is {threads}; it must lie between 1 and 256"):
        load(path, threads=threads)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (_operation(1, kind="exec"), "operation 1 ('exec', 'cells.0.before.conv') is of no known kind; known: "),
        (_operation(1, inputs=[99]), "reads value 99, which no earlier operation makes"),
        (_operation(0, inputs=[1]), "reads value 1, which no earlier operation makes"),  # a cycle
        (_operation(1, inputs=[]), "reads 0 values"),
        (_operation(1, inputs=[0]), "must read bits"),
        (_operation(0, floats=0), "makes a value a second time: [0, 2]"),
        (_operation(1, floats=None, bits=None), "makes no value"),
        (_operation(0, settings={"stride": 0, "dilation": 1, "groups": 1, "padding": 1}), "has stride 0; expected 1"),
        (_operation(0, settings={"stride": 1}), "has the settings ['stride']; expected ['dilation', 'groups"),
        (_operation(0, settings={"stride": 2**40}), "operation 0: its settings and inputs are not whole numbers"),
        (_operation(0, settings={"stride": True}), "operation 0: its settings and inputs are not whole numbers"),
        (_operation(0, tensors={}), "operation 0 ('convolution', 'stem.first.0') lacks its weight"),
        (_operation(0, tensors={"weight": 10**6}), "operation 0: its 'weight' is tensor 1000000; there are "),
        (_operation(0, tensors={"weight": -1}), "operation 0: its 'weight' is tensor -1; there are "),
        (_operation(0, shortcut=0.5), "operation 0: its 'shortcut' is a float, not a int"),
        (_operation(0, name=None), "operation 0: its 'name' is a NoneType, not a str"),
        (_operation(0, extra=1), "operation 0: it is no object of kind, name, inputs, shortcut"),
        (_tensor(0, ["float32", [18, 3, 3, 2]]), "its tensor 0 is not followed by zeros"),
        (_tensor(0, ["float32", [2**30, 2**30, 2**30]]), "its tensor 0 of shape (1073741824, 1073741824, 1073741"),
        (_tensor(0, ["float32", [-1]]), "its tensor 0 has the shape [-1]; expected 1 to 4 whole numbers above 0"),
        (_tensor(0, ["object", [3]]), "its tensor 0 is of type 'object'; known: bits, float32, float16, int32, uint8"),
        (_tensor(0, "float32"), "its tensor 0 is not described by a type and a shape"),
        (lambda header: header["graph"].update(size_px=10**9), "its images have not 1 to 4096 px"),
        (lambda header: header["graph"].update(size_px=4000), "numbers; at most 16777216"),
        (lambda header: header["graph"].update(operations=[]), "it has 0 operations; expected 1 to 20000"),
        (lambda header: header["graph"].update(embedding_dim=17), "not an embedding of 17 numbers"),
        (lambda header: header.update(graph=None), "its 'graph' is a NoneType, not a dict"),
        (lambda header: header.pop("tensors"), "its 'tensors' is a NoneType, not a list"),
        (lambda header: header["preprocessing"].update(std=[0, 1, 1]), "its preprocessing has std [0, 1, 1], which is"),
        (lambda header: header["preprocessing"].update(colour_order="HSV"), "its preprocessing is not mean, std and"),
    ],
)  # fmt: skip
def test_a_hostile_header_is_refused_with_the_reason(path: Path, sound: bytes, edit: Any, message: str) -> None:
    assert message in refusal(path, edited(sound, edit))


def test_headers_that_are_no_json_objects_are_refused(path: Path, sound: bytes) -> None:
    for header, message in (
        (b"[1]", "its header is no JSON object"),
        (b'{"a": NaN}', "its header is no JSON (NaN is no JSON number)"),
        (b"[" * 100_000, "its header is no JSON ("),
        (b"\xff\xfe", "its header is no JSON ("),
        (b" " * (artifact.MOST_HEADER_BYTES + 1), "its header is cut short, or larger than 2097152 bytes"),
    ):
        assert refusal(path, artifact.assemble(header, b"")).startswith(message)


def test_numbers_that_are_not_finite_and_flips_that_are_no_bits_are_refused(path: Path, sound: bytes) -> None:
    for role, value, message in (
        ("scale", np.nan, "has 1 numbers that are not finite"),
        ("bias", np.inf, "has 1 numbers that are not finite"),
        ("threshold", np.nan, "has 1 numbers that are not finite"),
        ("flip", 2, "has the value 2; expected 0 or 1"),
    ):
        found = artifact.decode(memoryview(sound))
        operation = next(one for one in found.graph.operations if role in one.tensors)
        changed = np.array(operation.tensors[role])
        changed[0] = value
        operation.tensors[role] = changed
        assert message in refusal(path, artifact.encode(found))


def test_bits_behind_the_last_are_zero() -> None:
    with pytest.raises(ArtifactError, match="it has bits behind the end of a tensor"):
        artifact._view(memoryview(bytes([0b1000])), "bits", (3,), 3)


def test_a_short_fuzzing_finds_nothing(tmp_path: Path) -> None:
    case = fuzz_artifact.cases_of(20261123, graphs=False)
    outcomes, findings = fuzz_artifact.fuzz(case, tmp_path, seconds=60, cases=200)
    assert findings == []
    assert outcomes["refused"] > 100 and outcomes["ran"] > 0


def test_a_short_fuzzing_with_whole_graphs_finds_nothing() -> None:
    """In a process of its own, whose memory is limited."""
    command = [sys.executable, fuzz_artifact.__file__, "--graphs", "--seed", "20261124", "--seconds", "6"]
    env = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
    found = subprocess.run([*command, "--cases", "150"], env=env, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
    said = json.loads(found.stdout.splitlines()[-1])
    assert said["ran"] > said["cases"] / 4 and said["refused"] > said["cases"] / 10 > 1


def test_whole_graphs_find_a_loader_that_checks_too_little(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphs, "LARGEST_SIDE", dict.fromkeys(graphs.LARGEST_SIDE, 100))
    monkeypatch.setattr(graphs, "MOST_INPUTS", 100)
    monkeypatch.setattr(fuzz_artifact, "COSTLY_COMPILED", 1e6)
    monkeypatch.setattr(random_graphs, "RARITY", 4)
    case = functools.partial(fuzz_artifact.whole, 0)
    _, findings = fuzz_artifact.fuzz(case, tmp_path, seconds=60, cases=40)
    assert any("ValueError while it ran" in finding for finding in findings)


def test_a_linear_layer_may_stand_anywhere(tmp_path: Path) -> None:
    ones = {"weight": np.ones((3, 48), np.float32)}
    found = _tiny(Operation("linear", "first", [0], tensors=ones, floats=1), size_px=4)
    found.operations[-1].tensors["weight"] = np.ones((5, 3), np.float32)
    artifact.write(tmp_path / "x.bnn", Artifact(graph=found, preprocessing=pack.PREPROCESSING, provenance={}))
    assert load(tmp_path / "x.bnn")(np.full((2, 4, 4, 3), 255, np.uint8)).tolist() == [[144] * 5] * 2


def test_the_fuzzing_notices_a_loader_that_checks_too_little(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(artifact, "check", lambda found: None)
    _, findings = fuzz_artifact.fuzz(fuzz_artifact.cases_of(0, graphs=False), tmp_path, seconds=60, cases=60)
    assert findings


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (
            np.zeros((2, 64, 64, 3), np.uint8),
            r"Images have the shape \(2, 64, 64, 3\); expected \(n, 32, 32, 3\)",
        ),
        (np.zeros((32, 32, 3), np.uint8), r"Images have the shape \(32, 32, 3\)"),
        (np.zeros((1, 32, 32, 3), np.int64), r"Images are of type int64; expected uint8 \(0 to 255\) or floats"),
        (np.full((1, 32, 32, 3), 1.01), r"values outside of 0 to 1. Divide those of 0 to 255 by 255\."),
        (np.full((1, 32, 32, 3), np.nan), r"values outside of 0 to 1"),
    ],
)
def test_images_of_another_kind_are_one_sentence(path: Path, images: np.ndarray, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(path)(images)


def test_floats_from_0_to_1_are_the_same_images(path: Path) -> None:
    network, images = load(path), images_of(NAME, 2)
    found = network.normalised(images / np.float32(255))
    np.testing.assert_allclose(found, network.normalised(images), atol=1e-6)
    np.testing.assert_array_equal(network(images[:, :, ::-1]), network(images[:, :, ::-1].copy()))


def test_a_model_runs_without_torch_and_the_other_packages(path: Path) -> None:
    """In a fresh interpreter in which they cannot be imported."""
    code = f"""
import sys
for name in ("torch", "pandas", "cv2", "click", "scipy", "sklearn", "safetensors", "rich", "jinja2"):
    sys.modules[name] = None
import numpy as np
from bnas_face.packed import load
network = load({str(path)!r}, threads=1)
print(network(np.full((2, 32, 32, 3), 7, np.uint8)).shape)
loaded = {{name.partition(".")[0] for name, module in sys.modules.items() if module is not None}}
print(sorted(name for name in loaded - set(sys.stdlib_module_names) if not name.startswith("_")))
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (found.stdout, found.stderr) == ("(2, 16)\n['bnas_face', 'numpy']\n", "")
