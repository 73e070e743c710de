"""The later sections and the leaderboard in a real browser: read-outs, toggles, folds, and hostile names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import extended
import pytest
import studies
from chromium import CONTRAST, open_page, select

from bnas_face.report import html, leaderboard

pytestmark = pytest.mark.browser
WIDTHS = (360, 1280)
HOSTILE = "</script><script>document.title='run'</script><img src=x onerror=\"document.title='run'\">" + "W" * 90


@pytest.fixture(scope="session")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report with every later field."""
    content, pairs = studies.build()
    folder = studies.save(tmp_path_factory.mktemp("reports") / "full", extended.extend(content), pairs)
    html.write(folder)
    return folder


@pytest.fixture(scope="session")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with hostile text wherever text stands, in every later field too."""
    content, _ = studies.build()
    text = json.dumps(extended.extend(content))
    renamed = json.dumps(HOSTILE)[1:-1]
    for name in (
        "lfw-xnor-w1a1",
        "yaw",
        "30 to 60",
        extended.SMALL,
        "TinyFace, identification",
        "TinyFace",
        "cfp_ff",
        "linear",
    ):
        text = text.replace(f'"{name}"', f'"{renamed}{name}"')
    for words in (
        "12 pairs have",
        extended.BOOTSTRAP,
        "median of the fold thresholds",
        "FPIR target",
        "people that the",
    ):
        text = text.replace(words, f"{renamed} {words}")
    return studies.save(tmp_path_factory.mktemp("reports") / "hostile", json.loads(text))


def _loads_clean(browser: Any, page: Path) -> None:
    assert [entry for entry in browser.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")] == []
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
    assert [url for url in asked if not url.startswith("data:")] == [page.as_uri()]
    inner, scrolled = browser.execute_script(
        "return [document.documentElement.clientWidth, document.documentElement.scrollWidth]"
    )
    assert scrolled <= inner


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_sections_load_without_errors_requests_or_sideways_scrolling(
    browser: Any, full: Path, width: int, scheme: str
) -> None:
    open_page(browser, full / "report.html", width, scheme)
    assert len(select(browser, "section")) == 11
    _loads_clean(browser, full / "report.html")


@pytest.mark.parametrize("width", WIDTHS)
def test_hostile_text_in_the_later_sections_runs_nothing(browser: Any, hostile: Path, width: int) -> None:
    page = html.write(hostile)
    open_page(browser, page, width)
    assert browser.title.startswith("hostile – face verification")
    assert len(select(browser, "script")) == 2
    assert not [image for image in select(browser, "img") if not image.get_attribute("src").startswith("data:")]
    for section in ("identification", "slices", "size", "comparison", "curves", "network"):
        assert HOSTILE in browser.find_element("id", section).get_attribute("textContent"), section
    browser.execute_script("document.querySelectorAll('.area').forEach((n) => n.focus())")
    assert browser.title.startswith("hostile – face verification")
    _loads_clean(browser, page)


@pytest.mark.parametrize("width", WIDTHS)
def test_the_leaderboard_loads_clean_whatever_the_names(
    browser: Any, full: Path, hostile: Path, tmp_path: Path, width: int
) -> None:
    page = leaderboard.write([full, hostile], tmp_path / "both")
    open_page(browser, page, width, "dark")
    assert browser.title == "both – leaderboard"
    assert len(select(browser, "script")) == 2
    assert HOSTILE in browser.find_element("id", "leaderboard-table").get_attribute("textContent")
    _loads_clean(browser, page)


@pytest.mark.parametrize("by", ["mouse", "keyboard"])
def test_a_column_of_the_leaderboard_sorts(browser: Any, full: Path, tmp_path: Path, by: str) -> None:
    open_page(browser, leaderboard.write([full], tmp_path / "one"))
    head = select(browser, "#leaderboard-table thead th")[1]
    for order in ("descending", "ascending"):
        button = head.find_element("css selector", "button")
        button.click() if by == "mouse" else button.send_keys("\n")
        assert head.get_attribute("aria-sort") == order
        cells = select(browser, "#leaderboard-table tbody tr td:nth-child(2)")
        values = [float(cell.get_attribute("data-sort")) for cell in cells]
        assert values == sorted(values, reverse=order == "descending")


def test_arrow_keys_read_ranks_of_the_cmc_and_its_legend_hides_a_model(browser: Any, full: Path) -> None:
    open_page(browser, full / "report.html")
    area, tip = select(browser, "#identification .area")[0], select(browser, "#identification .tip")[0]
    area.send_keys("\ue014")  # arrow right
    first = tip.text.split("\n")
    assert first[0] == "lfw-float" and first[1].startswith("rank ") and "of 1,200 mated probes found" in first[2]
    area.send_keys("\ue015")  # arrow down
    assert tip.text.split("\n")[0] == "lfw-xnor"
    select(browser, "#identification [data-toggle='1']")[0].click()
    shown = browser.execute_script(
        "return [...document.querySelectorAll('#identification path.line')].filter((n) => n.checkVisibility())"
        ".map((n) => n.dataset.model)"
    )
    assert shown == ["0", "2", "3"]
    curves = "return document.querySelector('#curves path.line[data-model=\"1\"]').checkVisibility()"
    assert browser.execute_script(curves) is True, "the other section keeps its own legend"


@pytest.mark.parametrize("by", ["pointer", "keyboard"])
def test_sizes_are_read_out_point_by_point(browser: Any, full: Path, by: str) -> None:
    from selenium.webdriver import ActionChains

    open_page(browser, full / "report.html")
    area, tip = select(browser, "#size .area")[0], select(browser, "#size .tip")[0]
    if by == "pointer":
        ActionChains(browser).move_to_element(select(browser, "#size .area .dot .glyph")[0]).perform()
    else:
        area.send_keys("\ue012")  # arrow left, more often than there are points
        for _ in range(5):
            area.send_keys("\ue012")
    name, accuracy, size = tip.text.split("\n")
    assert name in ("lfw-xnor", "lfw-xnor-w1a1")
    assert accuracy.endswith(")") and "95 % interval" in accuracy
    assert size == "690,000 bytes, computed"


def test_bands_are_shaded_and_hidden_with_their_model(browser: Any, full: Path) -> None:
    open_page(browser, full / "report.html")
    opacity = "return getComputedStyle(document.querySelector('#curves .shade')).opacity"
    assert 0 < float(browser.execute_script(opacity)) < 0.5
    select(browser, "#curves [data-toggle='0']")[0].click()
    shown = browser.execute_script(
        "return [...document.querySelectorAll('#curves .shade')].filter((n) => n.checkVisibility())"
        ".map((n) => n.dataset.model)"
    )
    assert shown and "0" not in shown


def test_slices_fold_and_small_groups_are_grey(browser: Any, full: Path) -> None:
    open_page(browser, full / "report.html")
    folds = select(browser, "details.slice")
    assert [fold.get_attribute("open") for fold in folds] == ["true", None, "true", None]
    folds[1].find_element("css selector", "summary").send_keys("\n")
    assert folds[1].get_attribute("open") == "true"
    colours = browser.execute_script(
        "const color = (s) => getComputedStyle(document.querySelector(s)).color;"
        "return [color('.small-group td.num'), color('tbody:not(.small-group) td.num'), color('.small-group .quiet')]"
    )
    assert colours[0] != colours[1]
    assert extended.SMALL in select(browser, ".small-group .group")[0].text


def test_paper_shows_every_slice(browser: Any, full: Path) -> None:
    open_page(browser, full / "report.html")
    browser.execute_cdp_cmd("Page.printToPDF", {"paperWidth": 8.27, "paperHeight": 11.69})
    assert [fold.get_attribute("open") for fold in select(browser, "details.slice")] == ["true"] * 4


@pytest.mark.parametrize("width", WIDTHS)
def test_training_curves_are_read_by_keys_and_hidden_by_their_own_legend(browser: Any, full: Path, width: int) -> None:
    open_page(browser, full / "report.html", width)
    loss, development = select(browser, "#network .area")
    tip = select(browser, "#network .tip")[0]
    assert loss.size["width"] > 200 and loss.size["height"] > 150
    for key in "\ue014" * 20:  # arrow right, more often than there are epochs
        loss.send_keys(key)
    assert tip.text.split("\n") == ["lfw-float", "epoch 15", "loss 4.507"]
    loss.send_keys("\ue015")  # arrow down
    assert tip.text.split("\n")[:2] == ["lfw-xnor", "epoch 15"]
    assert "lfw-xnor-w1a1 (W1A1): from development accuracy 83.6 % in epoch 5" in development.get_attribute(
        "aria-label"
    )
    assert len(select(browser, "#network [data-toggle]")) == 3, "a model without curves has no box"
    select(browser, "#network [data-toggle='1']")[0].click()
    shown = browser.execute_script(
        "return [...document.querySelectorAll('#network [data-model]')].filter((n) => n.checkVisibility())"
        ".map((n) => n.dataset.model)"
    )
    assert set(shown) == {"0", "2"}


def test_paper_shows_training_curves_and_whole_cost_tables(browser: Any, full: Path) -> None:
    open_page(browser, full / "report.html", 700)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    widths, lines, controls = browser.execute_script(
        """const all = (s) => [...document.querySelectorAll(`#network ${s}`)];
        return [all(":is(table, figure)").map((n) => n.getBoundingClientRect().right),
          all("path.line").map((n) => getComputedStyle(n).stroke),
          all(".controls").filter((n) => n.checkVisibility())]"""
    )
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    assert len(widths) == 3 and max(widths) <= 700
    assert len(set(lines)) == 3 and "none" not in lines
    assert controls == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_of_the_later_sections_has_readable_contrast(browser: Any, full: Path, scheme: str) -> None:
    open_page(browser, full / "report.html", scheme=scheme)
    worst = browser.execute_script(CONTRAST)
    assert worst[0][0] >= 4.5, worst


def test_the_leaderboard_is_reached_by_keyboard_and_has_contrast(browser: Any, full: Path, tmp_path: Path) -> None:
    open_page(browser, leaderboard.write([full], tmp_path / "one"), scheme="dark")
    assert browser.execute_script(CONTRAST)[0][0] >= 4.5
    for selector in ("thead button", ".area", ".scroll"):
        for node in select(browser, selector):
            browser.execute_script("arguments[0].focus()", node)
            assert browser.execute_script("return document.activeElement === arguments[0]", node), selector
