"""A page in the headless Chromium of the tests, at a width and in a colour scheme."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def open_page(browser: Any, page: Path, width: int = 1280, scheme: str = "light") -> None:
    """Open a file; what the browser logged before is forgotten."""
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    wishes = {"prefers-color-scheme": scheme, "prefers-reduced-motion": "reduce"}
    features = [{"name": name, "value": value} for name, value in wishes.items()]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": features})
    browser.get_log("browser")
    browser.get_log("performance")
    browser.get(page.as_uri())


def select(browser: Any, selector: str) -> list[Any]:
    """All elements of a CSS selector."""
    found: list[Any] = browser.find_elements("css selector", selector)
    return found
