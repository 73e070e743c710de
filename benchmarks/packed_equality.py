"""Whether a packed file embeds as its run does, over whole protocols, and torch against torch beside it.

Run: ``python benchmarks/packed_equality.py runs/mine … [--protocols lfw,cfp_ff,cfp_fp] [--floats fp32,fp16,int8]
[--folds 2] [--threads 1] [--out FILE]``. Every run is packed for this, embeds all images of the protocols and their
mirror images as `bnasface eval` does (read from its cache where they are there; the packed engine always runs), and is
compared with each of its packed files: the largest 1 − cosine and the largest difference of any number between the unit
embeddings of an image, pairs decided otherwise under the strict convention, and accuracy, EER and AUC of both.

`torch` compares a W1A1 network as torch computes it (`models.reproducible` left out) with itself over the images of the
first `folds` folds of the first protocol: the same weights in channels-last order and batches of 64, as in
`bnasface eval`, against plain order and against single images; how many images, or their mirror images, have another
sign anywhere, and what becomes of embeddings and decisions. Nothing is timed. `--out` is written after every run; a
file that is there keeps its other runs. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
import torch
from numpy.typing import NDArray

from bnas_face import export, files, machine
from bnas_face.evaluate import protocol as protocols
from bnas_face.evaluate.embed import Embedder, Embeddings, embed_images, open_embedder
from bnas_face.evaluate.kinds.pairs import scores_of
from bnas_face.metrics import folds, rates, thresholds
from bnas_face.models import saved
from bnas_face.models.binarizers._convolution import BinaryConv2d
from bnas_face.packed import kernels

SETTINGS = ((True, 64), (False, 64), (True, 1))
"""Channels last, and images at once; the first is compared with the others."""
Sets = dict[str, list[protocols.Protocol]]


def main() -> None:
    """Print a line for each comparison and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--protocols", default="lfw,cfp_ff,cfp_fp")
    parser.add_argument("--floats", default="fp32,fp16,int8")
    parser.add_argument("--folds", type=int, default=2, help="of the first protocol, for torch against torch; 0: none")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    tested = [protocols.load(name) for name in options.protocols.split(",")]
    found: list[dict[str, Any]] = []
    for run in options.runs:
        found.append(compared(run, tested, options.floats.split(","), options.folds, options.threads))
        if options.out is not None:  # after every run: the next may take long
            add(options.out, found[-1])
    print(json.dumps({"runs": found}))


def add(path: Path, entry: dict[str, Any]) -> None:
    """Write a run's entry to a file, in place of an older one of the same run."""
    known = files.read_json(path)["runs"] if path.is_file() else []
    files.write_json(path, {"runs": [each for each in known if each["run"] != entry["run"]] + [entry]})


def compared(
    run: Path, tested: Sequence[protocols.Protocol], floats: Sequence[str], n_folds: int, threads: int
) -> dict[str, Any]:
    """One run beside its packed files, and beside itself."""
    embedder = open_embedder(str(run), device="cpu", threads=threads)
    own = embedded(embedder, tested, cache=True)
    packings = []
    with tempfile.TemporaryDirectory() as folder:
        for kind in floats:
            made = export.export(run, "packed", out=Path(folder) / f"{kind}.bnn", floats=kind)
            other = embedded(open_embedder(str(made.path), threads=threads), tested, cache=False)
            packings.append({"floats": kind, "file_bytes": made.file_bytes, **differences(tested, own, other)})
            print(run.name, json.dumps(packings[-1]), flush=True)
    names = ("backbone", "weight_bits", "activation_bits", "size_px", "embedding_dim", "weights_sha256")
    return {
        "run": run.resolve().name,
        "cpu": machine.cpu_name(),
        "kernels": kernels.implementation(),
        "versions": machine.versions(("torch", "numpy")),
        **{name: embedder.info[name] for name in names},
        "packed": packings,
        "torch": torch_against_torch(run, embedder, tested[0], n_folds),
    }


def embedded(embedder: Embedder, tested: Sequence[protocols.Protocol], *, cache: bool) -> dict[str, Embeddings]:
    """Embeddings of each protocol's images by its name; protocols of one set share theirs."""
    found = {}
    for protocol in tested:
        everywhere = [each for each in tested if each.images.content_hash == protocol.images.content_hash]
        ids = sorted({image_id for each in everywhere for image_id in each.used_ids})
        known = next((found[each.card.name] for each in everywhere if each.card.name in found), None)
        found[protocol.card.name] = known or embed_images(embedder, protocol.images, ids=ids, cache=cache)
    return found


def differences(
    tested: Sequence[protocols.Protocol], one: dict[str, Embeddings], other: dict[str, Embeddings]
) -> dict[str, Any]:
    """How far embeddings and decisions of two networks are apart."""
    sets = list({id(found): (found, other[name]) for name, found in one.items()}.values())
    return {
        "n_images": sum(len(first.image_ids) for first, _ in sets),
        "n_failed": sum(int(first.failed.sum() + second.failed.sum()) for first, second in sets),
        "largest_drift": max(drift(first.values, second.values) for first, second in sets),
        "largest_difference": max(float(np.abs(first.values - second.values).max()) for first, second in sets),
        "protocols": [decided(protocol, one[protocol.card.name], other[protocol.card.name]) for protocol in tested],
    }


