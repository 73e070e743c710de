"""Images per second of decoding and augmenting, ours against torchvision's ImageFolder in torch's DataLoader.

Run: ``python benchmarks/loader.py [--set FOLDER] [--out FILE]``. The same JPEG files of 112 px lie once in a ``.rec``
(of a set that ``bnasface data render`` wrote, or a small one rendered now) and once as identity folders. Both sides
make batches of 128 uint8 images, in random order, by the same number of processes; ours hands out what a training gets.

plain    a random flip and a shift of up to 4 px each way, the border repeated: what every training does
photo    besides, with probability 0.2 each, colour, low resolution and an occlusion: `Augmenter` level "photo", against
         ColorJitter, two resizings and RandomErasing

The settings take turns, so that a slow moment of the machine hits all of them; rates and ratios are medians over the
rounds, the first batches (start of the processes) are not timed. The share in a training step is what one process needs
to make a batch, of that plus what the same core needs for a step of the demo's network (IResNet-18 of width 0.25 at 64
px, bf16, batches of 64). ``processor_time`` is what one process computes per image, the best of three. The last line is
one JSON object.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bnas_face import files, machine, models
from bnas_face.config import ModelConfig
from bnas_face.data import datasets, loader
from bnas_face.data.augment import LEVELS
from bnas_face.data.formats import recordio
from bnas_face.data.images import FaceImages
from bnas_face.data.sources import Streamed
from bnas_face.torchvision_compat import ensure_torchvision

BATCH_SIZE, SHIFT_PX, WARM_UP = 128, 4, 16
LEVEL = {"plain": "none", "photo": "photo"}


def coarse(image: Any) -> Any:
    """Torchvision's side of the low resolution: reduced to a random share of the side, and enlarged again."""
    from torchvision.transforms import v2

    side = image.size[0]
    small = max(1, round(side * float(torch.empty(1).uniform_(0.2, 1.0))))
    return v2.functional.resize(v2.functional.resize(image, [small, small]), [side, side])


def image_folder(root: Path, size_px: int, augmentation: str, workers: int) -> Iterator[int]:
    """Batch sizes as torchvision makes them."""
    ensure_torchvision()
    from torch.utils.data import DataLoader
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import v2

    steps: list[Any] = [] if size_px == 112 else [v2.Resize(size_px, antialias=True)]
    if augmentation == "photo":
        jitter = v2.ColorJitter(brightness=0.5, contrast=0.5, saturation=0.5)
        steps += [v2.RandomApply([v2.Lambda(coarse)], p=0.2), v2.RandomApply([jitter], p=0.2)]
    shift = round(SHIFT_PX * size_px / 112)
    steps += [v2.RandomHorizontalFlip(), v2.RandomCrop(size_px, padding=shift, padding_mode="edge"), v2.PILToTensor()]
    if augmentation == "photo":
        steps.append(v2.RandomErasing(p=0.2, scale=(0.04, 0.25)))
    made = DataLoader(
        ImageFolder(str(root), v2.Compose(steps)),
        batch_size=BATCH_SIZE,
        shuffle=True,
        num_workers=workers,
        drop_last=True,
        prefetch_factor=4 if workers else None,
    )
    for pixels, _ in made:
        yield len(pixels)


def ours(images: FaceImages, size_px: int, augmentation: str, workers: int, epoch: int) -> Iterator[int]:
    """Batch sizes as a training gets them."""
    order = loader.Order(
        batch_size=BATCH_SIZE,
        seed=0,
        epoch=epoch,
        shift_px=round(SHIFT_PX * size_px / 112),
        augmenter=LEVELS[LEVEL[augmentation]],
    )
    for batch in loader.batches(Streamed.of(images, size_px), images.labels, order, workers=workers):
        yield len(batch.labels)


def rate(batches: Iterator[int], n_batches: int) -> float:
    """Images per second over so many batches, after those that do not count."""
    for _ in range(WARM_UP):
        next(batches)
    started = time.perf_counter()
    n_images = sum(next(batches) for _ in range(n_batches))
    seconds = time.perf_counter() - started
    del batches  # ends the processes
    return n_images / seconds


def write_folders(images: FaceImages, records: Path, root: Path) -> None:
    """The JPEG files of some images of a ``.rec`` as identity folders."""
    with recordio.RecordFile(records) as file:
        for image_id, label in zip(images.image_ids, images.labels.tolist(), strict=True):
            folder = root / images.identity_names[label]
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{image_id}.jpg").write_bytes(file.read(int(image_id)).payload)


