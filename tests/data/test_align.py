"""Alignment: the exact similarity, the right face, and a list of every image that has none."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray
from scipy.optimize import least_squares

from bnas_face.cli import main
from bnas_face.cli.align import command
from bnas_face.data import align, detect
from bnas_face.data.align import TEMPLATE_112, AlignSettings, align_face, align_folder, similarity
from bnas_face.data.detect import Face, FaceDetector, select_face
from bnas_face.data.formats import archives, encoded, folders, pair_lists
from bnas_face.data.images import FaceImages
from bnas_face.errors import ConfigError, DatasetError

# --- geometry ---------------------------------------------------------------------------------------------------------


def transform(scale: float, angle_rad: float, shift: tuple[float, float]) -> NDArray[np.float64]:
    cos, sin = scale * np.cos(angle_rad), scale * np.sin(angle_rad)
    return np.array([[cos, -sin, shift[0]], [sin, cos, shift[1]]])


def apply(matrix: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.float64]:
    return points @ matrix[:, :2].T + matrix[:, 2]


@pytest.mark.parametrize(("scale", "angle_rad", "shift"), [(1, 0, (0, 0)), (0.3, 1.2, (50, -7)), (4, -3.0, (-9, 1e3))])
def test_a_similarity_is_recovered_exactly(scale: float, angle_rad: float, shift: tuple[float, float]) -> None:
    matrix = transform(scale, angle_rad, shift)
    found = similarity(TEMPLATE_112, apply(matrix, TEMPLATE_112))
    np.testing.assert_allclose(found, matrix, rtol=1e-9, atol=1e-9)


def test_similarity_of_noisy_points_has_the_least_squared_error() -> None:
    rng = np.random.default_rng(3)
    points = TEMPLATE_112 * 1.7 + rng.normal(0, 4, (5, 2))

    def residual(values: NDArray[np.float64]) -> NDArray[np.float64]:
        matrix = np.array([[values[0], -values[1], values[2]], [values[1], values[0], values[3]]])
        return (apply(matrix, points) - TEMPLATE_112).ravel()

    best = least_squares(residual, [1, 0, 0, 0], xtol=1e-14, ftol=1e-14, gtol=1e-14).x
    expected = [[best[0], -best[1], best[2]], [best[1], best[0], best[3]]]
    np.testing.assert_allclose(similarity(points, TEMPLATE_112), expected, rtol=1e-6, atol=1e-6)


def test_mirrored_points_are_rotated_and_never_reflected() -> None:
    mirrored = TEMPLATE_112 * [-1, 1]
    assert np.linalg.det(similarity(mirrored, TEMPLATE_112)[:, :2]) > 0


def test_coinciding_points_are_refused() -> None:
    with pytest.raises(DatasetError, match="the five points of the face coincide"):
        similarity(np.ones((5, 2)), TEMPLATE_112)


def dotted(points: NDArray[np.float64], height: int, width: int, radius: int) -> NDArray[np.uint8]:
    """Grey image with a white dot at each point (drawn with sub-pixel precision)."""
    image = np.full((height, width, 3), 60, np.uint8)
    for x, y in points:
        cv2.circle(image, (round(x * 16), round(y * 16)), radius * 16, (255, 255, 255), -1, cv2.LINE_AA, 4)
    return image


def centres(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Centroids of the bright dots, from top to bottom."""
    _, _, _, found = cv2.connectedComponentsWithStats((image[..., 0] > 150).astype(np.uint8))
    return found[1:]


@pytest.mark.parametrize("scale", [0.8, 1.0, 3.0, 9.0])
@pytest.mark.parametrize("size_px", [112, 224])
def test_the_five_points_land_on_the_template(scale: float, size_px: int) -> None:
    points = apply(transform(scale, 0.4, (120 * scale, 30 * scale)), TEMPLATE_112)
    image = dotted(points, round(200 * scale), round(240 * scale), round(4 * scale))
    found = centres(align_face(image, points, size_px))
    template = TEMPLATE_112 * size_px / 112
    distance = np.linalg.norm(found[:, None] - template[None], axis=2)
    assert len(found) == 5
    assert distance.min(axis=0).max() < 0.5 * size_px / 112


