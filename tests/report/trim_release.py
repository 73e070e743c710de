"""Keep a small copy of a published result among those that must load for ever.

Run: ``python tests/report/trim_release.py reports/demo 6_demo``. Writes ``tests/report/released/6_demo``: the first
protocol, every 25th point of curves and bands, bins joined by ten, two failures a model without images, two
metadata columns, one search history, six digits. Say in ``released/README.md`` what its shape added.
"""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import Any

RELEASED = Path(__file__).parent / "released"
POINT_STEP, BINS, FAILURES, COLUMNS, DIGITS = 25, 10, 2, 2, 6


def trimmed(result: dict[str, Any]) -> dict[str, Any]:
    """The result with its first protocol, thinned."""
    name = result["protocols"][0]["name"]
    for key in ("results", "comparisons"):
        result[key] = [entry for entry in result[key] if entry["protocol"] == name]
    result["protocols"] = result["protocols"][:1]
    for entry in result["results"]:
        _thin(entry)
    for model in [model for model in result["models"] if model.get("genotype")][1:]:
        model["genotype"].get("origin", {})["history"] = []
    rounded: dict[str, Any] = _rounded(result)
    return rounded


def _thin(entry: dict[str, Any]) -> None:
    for key in ("curve", "band"):
        for name, values in (entry.get(key) or {}).items():
            entry[key][name] = values[::POINT_STEP] if isinstance(values, list) else values
    if histogram := entry.get("histogram"):
        n = (len(histogram["edges"]) - 1) // BINS * BINS
        histogram["edges"] = histogram["edges"][: n + 1 : BINS]
        for side in ("genuine", "impostor"):
            histogram[side] = [sum(histogram[side][i : i + BINS]) for i in range(0, n, BINS)]
    if entry.get("slices"):
        entry["slices"] = entry["slices"][:COLUMNS]
    entry["failures"] = [
        {**failure, "reference_image": None, "probe_image": None} for failure in entry["failures"][:FAILURES]
    ]


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, list):
        return [_rounded(member) for member in value]
    return {key: _rounded(member) for key, member in value.items()} if isinstance(value, dict) else value


def main(study: Path, name: str) -> None:
    """Write the folder."""
    result = trimmed(json.loads((study / "result.json").read_text()))
    with (study / "summary.csv").open(newline="") as file:
        head, *rows = list(csv.reader(file))
    kept = [row for row in rows if row[head.index("protocol")] == result["protocols"][0]["name"]]
    (RELEASED / name).mkdir()
    text = json.dumps(result, ensure_ascii=False, separators=(",", ":"))
    (RELEASED / name / "result.json").write_text(text + "\n")
    with (RELEASED / name / "summary.csv").open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([head, *kept])


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
