"""The whole chain for ``bnasface demo``, readable from top to bottom: train → evaluate → report, on rendered faces."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from bnas_face.config import ModelConfig, TrainConfig

PROTOCOLS = ("demo_lfw", "demo_cfp", "demo_agedb")
NETWORKS = {
    # run name: binarizer, bits of the activations
    "demo_full_precision": ("none", 32),
    "demo_w1a32": ("xnor", 32),
    "demo_w1a1": ("xnor", 1),
}
DATASET = "demo:600x10@64"
RECIPE: dict[str, Any] = {
    # chosen on held-out training identities; the same for all three, so that they differ in their bits alone
    "epochs": 3,
    "batch_size": 32,
    "optimizer": "adam",
    "lr": 3e-3,
    "scale": 30.0,
    "margin": 0.25,
}
SIZE_PX, WIDTH, EMBEDDING_DIM = 64, 0.25, 128


def settings(name: str, *, seed: int = 0) -> TrainConfig:
    """How the demo trains one of its `NETWORKS`."""
    binarizer, activation_bits = NETWORKS[name]
    model = ModelConfig(
        binarizer=binarizer,
        activation_bits=activation_bits,
        size_px=SIZE_PX,
        width=WIDTH,
        embedding_dim=EMBEDDING_DIM,
    )
    return TrainConfig(name=name, model=model, dataset=DATASET, seed=seed, **RECIPE)


def demo(
    out: Path,
    runs_root: Path,
    *,
    fresh: bool = False,
    seed: int = 0,
    say: Callable[[str], None] = print,
    progress: Callable[[str, int, int], None] | None = None,
) -> Path:
    """Train a network and its two 1-bit forms on rendered people, test all three on other rendered people, report.

    Interrupted at any moment, the next call goes on; a network that is already trained with these settings is kept.

    Parameters
    ----------
    out : Path
        Report folder.
    runs_root : Path
        Folder of the run folders.
    fresh : bool
        Train again even where a run is finished.
    seed : int
        Of training and of the bootstrap.
    say : callable
        Called with one line per step.
    progress : callable, optional
        Called with (what, n_done, n_total) while embedding.

    Returns
    -------
    Path
        ``report.html``.
    """
    from bnas_face.evaluate.evaluate import evaluate
    from bnas_face.report import html
    from bnas_face.train import runs
    from bnas_face.train.loop import train

    models = []
    for number, name in enumerate(NETWORKS, 1):
        run_dir = runs_root / name
        models.append(str(run_dir))
        config = settings(name, seed=seed)
        anew = fresh or not runs.agrees(run_dir, config)
        if runs.is_finished(run_dir) and not anew:
            say(f"[{number}/{len(NETWORKS) + 1}] {run_dir} is trained already (--fresh trains it again).")
            continue
        say(f"[{number}/{len(NETWORKS) + 1}] Training {run_dir} …")
        config = runs.begin(config, run_dir, resume=not anew, overwrite=anew)
        outcome = train(config, run_dir, resume=not anew)
        say(f"      {outcome.seconds:.0f} s, {outcome.images_per_s:.0f} images/s")

    say(f"[{len(NETWORKS) + 1}/{len(NETWORKS) + 1}] Evaluating {len(models)} models on {', '.join(PROTOCOLS)} …")
    evaluate(models, PROTOCOLS, out, seed=seed, command="bnasface demo", progress=progress)
    return html.write(out)
