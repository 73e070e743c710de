"""An evaluation under torchrun: every process embeds a part, and the report is that of one process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import two_processes

SCRIPT = Path(__file__).parent / "shared_embedding.py"


def _evaluated(folder: Path, command: list[str]) -> dict:
    """The result, and the embeddings that were kept, of an evaluation in its own folder."""
    folder.mkdir()
    own = two_processes.environment() | {"BNASFACE_CACHE": str(folder / "cache")}
    done = subprocess.run(command, cwd=folder, env=own, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Report: ") == 1, "one process talks"
    (kept,) = (folder / "cache" / "embeddings").glob("*.npz")
    with np.load(kept) as content:
        embeddings = {name: content[name] for name in content}
    return {
        "result": json.loads((folder / "out" / "result.json").read_text()),
        "kept": embeddings,
        "pairs": (folder / "out" / "pairs.csv").read_bytes(),
        "embedded": [json.loads(file.read_text()) for file in sorted(folder.glob("embedded_*.json"))],
    }


def test_two_processes_embed_a_half_each_and_report_what_one_does(tmp_path: Path) -> None:
    one = _evaluated(tmp_path / "one", [sys.executable, str(SCRIPT)])
    two = _evaluated(tmp_path / "two", two_processes.command(2, SCRIPT))
    n_images = 2 * 78  # straight and mirrored; two cannot be read
    assert sum(one["embedded"][0]) == n_images
    first, second = (sum(calls) for calls in two["embedded"])
    assert first + second == n_images and abs(first - second) <= 4, "shares differ by what cannot be read"
    assert one["kept"].keys() == two["kept"].keys()
    for name, values in one["kept"].items():
        np.testing.assert_array_equal(values, two["kept"][name])
    assert one["pairs"] == two["pairs"]
    alone, together = one["result"]["results"][0], two["result"]["results"][0]
    assert (alone.pop("n_images_from_cache"), together.pop("n_images_from_cache")) == (0, 80)
    assert alone == together and alone["n_images_failed"] == 2
