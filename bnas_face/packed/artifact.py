"""The packed model file ``.bnn``: graph, tensors and where they come from, checked before anything of it is used.

=================  =================================================================================================
bytes 0–7          ``\\x89BNN\\r\\n\\x1a\\n``
8–11, 12–15        version (1) and length of the header, uint32, little endian as all numbers
16–23              length of the file, uint64
24–31              zeros
32–63              SHA-256 of everything else: bytes 0–31 and 64 to the end
from 64            the header: JSON in UTF-8, compressed with zlib
then               the tensors in the order of the header, each from a multiple of 64 on, zeros between them
=================  =================================================================================================

The header has ``graph`` (operations, see `graph.Operation`; tensors by number), ``tensors`` (type and shape of each;
where they lie follows from that), ``preprocessing``, ``provenance``. The types are ``float32``, ``float16``, ``int32``,
``uint8``, ``int8`` and ``bits`` (see `graph.Bits`). Tensors are read in place through a memory map.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import struct
import zlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from bnas_face import files
from bnas_face.errors import ArtifactError
from bnas_face.packed import graph as graphs
from bnas_face.packed import needs
from bnas_face.packed.graph import Bits, Graph, Operation, Shape, Tensor

MAGIC = b"\x89BNN\r\n\x1a\n"
VERSION = 1
ALIGNMENT = 64
PREFIX = struct.Struct("<8sIIQ8x")
DIGEST = slice(PREFIX.size, PREFIX.size + 32)
START = 64
MOST_HEADER_BYTES = 1 << 21
"""Uncompressed; real ones have some 300 bytes an operation."""
MOST_WHOLE = 1 << 31
DTYPES = {name: np.dtype(name).newbyteorder("<") for name in ("float32", "float16", "int32", "uint8", "int8")}
BITS = "bits"
MOST_DIMENSIONS = 4
FIELDS = ("kind", "name", "inputs", "shortcut", "settings", "tensors", "floats", "bits", "signs_of")


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """A packed model.

    Attributes
    ----------
    graph : Graph
    preprocessing : mapping
        ``mean``, ``std`` (three numbers each, scale 0 to 1), ``colour_order``.
    provenance : mapping of JSON values
        Where it comes from: run, settings, SHA-256 of the weights. For people and reports; nothing is computed with it.
    shapes : mapping of int to Shape
        Of all values, by number; of a model that was read.
    """

    graph: Graph
    preprocessing: Mapping[str, Any]
    provenance: Mapping[str, Any]
    shapes: Mapping[int, Shape] = field(default_factory=dict)


def write(path: Path, artifact: Artifact) -> int:
    """Write a packed model atomically; returns its length in bytes.

    Raises
    ------
    ArtifactError
        If `read` would refuse it.
    """
    try:
        check(artifact)
        header, data = _header(artifact), _data(artifact)
        if len(header) > MOST_HEADER_BYTES:
            raise ArtifactError(f"its header has {len(header)} bytes; at most {MOST_HEADER_BYTES}")
    except ArtifactError as error:
        raise ArtifactError(f"The packed model was not written: {error}. Please report it.") from None
    content = assemble(header, data)
    files.write_bytes(path, content)
    return len(content)


def encode(artifact: Artifact) -> bytes:
    """The file's content; nothing is checked."""
    return assemble(_header(artifact), _data(artifact))


def _tensors_of(artifact: Artifact) -> list[Tensor]:
    return [tensor for operation in artifact.graph.operations for tensor in operation.tensors.values()]


def _data(artifact: Artifact) -> bytes:
    return b"".join(_aligned(_octets(tensor)) for tensor in _tensors_of(artifact))


