"""Rendered faces as a record set of CASIA's shape, of any size: ``train.rec``, ``.idx``, ``.lst`` and ``property``.

The files are those of InsightFace's ``faces_webface_112x112``. With ``variants`` above 1 only every so many-th image is
a rendering of its own; those between are the same rendering cut, coloured, coarsened and occluded at random. That is
said in ``render.json``, and such a set is a load test, no study.
"""

from __future__ import annotations

import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnas_face import files, machine
from bnas_face.data import processes
from bnas_face.data.augment import Augmenter
from bnas_face.data.formats import encoded
from bnas_face.data.formats.recordio import Record, append
from bnas_face.data.growing import GrowingFiles
from bnas_face.errors import BnasFaceError, DatasetError, FormatError

SIZE_PX = 112
QUALITY = 95
"""Of the JPEG files, as in the published sets' generation."""
BYTES_EACH = 6_000
"""What an image takes on disk, about: to refuse a disk that is too small before anything is rendered."""
DESCRIPTION = "render.json"
_PEOPLE_PER_PART = 32
_VARIANT_STREAM = 301
_VARIED = Augmenter(
    rotate_deg=6, zoom=0.06, squeeze=0.06, colour=0.4, colour_share=0.7, low_resolution_share=0.3, occlusion_share=0.1
)
Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class RenderPlan:
    """What to write.

    Attributes
    ----------
    n_images, n_identities : int
        Shared out evenly; the first identities have one image more where that does not divide.
    variants : int
        Images made of each rendering, >= 1.
    seed : int
    """

    n_images: int
    n_identities: int
    variants: int = 1
    seed: int = 20

    def __post_init__(self) -> None:
        if not (2 <= self.n_identities <= 1_000_000 and self.n_identities <= self.n_images and self.variants >= 1):
            raise DatasetError(
                f"{self.n_images:,} images of {self.n_identities:,} identities in {self.variants} variants cannot be "
                "rendered. Choose 2 to 1,000,000 identities, at least one image each, and one variant or more."
            )

    @property
    def counts(self) -> NDArray[np.int64]:
        """Images of each identity, shape (n_identities,)."""
        each, rest = divmod(self.n_images, self.n_identities)
        return each + (np.arange(self.n_identities) < rest).astype(np.int64)

    @property
    def n_renderings(self) -> int:
        """Renderings that differ in more than `_VARIED`."""
        return int((-(-self.counts // self.variants)).sum())

    @property
    def parts(self) -> list[NDArray[np.int64]]:
        """Identities, part by part as they are written."""
        people = np.arange(self.n_identities)
        return np.split(people, range(_PEOPLE_PER_PART, self.n_identities, _PEOPLE_PER_PART))

    def to_json(self) -> dict[str, Any]:
        """The plan as ``render.json`` says it."""
        from bnas_face.data.synthetic import render

        how = {
            "renderer": render.VERSION,
            "size_px": SIZE_PX,
            "jpeg_quality": QUALITY,
            "n_renderings": self.n_renderings,
        }
        return {"schema": "bnas_face.rendered_records/1", **asdict(self), **how, "variation": asdict(_VARIED)}


def write(folder: Path, plan: RenderPlan, *, workers: int = 0, progress: Progress | None = None) -> Path:
    """Render the set into `folder`; stopped at any moment, the same call goes on.

    Parameters
    ----------
    folder : Path
    plan : RenderPlan
    workers : int
        Processes; 0 for one each core.
    progress : callable or None
        Called with (images written, images in all).

    Returns
    -------
    Path
        The ``.rec``.

    Raises
    ------
    DatasetError
        If the disk is too small, the folder holds another record set, or another process writes there.
    BnasFaceError
        If a rendering process dies.
    """
    path, described = folder / "train.rec", plan.to_json()
    if _is_written(folder, path, described):
        return path
    _check_space(folder, plan)
    busy = DatasetError(f"Another process renders into '{folder}'; wait for it to end.")
    with files.locked(folder / ".render.lock", busy):
        with GrowingFiles((path, path.with_suffix(".idx")), files.sha256_text(repr(described))) as growing:
            _write_parts(growing, plan, workers or machine.processors(), progress or (lambda done, total: None))
            _write_beside(folder, plan)
            growing.finish()
        files.write_json(folder / DESCRIPTION, described)
    return path


def _is_written(folder: Path, path: Path, described: dict[str, Any]) -> bool:
    if not path.with_suffix(".idx").exists():
        return False
    try:
        if files.read_json(folder / DESCRIPTION) == described:
            return True
    except FormatError:
        pass
    raise DatasetError(f"'{folder}' holds another record set ('{path.name}'). Choose another folder with --to.")


def _check_space(folder: Path, plan: RenderPlan) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    needed, free = plan.n_images * BYTES_EACH, shutil.disk_usage(folder).free
    there = sum(file.stat().st_size for file in folder.glob(".train.*.part"))
    if needed > free + there:
        raise DatasetError(
            f"{plan.n_images:,} images need about {needed / 1e9:.1f} GB, and '{folder}' has {free / 1e9:.1f} GB free. "
            "Choose another folder with --to, or fewer --images."
        )


def _write_parts(growing: GrowingFiles, plan: RenderPlan, workers: int, progress: Progress) -> None:
    """Part 0 is record 0, then come the images, at last the identities' records."""
    counts, parts = plan.counts, plan.parts
    first_keys = 1 + np.cumsum(counts) - counts
    first_identity = plan.n_images + 1
    if growing.n_parts == 0:
        head = (float(first_identity), float(first_identity + plan.n_identities))
        _end_part(growing, [(0, Record(label=head, id=0))])
    done = int(counts[: _PEOPLE_PER_PART * (growing.n_parts - 1)].sum())
    for people, images in _rendered(plan, parts[growing.n_parts - 1 :], workers):
        labels = np.repeat(people, counts[people]).tolist()
        numbered = enumerate(zip(labels, images, strict=True), int(first_keys[people[0]]))
        _end_part(
            growing, ((key, Record(label=float(label), id=key, payload=image)) for key, (label, image) in numbered)
        )
        done += len(images)
        progress(done, plan.n_images)
    if growing.n_parts == len(parts) + 1:
        spans = zip(first_keys.tolist(), (first_keys + counts).tolist(), strict=True)
        numbered_spans = enumerate(spans, first_identity)
        _end_part(
            growing, ((key, Record(label=(float(first), float(end)), id=key)) for key, (first, end) in numbered_spans)
        )


def _end_part(growing: GrowingFiles, records: Iterable[tuple[int, Record]]) -> None:
    file, index = growing.files
    append(file, index, records)
    growing.end_part()


def _rendered(
    plan: RenderPlan, parts: list[NDArray[np.int64]], workers: int
) -> Iterator[tuple[NDArray[np.int64], list[bytes]]]:
    """The parts' images in order, made ahead by processes; a few parts at most wait in memory."""
    waiting: deque[tuple[NDArray[np.int64], Future[list[bytes]]]] = deque()
    with ProcessPoolExecutor(workers, mp_context=processes.fork_server(), initializer=processes.begin) as pool:
        try:
            for people in parts:
                waiting.append((people, pool.submit(render_part, plan, people)))
                if len(waiting) > workers + 1:
                    first, future = waiting.popleft()
                    yield first, future.result()
            for first, future in waiting:
                yield first, future.result()
        except BrokenProcessPool:
            raise BnasFaceError(
                "A rendering process died (killed, or out of memory). The same command goes on where it was; "
                "use fewer --workers if memory is short."
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)


def render_part(plan: RenderPlan, people: NDArray[np.int64]) -> list[bytes]:
    """JPEG files of all images of some identities (int64, shape (n,)), identity by identity."""
    import torch

    from bnas_face.data.synthetic import faces, protocols

    torch.set_num_threads(1)
    counts = plan.counts[people]
    per = -(-int(counts.max()) // plan.variants)
    reader = faces.RenderedReader(people=people, groups=protocols.training_groups(per), seed=plan.seed, size_px=SIZE_PX)
    renderings = reader(np.arange(len(people) * per)).reshape(len(people), per, SIZE_PX, SIZE_PX, 3)
    images: list[bytes] = []
    for person, count, own in zip(people, counts, renderings, strict=True):
        for index in range(int(count)):
            which, variant = divmod(index, plan.variants)
            image = own[which]
            if variant:
                image = _VARIED(image, np.random.default_rng((plan.seed, int(person), index, _VARIANT_STREAM)))
            images.append(encoded.encode_jpeg(image, QUALITY))
    return images


def _write_beside(folder: Path, plan: RenderPlan) -> None:
    """``property`` (identities, height, width) and ``train.lst`` (aligned, path, label), as InsightFace has them."""
    files.write_text(folder / "property", f"{plan.n_identities},{SIZE_PX},{SIZE_PX}")
    with files.atomic_path(folder / "train.lst") as part, part.open("w", encoding="ascii") as file:
        for person, count in enumerate(plan.counts.tolist()):
            file.writelines(f"1\tperson_{person:06d}/{index:03d}.jpg\t{person}\n" for index in range(count))
