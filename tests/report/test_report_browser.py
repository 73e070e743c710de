"""The page in a real browser: on a phone and on a desk, by mouse and by keyboard, without network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import searches
from chromium import CONTRAST, open_page, select

from bnas_face.report import html, numbers

pytestmark = pytest.mark.browser
WIDTHS = (360, 1280)


@pytest.fixture(scope="session")
def example(tmp_path_factory: pytest.TempPathFactory, example_content: Any) -> Path:
    """A complete report, written once."""
    from_content, save = example_content
    folder: Path = save(tmp_path_factory.mktemp("reports") / "example", *from_content)
    html.write(folder)
    return folder


def _requests(browser: Any) -> list[str]:
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]


def _content(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return content


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_loads_without_errors_requests_or_sideways_scrolling(
    browser: Any, example: Path, width: int, scheme: str
) -> None:
    page = example / "report.html"
    open_page(browser, page, width, scheme)
    assert [entry for entry in browser.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")] == []
    assert [url for url in _requests(browser) if not url.startswith("data:")] == [page.as_uri()]
    inner, scrolled = browser.execute_script(
        "return [document.documentElement.clientWidth, document.documentElement.scrollWidth]"
    )
    assert scrolled <= inner <= width
    assert len(select(browser, "section")) == 8


@pytest.mark.parametrize("width", WIDTHS)
def test_the_comparison_table_reads_back_as_result_json(browser: Any, example: Path, width: int) -> None:
    open_page(browser, example / "report.html", width)
    content = _content(example)
    gaps = {(c["protocol"], c["model"]): c for c in content["comparisons"]}
    read = browser.execute_script(
        """return [...document.querySelectorAll("#comparison-table tbody tr:not(.group)")].map((row) => ({
          protocol: row.dataset.protocolName,
          cells: Object.fromEntries([...row.cells].map((c) => [c.dataset.field, [c.innerText, c.dataset.sort]]))}))"""
    )
    assert len(read) == len(content["results"])
    expected = {(entry["protocol"], entry["model"]): entry for entry in content["results"]}
    for row in read:
        cells = row["cells"]
        entry = expected.pop((row["protocol"], cells["model"][0]))
        accuracy, n = entry["accuracy"], entry["n_pairs"]
        shown = f"{100 * accuracy['value']:.1f} ± {100 * accuracy['std']:.1f}"
        interval = f"{100 * accuracy['ci_low']:.1f}–{100 * accuracy['ci_high']:.1f}"
        assert cells["accuracy"][0].removeprefix("★ ").split("\n") == [shown, interval]
        assert float(cells["accuracy"][1]) == accuracy["value"]
        assert float(cells["eer"][1]) == entry["eer"]["value"]
        assert float(cells["auc"][1]) == entry["auc"]["value"]
        gap = gaps.get((entry["protocol"], entry["model"]))
        assert cells["gap"][0].split("\n")[0] == (numbers.points(gap["difference"], n) if gap else "–")
        assert cells["gap"][1] == (str(gap["difference"]) if gap else "")
        model = next(m for m in content["models"] if m["id"] == entry["model"])
        assert cells["bits"][0] == f"W{model['weight_bits']}A{model['activation_bits']}"
        assert int(cells["file"][1]) == model["file_bytes"]
    assert expected == {}


def test_verdict_and_tar_table_read_back_as_result_json(browser: Any, example: Path) -> None:
    open_page(browser, example / "report.html")
    content = _content(example)
    assert len(select(browser, "[data-verdict]")) == len(content["comparisons"])
    assert len(select(browser, ".forest-row:not(.forest-axis)")) == len(content["comparisons"])
    shown = [cell.text for cell in select(browser, "#tar-table td[data-field=tar]")]
    refused = sum(tar["refused"] is not None for entry in content["results"] for tar in entry["tar_at_fmr"])
    assert shown.count("insufficient data") == refused == len(content["results"])
    first = content["results"][0]["tar_at_fmr"][0]
    assert shown[0].startswith(f"{100 * first['tar']:.1f} ")
    assert f"{first['n_false_matches']} of 500" in shown[0]
    assert any("needs at least 1000 impostor pairs" in note.text for note in select(browser, "#tar .notes li"))


@pytest.mark.parametrize("by", ["mouse", "keyboard"])
def test_a_heading_sorts_within_each_protocol(browser: Any, example: Path, by: str) -> None:
    open_page(browser, example / "report.html")
    head = next(h for h in select(browser, "#comparison-table thead th") if h.text.startswith("Gap"))
    button = head.find_element("css selector", "button")
    orders = []
    for _ in range(2):
        button.click() if by == "mouse" else button.send_keys("\n")
        body = select(browser, "#comparison-table tbody")[0]
        values = [c.get_attribute("data-sort") for c in body.find_elements("css selector", "[data-field=gap]")]
        orders.append((head.get_attribute("aria-sort"), values))
    gaps = sorted(str(c["difference"]) for c in _content(example)["comparisons"] if c["protocol"] == "cfp_ff")
    descending = sorted(gaps, key=float, reverse=True)
    assert orders == [("descending", [*descending, "", ""]), ("ascending", [*descending[::-1], "", ""])]
    assert "group" in select(browser, "#comparison-table tbody tr")[0].get_attribute("class")


def _shown_cards(browser: Any) -> list[dict[str, str]]:
    found: list[dict[str, str]] = browser.execute_script(
        "return [...document.querySelectorAll('.card')].filter((c) => c.checkVisibility()).map((c) => ({...c.dataset}))"
    )
    return found


def test_failures_are_filtered_by_model_kind_and_who_failed(browser: Any, example: Path) -> None:
    open_page(browser, example / "report.html")
    n_cards = len(select(browser, ".card"))
    assert len(_shown_cards(browser)) == 12
    for _ in range(3):
        for button in select(browser, "#more"):
            button.click() if button.is_displayed() else None
    assert len(_shown_cards(browser)) == n_cards
    browser.find_element("css selector", "select[name=model] option[value='2']").click()
    browser.find_element("css selector", "input[name=kind][value=fm]").click()
    browser.find_element("css selector", "input[name=who][value=own]").click()
    shown = _shown_cards(browser)
    assert 0 < len(shown) < n_cards
    for card in shown:
        assert card["kind"] == "fm"
        assert "2" in card["failed"].split() and "0" in card["passed"].split()
    assert browser.find_element("id", "shown").text.startswith(f"{len(shown)} of {n_cards} pairs fit")
    browser.find_element("css selector", "input[name=who][value=twin]").click()
    assert all("0" in c["failed"].split() and "2" in c["passed"].split() for c in _shown_cards(browser))
    browser.find_element("css selector", "input[name=who][value=both]").click()
    assert all({"0", "2"} <= set(c["failed"].split()) for c in _shown_cards(browser))


def test_filters_that_fit_nothing_say_so(browser: Any, example: Path) -> None:
    open_page(browser, example / "report.html")
    script = "document.querySelectorAll('.card').forEach((c) => { c.dataset.kind = 'fnm' })"
    browser.execute_script(script)
    browser.find_element("css selector", "input[name=kind][value=fm]").click()
    assert _shown_cards(browser) == []
    assert browser.find_element("id", "none-shown").is_displayed()


def test_arrow_keys_read_measured_points_of_a_curve(browser: Any, example: Path) -> None:
    open_page(browser, example / "report.html")
    area = select(browser, "#curves .area")[0]
    tip = select(browser, "#curves .tip")[0]
    area.send_keys("\ue014")  # arrow right
    first = tip.text.split("\n")
    area.send_keys("\ue014")
    second = tip.text.split("\n")
    assert first[0] == second[0] == "lfw-float"
    assert first != second
    curve = _content(example)["results"][0]["curve"]
    thresholds = {f"threshold {value:.3f}" for value in curve["threshold"]}
    assert {first[1], second[1]} <= thresholds
    area.send_keys("\ue015")  # arrow down: the next model
    assert tip.text.split("\n")[0] == "lfw-xnor"
    area.send_keys("\ue00c")  # escape
    assert not tip.is_displayed()


def test_pointing_reads_the_nearest_point_and_the_legend_hides_a_model(browser: Any, example: Path) -> None:
    from selenium.webdriver import ActionChains

    open_page(browser, example / "report.html")
    area = select(browser, "#curves .area")[0]
    ActionChains(browser).move_to_element(area).perform()
    seen = select(browser, "#curves .tip")[0].text.split("\n")
    assert seen[0] in {model["id"] for model in _content(example)["models"]}
    assert seen[2].startswith("FMR ") and " of 500)" in seen[2]
    for box in select(browser, "[data-toggle]")[1:]:
        box.click()
    visible = browser.execute_script(
        "return [...document.querySelectorAll('#curves [data-model]')].filter((n) => n.checkVisibility())"
        ".map((n) => n.dataset.model)"
    )
    assert set(visible) == {"0"}
    ActionChains(browser).move_by_offset(5, 5).perform()
    assert select(browser, "#curves .tip")[0].text.split("\n")[0] == "lfw-float"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_has_readable_contrast(browser: Any, example: Path, scheme: str) -> None:
    open_page(browser, example / "report.html", scheme=scheme)
    worst = browser.execute_script(CONTRAST)
    assert worst[0][0] >= 4.5, worst
    ground = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, ground[4:-1].split(","))) < 200) == (scheme == "dark")


def test_keyboard_reaches_every_control_and_no_control_is_nameless(browser: Any, example: Path) -> None:
    open_page(browser, example / "report.html")
    nameless = browser.execute_script(
        """return [...document.querySelectorAll("button, input, select, a[href], [tabindex='0']")]
          .filter((n) => !(n.getAttribute("aria-label") || n.getAttribute("aria-labelledby") || n.labels?.length
            || n.textContent.trim())).map((n) => n.outerHTML)"""
    )
    assert nameless == []
    assert select(browser, "[tabindex]:not([tabindex='0'])") == []
    pictures = browser.execute_script("return [...document.images].filter((n) => !n.alt).length")
    assert pictures == 0


@pytest.mark.parametrize("width", WIDTHS)
def test_hostile_names_run_nothing_and_break_nothing(
    browser: Any, tmp_path: Path, example_content: Any, width: int
) -> None:
    (content, pairs), save = example_content
    hostile = "</script><script>document.title='run'</script><img src=x onerror=\"document.title='run'\">" + "W" * 150
    text = json.dumps(content).replace(json.dumps("lfw-xnor"), json.dumps(hostile))
    text = text.replace("0478/", "<svg onload=document.title='run'>").replace(
        "CFP Frontal-Frontal", "<b>{{7*7}}</b>'\\\""
    )
    folder = save(tmp_path / "hostile", json.loads(text), pairs.replace({"model": {"lfw-xnor": hostile}}))
    open_page(browser, html.write(folder), width)
    assert browser.title == "hostile – face verification report"
    assert hostile in browser.find_element("css selector", "#comparison-table").get_attribute("textContent")
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
    assert len(select(browser, "script")) == 2
    inner, scrolled = browser.execute_script(
        "return [document.documentElement.clientWidth, document.documentElement.scrollWidth]"
    )
    assert scrolled <= inner


def test_an_injected_script_is_stopped_by_the_pages_own_policy(browser: Any, example: Path, tmp_path: Path) -> None:
    page = (example / "report.html").read_text()
    (tmp_path / "page.html").write_text(page.replace("</main>", "<script>document.title='run'</script></main>"))
    open_page(browser, tmp_path / "page.html")
    assert browser.title == "example – face verification report"


def test_a_printed_page_shows_no_controls(browser: Any, example: Path) -> None:
    open_page(browser, example / "report.html")
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert not any(control.is_displayed() for control in select(browser, ".controls"))
    assert all(figure.is_displayed() for figure in select(browser, "figure"))
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


@pytest.fixture(scope="session")
def searched_example(tmp_path_factory: pytest.TempPathFactory, example_content: Any) -> Path:
    """A report of a searched network and its twin, with a hostile origin."""
    (content, _), save = example_content
    hostile = "</svg></desc><script>document.title='run'</script><svg onload=document.title='run'>" + "W" * 150
    origin = searches.origin(history=searches.bnas_history(), dataset=hostile)
    changed = json.loads(json.dumps(content))
    for model in changed["models"][:2]:
        model["genotype"] = searches.genotype(**origin).to_json()
    folder: Path = save(tmp_path_factory.mktemp("reports") / "searched", changed)
    html.write(folder)
    return folder


@pytest.mark.parametrize("width", WIDTHS)
def test_searched_cells_are_drawn_on_desk_and_phone_and_run_nothing(
    browser: Any, searched_example: Path, width: int
) -> None:
    open_page(browser, searched_example / "report.html", width)
    assert browser.title == "searched – face verification report"
    assert [entry for entry in browser.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")] == []
    inner, scrolled = browser.execute_script(
        "return [document.documentElement.clientWidth, document.documentElement.scrollWidth]"
    )
    assert scrolled <= inner
    heights = browser.execute_script(
        "return [...document.querySelectorAll('#searched .cells .code')].map((n) => n.getBoundingClientRect().height)"
    )
    assert len(heights) == 16 and min(heights) > 9
    assert browser.execute_script("return getComputedStyle(document.querySelector('.op-conv')).fill") != "rgb(0, 0, 0)"


def test_searched_cells_are_printed_whole(browser: Any, searched_example: Path) -> None:
    open_page(browser, searched_example / "report.html", 700)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    hidden, widths = browser.execute_script(
        """const all = [...document.querySelectorAll("#searched .picture *:not(title, desc, g)")];
        return [all.filter((n) => getComputedStyle(n).display === "none").length,
          [...document.querySelectorAll("#searched .picture")].map((n) => n.getBoundingClientRect().width)]"""
    )
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    assert hidden == 0
    assert len(widths) == 2 and max(widths) <= 700
