"""Images → embeddings, streamed in batches and cached: ``f(x) + f(flip x)``, L2-normalised."""

from __future__ import annotations

import functools
import json
import zipfile
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnas_face import files, ranks, tables
from bnas_face.config import cache_root
from bnas_face.data.images import FaceImages, read_usable, resize
from bnas_face.errors import BnasFaceError, BrokenImageError, ConfigError, ProtocolError
from bnas_face.evaluate.embedders import Embedder, open_embedder

__all__ = ["Embedder", "Embeddings", "cache_file", "embed_images", "open_embedder"]

SCHEMA = "bnas_face.embeddings/1"
BATCHES_AHEAD = 2
KEPT_EVERY = 2048
KEPT_SHARE = 0.1
"""The cache is written after so many images, or that share of what it holds already: an interrupted evaluation goes on
from there, and a set of half a million images is not written two hundred times over."""

Progress = Callable[[int, int], None]
Batch = tuple[NDArray[np.int64], NDArray[np.uint8], dict[int, str]]


@dataclass(frozen=True, kw_only=True)
class Embeddings:
    """Embeddings of some images of a set.

    Attributes
    ----------
    values : ndarray of float32, shape (n_images, embedding_dim)
        Unit length; zeros where `failed`.
    failed : ndarray of bool, shape (n_images,)
        Images that could not be decoded, or whose embedding is not a direction (NaN, infinite, zero).
    image_ids : tuple of str, length n_images
    reasons : dict of image id to str
        Why, for every failed image.
    n_from_cache : int
        How many rows were read from the cache instead of computed.
    lengths : ndarray of float32, shape (n_images,), or None
        Euclidean length of f(x) + f(flip x) before it was brought to 1; NaN where failed, or kept before lengths were.
    """

    values: NDArray[np.float32]
    failed: NDArray[np.bool_]
    image_ids: tuple[str, ...]
    reasons: dict[str, str] = field(default_factory=dict)
    n_from_cache: int = 0
    lengths: NDArray[np.float32] | None = None

    @property
    def from_cache(self) -> bool:
        """Whether nothing had to be computed."""
        return self.n_from_cache == len(self.image_ids)

    def rows(self, ids: Sequence[str]) -> NDArray[np.int64]:
        """Row of each image id; raises `ProtocolError` for an id that was not embedded."""
        return _positions(ids, self.image_ids, "the embeddings")


def embed_images(
    embedder: Embedder,
    images: FaceImages,
    *,
    ids: Sequence[str] | None = None,
    batch_size: int = 64,
    progress: Progress | None = None,
    cache: bool = True,
    flip: bool = True,
) -> Embeddings:
    """Embed the images with these `ids` (None: all), from the cache as far as it knows them.

    Memory stays bounded by a few batches of pixels plus the result. A broken image becomes a flagged row, never a
    missing one.

    Parameters
    ----------
    embedder : Embedder
    images : FaceImages
        Of any size; resized to the network's.
    ids : sequence of str, optional
        Repeated ids are embedded once; rows come in order of first appearance.
    batch_size : int, >= 1
    progress : callable, optional
        Called with (n_done, n_total) after every batch that had to be computed.
    cache : bool
        Read and write ``cache_root()/embeddings``. The file is keyed by weights, preprocessing, flip and the images'
        content hash and grows with every new id, every `KEPT_EVERY` images: an interrupted call goes on where the last
        write was. A damaged file is computed again.
    flip : bool
        Add the embedding of the mirror image; False: f(x) alone. Objects are never flipped.

    Raises
    ------
    ConfigError
        If `batch_size` is smaller than 1.
    ProtocolError
        If `images` does not have one of the ids.
    """
    if batch_size < 1:
        raise ConfigError(f"Batch size {batch_size} is not at least 1.")
    wanted = tuple(dict.fromkeys(images.image_ids if ids is None else ids))
    indices = _positions(wanted, images.image_ids, f"dataset '{images.name}'")
    flip = flip and embedder.flip
    path = cache_file(embedder, images, flip=flip)
    known = _read_cache(path, embedder) if cache else _nothing(embedder)
    missing = _missing(known, wanted, indices)
    start = 0
    while start < len(missing):
        part = missing[start : start + _until_kept(known)]
        known = _join(known, _compute(embedder, images, part, batch_size, flip, _after(progress, start, len(missing))))
        start += len(part)
        if cache:
            _write_cache(path, known)
    rows = known.rows(wanted)
    return Embeddings(
        values=known.values[rows],
        failed=known.failed[rows],
        image_ids=wanted,
        reasons={image_id: known.reasons[image_id] for image_id in wanted if image_id in known.reasons},
        n_from_cache=len(wanted) - len(missing),
        lengths=_lengths(known)[rows],
    )


