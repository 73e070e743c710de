"""Photographs in, aligned faces out: detect, 5-point similarity to the template, one list of failures.

Written to OUT_DIR: the aligned images under the names they have in RAW_DIR (as JPEG), ``faces.csv`` (one line for
each: which pass found it, box, points), ``failures.csv`` (one line for every image that has no aligned one, with the
reason) and ``alignment.json`` (the settings).
"""

from __future__ import annotations

import csv
import io
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import lru_cache
from multiprocessing import get_context, parent_process
from pathlib import Path, PurePosixPath

import cv2
import numpy as np
from numpy.typing import NDArray

from bnas_face import files, machine
from bnas_face.data.detect import Face, FaceDetector
from bnas_face.data.formats import encoded, folders
from bnas_face.errors import BnasFaceError, ConfigError, DatasetError

TEMPLATE_112 = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
"""x, y in px of eyes, nose tip and corners of the mouth in an image of 112×112 (InsightFace)."""
SCHEMA = "bnas_face.alignment/1"
FACES, FAILURES = "faces.csv", "failures.csv"
JPEG_QUALITY = 95
IMAGES_PER_TASK = 8
IMAGES_WORTH_A_WORKER = 48
"""A worker process takes seconds to start; below so many images for each there is none."""
POINTS = ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth")
FACE_FIELDS = (
    *("image_id", "search_pass", "n_faces", "probability", "x1", "y1", "x2", "y2"),
    *(f"{point}_{axis}" for point in POINTS for axis in "xy"),
)
FAILURE_FIELDS = ("image_id", "reason")
Progress = Callable[[int, int], None]
Row = dict[str, str]


@dataclass(frozen=True, kw_only=True)
class AlignSettings:
    """What decides how an aligned image looks.

    Attributes
    ----------
    size_px : int
        Height and width of the aligned images; the template is scaled from 112. 16 to 1024.
    min_face_px : int
        Smallest face looked for, see `FaceDetector`. At least 12.
    """

    size_px: int = 112
    min_face_px: int = 20

    def __post_init__(self) -> None:
        if not 16 <= self.size_px <= 1024:
            raise ConfigError(f"Size {self.size_px} px is not between 16 and 1024. Face networks take 112.")
        if self.min_face_px < 12:
            raise ConfigError(f"Smallest face {self.min_face_px} px is below 12, which MTCNN cannot see.")


@dataclass(frozen=True, kw_only=True)
class AlignSummary:
    """Counts of one call: ``n_images = n_aligned + n_kept + n_failed``.

    Attributes
    ----------
    n_images, n_aligned, n_kept, n_failed : int
        Found in RAW_DIR; aligned now; aligned by an earlier call; without a face or unreadable.
    n_second_pass : int
        Of all aligned, those that only the second pass found.
    """

    n_images: int
    n_aligned: int
    n_kept: int
    n_failed: int
    n_second_pass: int


