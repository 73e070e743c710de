"""The page aggregates: its size does not grow with the number of pairs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "report_size.py"


def test_the_page_of_ten_times_the_pairs_is_not_larger() -> None:
    found = []
    for n_pairs in (1_000, 10_000):
        arguments = [sys.executable, str(BENCHMARK), "--pairs", str(n_pairs), "--columns", "2", "--groups", "5"]
        done = subprocess.run(arguments, capture_output=True, text=True, check=True)
        found.append(json.loads(done.stdout.splitlines()[-1]))
    assert [one["n_pairs"] for one in found] == [1_000, 10_000]
    assert all(one["html_mb"] < 2 for one in found)
    assert found[1]["html_mb"] < 1.1 * found[0]["html_mb"]
