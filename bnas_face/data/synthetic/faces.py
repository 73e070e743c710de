"""Rendered sets as `FaceImages`: nothing on disk, pixels made when first asked for and kept while memory allows."""

from __future__ import annotations

import itertools
import math
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bnas_face.data.images import FaceImages
from bnas_face.data.synthetic import conditions as conditions_module
from bnas_face.data.synthetic import identity, render
from bnas_face.data.synthetic.conditions import Conditions, Drawn
from bnas_face.data.synthetic.hashing import Integers
from bnas_face.files import sha256_text

SIZES_PX = (64, 112)
KEPT_BYTES = 1 << 29
"""Rendered pictures kept in memory per set; the longest unused identities go first."""

_IDENTITIES_PER_PASS = 32
_IMAGES_PER_PART = 80
"""What a thread renders at a time, about: few enough that memory is used again instead of given back."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """Images of every identity that share their conditions: `count` images each, drawn with `conditions`."""

    conditions: Conditions
    count: int


def rendered(
    name: str,
    people: Integers,
    groups: tuple[Group, ...],
    *,
    seed: int,
    size_px: int = 112,
    provenance: dict[str, Any] | None = None,
    device: str = "cpu",
) -> FaceImages:
    """A set of rendered images, identity by identity.

    Parameters
    ----------
    name : str
    people : ndarray of int64, shape (n_identities,)
        Numbers of the identities; the same number is the same person in every set of the same seed.
    groups : tuple of Group
        Each identity has the images of all groups, in this order.
    seed : int
    size_px : int
        64 or 112.
    provenance : dict, optional
        Added to the set's provenance.
    device : str
        Where to render.
    """
    reader = RenderedReader(people=people, groups=groups, seed=seed, size_px=size_px, device=device)
    per = reader.per_identity
    names = tuple(f"person_{number:06d}" for number in people)
    parameters = {"renderer": render.VERSION, "seed": seed, "size_px": size_px}
    described = [repr(sorted(parameters.items())), *(repr(asdict(group)) for group in groups)]
    return FaceImages(
        name=name,
        image_ids=tuple(f"{who}/{index:03d}" for who in names for index in range(per)),
        labels=np.repeat(np.arange(len(people)), per).astype(np.int64),
        identity_names=names,
        content_hash=sha256_text(*described, people.astype("<i8").tobytes().hex()),
        size_px=size_px,
        read=reader,
        costly=True,
        provenance={"source": "rendered by bnas_face", "licence": "none needed", **parameters, **(provenance or {})},
    )


def _in_threads(
    work: Callable[[NDArray[np.int64]], NDArray[np.uint8]], parts: list[NDArray[np.int64]], threads: int
) -> list[NDArray[np.uint8]]:
    """Do the parts (at least as many as threads) in threads of one intra-op thread each.

    The renderer's operations are too small to be split; whole batches side by side use the cores better. The caller
    keeps its number of intra-op threads.
    """
    before = torch.get_num_threads()
    if before == 1:
        return [work(part) for part in parts]
    ready = threading.Barrier(threads + 1)

    def begin() -> None:
        torch.get_num_threads()  # a thread takes the default when first asked, and would forget what was set before
        torch.set_num_threads(1)  # of this thread, but also the default of threads to come: hence the barrier
        ready.wait()

    with ThreadPoolExecutor(threads, "render", initializer=begin) as pool:
        done = [pool.submit(work, part) for part in parts]
        ready.wait()
        torch.set_num_threads(before)
        return [future.result() for future in done]


@dataclass(frozen=True, kw_only=True)
class RenderedReader:
    """Reads images by rendering their identities whole, on as many threads as torch may use.

    Safe to call from several threads, and picklable.
    """

    people: Integers
    groups: tuple[Group, ...]
    seed: int
    size_px: int
    device: str = "cpu"
    _kept: OrderedDict[int, NDArray[np.uint8]] = field(default_factory=OrderedDict, repr=False, compare=False)
    _lock: Any = field(default_factory=threading.Lock, repr=False, compare=False)

    @property
    def per_identity(self) -> int:
        """Images of each identity."""
        return sum(group.count for group in self.groups)

    def __call__(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        indices = np.asarray(indices, np.int64)
        rows, columns = np.divmod(indices, self.per_identity)
        out = np.empty((len(indices), self.size_px, self.size_px, 3), np.uint8)
        wanted = np.unique(rows)
        with self._lock:
            for start in range(0, len(wanted), _IDENTITIES_PER_PASS):
                part = wanted[start : start + _IDENTITIES_PER_PASS]
                self._render_missing(part)
                for row in part:
                    self._kept.move_to_end(int(row))
                    here = rows == row
                    out[here] = self._kept[int(row)][columns[here]]
                self._forget()
        return out

    def drawn(self, indices: NDArray[np.int64]) -> Drawn:
        """Conditions of images, by name, shape (n,)."""
        rows, columns = np.divmod(np.asarray(indices, np.int64), self.per_identity)
        parts: list[tuple[NDArray[np.bool_], Drawn]] = []
        first = 0
        for group in self.groups:
            here = (columns >= first) & (columns < first + group.count)
            parts.append(
                (here, conditions_module.draw(group.conditions, self.seed, self.people[rows[here]], columns[here]))
            )
            first += group.count
        merged = {name: np.zeros(len(rows)) for name in parts[0][1]}
        for here, values in parts:
            for name, value in values.items():
                merged[name][here] = value
        return merged

    def _render_missing(self, rows: NDArray[np.int64]) -> None:
        missing = np.array([row for row in rows if int(row) not in self._kept], np.int64)
        if not len(missing):
            return
        threads = torch.get_num_threads() if self.device == "cpu" else 1
        parts = self._parts(self._with_following(missing, threads), threads)
        for part, images in zip(parts, _in_threads(self._rendered, parts, min(threads, len(parts))), strict=True):
            for row, pictures in zip(part, images, strict=True):
                self._kept[int(row)] = pictures.copy()

    @property
    def _unit(self) -> int:
        """Identities whose images fill batches without a rest."""
        return render.BATCH // math.gcd(render.BATCH, self.per_identity)

    def _with_following(self, missing: NDArray[np.int64], threads: int) -> NDArray[np.int64]:
        """Add the identities that come next, soon to be asked for, until every thread has a part of whole batches.

        Who asks for a few pictures gets these alone.
        """
        if len(missing) < self._unit:
            return missing
        part = self._unit * max(1, round(_IMAGES_PER_PART / (self._unit * self.per_identity)))
        lacking = -len(missing) % (part * threads)
        after = range(int(missing[-1]) + 1, len(self.people))
        following = itertools.islice((row for row in after if row not in self._kept), lacking)
        return np.concatenate([missing, np.fromiter(following, np.int64)])

    def _parts(self, missing: NDArray[np.int64], threads: int) -> list[NDArray[np.int64]]:
        """Identities in parts of about `_IMAGES_PER_PART` images, as many for each thread, of whole batches if any."""
        unit = self._unit if len(missing) >= self._unit * threads else 1
        n_units = len(missing) // unit
        wanted = threads * max(1, round(len(missing) * self.per_identity / (_IMAGES_PER_PART * threads)))
        n_parts = min(wanted, n_units)
        return np.split(missing, unit * (np.arange(1, n_parts) * n_units // n_parts))

    def _rendered(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """All images of these identities, (identities, images of each, size, size, 3)."""
        per = self.per_identity
        people = identity.draw(self.seed, self.people[rows]).to(self.device)
        which = torch.from_numpy(np.repeat(np.arange(len(rows)), per))
        drawn = self.drawn((rows[:, None] * per + np.arange(per)).ravel())
        with torch.inference_mode():
            images = render.render(people, which, drawn, self.size_px, self.device)
        return np.asarray(images.cpu().numpy().reshape(len(rows), per, *images.shape[1:]))

    def _forget(self) -> None:
        bytes_each = self.per_identity * self.size_px**2 * 3
        while len(self._kept) > max(1, KEPT_BYTES // bytes_each):
            self._kept.popitem(last=False)

    def __getstate__(self) -> dict[str, Any]:
        return {k: getattr(self, k) for k in ("people", "groups", "seed", "size_px", "device")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            object.__setattr__(self, name, value)
        object.__setattr__(self, "_kept", OrderedDict())
        object.__setattr__(self, "_lock", threading.Lock())
