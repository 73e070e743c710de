"""Memory of one epoch over a large record set: does it grow? Writes JSON and a figure.

Run: ``bnasface data render --images 500000 --identities 10000 --variants 5 --to big`` and then
``python benchmarks/epoch_memory.py big --to reports/scale``. `bnas_face.train` trains one epoch, streaming from
the ``.rec``, with log, checkpoints and head as ever; only the backbone is a tiny one (averages of 4×4 pixels, one
linear layer), so that the images and not the arithmetic are the load. Every few seconds the memory of the training and
all its processes is summed up from ``/proc/*/smaps_rollup``: what is their own (anonymous and shared memory, each page
counted once), and what is mapped from files, the record file above all, which the kernel takes back whenever it wants.
Stopped, the same call goes on; its samples begin again. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from bnas_face import files, machine

SIZE_PX, EMBEDDING_DIM, BATCH_SIZE = 64, 32, 256
RUN = "epoch_memory"


def train(dataset: str, workers: int) -> None:
    """Train one epoch in this process, in the working directory's ``runs/``."""
    import torch
    from torch import nn

    from bnas_face import models
    from bnas_face.config import RUNS, ModelConfig, TrainConfig
    from bnas_face.train import loop, runs

    def tiny(config: ModelConfig) -> nn.Module:
        side = config.size_px // 4
        layers = (nn.AvgPool2d(4), nn.Flatten(), nn.Linear(3 * side * side, config.embedding_dim))
        return nn.Sequential(*layers, nn.BatchNorm1d(config.embedding_dim))

    models.build = tiny
    torch.set_num_threads(1)
    config = TrainConfig(
        name=RUN,
        model=ModelConfig(size_px=SIZE_PX, embedding_dim=EMBEDDING_DIM),
        dataset=dataset,
        epochs=1,
        batch_size=BATCH_SIZE,
        precision="fp32",
        devices="cpu",
        development_share=0.0,
        loading="stream",
        workers=workers,
        on_corrupt="skip",
        threads=1,
    )
    run_dir = RUNS / RUN
    resume = runs.is_begun(run_dir) and not runs.is_finished(run_dir)
    loop.train(config, run_dir, resume=resume)