def measure(chosen: argparse.Namespace, records: FaceImages, folder: Path) -> list[dict[str, Any]]:
    """One row for every size, augmentation, source and number of workers."""
    folders = datasets.load(f"folder:{folder}")
    rates: dict[tuple[Any, ...], list[float]] = {}
    for turn in range(chosen.rounds):
        for size_px in chosen.sizes:
            for augmentation in LEVEL:
                for workers in chosen.workers:
                    made = {
                        "imagefolder": image_folder(folder, size_px, augmentation, workers),
                        "rec": ours(records, size_px, augmentation, workers, turn),
                        "folders": ours(folders, size_px, augmentation, workers, turn),
                    }
                    for name, batches in made.items():
                        key = (size_px, augmentation, workers, name)
                        rates.setdefault(key, []).append(rate(batches, chosen.batches))
    rows = []
    for (size_px, augmentation, workers, name), found in rates.items():
        plain = rates[size_px, augmentation, workers, "imagefolder"]
        ratios = [one / other for one, other in zip(found, plain, strict=True)]
        rows.append(
            {
                "size_px": size_px,
                "augmentation": augmentation,
                "workers": workers,
                "source": name,
                "images_per_s": round(statistics.median(found)),
                "speedup_vs_imagefolder": round(statistics.median(ratios), 2),
            }
        )
    return rows


def processor_time(records: FaceImages, folder: Path, sizes: list[int]) -> list[dict[str, Any]]:
    """Microseconds of processor time per image in this process alone, which other work on the machine hardly moves."""

    def of(batches: Iterator[int]) -> float:
        next(batches)
        started = time.process_time()
        n_images = sum(next(batches) for _ in range(10))
        return (time.process_time() - started) / n_images * 1e6

    def made(size_px: int, augmentation: str) -> Iterator[int]:
        source, shift_px = Streamed.of(records, size_px), round(SHIFT_PX * size_px / 112)
        order = loader.Order(
            batch_size=BATCH_SIZE, seed=0, epoch=0, shift_px=shift_px, augmenter=LEVELS[LEVEL[augmentation]]
        )
        for unit in order.units(len(records)):
            yield len(unit.apply(source.read(unit.indices)[0]))

    torch.set_num_threads(1)
    rows = []
    for size_px in sizes:
        for augmentation in LEVEL:
            plain = min(of(image_folder(folder, size_px, augmentation, 0)) for _ in range(3))
            rec = min(of(made(size_px, augmentation)) for _ in range(3))
            found = {"imagefolder_us": round(plain), "rec_us": round(rec), "ratio": round(plain / rec, 2)}
            rows.append({"size_px": size_px, "augmentation": augmentation, **found})
    return rows


def share_of_step(images: FaceImages, repeats: int) -> dict[str, Any]:
    """Milliseconds of a batch of 64 by one process and of a training step by one thread, and the loader's share."""
    torch.set_num_threads(1)
    network = models.build(ModelConfig(width=0.25, size_px=64)).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(network.parameters())
    units = loader.Order(batch_size=64, seed=0, epoch=0, shift_px=2).units(len(images))
    source = Streamed.of(images, 64)
    loading, stepping = list[float](), list[float]()
    for _ in range(repeats + 1):
        started = time.perf_counter()
        unit = next(units)
        pixels = unit.apply(source.read(unit.indices)[0])
        ready = time.perf_counter()
        values = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1
        with torch.autocast("cpu", torch.bfloat16):
            loss = network(values).float().square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loading.append(ready - started)
        stepping.append(time.perf_counter() - ready)
    load_ms, step_ms = (statistics.median(times[1:]) * 1e3 for times in (loading, stepping))
    return {
        "batch_ms": round(load_ms, 1),
        "step_ms": round(step_ms, 1),
        "share_of_step": round(load_ms / (load_ms + step_ms), 3),
    }


def main() -> None:
    """Measure on a given set, or on one rendered for the purpose."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--set", type=Path, help="folder that bnasface data render wrote; default: rendered now")
    parser.add_argument("--images", type=int, default=10_000, help="of the set, at most")
    parser.add_argument("--sizes", type=int, nargs="+", default=[112, 64])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batches", type=int, default=40, help="timed, of each setting and round")
    parser.add_argument("--out", type=Path, help="Also write the result to this file.")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        place = chosen.set or Path(temporary, "set")
        if chosen.set is None:
            from bnas_face.data.synthetic import record_sets

            plan = record_sets.RenderPlan(n_images=chosen.images, n_identities=200, variants=10)
            record_sets.write(place, plan, workers=1)
        records = datasets.load(f"records:{place}")
        kept = np.unique(records.labels[: chosen.images])
        records = records.select_identities(np.isin(np.arange(records.n_identities), kept))
        write_folders(records, place / "train.rec", Path(temporary, "folders"))
        rows = measure(chosen, records, Path(temporary, "folders"))
        share = share_of_step(records, 20)
        share["processor_time"] = processor_time(records, Path(temporary, "folders"), chosen.sizes)
    headline = [row["speedup_vs_imagefolder"] for row in rows if row["source"] == "rec"]
    best = max(row["images_per_s"] for row in rows if row["source"] == "rec")
    result = {
        "speedup_vs_imagefolder": min(headline),
        "images_per_s": best,
        "rows": rows,
        **share,
        "cpu": machine.cpu_name(),
        "n_images": len(records),
        "batch_size": BATCH_SIZE,
        "versions": machine.versions(("torch", "torchvision", "opencv-python-headless")),
    }
    if chosen.out:
        files.write_json(chosen.out, result)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
