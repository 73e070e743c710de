"""A page in the headless Chromium of the tests, at a width and in a colour scheme."""

from __future__ import annotations

from pathlib import Path
from typing import Any

CONTRAST = """
const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
const rgb = (color, under) => {
  for (const paint of [under, color]) { canvas.fillStyle = paint; canvas.fillRect(0, 0, 1, 1); }
  return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
};
const linear = (v) => (v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
const light = (color) => color.reduce((sum, v, i) => sum + [.2126, .7152, .0722][i] * linear(v / 255), 0);
const ground = (node) => getComputedStyle(node).backgroundColor;
const found = [];
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const text = walker.currentNode.textContent.trim(), node = walker.currentNode.parentElement;
  if (!text || !node.checkVisibility() || node.closest("script, style, .skip")) continue;
  let under = node;
  while (under !== document.body && /, 0\\)$|transparent/.test(ground(under))) under = under.parentElement;
  const paper = rgb(ground(under), ground(document.body));
  const ink = rgb(getComputedStyle(node).color, `rgb(${paper})`);
  const [a, b] = [light(ink), light(paper)].sort((x, y) => y - x);
  found.push([(a + .05) / (b + .05), text.slice(0, 40)]);
}
return found.sort((x, y) => x[0] - y[0]).slice(0, 3);
"""


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
