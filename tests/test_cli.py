"""The command line as a user meets it: whole output and exit codes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bnas_face import __version__
from bnas_face.cli import main
from bnas_face.data import datasets
from bnas_face.errors import BnasFaceError, ConfigError


def bnasface(*arguments: str, **environment: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a real process."""
    command = [sys.executable, "-m", "bnas_face", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **environment})
    return done.returncode, done.stdout, done.stderr


def test_help_names_every_command_with_one_line_each() -> None:
    code, out, err = bnasface("--help")
    assert (code, err) == (0, "")
    for name in ("align", "bench", "data", "demo", "eval", "export", "ls", "report", "search", "show", "train"):
        lines = [line for line in out.splitlines() if line.startswith(f"  {name} ")]
        assert len(lines) == 1, name
        assert lines[0].endswith("."), f"the line of '{name}' is cut short: {lines[0]}"


def test_version() -> None:
    assert bnasface("--version") == (0, f"bnasface, version {__version__}\n", "")


def test_a_mistyped_command_suggests_the_right_one() -> None:
    code, out, err = bnasface("evl")
    assert (code, out) == (2, "")
    assert (
        "No such command 'evl'. Did you mean 'eval'? Known: align, bench, compare, data, demo, doctor, eval, export,"
        in err
    )
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("eval", "--protocol", "lwf"), "Unknown protocol 'lwf'. Did you mean 'lfw'?"),
        (("train", "--dataset", "cassia", "--name", "x"), "Unknown dataset 'cassia'. Did you mean 'casia'?"),
        (
            ("train", "--backbone", "iresnet81", "--name", "x"),
            "Unknown backbone 'iresnet81'. Did you mean 'iresnet18'?",
        ),
        (("train", "--head", "arcfce", "--name", "x"), "Unknown head 'arcfce'. Did you mean 'arcface'?"),
        (("train", "--binarizer", "xnro", "--name", "x"), "Unknown binarizer 'xnro'. Did you mean 'xnor'?"),
        (("data", "where", "casai"), "Unknown dataset 'casai'. Did you mean 'casia'?"),
    ],
)
def test_a_typo_in_any_name_suggests_the_right_one(arguments: tuple[str, ...], message: str) -> None:
    code, out, err = bnasface(*arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert "Traceback" not in err


@pytest.mark.parametrize("name", ["lfw", "cfp", "casia", "agedb_30", "cifar10"])
def test_an_absent_dataset_says_where_to_get_it_and_that_demo_needs_nothing(name: str) -> None:
    code, out, err = bnasface("train", "--dataset", name, "--name", "x")
    assert (code, out) == ((2 if name == "agedb_30" else 1), "")
    assert "Traceback" not in err
    if name != "agedb_30":
        assert f"bnasface data import {name}" in err
        assert "demo" in err


def test_training_on_a_test_protocol_is_refused_by_name() -> None:
    for name in ("demo_lfw", "cfp_fp", "agedb_30"):
        code, out, err = bnasface("train", "--dataset", name, "--name", "x")
        assert (code, out) == (2, ""), err
        assert f"'{name}'" in err


def test_eval_without_runs_says_what_to_do_next() -> None:
    code, out, err = bnasface("eval", "--protocol", "demo_lfw")
    assert (code, out) == (1, "")
    assert "bnasface train" in err


@pytest.mark.parametrize("kind", ["protocols", "datasets", "backbones", "heads", "binarizers", "engines"])
def test_ls_gives_one_line_for_each_name(kind: str) -> None:
    code, out, err = bnasface("ls", kind)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert len(lines) >= 3 or kind == "binarizers"
    assert all(len(line.split(maxsplit=1)) == 2 for line in lines), "each name has a description"
    assert [line.split()[0] for line in lines] == sorted(line.split()[0] for line in lines)


def test_ls_of_something_unknown_lists_what_there_is() -> None:
    code, _, err = bnasface("ls", "protocol")
    assert code == 2
    assert "Unknown kind 'protocol'. Did you mean 'protocols'?" in err and "datasets" in err


def test_nothing_is_written_by_a_refused_command(tmp_path: Path) -> None:
    before = sorted(Path.cwd().rglob("*"))
    bnasface("train", "--dataset", "cassia", "--name", "x")
    bnasface("eval", "--protocol", "lwf")
    assert sorted(Path.cwd().rglob("*")) == before


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (
            KeyboardInterrupt(),
            130,
            "Interrupted. Run the same command again to go on (bnasface train and search: with --resume).",
        ),
        (OSError(28, "No space left on device", "x.bin"), 1, "Error: 'x.bin': No space left on device."),
        (BnasFaceError("Two words."), 1, "Error: Two words."),
        (ConfigError("Out of range."), 2, "Error: Out of range."),
    ],
)
def test_whatever_ends_a_command_is_one_line_and_its_exit_code(
    error: BaseException, code: int, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(name: str) -> None:
        raise error

    monkeypatch.setattr(datasets, "card", fails)
    monkeypatch.setattr(sys, "argv", ["bnasface", "data", "where", "lfw"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == code
    assert message in capsys.readouterr().err
