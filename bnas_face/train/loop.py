"""From settings to a finished run folder: what is checked, prepared and written around a training."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

from bnas_face import files, ranks
from bnas_face.config import TrainConfig
from bnas_face.errors import ConfigError
from bnas_face.models import saved
from bnas_face.train import checkpoint, devices, environment, events, recipe, runs, start
from bnas_face.train.distill import Teacher
from bnas_face.train.learner import Learner
from bnas_face.train.source import check_names, prepare
from bnas_face.train.trainer import Outcome, Trainer


def train(
    config: TrainConfig,
    run_dir: Path,
    *,
    resume: bool = False,
    teacher: Teacher | None = None,
    on_decode: Callable[[int, int], None] | None = None,
    say: Callable[[str], None] | None = None,
) -> Outcome:
    """Train a network and write its run folder.

    The last epoch's weights, or their moving average, are the ones kept; no checkpoint is ever chosen by a score.

    Parameters
    ----------
    config : TrainConfig
    run_dir : Path
        Folder of the run; see `saved` and `checkpoint`.
    resume : bool
        Go on from the last saved state, if there is one; the result equals that of an uninterrupted run on the same
        machine. Without it, an earlier run in the folder is removed as soon as everything is ready to begin.
    teacher : Teacher or None
        Opened ``config.teacher``: `bnas_face.teacher.open_teacher`.
    on_decode : callable or None
        Called with (images decoded, images in all).
    say : callable or None
        Called with a line that the user should read: which weights the training starts from.

    Raises
    ------
    ConfigError, UnknownNameError
        If the settings cannot be built.
    DatasetError
        If the dataset is absent or too small.
    CheckpointError
        If the state to resume from is damaged or belongs to other data, another process trains this run, or the run to
        start from is of another network.
    TrainingError
        If the loss, the gradient or a weight is no longer finite, or another process of the training has ended; the
        last saved state is kept.
    """
    config = recipe.resolve(config)
    if bool(config.teacher) != (teacher is not None):
        raise ConfigError(f"Teacher is '{config.teacher}', and {'none' if teacher is None else 'another'} was opened.")
    check_names(config)
    if config.tensorboard:
        events.check_installed()
    Learner(config, n_identities=_n_outputs(config))  # what cannot be built is told before images are decoded
    begun = (
        start.read(config.init, config.model, run_dir)
        if config.init and not (resume and checkpoint.exists(run_dir))
        else None
    )
    fabric = devices.make_fabric(config)
    fabric.launch()
    if not fabric.is_global_zero:
        on_decode = say = None
    if begun is not None and say is not None:
        say(str(begun))
    with ranks.together(), runs.only_one(run_dir) if fabric.is_global_zero else nullcontext():
        data = prepare(config, teacher=teacher, progress=on_decode, say=say, n_processes=devices.n_here(fabric))
        trainer = Trainer(config, run_dir, data, fabric, resume=resume, begun=begun)
        if fabric.is_global_zero:
            if not resume:
                runs.clear(run_dir)
            files.sweep(run_dir)
            saved.save_config(run_dir, config, data.provenance | start.provenance(begun, run_dir))
            environment.save(run_dir, fabric)
        fabric.barrier()  # from now on every process writes to the folder
        outcome = trainer.run()
        if fabric.is_global_zero:
            saved.save_weights(run_dir / saved.WEIGHTS, trainer.kept)
    return outcome


def _n_outputs(config: TrainConfig) -> int:
    """Identities to try a head with before the data are known; what classifies says its number of classes itself."""
    return config.model.embedding_dim if config.model.task == "classification" else 2
