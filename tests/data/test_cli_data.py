"""``bnasface data``: whole output and exit code."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from urllib.error import URLError

import pytest
import small_sets

from bnas_face import cli
from bnas_face.config import data_root
from bnas_face.data.formats import encoded

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Calls ``bnasface data …`` → (exit code, standard output, standard error)."""

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["bnasface", "data", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
            sys.exit(0)
        out = capsys.readouterr()
        return int(stopped.value.code or 0), out.out, out.err

    return call


@pytest.fixture
def lfw(tmp_path: Path) -> tuple[object, ...]:
    """Arguments that import a small LFW."""
    source = small_sets.tar(tmp_path / "lfw.tar.gz", {**small_sets.lfw_files(), "readme.txt": b""})
    pairs = small_sets.lfw_pairs(tmp_path / "pairs.txt")
    return ("import", "lfw", source, "--pairs", pairs, "--allow-other-counts")


def test_import_says_what_it_imported(run: Run, lfw: tuple[object, ...]) -> None:
    assert run(*lfw) == (
        0,
        "Imported lfw (other): 8 images of 4 identities, 16 px; pair lists: lfw.\n",
        "Passed over 1 files that are no images of 'lfw' (or links).\n",
    )


def test_check_lists_problems_and_ends_with_1(run: Run, lfw: tuple[object, ...]) -> None:
    run(*lfw)
    (data_root() / "lfw" / "images" / "Cy_Oz" / "Cy_Oz_0001.jpg").write_bytes(small_sets.jpeg(5)[:300])
    code, out, err = run("check", "lfw")
    assert (code, err) == (1, "Error: 'lfw' has 3 problem(s), listed above.\n")
    assert out == (
        "lfw: 8 images of 4 identities, 16 px.\n"
        "Pair list lfw: 4 pairs in 2 folds.\n"
        "  - The counts fit no published variant (images: full 13,233, bin 12,000).\n"
        "  - Image 'Cy_Oz/Cy_Oz_0001.jpg' cannot be decoded: the JPEG ends at byte 300, inside its header.\n"
        f"  - The images in '{data_root() / 'lfw' / 'images'}' have changed since they were imported.\n"
    )


def test_check_of_a_sound_folder_ends_with_0(run: Run, tmp_path: Path) -> None:
    folder = small_sets.write_files(tmp_path / "photos", small_sets.lfw_files())
    expected = "folder:photos: 8 images of 4 identities, 16 px.\nNo problems found.\n"
    assert run("check", f"folder:{folder}") == (0, expected, "")


def test_where_shows_source_terms_layout_and_command(run: Run) -> None:
    code, out, err = run("where", "casia")
    assert (code, err) == (0, "")
    assert out == (
        "casia: CASIA-WebFace\n"
        "\n"
        "From     the owners (CASIA); the aligned copy is 'faces_webface_112x112' of InsightFace's dataset list\n"
        "Terms    for research, by agreement with the Institute of Automation, Chinese Academy of Sciences\n"
        "Here     not imported\n"
        "\n"
        "  faces_webface_112x112/train.rec train.idx     490,623 images of 10,572 identities, read in place\n"
        "    or <identity>/<image>.jpg                   aligned to 112×112; a folder is read in place\n"
        "  bnasface data import casia faces_webface_112x112/\n"
        "  bnasface data check casia                     counts, broken images, identity records\n"
        "\n"
        "Variants accepted:\n"
        "  faces_webface_112x112: 490,623 images of 10,572 identities\n"
        "  original: 494,414 images of 10,575 identities\n"
        "  cleaned: 453,580 images of 10,575 identities\n"
    )


def test_where_says_if_a_set_is_here(run: Run, lfw: tuple[object, ...]) -> None:
    run(*lfw)
    assert f"Here     imported in {data_root() / 'lfw'}\n" in run("where", "lfw")[1]


def test_show_writes_a_png(run: Run, lfw: tuple[object, ...], tmp_path: Path) -> None:
    run(*lfw)
    assert run("show", "lfw") == (0, "Wrote lfw.png.\n", "")
    assert run("show", "lfw", "--out", tmp_path / "a" / "x.png", "--seed", 3)[0] == 0
    for path in (Path("lfw.png"), tmp_path / "a" / "x.png"):
        assert encoded.decode(path.read_bytes(), "x").shape == (96, 960, 3)


@pytest.mark.parametrize(
    ("arguments", "code", "err"),
    [
        (
            ("where", "caisa"),
            2,
            "Error: Unknown dataset 'caisa'. Did you mean 'casia'? Known: agedb_30, calfw, casia, ",
        ),
        (
            ("wherex", "casia"),
            2,
            "No such command 'wherex'. Did you mean 'where'? Known: audit, check, fetch, import, render, show, where.",
        ),
        (("check", "lfw"), 1, "Error: Dataset 'lfw' (Labeled Faces in the Wild) is not in '"),
        (("show", "cfp"), 1, "The dataset 'demo' (rendered faces) needs nothing: use --dataset demo"),
        (("import", "lfw", "none.tar"), 1, "Error: 'none.tar' does not exist; expected an archive, a folder, a .bin"),
        (("import", "demo", "x"), 1, "Error: Dataset 'demo' needs no import; use it as it is: --dataset demo."),
        (
            ("fetch", "casia"),
            1,
            "Error: 'casia' cannot be fetched; only lfw, cifar10 can. Where to get it: bnasface data where casia.",
        ),
        (("check", "cifar10:val"), 1, "Error: Dataset 'cifar10' has the splits train and test, found 'cifar10:val'."),
    ],
)
def test_a_mistake_is_one_message_and_its_exit_code(run: Run, arguments: tuple[str, ...], code: int, err: str) -> None:
    found, out, found_err = run(*arguments)
    assert (found, out) == (code, "")
    assert err in found_err
    assert "Traceback" not in found_err


def test_a_truncated_archive_is_one_line_with_file_and_byte_and_exit_1(run: Run, lfw: tuple[object, ...]) -> None:
    run(*lfw)
    archive = Path(str(lfw[2]))
    archive.write_bytes(archive.read_bytes()[:2000])
    code, out, err = run(*lfw)
    assert (code, out) == (1, "")
    assert (
        err == f"Error: '{archive}' is truncated: its data ends at byte 2000 in mid-file. Download or copy it again.\n"
    )
    assert (data_root() / "lfw" / "dataset.json").exists()


def test_fetch_without_a_network_says_so(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(**_: object) -> None:
        raise URLError("no network here")

    monkeypatch.setattr("sklearn.datasets.fetch_lfw_people", offline)
    assert run("fetch", "lfw") == (
        1,
        "",
        "Error: 'lfw' could not be downloaded: <urlopen error no network here>. Check the network, or get it "
        "elsewhere: bnasface data where lfw. The dataset 'demo' needs nothing.\n",
    )


def test_fetch_says_what_to_do_next(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, object] = {}
    monkeypatch.setattr("sklearn.datasets.fetch_lfw_people", lambda **options: asked.update(options))
    code, out, _ = run("fetch", "lfw")
    home = data_root() / ".fetched" / "lfw_home"
    assert code == 0
    assert asked["data_home"] == str(home.parent)
    assert out.splitlines()[1:] == [
        f"  bnasface align {home / 'lfw_funneled'} aligned",
        f"  bnasface data import lfw aligned --pairs {home / 'pairs.txt'} --pairs {home / 'pairsDevTrain.txt'} "
        f"--pairs {home / 'pairsDevTest.txt'}",
    ]
