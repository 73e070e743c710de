"""The training loop: readable from top to bottom, resumable at every step."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from bnas_face import machine
from bnas_face.config import TrainConfig
from bnas_face.data import development, loader
from bnas_face.data.augment import LEVELS
from bnas_face.data.workers import default_workers
from bnas_face.errors import CheckpointError, ConfigError, TrainingError
from bnas_face.models import saved
from bnas_face.train import checkpoint, devices, events, gradients, guard, log, recipe, start, step
from bnas_face.train.average import average_of, restart
from bnas_face.train.checkpoint import Counters
from bnas_face.train.learner import Learner, drop_paths, embed, recognised
from bnas_face.train.left_out import LeftOut
from bnas_face.train.progress import TrainingProgress
from bnas_face.train.source import TrainingData
from bnas_face.train.stages import Stages, set_float_weights

LOG_EVERY_STEPS = 200


@dataclass(frozen=True)
class Outcome:
    """How a training ended.

    Attributes
    ----------
    run_dir : Path
    loss : float
        Mean over the last epoch.
    development_accuracy : float or None
        Of the last epoch, whose weights are the ones kept; a fraction.
    images_per_s : float
        Of the last epoch.
    seconds : float
        Training time over all resumptions.
    left_out : int
        Images that could not be read; the run's ``left_out.txt`` says why.
    """

    run_dir: Path
    loss: float
    development_accuracy: float | None
    images_per_s: float
    seconds: float
    left_out: int = 0


class Trainer:
    """One training: learner, optimizer, counters and log; `run` goes through the epochs that are left.

    Parameters
    ----------
    config : TrainConfig
        Resolved (`recipe.resolve`).
    run_dir : Path
    data : TrainingData
    fabric : lightning Fabric
        Launched.
    resume : bool
    begun : Start or None
        Weights to start from; not used where a state is resumed.
    """

    def __init__(
        self,
        config: TrainConfig,
        run_dir: Path,
        data: TrainingData,
        fabric: Any,
        *,
        resume: bool,
        begun: start.Start | None = None,
    ) -> None:
        if config.batch_size % fabric.world_size:
            raise ConfigError(f"Batch size {config.batch_size} cannot be shared by {fabric.world_size} devices.")
        if min(config.batch_size, len(data.images)) < 2 * fabric.world_size * config.accumulate:
            in_parts = f" in {config.accumulate} parts" if config.accumulate > 1 else ""
            raise ConfigError(
                f"Batches of {min(config.batch_size, len(data.images))} images{in_parts} give {fabric.world_size} "
                "devices fewer than the two each that batch normalisation needs. Use a larger --batch-size, or fewer "
                "--devices."
            )
        if config.threads:
            torch.set_num_threads(config.threads)
        torch.manual_seed(config.seed)
        self.config, self.run_dir, self.data, self.fabric = config, run_dir, data, fabric
        ours = {"rank": fabric.global_rank, "world_size": fabric.world_size}
        self.learner = Learner(config, data.n_identities, data.targets, **ours)
        self.learner.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if begun is not None:
            begun.apply(self.learner.backbone)
        self.steps_per_epoch = loader.n_batches(len(data.images), config.batch_size)
        self.stages = Stages(config, self.steps_per_epoch)
        goes_on = resume and checkpoint.exists(run_dir)
        self.counters = checkpoint.read_counters(run_dir) if goes_on else Counters()
        self.rows = log.read(run_dir, up_to_step=self.counters.step) if goes_on else []
        self.average: AveragedModel | None = None
        self._begin_stage()
        if config.ema:
            self.average = average_of(self.learner.backbone, config.ema)
        if goes_on:
            _check_same_data(run_dir, data)
            # After setup, which may have moved the weights: the optimizer's state follows them.
            checkpoint.restore(run_dir, self.learner, self.plain_optimizer, self.average, self.learner.shards)
            fabric.strategy.precision.load_state_dict(checkpoint.read_precision(run_dir))
            self.counters.session += 1
        chosen = LEVELS[config.augment]
        self.augmenter = chosen if config.views == 1 and chosen.changes else None
        by_default = 0 if data.images.in_memory else default_workers(devices.n_here(fabric))
        self.workers = by_default if config.workers is None else config.workers
        self.left_out = LeftOut(run_dir, goes_on=resume)
        is_first = fabric.is_global_zero
        self.events = events.Events(run_dir, on=config.tensorboard and is_first, step=self.counters.step)
        self.last_saved, self.due = time.monotonic(), False
        self.images, self.seconds = 0, 0.0

    @property
    def kept(self) -> nn.Module:
        """The network a run keeps: that of the last step, or the moving average."""
        return self.learner.backbone if self.average is None else self.average.module

    def _begin_stage(self) -> None:
        """Set up network and optimizer for the stage that the next step belongs to."""
        set_float_weights(self.learner.backbone, self.stages.floats(self.counters.step))
        self.plain_optimizer = recipe.make_optimizer(self.learner, self.config)
        self.wrapped: Any
        self.optimizer: Any
        self.wrapped, self.optimizer = self.fabric.setup(self.learner, self.plain_optimizer)
        if self.average is not None:
            set_float_weights(self.average.module, self.stages.floats(self.counters.step))
            restart(self.average)

    def run(self) -> Outcome:
        """Train the epochs that are left."""
        first_epoch = self.counters.step // self.steps_per_epoch
        quiet = not self.fabric.is_global_zero
        done, n_epochs, device = self.counters.step, self.config.epochs, self.fabric.device
        with TrainingProgress(self.stages.n_steps, done, n_epochs, device=device, quiet=quiet) as progress:
            try:
                for epoch in range(first_epoch, self.config.epochs):
                    self._epoch(epoch, progress)
            finally:
                self.events.close()
        if not self.rows:  # resumed after the last step, without the log
            self._log(self.config.epochs - 1, self._development_accuracy())
        last = self.rows[-1]
        return Outcome(
            self.run_dir,
            log.epoch_loss(self.rows),
            last.development_accuracy,
            last.images_per_s,
            self.counters.seconds,
            self.left_out.count,
        )

    def _epoch(self, epoch: int, progress: TrainingProgress) -> None:
        self.wrapped.train()
        drop_paths(self.learner.backbone, self.config.model.drop_path * epoch / self.config.epochs)
        self.images, self.seconds = 0, 0.0
        started = time.monotonic()
        for batch in self._batches(epoch):
            loss = self._step(batch)
            now = time.monotonic()
            self.seconds += now - started
            self.counters.seconds += now - started
            progress.step(self.counters.step, epoch + 1, loss, self.images_per_s)
            self.events.step(self.counters.step, loss, self.stages.lr(self.counters.step - 1))
            if self.counters.step % self.steps_per_epoch:
                self._between_steps(epoch)
            started = time.monotonic()
        self._end_epoch(epoch, progress)

    @property
    def images_per_s(self) -> float:
        """Training speed of this epoch, without checkpoints and development accuracy."""
        return self.images / self.seconds if self.seconds else 0.0

    def _batches(self, epoch: int) -> Iterator[loader.Batch]:
        config = self.config
        order = loader.Order(
            batch_size=config.batch_size,
            seed=config.seed,
            epoch=epoch,
            shift_px=round(config.shift_px * config.model.size_px / 112),
            cutout_px=config.cutout_px,
            augmenter=self.augmenter,
            skip=self.counters.step - epoch * self.steps_per_epoch,
            rank=self.fabric.global_rank,
            world_size=self.fabric.world_size,
        )
        images, skip_corrupt = self.data.images, config.on_corrupt == "skip"
        return loader.batches(images, self.data.labels, order, workers=self.workers, skip_corrupt=skip_corrupt)

    def _step(self, batch: loader.Batch) -> float:
        """One optimizer step; returns the loss."""
        fabric, config, counters = self.fabric, self.config, self.counters
        n_left_out = self.left_out.note(batch.left_out)
        torch.manual_seed(hash((config.seed, counters.step, fabric.global_rank)) % 2**63)  # dropout, no saved state
        recipe.set_lr(self.optimizer, self.stages.lr(counters.step))
        self.optimizer.zero_grad()
        before = guard.Buffers(self.learner) if config.on_nan == "skip" else None
        loss = step.backward(fabric, self.wrapped, batch, parts=self._parts(batch))
        sharded = self.learner.sharded()
        length = guard.gradient_length(fabric, self.wrapped, self.optimizer, clip=config.gradient_clip, sharded=sharded)
        value, steepness = self._agree(loss, length, n_left_out)
        if math.isfinite(value) and math.isfinite(steepness):
            with gradients.rows_only(self.plain_optimizer):
                self.optimizer.step()
            if self.average is not None:
                self.average.update_parameters(self.learner.backbone)
            counters.skipped_in_a_row = 0
            counters.loss_sum += value
            counters.loss_count += 1
        else:
            self._pass_over(value, before, steepness_is_finite=math.isfinite(steepness))
        counters.step += 1
        self.images += len(batch.labels) * fabric.world_size
        return float(value)

    def _parts(self, batch: loader.Batch) -> int:
        """How many parts a batch is computed in: as many for all processes, though some left images out."""
        wanted = self.config.accumulate
        if wanted == 1 or self.config.on_corrupt != "skip":
            return wanted
        own = torch.tensor(min(wanted, len(batch.labels) // 2), device=self.fabric.device)
        return max(1, int(self.fabric.all_reduce(own, reduce_op="min")))

    def _agree(self, loss: Tensor, length: Tensor, n_left_out: int) -> tuple[float, float]:
        """Means of loss and gradient length over the processes, who also sum up what they left out and, when the time
        of one of them has come, save together."""
        due = time.monotonic() - self.last_saved >= self.config.checkpoint_minutes * 60
        own = torch.stack([loss, length, *loss.new_tensor([n_left_out, due])])
        value, steepness, left_out, share_due = self.fabric.all_reduce(own, reduce_op="mean").tolist()
        self.counters.left_out += round(left_out * self.fabric.world_size)
        self.due = share_due > 0
        return value, steepness

    def _pass_over(self, value: float, before: guard.Buffers | None, *, steepness_is_finite: bool) -> None:
        """A step whose loss or gradient is not finite: stop, or leave the weights as they are and count it."""
        counters, scales = self.counters, self.config.precision == "fp16"
        what, hopeless = guard.first_not_finite(self.learner, value)
        harmless = scales and math.isfinite(value)  # fp16's scale was too large for once, and is lowered now
        if hopeless or not (harmless or self.config.on_nan == "skip"):
            raise TrainingError(
                self._broken(what, "Train" if hopeless else "Go on with --resume --on-nan skip, or train")
            )
        counters.skipped += 1
        counters.skipped_in_a_row += 1
        if counters.skipped_in_a_row > guard.MOST_IN_A_ROW:
            raise TrainingError(self._broken(f"{guard.MOST_IN_A_ROW} steps were passed over, and {what}", "Train"))
        if scales and steepness_is_finite:
            self.fabric.strategy.precision.scaler.update()  # its step would be taken: it looks at gradients alone
        elif scales:
            self.optimizer.step()  # takes no step, and lowers the scale
        if before is not None:
            before.put_back()

    def _broken(self, what: str, remedy: str) -> str:
        number = self.counters.step
        kept = "The last saved state is kept" if checkpoint.exists(self.run_dir) else "No state was saved before it"
        return (
            f"Step {number + 1} (epoch {number // self.steps_per_epoch + 1}, learning rate "
            f"{self.stages.lr(number):.3g}): {what}. {kept}. {remedy} under a new name with a lower --lr, "
            "--gradient-clip 5 or --precision fp32."
        )

    def _between_steps(self, epoch: int) -> None:
        """Within an epoch: a log row every `LOG_EVERY_STEPS` steps, a checkpoint when one is due."""
        if self.counters.step % LOG_EVERY_STEPS == 0:
            self._log(epoch, None)
        if self.due:
            self._checkpoint()

    def _end_epoch(self, epoch: int, progress: TrainingProgress) -> None:
        due = (epoch + 1) % self.config.development_epochs == 0 or epoch + 1 == self.config.epochs
        row = self._log(epoch, self._development_accuracy() if due else None)
        loss = log.epoch_loss(self.rows)
        progress.epoch(epoch + 1, self.counters.step, loss, row.images_per_s, row.development_accuracy)
        if self.counters.step == self.stages.n_first:
            self._begin_stage()  # before the state is saved, which holds the new stage's optimizer then
        self._checkpoint()

    def _log(self, epoch: int, accuracy: float | None) -> log.Row:
        counters = self.counters
        memory = machine.memory_bytes()
        row = log.Row(
            epoch=epoch + 1,
            step=counters.step,
            loss=counters.loss_sum / counters.loss_count if counters.loss_count else math.nan,
            lr=self.stages.lr(counters.step - 1),
            images_per_s=self.images_per_s,
            development_accuracy=accuracy,
            stage=self.stages.number(counters.step - 1),
            skipped=counters.skipped,
            session=counters.session,
            seconds=counters.seconds,
            memory_mb=None if memory is None else memory / 1e6,
            gpu_memory_mb=devices.memory_bytes(self.fabric.device) / 1e6 if self.fabric.device.type == "cuda" else None,
            left_out=counters.left_out,
        )
        counters.loss_sum, counters.loss_count, counters.left_out = 0.0, 0, 0
        self.rows.append(row)
        if self.fabric.is_global_zero:
            log.write(self.run_dir, self.rows)
            self.events.row(row)
        return row

    def _checkpoint(self) -> None:
        if (what := guard.check_weights(self.learner)) is not None:
            raise TrainingError(self._broken(f"{what} became not finite, and the state is not saved", "Train"))
        shards = self.learner.shards
        if self.fabric.is_global_zero or shards:
            parts = (self.learner, self.plain_optimizer, self.counters, self.average, self._precision(), shards)
            checkpoint.save(self.run_dir, *parts)
        self.last_saved = time.monotonic()

    def _precision(self) -> dict[str, Any]:
        """Scale of fp16's gradients; empty for other precisions."""
        return dict(self.fabric.strategy.precision.state_dict())

    def _development_accuracy(self) -> float | None:
        data, backbone, device = self.data, self.kept, self.fabric.device
        bf16 = self.config.precision == "bf16"
        if not self.fabric.is_global_zero:
            return None
        if data.development_labels is not None:
            return recognised(backbone, data.development_pixels, data.development_labels, device, bf16=bf16)
        if data.development_pairs is None:
            return None
        embeddings = embed(backbone, data.development_pixels, device, bf16=bf16)
        return development.accuracy(embeddings, data.development_pairs)


def _check_same_data(run_dir: Path, data: TrainingData) -> None:
    info = saved.load_config(run_dir)
    before, now = info.get("training_data", {}), data.provenance
    if any(before.get(key) != now[key] for key in ("content_hash", "n_images", "n_identities")):
        raise CheckpointError(
            f"Run '{run_dir}' was begun on other images than '{info.get('dataset')}' gives now. "
            "Restore the dataset (and those whose people it leaves out), or train under a new name."
        )