def _header(artifact: Artifact) -> bytes:
    tensors = _tensors_of(artifact)
    numbers = iter(range(len(tensors)))
    operations = [
        {name: getattr(operation, name) for name in FIELDS}
        | {"tensors": {role: next(numbers) for role in operation.tensors}}
        for operation in artifact.graph.operations
    ]
    header = {
        "graph": {
            "operations": operations,
            "size_px": artifact.graph.size_px,
            "embedding_dim": artifact.graph.embedding_dim,
        },
        "tensors": [[str(tensor.dtype), list(tensor.shape)] for tensor in tensors],
        "preprocessing": dict(artifact.preprocessing),
        "provenance": dict(artifact.provenance),
    }
    return json.dumps(header, allow_nan=False).encode()


def assemble(header: bytes, data: bytes) -> bytes:
    """A file of the uncompressed header's and the tensors' bytes: prefix, checksum, compressed header, tensors."""
    compressed = zlib.compress(header, 9)
    body = _aligned(compressed) + data
    prefix = PREFIX.pack(MAGIC, VERSION, len(compressed), START + len(body))
    return prefix + digest(prefix, body) + body


def digest(prefix: bytes | memoryview, body: bytes | memoryview) -> bytes:
    """The checksum of a file: SHA-256 of everything but itself."""
    found = hashlib.sha256(prefix)
    found.update(body)
    return found.digest()


def _octets(tensor: Tensor) -> bytes:
    if isinstance(tensor, Bits):
        return tensor.octets.tobytes()
    return np.ascontiguousarray(tensor, DTYPES[str(tensor.dtype)]).tobytes()


def _aligned(octets: bytes) -> bytes:
    return octets + bytes(-len(octets) % ALIGNMENT)


def read(path: Path) -> Artifact:
    """Open a packed model; its tensors stay in the file and are read-only.

    Raises
    ------
    ArtifactError
        If the file is absent, damaged, hostile, or of another version; one line naming the file.
    """
    try:
        with path.open("rb") as file:
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except FileNotFoundError:
        raise ArtifactError(
            f"Packed model '{path}' does not exist. Make one with bnasface export RUN --to packed."
        ) from None
    except ValueError:  # of length 0
        raise ArtifactError(f"'{path}' is no packed model: it is empty. Export it again.") from None
    except OSError as error:
        raise ArtifactError(f"Packed model '{path}' cannot be read: {error.strerror or error}.") from None
    try:
        return decode(memoryview(content))
    except ArtifactError as error:
        reason = "".join(c if c.isprintable() else "?" for c in str(error))
        raise ArtifactError(f"'{path}' is no packed model that can be run: {reason}. Export it again.") from None


def decode(content: memoryview) -> Artifact:
    """The packed model in `content`, checked; raises `ArtifactError` with half a sentence."""
    header, data = _split(content)
    tensors = _tensors(_entry(header, "tensors", list), data)
    graph = _graph(_entry(header, "graph", dict), tensors)
    artifact = Artifact(
        graph=graph,
        preprocessing=_entry(header, "preprocessing", dict),
        provenance=_entry(header, "provenance", dict),
    )
    return replace(artifact, shapes=check(artifact))


def _split(content: memoryview) -> tuple[dict[str, Any], memoryview]:
    """Header and tensors of a file whose prefix and checksum are right."""
    if bytes(content[: len(MAGIC)]) != MAGIC[: len(content)]:
        raise ArtifactError("it does not begin with the signature of one")
    if len(content) < START:
        raise ArtifactError(f"it ends after {len(content)} bytes, within its first {START}")
    _, version, header_bytes, n_bytes = PREFIX.unpack(content[: PREFIX.size])
    if version != VERSION:
        raise ArtifactError(f"it is of version {version}, and this program reads version {VERSION}")
    if n_bytes != len(content):
        raise ArtifactError(f"it has {len(content)} bytes instead of {n_bytes}")
    if digest(content[: DIGEST.start], content[DIGEST.stop :]) != bytes(content[DIGEST]):
        raise ArtifactError("its checksum is wrong: it was damaged")
    end = START + header_bytes
    data = end + -end % ALIGNMENT
    if data > len(content) or any(content[end:data]):
        raise ArtifactError(f"its header of {header_bytes} bytes does not fit")
    return _json(content[START:end]), content[data:]


