"""Damaged and hostile packed models: every one is refused in one line, or runs.

    python tests/packed/fuzz_artifact.py --seconds 600 --seed 0
    python tests/packed/fuzz_artifact.py --graphs --seconds 600 --seed 0

Case k of a seed is always the same. Files are changed octet by octet, cut, lengthened, and edited in their header, with
and without a new checksum. With ``--graphs`` they are whole ones of random operations that fit together, with sizes at
and beyond every limit (`random_graphs`), run by the compiled kernels and by numpy in turn. The process may have
``--memory-mb`` more than it begins with: more is a finding. Ends with exit code 1 and what was found, if anything but
an `ArtifactError` of one line comes out; a crash of the process leaves the file of the case in the folder that is
printed first.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import tempfile
import time
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from random_graphs import random_graph

from bnas_face.errors import ArtifactError
from bnas_face.packed import artifact, kernels, load, needs
from bnas_face.packed.artifact import Artifact

BASES = {
    "iresnet18-xnor-a1-block": "fp16",
    "onebit-react-a1": "int8",
    "paper-pcnn-a32": "fp32",
    "mobilefacenet-xnor-a1-convolution": "int8",
}
"""Networks, and how their float weights are stored."""
HOSTILE: tuple[Any, ...] = (
    *(-1, 0, 1, 2, 3, 64, 65, 4096, 2**31 - 1, 2**31, 2**63, 2**64, -(2**63), 10**40, 0.5, -0.0, 1e308, True, False),
    *(
        None,
        "",
        "bits",
        "float32",
        "float64",
        "object",
        "conv\n\x00\ud7ff",
        "é" * 200,
        [],
        [[]],
        {},
        [1],
        [-1, 2],
        {"a": 1},
    ),
)
COSTLY = {"numpy": 1e8}
"""Steps of an image from which on a valid case is not run, by the kernels; of compiled ones `COSTLY_COMPILED`."""
COSTLY_COMPILED = 2e9
SLOW_S = 120.0
"""A case that takes longer is a finding."""
PREPROCESSING = {"mean": [0.5] * 3, "std": [0.5] * 3, "colour_order": "RGB"}
OUTCOMES = ("refused", "ran", "costly")

Random = np.random.Generator
Mutation = Callable[[Random, bytes], bytes]
Case = Callable[[int], bytes]


def bases() -> list[bytes]:
    """Sound files of several networks."""
    from small_networks import built, config_of  # needs torch

    from bnas_face.packed import pack

    return [
        artifact.encode(
            Artifact(
                graph=pack.lower(built(name), config_of(name).size_px, floats=floats),
                preprocessing=PREPROCESSING,
                provenance={"run": name, "config": {"model": {"backbone": "x"}}},
            )
        )
        for name, floats in BASES.items()
    ]


def resealed(content: bytes) -> bytes:
    """The content with the right length and checksum, whatever else is wrong with it."""
    if len(content) < artifact.START:
        return content
    magic, version, header_bytes, _ = artifact.PREFIX.unpack(content[: artifact.PREFIX.size])
    prefix = artifact.PREFIX.pack(magic, version, header_bytes, len(content))
    return prefix + artifact.digest(prefix, content[artifact.START :]) + content[artifact.START :]


def octets(random: Random, content: bytes) -> bytes:
    """Some octets changed, more often at the front."""
    changed = bytearray(content)
    for _ in range(int(random.integers(1, 9))):
        end = len(changed) if random.random() < 0.5 else min(len(changed), 4096)
        changed[int(random.integers(end))] = int(random.integers(256))
    return bytes(changed)


def cut(random: Random, content: bytes) -> bytes:
    """Shorter, or with a part taken out."""
    first, last = sorted(int(at) for at in random.integers(0, len(content), 2))
    return content[:first] if random.random() < 0.5 else content[:first] + content[last:]


def lengthened(random: Random, content: bytes) -> bytes:
    """Longer, by zeros, noise or a part of itself, at the end or within."""
    n = int(random.integers(1, 300))
    more = [bytes(n), random.bytes(n), content[:n]][int(random.integers(3))]
    at = len(content) if random.random() < 0.5 else int(random.integers(len(content)))
    return content[:at] + more + content[at:]


def places(container: Any) -> Iterator[tuple[Any, Any]]:
    """(container, key) of every entry, at any depth."""
    for key in list(container) if isinstance(container, dict) else range(len(container)):
        yield container, key
        if isinstance(container[key], dict | list):
            yield from places(container[key])


def header(random: Random, content: bytes) -> bytes:
    """Entries of the header replaced, removed, added or exchanged; tensors as they were."""
    _, _, n_bytes, _ = artifact.PREFIX.unpack(content[: artifact.PREFIX.size])
    end = artifact.START + n_bytes
    found = json.loads(zlib.decompress(content[artifact.START : end]))
    for _ in range(int(random.integers(1, 4))):
        every = list(places(found))
        container, key = every[int(random.integers(len(every)))]
        other, other_key = every[int(random.integers(len(every)))]
        value = HOSTILE[int(random.integers(len(HOSTILE)))]
        what = int(random.integers(5))
        if what == 0 and isinstance(container, dict):
            del container[key]
        elif what == 1 and type(container[key]) is int:
            container[key] += int(random.choice([-64, -2, -1, 1, 2, 64]))
        elif what == 2:
            container[key] = json.loads(json.dumps(other[other_key]))
        elif what == 3 and isinstance(container, list):
            container.insert(key, value)
        else:
            container[key] = value
    return artifact.assemble(json.dumps(found).encode(), content[end + -end % artifact.ALIGNMENT :])


def numbers(random: Random, content: bytes) -> bytes:
    """Single-precision numbers of the tensors replaced by NaN, infinities and the like."""
    _, _, n_bytes, _ = artifact.PREFIX.unpack(content[: artifact.PREFIX.size])
    changed = bytearray(content)
    first = artifact.START + n_bytes
    for _ in range(int(random.integers(1, 5))):
        at = int(random.integers(first // 4 + 1, len(content) // 4)) * 4
        changed[at : at + 4] = np.float32(random.choice([np.nan, np.inf, -np.inf, 3e38, 1e-45])).tobytes()
    return bytes(changed)


MUTATIONS: tuple[Mutation, ...] = (octets, cut, lengthened, header, header, header, numbers)


def changed(seed: int, number: int, sound: list[bytes]) -> bytes:
    """Case `number` of a seed: a sound file with something wrong."""
    random = np.random.default_rng([seed, number])
    content = sound[int(random.integers(len(sound)))]
    mutation = MUTATIONS[int(random.integers(len(MUTATIONS)))]
    content = mutation(random, content)
    return content if random.random() < 0.1 else resealed(content)


def whole(seed: int, number: int) -> bytes:
    """Case `number` of a seed: a file of random operations that fit together."""
    made = random_graph(np.random.default_rng([seed, number]))
    return artifact.encode(Artifact(graph=made, preprocessing=PREPROCESSING, provenance={}))


def is_costly(network: Any) -> bool:
    """Whether an image takes too many steps for these kernels."""
    shapes = network.shapes
    steps = sum(needs.steps(operation, shapes) for operation in network.graph.operations)
    return steps > COSTLY.get(network.implementation, COSTLY_COMPILED)


def outcome(path: Path) -> str:
    """What became of a file: ``"refused"``, ``"ran"`` or ``"costly"``; else what is wrong with that."""
    try:
        network = load(path, threads=1)
    except ArtifactError as error:
        text = str(error)
        sound = text.isprintable() and str(path) in text and len(text) < 500
        return "refused" if sound else f"a message that is not one line: {text[:300]!r}"
    except Exception as error:
        return f"{type(error).__name__} while it was opened: {error}"
    if is_costly(network):
        return "costly"
    begun = time.monotonic()
    try:
        size_px = network.size_px
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = network(np.full((1, size_px, size_px, 3), 100, np.uint8))
    except Exception as error:
        return f"{type(error).__name__} while it ran: {error}"
    if time.monotonic() - begun > SLOW_S:
        return f"it ran for {time.monotonic() - begun:.0f} s"
    right = found.shape == (1, network.embedding_dim) and found.dtype == np.float32
    return "ran" if right else f"an embedding of shape {found.shape} and type {found.dtype}"


def use(implementation: str) -> None:
    """Run the next models by these kernels."""
    os.environ["BNASFACE_KERNELS"] = implementation
    kernels._chosen.cache_clear()


def limit_memory(megabytes: int) -> None:
    """Let this process have no more memory than that beyond what it has."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + (megabytes << 20)
    resource.setrlimit(resource.RLIMIT_AS, (most, resource.getrlimit(resource.RLIMIT_AS)[1]))


