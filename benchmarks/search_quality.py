"""Do searched cells beat random ones? BNAS, its ablations, PC-DARTS and random cells, trained and tested alike.

Run: ``python benchmarks/search_quality.py --set demo --out runs/quality_demo [--seeds 3] [--random-seeds 5]``. Every
(searcher, seed) searches, its network is trained with the same settings, and all are tested on the same protocols.
``bnas_steady`` measures its paths on more held-out images and thrice as often; ``one_random_cell`` trains the cells
of one random search with every seed, which tells how much of the difference between networks is training alone.
Interrupted, the same command goes on; ``--workers 2 --threads 1`` runs two side by side. Searches are small, so that
the study fits an hour or two of two cores: the schedule of the preset ``quick`` (19 single-path and 8 mixed epochs, one
sample of every candidate a round), PC-DARTS 20 epochs, networks of 4 cells and 8 channels, few images.

The searches see training data only, and nothing is chosen by a test result: the last epoch's weights are tested. The
table has mean and standard deviation over the seeds (search and training together), Welch's test against BNAS over the
networks, and the paired t-test over the ten folds of the protocol (mean of a variant's networks in each fold), both
corrected by Holm. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
from collections.abc import Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from bnas_face import files, genotype, machine
from bnas_face.config import ModelConfig, SearchConfig, TrainConfig
from bnas_face.metrics import paired
from bnas_face.search import presets

ONE_CELL = "one_random_cell"
"""The random cell of seed 0 trained with every seed: how far networks differ that have the same cells."""
STEADY = "bnas_steady"
VARIANTS: dict[str, dict[str, Any]] = {
    "bnas": {"searcher": "bnas"},
    "bnas_no_ucb": {"searcher": "bnas", "ucb": 0.0},
    "bnas_no_reduction": {"searcher": "bnas", "reduction": False},
    "pc_darts": {"searcher": "pc_darts", "epochs": 20},
    STEADY: {"searcher": "bnas", "max_images": 1200, "repeats": 3, "warmup_epochs": 2},
    "random": {"searcher": "random", "samples": 1},
    ONE_CELL: {},
}
SETS: dict[str, dict[str, Any]] = {
    # what is searched on, what is trained on, and the protocols
    "demo": {
        "search": {"dataset": "demo:600x10@64", "max_images": 400, "size_px": 64},
        "train": {"dataset": "demo:300x10@64", "scale": 30.0, "margin": 0.25, "epochs": 3},
        "model": {"size_px": 64, "embedding_dim": 128},
        "protocols": ("demo_lfw",),
    },
    "lfw": {
        "search": {
            "dataset": "lfw",
            "exclude_names_of": ("cfp",),
            "min_images": 10,
            "max_images": 400,
            "size_px": 64,
        },
        "train": {
            "dataset": "lfw",
            "exclude_names_of": ("cfp",),
            "max_images": 2000,
            "scale": 30.0,
            "margin": 0.25,
            "epochs": 5,
        },
        "model": {"size_px": 64, "embedding_dim": 128},
        "protocols": ("cfp_ff", "cfp_fp"),
    },
    "cifar10": {
        "search": {"dataset": "cifar10:train", "max_images": 600, "size_px": 32},
        "train": {"dataset": "cifar10:train", "max_images": 3000, "head": "cross_entropy", "shift_px": 14, "epochs": 5},
        "model": {"size_px": 32, "task": "classification", "embedding_dim": 10},
        "protocols": ("cifar10",),
    },
}


def jobs(chosen: argparse.Namespace) -> list[tuple[str, int]]:
    """(variant, seed), seeds outermost, so that an interrupted study has as many of each.

    Space paper has no upper bound by default, so that the variant without it would be the same search again.
    """
    names = [name for name in VARIANTS if chosen.space == "onebit" or name != "bnas_no_ucb"]
    found = [(name, seed) for seed in range(chosen.seeds) for name in names if name not in (STEADY, ONE_CELL)]
    found += [("random", seed) for seed in range(chosen.seeds, chosen.random_seeds)]
    # Seed 0 of these cells is random's own.
    found += [(ONE_CELL, seed) for seed in range(1, chosen.random_seeds + 1)]
    found += [(STEADY, seed) for seed in range(chosen.seeds)]
    return [job for job in found if job[0] in (chosen.variant or VARIANTS)]


def search_of(job: tuple[str, int]) -> tuple[str, int]:
    """The search that a network's cells come from."""
    variant, seed = job
    return ("random", 0) if variant == ONE_CELL else (variant, seed)


def search_settings(variant: str, seed: int, chosen: argparse.Namespace) -> SearchConfig:
    """How one variant searches."""
    shared = presets.preset("quick") | {
        "space": chosen.space,
        "binarizer": chosen.binarizer,
        "threads": chosen.threads,
        "devices": "cpu",
        "seed": seed,
    }
    name = f"search_{variant}_{seed}"
    return SearchConfig(name=name, **(shared | SETS[chosen.set]["search"] | VARIANTS[variant]))


def train_settings(variant: str, seed: int, chosen: argparse.Namespace, found: genotype.Genotype) -> TrainConfig:
    """How every network is trained."""
    model = ModelConfig(
        backbone="searched",
        genotype=found,
        binarizer=chosen.binarizer,
        activation_bits=1 if chosen.space == "onebit" else 32,
        cells=chosen.cells,
        channels=chosen.channels,
        **SETS[chosen.set]["model"],
    )
    return TrainConfig(
        name=f"{variant}_{seed}",
        model=model,
        batch_size=32,
        optimizer="adam",
        lr=3e-3,
        development_share=0.0,
        threads=chosen.threads,
        devices="cpu",
        seed=seed,
        **SETS[chosen.set]["train"],
    )