def test_outside_of_the_image_is_black() -> None:
    white = np.full((112, 112, 3), 255, np.uint8)
    aligned = align_face(white, TEMPLATE_112 - [40, 0])  # the face hangs over the left edge
    assert not aligned[:, :39].any()
    assert (aligned[:, 41:] == 255).all()


def test_a_large_face_is_averaged_and_not_sampled() -> None:
    stripes = np.zeros((1120, 1120, 3), np.uint8)
    stripes[:, ::2] = 255
    aligned = align_face(stripes, TEMPLATE_112 * 10)
    assert abs(aligned[5:-5, 5:-5].astype(int) - 127).max() <= 30  # a sample would be 0 or 255


# --- which face -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("boxes", "chosen"),
    [
        ([[0, 0, 10, 10]], 0),
        ([[40, 40, 60, 60], [30, 30, 70, 70]], 1),  # the larger one
        ([[0, 0, 44, 44], [30, 30, 70, 70]], 1),  # slightly larger in the corner loses: 1936 − 2·1568 < 1600
        ([[40, 40, 50, 50], [0, 0, 95, 95]], 1),  # much larger off the centre wins
        ([[20, 40, 40, 60], [60, 40, 80, 60]], 0),  # a tie: the first
    ],
)
def test_the_largest_centred_face_is_chosen(boxes: list[list[float]], chosen: int) -> None:
    assert select_face(np.array(boxes, float), 100, 100) == chosen


def test_height_and_width_are_not_swapped() -> None:
    boxes = np.array([[90.0, 40, 110, 60], [40, 90, 60, 110]])  # centred in a wide image, centred in a high one
    assert select_face(boxes, height=100, width=200) == 0
    assert select_face(boxes, height=200, width=100) == 1


@pytest.fixture(scope="module")
def detector() -> FaceDetector:
    return FaceDetector()


@pytest.mark.parametrize("shape", [(1, 1), (11, 200), (19, 19), (20, 20), (64, 64), (100, 37), (7, 2000)])
@pytest.mark.parametrize("kind", ["black", "noise"])
def test_no_face_is_none_whatever_the_size(detector: FaceDetector, shape: tuple[int, int], kind: str) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (*shape, 3), np.uint8)
    assert detector.find(np.zeros_like(noise) if kind == "black" else noise) is None


# --- a folder ---------------------------------------------------------------------------------------------------------


class Bright:
    """Finds a face in every image whose mean is above 100: the template's points, scaled to the image."""

    def find(self, image: NDArray[np.uint8]) -> Face | None:
        if image.mean() <= 100:
            return None
        points = TEMPLATE_112 * image.shape[0] / 112
        return Face(points=points, box=np.arange(4.0), probability=0.9, n_faces=1, search_pass=1 + (image.mean() < 120))


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """`Bright` in place of MTCNN."""
    monkeypatch.setattr(align, "_detector", lambda min_face_px: Bright())


def write_photos(root: Path, **levels: int) -> None:
    """One plain photograph of 30 px for each name; ``__`` stands for a folder."""
    for name, level in levels.items():
        path = root / (name.replace("__", "/") + ".jpg")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded.encode_jpeg(np.full((30, 30, 3), level, np.uint8)))


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.usefixtures("stand_in")
def test_every_image_is_aligned_or_listed_with_its_reason() -> None:
    write_photos(Path("raw"), a__1=200, a__2=10, b__c__3=110)
    (Path("raw") / "a" / "4.jpg").write_bytes(b"")
    (Path("raw") / "a" / "5.jpg").write_bytes((Path("raw") / "a" / "1.jpg").read_bytes()[:-40])
    (Path("raw") / "a" / "6.png").write_bytes(encoded.encode_png(np.full((20, 20, 3), 210, np.uint8)))
    done = align_folder(Path("raw"), Path("out"), AlignSettings(), workers=1)
    assert (done.n_images, done.n_aligned, done.n_kept, done.n_failed, done.n_second_pass) == (6, 3, 0, 3, 1)
    assert folders.list_images(Path("out")) == ("a/1.jpg", "a/6.jpg", "b/c/3.jpg")
    failures = {row["image_id"]: row["reason"] for row in rows_of(Path("out/failures.csv"))}
    assert failures["a/2.jpg"] == "no face found in 30×30 px, in either pass"
    assert failures["a/4.jpg"] == "Image 'a/4.jpg' cannot be decoded: it is empty (0 bytes)."
    assert "the JPEG ends at byte" in failures["a/5.jpg"]
    faces = rows_of(Path("out/faces.csv"))
    assert [(row["image_id"], row["search_pass"]) for row in faces] == [
        ("a/1.jpg", "1"),
        ("a/6.png", "1"),
        ("b/c/3.jpg", "2"),
    ]
    assert encoded.decode(Path("out/a/1.jpg").read_bytes(), "1").shape == (112, 112, 3)


