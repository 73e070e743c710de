"""Report folders as fixtures, and one headless Chromium."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from studies import build, save

CHROMIUM_OPTIONS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--disable-dev-shm-usage",
)


@pytest.fixture
def content() -> dict[str, Any]:
    """The content of a complete result.json."""
    return build()[0]


@pytest.fixture
def report_folder(tmp_path: Path) -> Path:
    """A complete report folder with images and pairs.csv."""
    return save(tmp_path / "example", *build())


@pytest.fixture
def save_report(tmp_path: Path) -> Callable[..., Path]:
    """Writes a changed result.json (and pairs.csv, if given) to a folder of its own."""

    def write(content: dict[str, Any], pairs: pd.DataFrame | None = None) -> Path:
        return save(tmp_path / "changed", content, pairs)

    return write


@pytest.fixture(scope="session")
def example_content() -> tuple[tuple[dict[str, Any], pd.DataFrame], Callable[..., Path]]:
    """The content of a complete report (result.json, pairs.csv) and what writes it to a folder."""
    return build(), save


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """One headless Chromium for all tests; skips where there is none."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("no chromium and chromedriver on the PATH: install both to test the page in a browser")
    webdriver = pytest.importorskip("selenium.webdriver")
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for option in (*CHROMIUM_OPTIONS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    opened = webdriver.Chrome(options=options, service=Service(driver))
    yield opened
    opened.quit()
