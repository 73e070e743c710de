"""How long ``bnasface --help`` takes: median of 11 fresh processes.

Run: ``python benchmarks/startup.py``. Last line: ``{"help_ms": …}``.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import time

REPEATS = 11


def main() -> None:
    """Print the machine, the median and the spread."""
    times_ms = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "bnas_face", "--help"], stdout=subprocess.DEVNULL, check=True)
        times_ms.append(1000 * (time.perf_counter() - start))
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {REPEATS} fresh processes"
    )
    print(f"min {min(times_ms):.0f} ms, max {max(times_ms):.0f} ms")
    print(json.dumps({"help_ms": round(statistics.median(times_ms), 1)}))


if __name__ == "__main__":
    main()