def _json(compressed: memoryview) -> dict[str, Any]:
    """The header as an object."""
    try:
        stream = zlib.decompressobj()
        text = stream.decompress(compressed, MOST_HEADER_BYTES)
        if not stream.eof or stream.unused_data:
            raise ArtifactError(f"its header is cut short, or larger than {MOST_HEADER_BYTES} bytes")
        header = json.loads(text.decode(), parse_constant=_refuse_constant)
    except (zlib.error, ValueError, RecursionError) as error:
        raise ArtifactError(f"its header is no JSON ({' '.join(str(error).split())[:80]})") from None
    if not isinstance(header, dict):
        raise ArtifactError("its header is no JSON object")
    return header


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


def _entry(container: Mapping[str, Any], name: str, kind: type) -> Any:
    """An entry of the right type; a whole number is not a truth value."""
    value = container.get(name)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ArtifactError(f"its '{name}' is a {type(value).__name__}, not a {kind.__name__}")
    return value


def _tensors(entries: list[Any], data: memoryview) -> list[Tensor]:
    """Views of all tensors, which fill `data` without gaps."""
    found: list[Tensor] = []
    at = 0
    for number, entry in enumerate(entries):
        dtype, shape = _type_and_shape(number, entry)
        n = int(np.prod([int(side) for side in shape], dtype=object))
        n_bytes = -(-n // 8) if dtype == BITS else n * DTYPES[dtype].itemsize
        end = at + n_bytes
        if end > len(data):
            raise ArtifactError(f"its tensor {number} of shape {str(shape)[:60]} ends outside of the file")
        found.append(_view(data[at:end], dtype, shape, n))
        at = end + -end % ALIGNMENT
        if any(data[end:at]):
            raise ArtifactError(f"its tensor {number} is not followed by zeros")
    if at != len(data):
        raise ArtifactError(f"its tensors have {at} bytes instead of {len(data)}")
    return found


def _type_and_shape(number: int, entry: Any) -> tuple[str, tuple[int, ...]]:
    if not isinstance(entry, list) or len(entry) != 2 or not isinstance(entry[1], list):
        raise ArtifactError(f"its tensor {number} is not described by a type and a shape")
    dtype, shape = entry
    if not isinstance(dtype, str) or dtype not in (BITS, *DTYPES):
        raise ArtifactError(f"its tensor {number} is of type {str(dtype)[:40]!r}; known: {', '.join((BITS, *DTYPES))}")
    if not 1 <= len(shape) <= MOST_DIMENSIONS or not all(type(side) is int and 0 < side < MOST_WHOLE for side in shape):
        raise ArtifactError(
            f"its tensor {number} has the shape {str(shape)[:60]}; expected 1 to 4 whole numbers above 0"
        )
    return dtype, tuple(shape)


def _view(octets: memoryview, dtype: str, shape: tuple[int, ...], n: int) -> Tensor:
    """The tensor in `octets`, whose values are not looked at but for the zeros behind the last bit."""
    if dtype == BITS:
        array = np.frombuffer(octets, np.uint8)
        if n % 8 and array[-1] >> n % 8:
            raise ArtifactError("it has bits behind the end of a tensor")
        return Bits(array, shape)
    return np.frombuffer(octets, DTYPES[dtype]).reshape(shape)


def _graph(entry: Mapping[str, Any], tensors: list[Tensor]) -> Graph:
    operations = _entry(entry, "operations", list)
    if len(operations) > graphs.MOST_OPERATIONS:
        raise ArtifactError(f"it has {len(operations)} operations; at most {graphs.MOST_OPERATIONS}")
    found = []
    for number, fields in enumerate(operations):
        try:
            found.append(_operation(fields, tensors))
        except ArtifactError as error:
            raise ArtifactError(f"operation {number}: {error}") from None
    _check_used_once(operations)
    size_px, embedding_dim = _entry(entry, "size_px", int), _entry(entry, "embedding_dim", int)
    if not (1 <= size_px <= 4096 and 1 <= embedding_dim <= graphs.MOST_CHANNELS):
        raise ArtifactError("its images have not 1 to 4096 px, or its embedding is of no length that can be")
    return Graph(operations=found, size_px=size_px, embedding_dim=embedding_dim)


def _check_used_once(operations: list[Any]) -> None:
    """Every tensor belongs to one operation: a small file cannot ask for much memory by naming one again and again."""
    used = Counter(number for fields in operations for number in fields["tensors"].values())
    for number, times in used.most_common(1):
        if times > 1:
            raise ArtifactError(f"its tensor {number} is used {times} times; expected once")


def _operation(fields: Any, tensors: list[Tensor]) -> Operation:
    if not isinstance(fields, dict) or set(fields) != set(FIELDS):
        raise ArtifactError(f"it is no object of {', '.join(FIELDS)}")
    numbers = _entry(fields, "tensors", dict)
    for role, number in numbers.items():
        if type(number) is not int or not 0 <= number < len(tensors):
            raise ArtifactError(f"its '{role[:40]}' is tensor {str(number)[:40]}; there are {len(tensors)}")
    settings = _entry(fields, "settings", dict)
    inputs = _entry(fields, "inputs", list)
    if not all(type(number) is int and 0 <= number < MOST_WHOLE for number in (*settings.values(), *inputs)):
        raise ArtifactError(f"its settings and inputs are not whole numbers from 0 to {MOST_WHOLE - 1}")
    for name in ("shortcut", "floats", "bits"):
        if fields[name] is not None and not 0 <= _entry(fields, name, int) < MOST_WHOLE:
            raise ArtifactError(f"its '{name}' is not a number from 0 to {MOST_WHOLE - 1}")
    return Operation(
        kind=_entry(fields, "kind", str),
        name=_entry(fields, "name", str),
        inputs=inputs,
        shortcut=fields["shortcut"],
        settings=settings,
        tensors={role: tensors[number] for role, number in numbers.items()},
        floats=fields["floats"],
        bits=fields["bits"],
        signs_of=_entry(fields, "signs_of", str),
    )


def check(artifact: Artifact) -> dict[int, Shape]:
    """Check graph, needs, numbers and preprocessing; raises `ArtifactError` with half a sentence. Shapes of values."""
    shapes = graphs.check(artifact.graph)
    needs.check(artifact.graph, shapes)
    for operation in artifact.graph.operations:
        for role, tensor in operation.tensors.items():
            if not isinstance(tensor, Bits):
                _check_numbers(f"'{role}' of '{operation.name[:80]}'", role, tensor)
    _check_preprocessing(artifact.preprocessing)
    return shapes


def _check_numbers(what: str, role: str, tensor: np.ndarray[Any, Any]) -> None:
    """Floats are finite (thresholds may be infinite), flips 0 or 1."""
    if role == "flip" and tensor.max() > 1:
        raise ArtifactError(f"{what} has the value {tensor.max()}; expected 0 or 1")
    if tensor.dtype.kind == "f":
        bad = np.isnan(tensor) if role == "threshold" else ~np.isfinite(tensor)
        if bad.any():
            raise ArtifactError(f"{what} has {int(bad.sum())} numbers that are not finite")


def _check_preprocessing(values: Mapping[str, Any]) -> None:
    if set(values) != {"mean", "std", "colour_order"} or values["colour_order"] not in ("RGB", "BGR"):
        raise ArtifactError("its preprocessing is not mean, std and a colour order RGB or BGR")
    for name in ("mean", "std"):
        if not isinstance(values[name], list) or len(values[name]) != 3:
            raise ArtifactError(f"its preprocessing has {name} {str(values[name])[:60]}; expected three numbers")
        for value in values[name]:
            if type(value) not in (int, float) or abs(value) > 256 or (name == "std" and value <= 1e-6):
                raise ArtifactError(f"its preprocessing has {name} {str(values[name])[:60]}, which is out of range")
