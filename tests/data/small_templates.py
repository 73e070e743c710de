"""IJB, TinyFace and RFW in miniature: files of the exact published formats, with few people."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bnas_face.data.align import TEMPLATE_112
from bnas_face.data.formats import encoded

N_SUBJECTS, N_GALLERY, N_PROBE_TEMPLATES = 12, 8, 2
"""Subjects 0 … 7 are in gallery 1, all have two probe templates: 16 mated and 8 non-mated probes."""


def face(subject: int, seed: int, size: tuple[int, int] = (60, 50)) -> np.ndarray:
    """A crop of any shape whose coarse pattern is its person's, with noise that differs by image."""
    own = np.random.default_rng(1000 + subject).integers(0, 256, (4, 4, 3))
    noise = np.random.default_rng(seed).normal(0, 60, (4, 4, 3))
    coarse = (own + noise).clip(0, 255).astype(np.uint8)
    rows, columns = (np.linspace(0, 3.999, side).astype(int) for side in size)
    return np.ascontiguousarray(coarse[rows][:, columns])


def points(size: tuple[int, int] = (60, 50)) -> np.ndarray:
    """Five points that lie in a crop as they do in the template."""
    return TEMPLATE_112 * (np.array([size[1], size[0]]) / 112)


def write_ijb(root: Path, name: str = "ijbc", galleries: tuple[str, str] = ("G1", "G2")) -> Path:
    """``root/loose_crop`` and ``root/meta`` of a tiny IJB: 36 templates of two media, one of them a video."""
    (root / "loose_crop").mkdir(parents=True)
    (root / "meta").mkdir()
    rows, lists, subject_of, number = [], [], {}, 0
    for template in range(1, N_SUBJECTS * (1 + N_PROBE_TEMPLATES) + 1):
        subject = (template - 1) % N_SUBJECTS
        subject_of[template] = subject + 100
        for medium in (template * 10, template * 10, template * 10 + 1):
            number += 1
            pixels = face(subject, number)
            (root / "loose_crop" / f"{number}.jpg").write_bytes(encoded.encode_jpeg(pixels))
            rows.append(f"{number}.jpg {template} {medium}")
            where = " ".join(f"{value:.3f}" for value in points().ravel())
            lists.append(f"{number}.jpg {where} {0.5 + 0.4 * (number % 2):.3f}")
    (root / "meta" / f"{name}_face_tid_mid.txt").write_text("\n".join(rows) + "\n")
    (root / "meta" / f"{name}_name_5pts_score.txt").write_text("\n".join(lists) + "\n")
    gallery = [template for template in subject_of if template <= N_SUBJECTS]
    probes = [template for template in subject_of if template > N_SUBJECTS]
    pairs = [f"{g} {p} {int(subject_of[g] == subject_of[p])}" for g in gallery for p in probes]
    (root / "meta" / f"{name}_template_pair_label.txt").write_text("\n".join(pairs) + "\n")
    split = {galleries[0]: gallery[:N_GALLERY], galleries[1]: gallery[N_GALLERY:]}
    for suffix, members in {**{f"gallery_{k}": v for k, v in split.items()}, "probe_mixed": probes}.items():
        lines = [f"{t},{subject_of[t]},img/{t}.jpg,{t},1,2,30,30" for t in members for _ in range(2)]
        header = "TEMPLATE_ID,SUBJECT_ID,FILENAME,SIGHTING_ID,FACE_X,FACE_Y,FACE_WIDTH,FACE_HEIGHT"
        (root / "meta" / f"{name}_1N_{suffix}.csv").write_text("\n".join([header, *lines]) + "\n")
    return root


def tinyface_files() -> dict[str, bytes]:
    """6 people with two gallery images and two probes each, and 9 distractors, in sizes of their own."""
    files = {}
    for person in range(1, 7):
        for n in range(1, 5):
            folder = "Gallery_Match" if n <= 2 else "Probe"
            pixels = face(person, 10 * person + n, (20 + n, 16 + person))
            files[f"Testing_Set/{folder}/{person}_{n}.jpg"] = encoded.encode_jpeg(pixels)
    for n in range(9):
        files[f"Testing_Set/Gallery_Distractor/{n + 1}.jpg"] = encoded.encode_jpeg(face(50 + n, n, (20, 18)))
    return files


def write_mats(root: Path, files: dict[str, bytes]) -> list[Path]:
    """TinyFace's two MATLAB lists: cells of names, and a column of people."""
    from scipy.io import savemat

    root.mkdir(parents=True, exist_ok=True)
    paths = []
    for which, folder, name in (
        ("gallery", "Gallery_Match", "gallery_match_img_ID_pairs.mat"),
        ("probe", "Probe", "probe_img_ID_pairs.mat"),
    ):
        names = sorted(path.rpartition("/")[2] for path in files if f"/{folder}/" in path)
        cells = np.empty((len(names), 1), object)
        cells[:, 0] = names
        people = np.array([[int(one.partition("_")[0])] for one in names], np.uint16)
        savemat(root / name, {f"{which}_set": cells, f"{which}_ids": people})
        paths.append(root / name)
    return paths


RACES = ("African", "Asian", "Caucasian", "Indian")


def write_rfw(root: Path, n_folds: int = 10) -> Path:
    """``root/images`` and ``root/txts`` of a tiny RFW: per group 10 folds of 2 genuine and 2 impostor pairs."""
    for group, race in enumerate(RACES):
        lines = []
        for fold in range(n_folds):
            people = [f"m.{group}{fold}{k}" for k in range(2)]
            for k, person in enumerate(people):
                for n in (1, 2):
                    path = root / "images" / race / person / f"{person}_000{n}.jpg"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(encoded.encode_jpeg(face(100 * group + 10 * fold + k, n + 10 * fold, (16, 16))))
            lines += [f"{person}\t1\t2" for person in people]
            lines += [f"{people[0]}\t{n}\t{people[1]}\t{n}" for n in (1, 2)]
        (root / "txts" / race).mkdir(parents=True)
        (root / "txts" / race / f"{race}_pairs.txt").write_text("\n".join(lines) + "\n")
        (root / "txts" / race / f"{race}_images.txt").write_text("m.000_0001.jpg 0\n")
    return root