@pytest.mark.usefixtures("stand_in")
def test_colours_stay_red_green_blue() -> None:
    Path("raw").mkdir()
    colour = np.full((112, 112, 3), (250, 130, 20), np.uint8)
    Path("raw/a.png").write_bytes(encoded.encode_png(colour))
    align_folder(Path("raw"), Path("out"), AlignSettings(), workers=1)
    found = encoded.decode(Path("out/a.jpg").read_bytes(), "a")
    assert abs(found[30:80, 30:80].astype(int) - colour[0, 0]).max() <= 3


@pytest.mark.usefixtures("stand_in")
def test_a_second_call_keeps_what_is_there_and_tries_failures_again() -> None:
    write_photos(Path("raw"), a=200, b=10, c=220)
    align_folder(Path("raw"), Path("out"), AlignSettings(), workers=1)
    Path("out/c.jpg").unlink()
    before = Path("out/a.jpg").stat().st_mtime_ns
    write_photos(Path("raw"), b=190)
    done = align_folder(Path("raw"), Path("out"), AlignSettings(), workers=1)
    assert (done.n_aligned, done.n_kept, done.n_failed) == (2, 1, 0)
    assert Path("out/a.jpg").stat().st_mtime_ns == before
    assert rows_of(Path("out/failures.csv")) == []
    assert [row["image_id"] for row in rows_of(Path("out/faces.csv"))] == ["a.jpg", "b.jpg", "c.jpg"]


@pytest.mark.usefixtures("stand_in")
def test_a_line_cut_short_by_a_kill_is_aligned_again() -> None:
    write_photos(Path("raw"), a=200, b=210)
    align_folder(Path("raw"), Path("out"), AlignSettings(), workers=1)
    whole = Path("out/faces.csv").read_text()
    Path("out/faces.csv").write_text(whole[:-60])
    done = align_folder(Path("raw"), Path("out"), AlignSettings(), workers=1)
    assert (done.n_aligned, done.n_kept) == (1, 1)
    assert Path("out/faces.csv").read_text() == whole


@pytest.mark.usefixtures("stand_in")
def test_other_settings_or_a_foreign_folder_are_refused_and_nothing_changes() -> None:
    write_photos(Path("raw"), a=200)
    align_folder(Path("raw"), Path("out"), AlignSettings(), workers=1)
    with pytest.raises(ConfigError) as caught:
        align_folder(Path("raw"), Path("out"), AlignSettings(size_px=64), workers=1)
    assert str(caught.value) == "OUT_DIR 'out' was aligned with size_px 112, not 64. Choose a new folder."
    write_photos(Path("photos"), mine=50)
    with pytest.raises(ConfigError, match="holds files that no earlier call wrote"):
        align_folder(Path("raw"), Path("photos"), AlignSettings(), workers=1)
    assert [path.name for path in Path("photos").iterdir()] == ["mine.jpg"]