def fuzz(case: Case, folder: Path, *, seconds: float, cases: int) -> tuple[Counter[str], list[str]]:
    """Outcomes of at most `cases` cases in at most `seconds`, and what was found."""
    outcomes, findings = Counter[str](), []
    path, begun = folder / "case.bnn", time.monotonic()
    for number in range(cases):
        if time.monotonic() - begun > seconds:
            break
        path.write_bytes(case(number))
        found = outcome(path)
        outcomes[found if found in OUTCOMES else "finding"] += 1
        if found not in OUTCOMES:
            findings.append(f"case {number}: {found}")
    return outcomes, findings


def cases_of(seed: int, graphs: bool) -> Case:
    """The cases of a seed, by number."""
    if not graphs:
        sound = bases()
        return lambda number: changed(seed, number, sound)
    engines = [name for name in kernels.available() if name != "portable"]

    def by_turns(number: int) -> bytes:
        use(engines[number % len(engines)])
        return whole(seed, number)

    return by_turns


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--cases", type=int, default=10**9)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--graphs", action="store_true")
    parser.add_argument("--memory-mb", type=int, default=2048)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="fuzz_artifact_"))
    print(f"Cases are written to {folder}", flush=True)
    case = cases_of(options.seed, options.graphs)
    case(0)
    limit_memory(options.memory_mb)
    outcomes, findings = fuzz(case, folder, seconds=options.seconds, cases=options.cases)
    print("\n".join(findings[:50]))
    print(json.dumps({"seed": options.seed, "cases": sum(outcomes.values()), **outcomes, "findings": len(findings)}))
    raise SystemExit(bool(findings))


if __name__ == "__main__":
    main()
