"""Mean and standard deviation over training seeds, and over the gap of every network to the twin of its own seed.

Run: ``python benchmarks/seeds.py reports/STUDY/summary.csv --twin NAME [--out FILE]``. Models that differ in their
names by a last number alone (``mine_0``, ``mine_1``) are seeds of one recipe; `--twin` is the recipe that the others
are compared with, seed by seed. Standard deviations have ddof 1; intervals are Student's, of the mean over seeds: what
another training would give, where the intervals of the report speak of other test pairs. The last line is one JSON
object, and `--out` is the same in a file.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from bnas_face import files

CONFIDENCE = 0.95


def over_seeds(values: pd.Series) -> dict[str, Any]:
    """Percent or points of every seed, their mean, standard deviation and the interval of the mean; None for one."""
    points = 100 * values.to_numpy(float)
    n = len(points)
    found: dict[str, Any] = {"n": n, "each": np.round(points, 2).tolist(), "mean": round(float(points.mean()), 2)}
    if n == 1:
        return found | {"std": None, "ci": None}
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1) * stats.sem(points))
    return found | {
        "std": round(float(points.std(ddof=1)), 2),
        "ci": [round(float(points.mean()) - half, 2), round(float(points.mean()) + half, 2)],
    }


def main() -> None:
    """Print one line for every recipe and protocol."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("summary", type=Path, help="summary.csv that bnasface eval wrote")
    parser.add_argument("--twin", required=True, help="recipe to compare with: a name without its number")
    parser.add_argument("--out", type=Path, help="Also write the result to this file.")
    chosen = parser.parse_args()
    table = pd.read_csv(chosen.summary)
    names = table["model"].str.extract(r"^(?P<recipe>.*)_(?P<seed>\d+)$")
    table = table.assign(recipe=names["recipe"], seed=names["seed"]).dropna(subset=["recipe"])
    if chosen.twin not in set(table["recipe"]):
        raise SystemExit(
            f"No recipe '{chosen.twin}' in '{chosen.summary}'. There are {', '.join(set(table['recipe']))}."
        )
    rows = []
    for protocol, of_protocol in table.groupby("protocol", sort=False):
        wide = of_protocol.pivot(index="seed", columns="recipe", values="accuracy")
        for recipe in wide:
            row = {"protocol": protocol, "recipe": recipe, "accuracy": over_seeds(wide[recipe].dropna())}
            if recipe != chosen.twin:
                row["gap"] = over_seeds((wide[recipe] - wide[chosen.twin]).dropna())
            rows.append(row)
            print(row)
    result = {"twin": chosen.twin, "confidence": CONFIDENCE, "rows": rows}
    if chosen.out:
        files.write_json(chosen.out, result)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