def drift(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """The largest 1 − cosine of rows, in double precision."""
    first, second = (rows.astype(np.float64) for rows in (one, other))
    lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    return max(0.0, float((1 - (first * second).sum(axis=1)[lengths > 0] / lengths[lengths > 0]).max()))


def decided(protocol: protocols.Protocol, one: Embeddings, other: Embeddings) -> dict[str, Any]:
    """What two networks make of a protocol's pairs, those that either cannot compare left out."""
    ids = protocol.used_ids
    scores = [scores_of(protocol, of_ids(found, ids), "float64") for found in (one, other)]
    good = np.isfinite(scores[0]) & np.isfinite(scores[1])
    fold, is_genuine = (protocol.pairs[name].to_numpy()[good] for name in ("fold", "is_genuine"))
    measured = [outcome(score[good], is_genuine, fold) for score in scores]
    (first, matches), (second, other_matches) = measured
    return {
        "protocol": protocol.card.name,
        "n_pairs": int(good.sum()),
        "n_decided_otherwise": int((matches != other_matches).sum()),
        "one": first,
        "other": second,
    }


def of_ids(found: Embeddings, ids: Sequence[str]) -> Embeddings:
    """The rows of some images."""
    rows = found.rows(ids)
    return Embeddings(values=found.values[rows], failed=found.failed[rows], image_ids=tuple(ids))


def outcome(scores: Any, is_genuine: Any, fold: Any) -> tuple[dict[str, float], Any]:
    """Accuracy, EER and AUC, and the decision on every pair."""
    is_match = folds.cross_validated(scores, is_genuine, fold, thresholds.STRICT).is_match
    numbers = {
        "accuracy": folds.accuracy(is_match == is_genuine, fold).value,
        "eer": rates.eer(scores, is_genuine).value,
        "auc": rates.auc(scores, is_genuine),
    }
    return numbers, is_match


class Watched:
    """A network as torch computes it, which also keeps a digest of every sign it took of every image."""

    def __init__(self, run: Path, embedder: Embedder, channels_last: bool) -> None:
        model, _, _ = saved.load(run)
        self.order = torch.channels_last if channels_last else torch.contiguous_format
        self.model = model.to(memory_format=self.order).eval()  # type: ignore[call-overload]
        self.preprocessing = embedder.preprocessing
        self.digests: list[list[bytes]] = []
        self.open: list[Any] = []
        for part in model.modules():
            if isinstance(part, BinaryConv2d):
                part.register_forward_pre_hook(self._watch)

    def _watch(self, layer: Any, inputs: Any) -> None:
        signs = (layer.activation(inputs[0]) < 0).contiguous().numpy()
        for digest, image in zip(self.open, np.packbits(signs.reshape(len(signs), -1), axis=1), strict=True):
            digest.update(image.tobytes())

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embed a batch."""
        self.open = [hashlib.blake2b(digest_size=16) for _ in images]
        values = torch.from_numpy(self.preprocessing.apply(images)).to(memory_format=self.order)
        with torch.inference_mode():
            found: NDArray[np.float32] = self.model(values).numpy()
        self.digests.append([digest.digest() for digest in self.open])
        return found

    def of_images(self) -> list[tuple[bytes, bytes]]:
        """The digests of every image and its mirror image, which are embedded in turns."""
        plain, mirrored = ([digest for part in self.digests[start::2] for digest in part] for start in (0, 1))
        return list(zip(plain, mirrored, strict=True))


def torch_against_torch(
    run: Path, embedder: Embedder, protocol: protocols.Protocol, n_folds: int
) -> dict[str, Any] | None:
    """The first of `SETTINGS` beside the others; None for networks that take no signs, and of no folds."""
    if embedder.info["activation_bits"] != 1 or not n_folds:
        return None
    part = first_folds(protocol, n_folds)
    found = []
    for channels_last, batch in SETTINGS:
        network = Watched(run, embedder, channels_last)
        values = embed_images(
            replace(embedder, network=network), part.images, ids=part.used_ids, cache=False, batch_size=batch
        )
        found.append((channels_last, batch, values, network.of_images()))
    (_, _, one, signs), *others = found
    rows = []
    for channels_last, batch, other, other_signs in others:
        changed = sum(first != second for first, second in zip(signs, other_signs, strict=True))
        setting = {"channels_last": channels_last, "batch": batch, "n_images_with_other_signs": changed}
        name = part.card.name
        rows.append(setting | differences([part], {name: one}, {name: other}))
        print(run.name, json.dumps(rows[-1]), flush=True)
    either = [signs, *(each[3] for each in others)]
    n_changed = sum(len(set(images)) > 1 for images in zip(*either, strict=True))
    return {"n_images": len(signs), "n_images_with_other_signs": n_changed, "settings": rows}


def first_folds(protocol: protocols.Protocol, n_folds: int) -> protocols.Protocol:
    """The protocol with its first folds alone."""
    keep = protocol.pairs["fold"].to_numpy() < n_folds
    pairs = protocol.pairs[keep].reset_index(drop=True)
    return replace(protocol, pairs=pairs, reference=protocol.reference[keep], probe=protocol.probe[keep])


if __name__ == "__main__":
    main()