def embed_together(
    embedder: Embedder,
    images: FaceImages,
    *,
    ids: Sequence[str] | None = None,
    batch_size: int = 64,
    progress: Progress | None = None,
    flip: bool = True,
) -> None:
    """Have all processes of a job embed a part of what the cache lacks, and the first one keep it, in the old order.

    Every process calls this with the same arguments (`ranks.joined`); `embed_images` finds everything in the cache
    then.
    Parameters and errors as in `embed_images`.
    """
    job = ranks.job()
    wanted = tuple(dict.fromkeys(images.image_ids if ids is None else ids))
    flip = flip and embedder.flip
    path = cache_file(embedder, images, flip=flip)
    known = _read_cache(path, embedder) if job.is_first else _nothing(embedder)
    indices = _positions(wanted, images.image_ids, f"dataset '{images.name}'")
    missing, at_once = ranks.told((_missing(known, wanted, indices), job.world_size * _until_kept(known)))
    for start in range(0, len(missing), at_once):
        share = np.array_split(missing[start : start + at_once], job.world_size)[job.rank]
        n_before = start // job.world_size
        found = ranks.collected(
            _compute(
                embedder, images, share, batch_size, flip, _after(progress, n_before, len(missing) // job.world_size)
            )
        )
        if found:
            known = functools.reduce(_join, found, known)
            _write_cache(path, known)


def cache_file(embedder: Embedder, images: FaceImages, *, flip: bool = True) -> Path:
    """Where the embeddings of a set by a network are kept; a change of weights, pixels or preprocessing moves it."""
    preprocessing = {k: v for k, v in embedder.preprocessing.as_dict().items() if k != "source"}
    key = files.sha256_text(
        SCHEMA,
        str(embedder.info["weights_sha256"]) + str(embedder.info.get("arithmetic", "")),
        images.content_hash,
        json.dumps(preprocessing, sort_keys=True),
        "f(x) + f(flip x)" if flip and embedder.flip else "f(x)",
    )
    return cache_root() / "embeddings" / f"{key}.npz"


def _positions(ids: Sequence[str], known: Sequence[str], where: str) -> NDArray[np.int64]:
    position = {image_id: i for i, image_id in enumerate(known)}
    for image_id in ids:
        if image_id not in position:
            near = tables.suggest(image_id, known)
            raise ProtocolError(f"Image '{image_id}' is not in {where} ({len(known)} images).{near}")
    return np.array([position[image_id] for image_id in ids], np.int64)


def _missing(known: Embeddings, wanted: Sequence[str], indices: NDArray[np.int64]) -> NDArray[np.int64]:
    """Those of `indices`, of the `wanted` images, that are not among the known."""
    there = set(known.image_ids)
    return np.array([i for i, image_id in zip(indices, wanted, strict=True) if image_id not in there], np.int64)


def _until_kept(known: Embeddings) -> int:
    """Images to embed before the cache is written again."""
    return max(KEPT_EVERY, int(KEPT_SHARE * len(known.image_ids)))


def _after(progress: Progress | None, n_before: int, n_total: int) -> Callable[[int], None]:
    """Report images done in this part as images done of all."""
    return lambda done: None if progress is None else progress(n_before + done, n_total)


def _nothing(embedder: Embedder) -> Embeddings:
    empty = np.zeros((0, int(embedder.info["embedding_dim"])), np.float32)
    return Embeddings(values=empty, failed=np.zeros(0, np.bool_), image_ids=())


def _lengths(found: Embeddings) -> NDArray[np.float32]:
    unknown = np.full(len(found.image_ids), np.nan, np.float32)
    return unknown if found.lengths is None else found.lengths


def _join(first: Embeddings, second: Embeddings) -> Embeddings:
    return Embeddings(
        values=np.concatenate([first.values, second.values]),
        failed=np.concatenate([first.failed, second.failed]),
        image_ids=first.image_ids + second.image_ids,
        reasons=first.reasons | second.reasons,
        lengths=np.concatenate([_lengths(first), _lengths(second)]),
    )


def _compute(
    embedder: Embedder,
    images: FaceImages,
    indices: NDArray[np.int64],
    batch_size: int,
    flip: bool,
    progress: Callable[[int], None],
) -> Embeddings:
    """Embed batch by batch; a thread decodes the next batches meanwhile."""
    values = np.zeros((len(indices), int(embedder.info["embedding_dim"])), np.float32)
    lengths = np.full(len(indices), np.nan, np.float32)
    reasons: dict[int, str] = {}
    done = 0
    for good, pixels, broken in _batches(images, indices, batch_size, embedder.preprocessing.size_px):
        reasons |= {done + at: reason for at, reason in broken.items()}
        if len(good):
            values[done + good], lengths[done + good], bad = _unit_vectors(embedder, pixels, flip)
            reasons |= {done + int(good[at]): reason for at, reason in bad.items()}
        done += len(good) + len(broken)
        progress(done)
    failed = np.zeros(len(indices), np.bool_)
    failed[list(reasons)] = True
    image_ids = tuple(images.image_ids[i] for i in indices)
    return Embeddings(
        values=values,
        failed=failed,
        image_ids=image_ids,
        reasons={image_ids[at]: why for at, why in reasons.items()},
        lengths=lengths,
    )


def _unit_vectors(
    embedder: Embedder, pixels: NDArray[np.uint8], flip: bool
) -> tuple[NDArray[np.float32], NDArray[np.float32], dict[int, str]]:
    """Unit vectors of f(x) + f(flip x) or f(x), its lengths (zeros, NaN without direction), reasons by position."""
    total: NDArray[np.float64] = embedder.forward(pixels).astype(np.float64)
    if flip:
        total = total + embedder.forward(pixels[:, :, ::-1])
    finite = np.asarray(np.isfinite(total).all(axis=1))
    length: NDArray[np.float64] = np.linalg.norm(np.where(finite[:, None], total, 0.0), axis=1)
    reasons = {int(i): "the embedding is the zero vector" for i in np.flatnonzero(length == 0)}
    reasons |= {int(i): "the embedding is not finite (NaN or infinite)" for i in np.flatnonzero(~finite)}
    good: NDArray[np.bool_] = finite & (length > 0)
    values = np.zeros(total.shape, np.float32)
    values[good] = total[good] / length[good, None]
    return values, np.where(good, length, np.nan).astype(np.float32), reasons


def _batches(images: FaceImages, indices: NDArray[np.int64], batch_size: int, size_px: int) -> Iterator[Batch]:
    """Decoded batches in order, at most `BATCHES_AHEAD` read in advance by a thread."""
    parts = deque(indices[i : i + batch_size] for i in range(0, len(indices), batch_size))
    pending: deque[Future[Batch]] = deque()
    with ThreadPoolExecutor(1, thread_name_prefix="decode") as pool:
        while parts or pending:
            while parts and len(pending) < BATCHES_AHEAD:
                pending.append(pool.submit(_read_batch, images, parts.popleft(), size_px))
            yield pending.popleft().result()


def _read_batch(images: FaceImages, indices: NDArray[np.int64], size_px: int) -> Batch:
    """Positions of the readable images of a batch, their pixels, and the reasons of the others by position."""
    good, pixels, reasons = read_usable(images, indices, BrokenImageError)
    return good, resize(pixels, size_px), reasons


def _read_cache(path: Path, embedder: Embedder) -> Embeddings:
    """What a cache file holds; nothing if it is absent, damaged, or not of this network."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as content:
            schema, values, failed = str(content["schema"]), content["values"], content["failed"]
            ids, reasons = content["image_ids"].ravel().tolist(), content["reasons"].ravel().tolist()
            lengths = content["lengths"] if "lengths" in content else np.full(len(ids), np.nan, np.float32)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        return _nothing(embedder)
    shape = (len(ids), int(embedder.info["embedding_dim"]))
    sound = schema == SCHEMA and values.dtype == np.float32 and values.shape == shape and len(reasons) == len(ids)
    sound = sound and lengths.dtype == np.float32 and lengths.shape == shape[:1]
    if not sound or failed.dtype != np.bool_ or failed.shape != shape[:1] or not np.isfinite(values).all():
        return _nothing(embedder)
    why = {image_id: reason for image_id, reason in zip(ids, reasons, strict=True) if reason}
    return Embeddings(values=values, failed=failed, image_ids=tuple(ids), reasons=why, lengths=lengths)


def _write_cache(path: Path, embeddings: Embeddings) -> None:
    """Keep the embeddings; a cache that cannot be written (full disk) costs time later, not the evaluation now."""
    reasons = [embeddings.reasons.get(image_id, "") for image_id in embeddings.image_ids]
    content: dict[str, Any] = {
        "schema": np.array(SCHEMA),
        "values": embeddings.values,
        "failed": embeddings.failed,
        "lengths": _lengths(embeddings),
        "image_ids": np.array(embeddings.image_ids, dtype=np.str_),
        "reasons": np.array(reasons, dtype=np.str_),
    }
    try:
        with files.atomic_path(path) as part, part.open("wb") as file:
            np.savez(file, **content)
    except BnasFaceError:
        return
