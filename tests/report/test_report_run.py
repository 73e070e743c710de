"""A training as text and as a page of curves, from the files of its folder alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from chromium import CONTRAST, open_page
from click.testing import CliRunner

from bnas_face.cli import cli
from bnas_face.errors import ReportError
from bnas_face.report import run, run_page

CONFIG: dict[str, Any] = {
    "schema": "bnas_face.run/1",
    "name": "mine",
    "model": {
        "backbone": "iresnet18",
        "binarizer": "xnor",
        "activation_bits": 1,
        "size_px": 64,
        "embedding_dim": 256,
    },
    "dataset": "lfw",
    "exclude_names_of": ["cfp"],
    "optimizer": "adam",
    "lr": 0.002,
    "schedule": "cosine",
    "epochs": 4,
    "batch_size": 64,
    "precision": "bf16",
    "seed": 0,
    "head": "cosface",
    "two_stage": 0.5,
    "ema": 0.999,
    "init": "runs/twin",
    "kept_weights": "moving average",
    "training_data": {"n_images": 7323, "n_identities": 1549},
}
HEADER = "epoch,step,loss,lr,images_per_s,development_accuracy,stage,skipped,session,seconds,memory_mb,gpu_memory_mb"
ROWS = (
    "1,100,20,0.002,80,0.7,1,0,1,60,900,",
    "2,200,10,0.001,90,0.8,1,0,2,120,910,",
    "3,300,nan,0.002,70,0.75,2,3,2,180,905,",
    "4,400,5,0.0001,80,0.85,2,3,4,3840,905,",
)
OLD = "epoch,step,loss,lr,images_per_s,development_accuracy\n1,100,20,0.002,80,\n"


def write(folder: Path, *, log: str = "\n".join((HEADER, *ROWS)), finished: bool = True, **changes: Any) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(CONFIG | changes))
    if log:
        (folder / "log.csv").write_text(log)
    if finished:
        (folder / "weights.safetensors").write_bytes(bytes(4_210_000))
    return folder


def test_the_text_says_what_is_trained_how_far_it_is_and_how_it_goes(tmp_path: Path) -> None:
    folder = write(tmp_path / "mine")
    (folder / "left_out.txt").write_text("Image 'a' cannot be decoded.\nImage 'b' cannot be decoded.\n")
    assert run.text(run.read(folder)).splitlines()[1:] == [
        "  state                 finished, 4.21 MB of weights (moving average)",
        "  network               iresnet18, W1A1 by xnor, 64 px, 256 outputs",
        "  data                  lfw, 7,323 images, 1,549 identities, without people of cfp",
        "  recipe                adam 0.002, cosine, 4 epochs in batches of 64, bf16, seed 0, from the weights of "
        "runs/twin, float weights for 0.5 of the epochs, moving average 0.999, head cosface",
        "  done                  epoch 4, step 400, 1 h 4 min",
        "  loss                  20 at first, 5 now",
        "  development accuracy  85.00 % (held out of the training set, no test result)",
        "  speed                 80 images/s (median of 4 rows)",
        "  memory                900 MB at first, 910 MB at most",
        "  interruptions         3: resumed after step 100, 300, 300 of the log",
        "  images left out       2 could not be read: left_out.txt",
        "  steps passed over     3: loss or gradient were not finite",
    ]


def test_an_unfinished_run_says_how_to_go_on(tmp_path: Path) -> None:
    lines = run.text(run.read(write(tmp_path / "mine", finished=False, log="")))
    assert "not finished, in epoch 1 of 4. Go on with bnasface train --name mine --resume" in lines
    assert "nothing logged yet" in lines


def test_the_log_of_an_earlier_version_is_read_and_nothing_is_made_up(tmp_path: Path) -> None:
    found = run.read(write(tmp_path / "mine", log=OLD, ema=0))
    text = run.text(found)
    assert "not recorded by the version that wrote this log" in text
    assert "memory" not in text and "development accuracy" not in text
    assert [chart.kind for chart in run_page.charts(found)] == ["loss", "lr", "images_per_s"]
    assert "Not in log.csv: development accuracy, main memory." in run_page.render(found)


def test_curves_mark_interruptions_and_the_second_stage(tmp_path: Path) -> None:
    charts = run_page.charts(run.read(write(tmp_path / "mine")))
    assert [chart.kind for chart in charts] == ["loss", "development_accuracy", "lr", "images_per_s", "memory_mb"]
    loss, _, lr, *_ = charts
    assert [(event.at, event.kind) for event in loss.events] == [
        (25.0, "interruption"),
        (75.0, "interruption"),
        (50.0, "stage"),
    ]
    assert loss.lines[0].path.startswith("M25 ") and loss.lines[0].path.count("L") == 2, "nan is no point"
    assert loss.lines[0].tips[1] == "step 200, epoch 2\nloss 10"
    assert lr.y_ticks[0].label == "0" and lr.lines[0].mark.css == "w1a1"


@pytest.mark.parametrize("rows", [1, 5000])
def test_few_and_many_rows_are_drawn(tmp_path: Path, rows: int) -> None:
    log = "\n".join([HEADER, *(f"{1 + i // 100},{i + 1},1,0.1,5,,1,0,1,{i},9," for i in range(rows))])
    found = run.read(write(tmp_path / "mine", log=log))
    assert all(chart.lines[0].path.count("L") <= 420 for chart in run_page.charts(found))
    assert len(run_page.render(found)) < 300_000


@pytest.mark.parametrize(
    ("log", "config", "message"),
    [
        ("epoch,step\nx,1", {}, r"log\.csv' is damaged at line 2"),
        (OLD, {"schema": "bnas_face.search/1"}, "not that of a training"),
        (OLD, {"model": 3}, "not that of a training"),
    ],
)
def test_a_damaged_folder_is_one_sentence(tmp_path: Path, log: str, config: dict[str, Any], message: str) -> None:
    with pytest.raises(ReportError, match=message):
        run.read(write(tmp_path / "mine", log=log, **config))


def test_a_folder_that_is_no_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match="is no run folder"):
        run.read(tmp_path)


def test_what_a_file_says_is_escaped(tmp_path: Path) -> None:
    page = run_page.render(run.read(write(tmp_path / "mine", name="</script><b>x", dataset="<img src=x>")))
    assert "<img src=x>" not in page and "<b>x" not in page


def test_the_command_prints_and_draws() -> None:
    write(Path("runs/mine"))
    shown = CliRunner().invoke(cli, ["show", "run", "runs/mine", "--html"])
    assert shown.exit_code == 0, shown.output
    assert shown.output.splitlines()[-1] == "Drawn in runs/mine/run.html"
    assert "1 h 4 min" in Path("runs/mine/run.html").read_text()


@pytest.mark.browser
@pytest.mark.parametrize(("width", "scheme"), [(360, "dark"), (1280, "light")])
def test_the_page_reads_on_a_phone_and_on_a_desk(browser: Any, tmp_path: Path, width: int, scheme: str) -> None:
    page = run_page.write(run.read(write(tmp_path / "mine")), tmp_path / "run.html")
    open_page(browser, page, width, scheme)
    assert [entry for entry in browser.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")] == []
    inner, scrolled = browser.execute_script(
        "return [document.documentElement.clientWidth, document.documentElement.scrollWidth]"
    )
    assert scrolled <= inner <= width
    assert all(ratio >= 4.5 for ratio, _ in browser.execute_script(CONTRAST))
    area = browser.find_element("css selector", ".area")
    area.send_keys("\ue014")  # the right arrow
    assert "step" in browser.find_element("css selector", ".tip").text