def run(job: tuple[str, int], chosen: argparse.Namespace) -> str:
    """Search and train one network, going on from wherever it is; returns its run folder."""
    import torch

    from bnas_face.search.loop import search
    from bnas_face.train.loop import train

    variant, seed = job
    searched, search_seed = search_of(job)
    torch.set_num_threads(chosen.threads)
    run_dir, search_dir = chosen.out / f"{variant}_{seed}", chosen.out / f"search_{searched}_{search_seed}"
    chosen.out.mkdir(parents=True, exist_ok=True)
    with (chosen.out / f"{variant}_{seed}.log").open("a") as log, redirect_stdout(log), redirect_stderr(log):
        if not (search_dir / "genotype.json").exists():
            search(
                search_settings(searched, search_seed, chosen), search_dir, resume=(search_dir / "config.json").exists()
            )
        if not (run_dir / "weights.safetensors").exists():
            found = genotype.load(search_dir / "genotype.json")
            config = train_settings(variant, seed, chosen, found)
            train(config, run_dir, resume=(run_dir / "config.json").exists())
    return str(run_dir)


def run_all(chosen: argparse.Namespace) -> list[str]:
    """Every job; `--workers` at a time, in processes of their own."""
    todo = jobs(chosen)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(chosen.workers, mp_context=context, max_tasks_per_child=1) as pool:
        folders = []
        for job, folder in zip(todo, pool.map(run, todo, [chosen] * len(todo)), strict=True):
            print(f"{job[0]} seed {job[1]}: {folder}", flush=True)
            folders.append(folder)
    return folders


def table(entries: Iterable[Mapping[str, Any]], protocol: str) -> list[dict[str, Any]]:
    """One row per variant: accuracy over its networks, and how it compares with BNAS."""
    found = {entry["model"]: entry["accuracy"] for entry in entries if entry["protocol"] == protocol}
    groups: dict[str, list[Any]] = {name: [] for name in VARIANTS}
    for model, accuracy in found.items():
        groups[Path(model).name.rpartition("_")[0]].append(accuracy)
    values = {name: np.array([accuracy["value"] for accuracy in group]) for name, group in groups.items()}
    folds = {name: np.array([accuracy.get("per_fold") or [] for accuracy in group]) for name, group in groups.items()}
    rows = [_row(name, values, folds) for name in VARIANTS if len(values[name])]
    for key in ("p_networks", "p_folds"):
        tested = [row for row in rows if row[key] is not None]
        corrected: Any = paired.holm([row[key] for row in tested]) if tested else []
        for row, value in zip(tested, corrected, strict=True):
            row[f"{key}_holm"] = round(float(value), 5)
    return rows


def _row(name: str, values: Mapping[str, Any], folds: Mapping[str, Any]) -> dict[str, Any]:
    own, bnas = values[name], values["bnas"]
    row = {
        "variant": name,
        "n": len(own),
        "mean": round(float(own.mean()), 5),
        "std": round(float(own.std(ddof=1)), 5) if len(own) > 1 else None,
        "accuracies": [round(float(value), 5) for value in own],
        "p_networks": None,
        "p_folds": None,
    }
    if name != "bnas" and min(len(own), len(bnas)) > 1:
        row["p_networks"] = float(stats.ttest_ind(bnas, own, equal_var=False).pvalue)
        if folds[name].size and folds["bnas"].size:
            row["p_folds"] = float(stats.ttest_rel(folds["bnas"].mean(axis=0), folds[name].mean(axis=0)).pvalue)
    return row


def lead(rows: list[dict[str, Any]]) -> float | None:
    """BNAS's mean minus random's, in standard deviations of random."""
    by_name = {row["variant"]: row for row in rows}
    spread = by_name["random"]["std"]
    return round((by_name["bnas"]["mean"] - by_name["random"]["mean"]) / spread, 2) if spread else None


def show(protocol: str, rows: list[dict[str, Any]]) -> None:
    """The table as Markdown."""
    print(f"\n{protocol}\n\n| searcher | networks | mean % | std, points | p over networks | p over folds |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for row in rows:
        spread = "" if row["std"] is None else f"{100 * row['std']:.2f}"
        tests = " | ".join(str(row.get(f"{key}_holm", "")) for key in ("p_networks", "p_folds"))
        print(f"| {row['variant']} | {row['n']} | {100 * row['mean']:.2f} | {spread} | {tests} |")


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", choices=SETS, default="demo")
    parser.add_argument("--out", type=Path, default=Path("runs/search_quality"))
    parser.add_argument("--variant", action="append", choices=VARIANTS, help="Only this one; repeatable.")
    parser.add_argument("--space", default="onebit")
    parser.add_argument("--binarizer", default="xnor")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--random-seeds", type=int, default=5)
    parser.add_argument("--cells", type=int, default=4)
    parser.add_argument("--channels", type=int, default=8)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


def main() -> None:
    """Run the study and print its tables."""
    chosen = arguments()
    folders = run_all(chosen)
    from bnas_face.evaluate.evaluate import evaluate

    protocols = SETS[chosen.set]["protocols"]
    command = f"python {' '.join(sys.argv)}"
    result = evaluate(folders, protocols, chosen.out / "report", images=False, command=command)
    tables = {name: table(result["results"], name) for name in protocols}
    for name, rows in tables.items():
        show(name, rows)
    settings = {name: str(value) for name, value in vars(chosen).items()}
    summary = {name: lead(rows) for name, rows in tables.items()}
    found = {"lead_over_random_in_std": summary, "tables": tables, "settings": settings, "cpu": machine.cpu_name()}
    files.write_json(chosen.out / "search_quality.json", found)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