def similarity(source: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    """The rotation, scale and shift that bring `source` to `target` with the least squared error.

    Parameters
    ----------
    source, target : ndarray of float64, shape (n_points, 2)

    Returns
    -------
    ndarray of float64, shape (2, 3): ``target ≈ source @ matrix[:, :2].T + matrix[:, 2]``. Never a reflection.

    Raises
    ------
    DatasetError
        If the source points coincide.

    References
    ----------
    Umeyama, Least-squares estimation of transformation parameters between two point patterns, PAMI 1991, eq. 40–42.
    """
    source_mean, target_mean = source.mean(axis=0), target.mean(axis=0)
    centred = source - source_mean
    variance = (centred**2).sum() / len(source)
    if not variance > 0:
        raise DatasetError("the five points of the face coincide")
    u, singular, vt = np.linalg.svd((target - target_mean).T @ centred / len(source))
    sign = np.array([1.0, np.sign(np.linalg.det(u) * np.linalg.det(vt)) or 1.0])  # eq. 39: no reflection
    matrix = (u * sign) @ vt * (singular @ sign) / variance
    return np.column_stack([matrix, target_mean - matrix @ source_mean])


def align_face(image: NDArray[np.uint8], points: NDArray[np.float64], size_px: int = 112) -> NDArray[np.uint8]:
    """Warp the face with these five points onto the template; black where the image ends.

    Parameters
    ----------
    image : ndarray of uint8, shape (height, width, 3)
    points : ndarray of float64, shape (5, 2)
        As `Face.points`.
    size_px : int

    Returns
    -------
    ndarray of uint8, shape (size_px, size_px, 3). Bilinear; a face more than twice as large is averaged down first.
    """
    matrix = similarity(points, TEMPLATE_112 * (size_px / 112))
    scale = float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    if scale < 0.5:
        height, width = image.shape[:2]
        small = max(1, round(width * 2 * scale)), max(1, round(height * 2 * scale))
        stretch = np.array([width, height]) / np.array(small)
        image = np.asarray(cv2.resize(image, small, interpolation=cv2.INTER_AREA), np.uint8)
        # A pixel's centre x of the small image lies at (x + ½) · stretch − ½ of the large one.
        matrix[:, 2] += matrix[:, :2] @ (stretch / 2 - 0.5)
        matrix[:, :2] *= stretch
    warped = cv2.warpAffine(image, matrix, (size_px, size_px), flags=cv2.INTER_LINEAR, borderValue=(0.0, 0.0, 0.0))
    return np.asarray(warped, np.uint8)


def align_folder(
    raw_dir: Path,
    out_dir: Path,
    settings: AlignSettings,
    *,
    workers: int | None = None,
    progress: Progress | None = None,
) -> AlignSummary:
    """Align every image below `raw_dir`. Stopped at any moment, the same call goes on where it was.

    Parameters
    ----------
    raw_dir, out_dir : Path
    settings : AlignSettings
    workers : int, optional
        Processes; None: one per CPU core, fewer for few images.
    progress : callable, optional
        Called with (n_done, n_images).

    Raises
    ------
    DatasetError
        If `raw_dir` holds no images, two images would get the same name, or no image could be aligned.
    ConfigError
        If `out_dir` lies inside `raw_dir`, or was aligned with other settings.
    """
    names = _output_names(raw_dir, out_dir)
    _claim(out_dir, settings)
    kept = [row for row in _read_rows(out_dir / FACES) if _is_done(row["image_id"], names, out_dir)]
    known = {row["image_id"] for row in kept}
    todo = [(image_id, name) for image_id, name in names.items() if image_id not in known]
    files.write_text(out_dir / FACES, _csv(FACE_FIELDS, kept))
    aligned: list[Row] = []
    failed: list[Row] = []
    for rows in _run(todo, raw_dir, out_dir, settings, _n_workers(workers, len(todo))):
        faces = [row for row in rows if "reason" not in row]
        _append(out_dir / FACES, faces)
        aligned += faces
        failed += [row for row in rows if "reason" in row]
        if progress is not None:
            progress(len(kept) + len(aligned) + len(failed), len(names))
    found = sorted(kept + aligned, key=lambda row: row["image_id"])
    failed.sort(key=lambda row: row["image_id"])
    files.write_text(out_dir / FACES, _csv(FACE_FIELDS, found))
    files.write_text(out_dir / FAILURES, _csv(FAILURE_FIELDS, failed))
    if not found:
        raise DatasetError(
            f"None of the {len(names)} images of '{raw_dir}' could be aligned; '{failed[0]['image_id']}': "
            f"{failed[0]['reason']}. All reasons: '{out_dir / FAILURES}'."
        )
    return AlignSummary(
        n_images=len(names),
        n_aligned=len(aligned),
        n_kept=len(kept),
        n_failed=len(failed),
        n_second_pass=sum(row["search_pass"] == "2" for row in found),
    )


def _output_names(raw_dir: Path, out_dir: Path) -> dict[str, str]:
    """Image id → name of its aligned image, in the order of ids."""
    if out_dir.resolve().is_relative_to(raw_dir.resolve()):
        raise ConfigError(f"OUT_DIR '{out_dir}' lies inside RAW_DIR '{raw_dir}'. Choose a folder outside of it.")
    names: dict[str, str] = {}
    origin: dict[str, str] = {}
    for image_id in folders.list_images(raw_dir):
        name = str(PurePosixPath(image_id).with_suffix(".jpg"))
        if name in origin:
            raise DatasetError(
                f"'{origin[name]}' and '{image_id}' of '{raw_dir}' would both be written as '{name}'. Rename one."
            )
        origin[name], names[image_id] = image_id, name
    if not names:
        raise DatasetError(f"'{raw_dir}' holds no images ({', '.join(sorted(folders.SUFFIXES))}).")
    return names


def _claim(out_dir: Path, settings: AlignSettings) -> None:
    """Write the settings, or compare them with those of an earlier call; refuse a folder that is somebody else's."""
    path = out_dir / "alignment.json"
    if not path.exists():
        visible = (file for file in out_dir.iterdir() if not file.name.startswith(".")) if out_dir.is_dir() else ()
        if any(visible) or out_dir.is_file():
            raise ConfigError(f"OUT_DIR '{out_dir}' holds files that no earlier call wrote. Choose a new folder.")
        rules = {"template_112": TEMPLATE_112.tolist(), "detector": "facenet-pytorch MTCNN", "face": "largest-centred"}
        files.write_json(path, {"schema": SCHEMA, **asdict(settings), **rules})
        return
    earlier = files.read_json(path)
    for name, value in asdict(settings).items():
        found = earlier.get(name) if isinstance(earlier, dict) else None
        if found != value:
            raise ConfigError(f"OUT_DIR '{out_dir}' was aligned with {name} {found}, not {value}. Choose a new folder.")


def _is_done(image_id: str, names: dict[str, str], out_dir: Path) -> bool:
    return image_id in names and (out_dir / names[image_id]).is_file()


def _csv(fields: Sequence[str], rows: Sequence[Row]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, fields, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _append(path: Path, rows: Sequence[Row]) -> None:
    """Journal of what is done; a line cut short by a kill is dropped by `_read_rows` and its image aligned again."""
    with path.open("a", encoding="utf-8", newline="") as file:
        csv.DictWriter(file, FACE_FIELDS, lineterminator="\n").writerows(rows)


def _read_rows(path: Path) -> list[Row]:
    """The whole lines of faces.csv; nothing where it is absent or has other columns."""
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", errors="replace", newline="") as file:
        reader = csv.DictReader(file)
        if tuple(reader.fieldnames or ()) != FACE_FIELDS:
            return []
        whole = {row["image_id"]: row for row in reader if None not in row and None not in row.values()}
    return list(whole.values())


def _n_workers(asked: int | None, n_images: int) -> int:
    if asked is not None:
        if asked < 1:
            raise ConfigError(f"{asked} workers are too few; 1 is the least.")
        return asked
    return min(machine.processors(), n_images // IMAGES_WORTH_A_WORKER)


def _run(
    todo: Sequence[tuple[str, str]], raw_dir: Path, out_dir: Path, settings: AlignSettings, n_workers: int
) -> Iterator[list[Row]]:
    """Rows of finished tasks, in any order; here, or in `n_workers` processes when more than one. One core each."""
    tasks = [todo[i : i + IMAGES_PER_TASK] for i in range(0, len(todo), IMAGES_PER_TASK)]
    if n_workers <= 1:
        with _one_thread():
            yield from (_align_some(raw_dir, out_dir, settings, task) for task in tasks)
        return
    pool = ProcessPoolExecutor(n_workers, get_context("spawn"), initializer=_start_worker)
    try:
        pending = {pool.submit(_align_some, raw_dir, out_dir, settings, task) for task in tasks}
        for future in as_completed(pending):
            yield future.result()
    except BrokenProcessPool:
        raise BnasFaceError(
            "A worker process died (out of memory?). What is aligned is kept: go on with --workers 1."
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _one_thread() -> Iterator[None]:
    """MTCNN's many small layers gain little from threads, and lose much where the cores are busy."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _start_worker() -> None:
    """Use one core, leave Ctrl-C to the parent, and end with it even if it is killed."""
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@lru_cache(maxsize=1)
def _detector(min_face_px: int) -> FaceDetector:
    """One detector per process: loading it takes longer than using it."""
    return FaceDetector(min_face_px)


def _align_some(raw_dir: Path, out_dir: Path, settings: AlignSettings, task: Sequence[tuple[str, str]]) -> list[Row]:
    """Align some images and write them; a row of faces.csv or of failures.csv for each."""
    detector = _detector(settings.min_face_px)
    rows: list[Row] = []
    for image_id, name in task:
        try:
            image = encoded.decode(folders.read_bytes(raw_dir, image_id), image_id)
            face = detector.find(image)
            if face is None:
                raise DatasetError(f"no face found in {image.shape[1]}×{image.shape[0]} px, in either pass")
            aligned = align_face(image, face.points, settings.size_px)
        except DatasetError as error:
            rows.append({"image_id": image_id, "reason": str(error)})
            continue
        files.write_bytes(out_dir / name, encoded.encode_jpeg(aligned, JPEG_QUALITY))
        rows.append(_face_row(image_id, face))
    return rows


def _face_row(image_id: str, face: Face) -> Row:
    numbers = [f"{value:.2f}" for value in (*face.box, *face.points.ravel())]
    values = [image_id, str(face.search_pass), str(face.n_faces), f"{face.probability:.4f}", *numbers]
    return dict(zip(FACE_FIELDS, values, strict=True))