def tree(pid: int) -> list[int]:
    """A process and all that descend from it."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            children.setdefault(parent, []).append(int(entry.name))
    found, waiting = list[int](), [pid]
    while waiting:
        found.append(waiting.pop())
        waiting += children.get(found[-1], [])
    return found


def memory_mb(pids: list[int]) -> tuple[float, float]:
    """Memory of processes in 10⁶ bytes: their own, and mapped from files; pages of several are shared out."""
    own = mapped = 0
    for pid in pids:
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        kilobytes = {line.split(":")[0]: int(line.split()[1]) for line in lines if line.endswith(" kB")}
        own += kilobytes["Pss_Anon"] + kilobytes["Pss_Shmem"]
        mapped += kilobytes["Pss_File"]
    return own * 1024 / 1e6, mapped * 1024 / 1e6


def sample(child: subprocess.Popen[bytes], every_s: float) -> list[tuple[float, float, float]]:
    """(seconds since the start, own, mapped) until the child ends."""
    started, samples = time.monotonic(), list[tuple[float, float, float]]()
    ended = threading.Event()
    threading.Thread(target=lambda: (child.wait(), ended.set()), daemon=True).start()
    while not ended.wait(every_s):
        own, mapped = memory_mb(tree(child.pid))
        samples.append((round(time.monotonic() - started, 1), round(own, 1), round(mapped, 1)))
    return samples


def growth_mb(samples: list[tuple[float, float, float]]) -> float:
    """Own memory in the last fifth of the time less that in the second fifth, by medians."""
    end = samples[-1][0]
    parts = [[own for t, own, _ in samples if low * end <= t < high * end] for low, high in ((0.2, 0.4), (0.8, 0.98))]
    before, after = map(statistics.median, parts)
    return after - before


def draw(samples: list[tuple[float, float, float]], title: str) -> str:
    """The two curves as SVG."""
    width, height, left, bottom = 720, 320, 64, 44
    end, top = samples[-1][0], max(max(own, mapped) for _, own, mapped in samples) * 1.08

    def x(t: float) -> float:
        return round(left + t / end * (width - left - 16), 1)

    def y(megabytes: float) -> float:
        return round(height - bottom - megabytes / top * (height - bottom - 40), 1)

    parts = [f'<text x="{left}" y="22" font-size="14">{title}</text>']
    for share in (0, 0.25, 0.5, 0.75, 1):
        level, moment = share * top / 1.08, share * end
        parts += [
            f'<line x1="{left}" x2="{width - 16}" y1="{y(level)}" y2="{y(level)}" stroke="#ddd"/>',
            f'<text x="{left - 6}" y="{y(level) + 4}" text-anchor="end">{level:.0f}</text>',
            f'<text x="{x(moment)}" y="{height - 26}" text-anchor="middle">{moment / 60:.1f}</text>',
        ]
    for column, colour, name in ((1, "#1f6f8b", "own memory"), (2, "#c98b2b", "mapped from files (reclaimable)")):
        points = " ".join(f"{x(row[0])},{y(row[column])}" for row in samples)
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts.append(f'<text x="{left + 8 + (column - 1) * 130}" y="40" fill="{colour}">{name}</text>')
    parts.append(f'<text x="{(left + width) / 2}" y="{height - 8}" text-anchor="middle">minutes</text>')
    parts.append(
        f'<text x="14" y="{height / 2}" transform="rotate(-90 14 {height / 2})" text-anchor="middle">MB</text>'
    )
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
        f'font-size="11">\n<rect width="{width}" height="{height}" fill="#fff"/>\n{body}\n</svg>\n'
    )


def result(samples: list[tuple[float, float, float]], seconds: float, workers: int) -> dict[str, Any]:
    """What is written down."""
    from bnas_face.config import RUNS
    from bnas_face.train import left_out, log

    config = files.read_json(RUNS / RUN / "config.json")
    rows = log.read(RUNS / RUN, up_to_step=1 << 62)
    data = config["training_data"]
    return {
        "n_images": data["n_images"],
        "n_identities": data["n_identities"],
        "left_out": sum(row.left_out for row in rows),
        "left_out_reasons": [reason.replace(str(Path.cwd()) + "/", "") for reason in left_out.read(RUNS / RUN)],
        "images_per_s": round(rows[-1].images_per_s, 1),
        "loss_first_and_last": [round(rows[0].loss, 3), round(rows[-1].loss, 3)],
        "minutes": round(seconds / 60, 1),
        "own_peak_mb": max(own for _, own, _ in samples),
        "own_growth_mb": round(growth_mb(samples), 1),
        "mapped_peak_mb": max(mapped for _, _, mapped in samples),
        "workers": workers,
        "batch_size": BATCH_SIZE,
        "size_px": SIZE_PX,
        "machine": machine.cpu_name(),
        "samples_s_own_mb_mapped_mb": samples,
    }


def main() -> None:
    """Train in a child and watch it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("set", help="folder of the record set")
    parser.add_argument("--to", type=Path, required=True, help="folder for memory.json and memory.svg")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--every", type=float, default=5.0, help="seconds between samples")
    parser.add_argument("--train", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.train:
        train(f"records:{chosen.set}", chosen.workers)
        return
    started = time.monotonic()
    child = subprocess.Popen([sys.executable, __file__, *sys.argv[1:], "--train"], env={**os.environ})
    samples = sample(child, chosen.every)
    if child.returncode:
        sys.exit(child.returncode)
    found = result(samples, time.monotonic() - started, chosen.workers)
    title = f"Memory of one epoch over {found['n_images']:,} images from .rec, training and loading processes"
    files.write_json(chosen.to / "memory.json", found)
    files.write_text(chosen.to / "memory.svg", draw(samples, title))
    print(json.dumps({key: value for key, value in found.items() if not key.startswith("samples")}))


if __name__ == "__main__":
    main()
