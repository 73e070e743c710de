"""``bnasface train``: images of people or of objects in, a run folder out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from bnas_face import config as settings
from bnas_face import genotype as genotypes
from bnas_face.config import ModelConfig, TrainConfig, toml
from bnas_face.errors import ConfigError
from bnas_face.schedule import KINDS

_TYPED = 2
_NEVER_IN_FILES = ("name", "resume", "overwrite")
_MODEL = ModelConfig()
_TRAIN = TrainConfig(name="default", model=_MODEL)


class Shares(click.ParamType[tuple[float, ...]]):
    """Numbers with commas between: "0.5,0.75"."""

    name = "shares"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        """Text or a list of numbers as a tuple."""
        try:
            return tuple(float(part) for part in (value.split(",") if isinstance(value, str) else value) if part != "")
        except (TypeError, ValueError):
            self.fail(f"'{value}' is no list of shares such as 0.5,0.75.", param, ctx)


# Settings by what they are about: (field, type, help). A field's option is its name with dashes.
_OPTIONS: tuple[tuple[str, Any, str], ...] = (
    ("dataset", str, "Training set: bnasface ls datasets, or folder:PATH."),
    ("min_images", int, "Leave out people with fewer images."),
    ("max_images", int, "Use at most so many images; 0 for all."),
    ("task", click.Choice(["embedding", "classification"]), "What to learn.  [default: what the set is for]"),
    ("backbone", str, "Network: bnasface ls backbones."),
    ("genotype", str, "For backbone searched: a genotype.json, or bnas_xnor_1 (the cell the authors released)."),
    ("cells", int, "Of backbone searched: number of cells."),
    ("channels", int, "Of backbone searched: channels of the first cells."),
    ("binarizer", str, "What makes it 1-bit: bnasface ls binarizers. 'none' is the full-precision twin."),
    ("activation_bits", int, "32 (W1A32), or 1 (W1A1: inputs of the convolutions are 1-bit too)."),
    ("shortcuts", str, "Around every 'convolution', or every 'block' as published."),
    ("weight_scale", str, "One scale per 'filter' (XNOR-Net) or per 'layer' (BNAS)."),
    ("size_px", int, "Height and width of the input: 64 or 112 for faces, 32 for cifar10."),
    ("width", float, "Multiplier of the channel counts; the published networks have 1."),
    ("embedding_dim", int, "Length of the embedding; of objects always the number of classes."),
    ("drop_path", float, "Largest probability that an operation of backbone searched is dropped."),
    ("dropout", float, "Share of features dropped before the embedding layer."),
    ("head", str, "Loss: bnasface ls heads; cross_entropy for objects."),
    ("scale", float, "Scale of the head.  [default: the paper's]"),
    ("margin", float, "Margin of the head in its own unit, see docs/models.md.  [default: the paper's]"),
    ("sub_centers", int, "Of head arcface: centers of each person, of which the nearest counts."),
    ("sample_rate", float, "Share of the people a step looks at: its own and others drawn at random (Partial FC)."),
    ("teacher", str, "Learn the embeddings of runs/NAME, onnx:FILE or facenet:vggface2; names are not used then."),
    ("teacher_weight", float, "Of the loss against the teacher's embeddings."),
    ("relation_weight", float, "Of the loss against the teacher's cosines within a batch."),
    ("label_weight", float, "Of the head's loss.  [default: 0 with a teacher, 1 without]"),
    ("epochs", int, "Times every image is seen."),
    ("batch_size", int, "Images per step, over all devices."),
    ("optimizer", click.Choice(["auto", "sgd", "adam"]), "auto means adam."),
    ("lr", float, "Peak learning rate.  [default: 0.02 for sgd, 0.002 for adam]"),
    ("weight_decay", float, "Weight decay.  [default: 0.0005]"),
    (
        "latent_weight_decay",
        float,
        "Of latent weights.  [default: 0 for adam, --weight-decay for sgd]",
    ),
    ("latent_lr_factor", float, "Learning rate of latent weights, times that of the others."),
    ("head_lr_factor", float, "Learning rate of the head, times that of the others."),
    ("momentum", float, "Momentum of sgd."),
    ("schedule", click.Choice(KINDS), "How the rate falls after the warm-up."),
    ("poly_power", float, "Of schedule poly: (1 - progress) to this power."),
    ("step_at", Shares(), "Of schedule step: shares of the training at which the rate falls."),
    ("step_factor", float, "Of schedule step: what the rate is multiplied with there."),
    ("warmup_epochs", float, "Linear warm-up; at most half of the training."),
    ("two_stage", float, "Share of the epochs with float weights and 1-bit activations; 0 for none."),
    ("init", str, "Start from the weights of runs/NAME, as those of the full-precision twin."),
    ("on_nan", click.Choice(["stop", "skip"]), "At a loss or gradient that is not finite: stop, or skip the step."),
    ("accumulate", int, "Compute every batch in so many parts, to save memory."),
    ("ema", float, "Keep the moving average of the weights with this decay, as 0.999; 0 for the last weights."),
    ("gradient_clip", float, "Shorten the gradient to this length; 0 leaves it."),
    ("auxiliary_weight", float, "Weight of the auxiliary classifier's loss."),
    ("shift_px", int, "Random shift each way, in pixels of a 112 px image."),
    (
        "augment",
        str,
        "How images are changed besides: none, photo (colour, resolution, occlusion), strong (geometry too).",
    ),
    ("views", int, "Versions of every image, drawn once with --augment and shown to the teacher, too."),
    ("cutout_px", int, "Side of a square that is blanked in every image; 0 for none."),
    ("precision", click.Choice(["fp32", "bf16", "fp16"]), "bf16 and fp16 are mixed; fp16 is for GPUs only."),
    ("devices", str, "auto, cpu, cpu:2, or a number of GPUs."),
    (
        "loading",
        click.Choice(["auto", "memory", "cache", "stream"]),
        "Where pixels are kept; auto: in memory if they fit.",
    ),
    ("workers", int, "Processes that load images.  [default: the cores but one; one thread in memory]"),
    ("on_corrupt", click.Choice(["stop", "skip"]), "What an image that cannot be read does: stop, or skip it."),
    ("wait_minutes", float, "Give up when another process of the training does not answer for so long."),
    ("threads", int, "CPU threads; 0 is torch's choice."),
    ("seed", int, "Of initial weights, order, augmentation and held-out people."),
    ("development_share", float, "Share of people (of objects: of every class) held out; 0 for none."),
    ("development_pairs", int, "At most so many development pairs."),
    ("development_epochs", int, "Measure every so many epochs."),
    ("checkpoint_minutes", float, "Save the training state at least so often."),
)


def _add_options(function: Callable[..., None]) -> Callable[..., None]:
    for name, kind, text in reversed(_OPTIONS):
        default = None if name == "task" else getattr(_MODEL if hasattr(_MODEL, name) else _TRAIN, name)
        option = click.option(
            "--" + name.replace("_", "-"), name, type=kind, default=default, show_default=default is not None, help=text
        )
        function = option(function)
    return function


def _read_file(context: click.Context, parameter: click.Parameter, path: Path | None) -> None:
    """Make the settings of a file the defaults of this call; raises `ConfigError`."""
    if path is None:
        return
    options = {option.name: option for option in context.command.params if option.name}
    values = toml.read(path, options.keys() - {"config", *_NEVER_IN_FILES})
    for name, value in values.items():
        _check_kind(path, name, options[name], value)
    context.default_map = values


def _check_kind(path: Path, name: str, option: click.Parameter, value: object) -> None:
    """A number where a number belongs: click itself would take 1.5 for 1, and true for 1."""
    kinds: tuple[str, type | tuple[type, ...]]
    if option.multiple or isinstance(option.type, Shares):
        kinds = "a list", list
    elif getattr(option, "is_flag", False):
        kinds = "true or false", bool
    elif option.type is click.INT:
        kinds = "a whole number", int
    elif option.type is click.FLOAT:
        kinds = "a number", (int, float)
    else:
        kinds = "a text in quotes", str
    word, allowed = kinds
    if not isinstance(value, allowed) or (isinstance(value, bool) and allowed is not bool):
        raise ConfigError(f"Setting '{name.replace('_', '-')}' in '{path}' is {value!r}; expected {word}.")


@click.command("train")
@click.option("--name", required=True, help="The run is written to runs/NAME.")
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE.toml",
    is_eager=True,
    expose_value=False,
    callback=_read_file,
    help="Settings from a file, as a run's config.toml. What you type wins.",
)
@_add_options
@click.option("--cache", is_flag=True, help="The same as --loading cache: decoded once into a file on disk.")
@click.option("--auxiliary/--no-auxiliary", help="Auxiliary classifier at two thirds of a searched network (objects).")
@click.option("--preset", help="Settings that go together: quick, casia_paper, or paper (objects). What you type wins.")
@click.option("--shard-head/--no-shard-head", help="Every process keeps the head's weights of its part of the people.")
@click.option("--input-scale/--no-input-scale", help="XNOR-Net's map of input magnitudes (1-bit activations only).")
@click.option(
    "--exclude-names-of", multiple=True, metavar="DATASET", help="Leave out people whom DATASET has. Repeatable."
)
@click.option("--tensorboard/--no-tensorboard", help="Write events for TensorBoard to runs/NAME/tensorboard.")
@click.option("--resume", is_flag=True, help="Go on with an unfinished run, with the settings it was begun with.")
@click.option("--overwrite", is_flag=True, help="Delete an earlier run of this name.")
@click.pass_context
def command(
    context: click.Context,
    /,
    *,
    name: str,
    preset: str | None,
    resume: bool,
    overwrite: bool,
    cache: bool,
    **values: Any,
) -> None:
    """Train a network; stop it at any moment and go on with --resume.

    \b
      bnasface train --dataset demo --name twin
      bnasface train --dataset lfw --exclude-names-of cfp --binarizer xnor --name mine
      bnasface train --config runs/mine/config.toml --seed 1 --name mine_1
      bnasface train --dataset cifar10 --backbone searched --genotype bnas_xnor_1 --binarizer xnor --name c10
    """
    from bnas_face.train import presets, runs, source
    from bnas_face.train.loop import train

    given = {key for key in values if _weight(context, key)}
    run_dir = settings.RUNS / name
    if cache and _cache_wins(context, values["loading"]):
        values["loading"] = "cache"
        given.add("loading")
    if "genotype" in given and "backbone" not in given:
        values["backbone"] = "searched"
    values = presets.fill(values, given, preset)
    config = runs.begin(_config(name, values), run_dir, resume=resume, overwrite=overwrite, given=given)
    presets.check_used(config, {key for key in given if _weight(context, key) == _TYPED})
    teacher = _teacher(config) if config.teacher else None
    outcome = train(config, run_dir, resume=resume, teacher=teacher, on_decode=_show_decoding, say=click.echo)
    if runs.is_helper_process():
        return
    held_out = "held-out images" if config.model.task == "classification" else "held-out people"
    click.echo(_summary(run_dir, outcome.seconds, outcome.development_accuracy, held_out))
    if outcome.left_out:
        click.echo(f"{outcome.left_out:,} images could not be read and were left out: {run_dir / 'left_out.txt'}.")
    protocols = " ".join(f"--protocol {protocol}" for protocol in source.protocols_for(config))
    if protocols:
        click.echo(f"Now test it:  bnasface eval {protocols} --model {run_dir}")
    if hint := source.overlap_hint(config):
        click.echo(hint)


def _weight(context: click.Context, option: str) -> int:
    """0: nobody said it, 1: a file did, 2: it was typed."""
    order = (ParameterSource.DEFAULT_MAP, ParameterSource.COMMANDLINE)
    source = context.get_parameter_source(option)
    return order.index(source) + 1 if source in order else 0


def _cache_wins(context: click.Context, loading: str) -> bool:
    """Whether ``--cache`` goes before ``--loading``: what is typed before what a file says."""
    cache, other = _weight(context, "cache"), _weight(context, "loading")
    if cache == other and loading != "cache":
        raise ConfigError(f"--cache and --loading {loading} contradict each other. Give one of them.")
    return cache >= other


def _teacher(config: TrainConfig) -> Any:
    from bnas_face.teacher import open_teacher
    from bnas_face.train import runs

    def show(done: int, total: int) -> None:
        if done == total and not runs.is_helper_process():
            click.echo(f"{config.teacher} has looked at {total} new images.")

    return open_teacher(config.teacher, show)


def _config(name: str, values: dict[str, Any]) -> TrainConfig:
    of_model = {field.name for field in fields(ModelConfig)}
    if values["genotype"] is not None:
        values = {**values, "genotype": genotypes.load(values["genotype"])}
    model = ModelConfig(**{key: value for key, value in values.items() if key in of_model})
    return TrainConfig(name=name, model=model, **{key: value for key, value in values.items() if key not in of_model})


def _show_decoding(done: int, total: int) -> None:
    if done == total:
        click.echo(f"{total} training images are decoded.")


def _summary(run_dir: Path, seconds: float, accuracy: float | None, held_out: str) -> str:
    measured = "" if accuracy is None else f" Development accuracy {accuracy:.4f} ({held_out}, no test result)."
    return f"Trained {run_dir} in {seconds / 60:.1f} minutes.{measured}"