@pytest.mark.usefixtures("stand_in")
@pytest.mark.parametrize(
    ("out", "message"),
    [("raw", "lies inside RAW_DIR"), ("raw/aligned", "lies inside RAW_DIR")],
)
def test_writing_into_the_photographs_is_refused(out: str, message: str) -> None:
    write_photos(Path("raw"), a=200)
    with pytest.raises(ConfigError, match=message):
        align_folder(Path("raw"), Path(out), AlignSettings(), workers=1)
    assert [path.name for path in Path("raw").iterdir()] == ["a.jpg"]


def test_two_images_of_one_output_name_are_refused() -> None:
    write_photos(Path("raw"), a=200)
    Path("raw/a.png").write_bytes(b"x")
    with pytest.raises(DatasetError, match=r"'a\.jpg' and 'a\.png' of 'raw' would both be written as 'a\.jpg'"):
        align_folder(Path("raw"), Path("out"), AlignSettings(), workers=1)
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"size_px": 8}, "Size 8 px is not between 16 and 1024"), ({"min_face_px": 3}, "Smallest face 3 px is below 12")],
)
def test_settings_out_of_range_are_refused(settings: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        AlignSettings(**settings)


def test_worker_processes_report_every_image() -> None:
    """With MTCNN itself, which finds no face in noise: the call ends with the count and the list of failures."""
    rng = np.random.default_rng(0)
    Path("raw").mkdir()
    for i in range(17):
        Path(f"raw/{i:02d}.png").write_bytes(encoded.encode_png(rng.integers(0, 256, (40, 40, 3), np.uint8)))
    with pytest.raises(DatasetError) as caught:
        align_folder(Path("raw"), Path("out"), AlignSettings(), workers=2)
    assert str(caught.value).startswith(
        "None of the 17 images of 'raw' could be aligned; '00.png': no face found in 40×40"
    )
    assert len(rows_of(Path("out/failures.csv"))) == 17


# --- command line -----------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("stand_in")
def test_the_command_says_the_counts() -> None:
    write_photos(Path("raw"), a=200, b=10)
    result = CliRunner().invoke(command, ["raw", "out"])
    assert result.exit_code == 0
    assert result.stdout == (
        "2 images: 1 aligned now, 0 by an earlier call, 1 failed (0 faces needed the second pass).\n"
    )
    assert result.stderr == "Failures, with reasons: out/failures.csv\n"


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["photos", "out"], 1, "Error: 'photos' is not a folder of images."),
        (["raw", "out"], 1, "Error: 'raw' holds no images (.bmp, .jpeg, .jpg, .png, .webp)."),
        (
            ["photos", "out", "--size-px", "5"],
            2,
            "Error: Size 5 px is not between 16 and 1024. Face networks take 112.",
        ),
    ],
)
def test_a_users_mistake_is_one_sentence(
    args: list[str], code: int, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("raw").mkdir()
    monkeypatch.setattr(sys, "argv", ["bnasface", "align", *args])
    with pytest.raises(SystemExit) as caught:
        main()
    assert (caught.value.code, capsys.readouterr().err) == (code, f"{message}\n")


# --- real photographs -------------------------------------------------------------------------------------------------

N_SAMPLE = 20


@pytest.fixture(scope="session")
def sample(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[pair_lists.Pair]]:
    """Raw and given images of the first 20 genuine and 20 impostor pairs of LFW's fold 1, and these pairs."""
    root = tmp_path_factory.mktemp("sample")
    pairs = pair_lists.read_lfw(shared_data / "lfw" / "pairs.txt")
    first = pairs[pairs["fold"] == 0]
    chosen = [*first[:N_SAMPLE].itertuples(index=False), *first[-N_SAMPLE:].itertuples(index=False)]
    ids = {image_id for pair in chosen for image_id in (pair.reference_id, pair.probe_id)}
    for name, archive in (("raw", "lfw_raw_250_fold01.tar.gz"), ("given", "lfw_aligned_112.tar.gz")):
        place = lambda path: str(path) if str(path) in ids else None  # noqa: E731
        archives.unpack(shared_data / "lfw" / archive, root / name, place)
    return root, chosen


@pytest.mark.realdata
def test_photographs_of_lfw_are_aligned_as_well_as_the_given_set(
    sample: tuple[Path, list[pair_lists.Pair]], shared_data: Path
) -> None:
    from bnas_face.evaluate.embed import embed_images, open_embedder

    root, pairs = sample
    ids = folders.list_images(root / "raw")
    done = align_folder(root / "raw", Path("ours"), AlignSettings())
    assert (done.n_images, done.n_failed) == (len(ids), 0)
    assert len(ids) == 72
    embedder = open_embedder(f"onnx:{shared_data / 'models' / 'vface_mobilefacenet.onnx'}")
    scores = []
    for folder in (root / "given", Path("ours")):
        images = FaceImages(
            name="lfw",
            image_ids=ids,
            labels=np.zeros(len(ids), np.int64),
            identity_names=("x",),
            content_hash="",
            size_px=112,
            read=folders.FolderReader(folder, ids, 112),
        )
        found = embed_images(embedder, images, cache=False)
        rows = found.rows([image_id for pair in pairs for image_id in (pair.reference_id, pair.probe_id)])
        scores.append((found.values[rows[::2]] * found.values[rows[1::2]]).sum(axis=1))
    genuine = np.array([pair.is_genuine == 1 for pair in pairs])
    given, ours = scores
    threshold = (given[genuine].min() + given[~genuine].max()) / 2  # the given set separates these pairs
    assert np.array_equal(given >= threshold, genuine)
    assert np.mean((ours >= threshold) == genuine) == 1.0
    assert np.abs(ours - given).mean() < 0.1


@pytest.mark.realdata
def test_a_killed_call_goes_on_where_it_was_and_its_workers_end(sample: tuple[Path, list[pair_lists.Pair]]) -> None:
    raw = sample[0] / "raw"
    run = [sys.executable, "-m", "bnas_face", "align", str(raw), "out", "--workers", "2"]
    process = subprocess.Popen(run, start_new_session=True, stdout=subprocess.PIPE)
    faces = Path("out/faces.csv")
    while process.poll() is None and not (faces.exists() and faces.read_text().count("\n") > 1):
        time.sleep(0.05)
    assert process.poll() is None, "ended before it could be killed"
    process.send_signal(signal.SIGKILL)
    process.communicate()  # returns when the workers, who hold the other end of the pipe, have ended too
    kept = len(rows_of(faces))
    assert 0 < kept < len(folders.list_images(raw))
    again = align_folder(raw, Path("out"), AlignSettings(), workers=1)
    assert (again.n_kept, again.n_failed) == (kept, 0)
    assert folders.list_images(Path("out")) == folders.list_images(raw)
    assert json.loads(Path("out/alignment.json").read_text())["size_px"] == 112


@pytest.mark.realdata
def test_the_second_pass_finds_a_face_that_fills_the_image(
    sample: tuple[Path, list[pair_lists.Pair]], detector: FaceDetector
) -> None:
    root = sample[0]
    photo = encoded.decode((root / "raw" / folders.list_images(root / "raw")[0]).read_bytes(), "photo")
    whole = detector.find(photo)
    assert whole is not None
    assert whole.search_pass == 1
    left, top, right, bottom = whole.box.round().astype(int)
    tight = photo[top + 12 : bottom - 8, left + 8 : right - 8]
    found = detector.find(tight)
    assert found is not None
    np.testing.assert_allclose(found.points + np.array([left + 8, top + 12]), whole.points, atol=8)


@pytest.mark.realdata
def test_a_large_photograph_is_searched_small_and_answered_in_its_own_px(
    sample: tuple[Path, list[pair_lists.Pair]], detector: FaceDetector
) -> None:
    root = sample[0]
    photo = encoded.decode((root / "raw" / folders.list_images(root / "raw")[0]).read_bytes(), "photo")
    factor = 6
    assert photo.shape[0] * factor > detect.MAX_SIDE_PX
    small, large = detector.find(photo), detector.find(np.kron(photo, np.ones((factor, factor, 1), np.uint8)))
    assert small is not None
    assert large is not None
    np.testing.assert_allclose(large.points / factor, small.points, atol=3)
