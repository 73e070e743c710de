"""``bnasface search``: images in, a genotype out."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from bnas_face import config as settings
from bnas_face import ranks
from bnas_face.config import ModelConfig, SearchConfig

_DEFAULTS = SearchConfig(name="default")

# (field, type, help). A field's option is its name with dashes; [default: …] is added where a field has one.
_OPTIONS: tuple[tuple[str, Any, str], ...] = (
    ("dataset", str, "Training set: bnasface ls datasets, or folder:PATH. Never a test protocol."),
    ("min_images", int, "Leave out people with fewer images."),
    ("max_images", int, "Use at most so many images; 0 for all."),
    ("searcher", str, "bnas, pc_darts or random."),
    ("space", str, "paper (1-bit weights) or onebit (weights and activations)."),
    ("binarizer", str, "What makes it 1-bit: bnasface ls binarizers. 'none' searches in full precision."),
    ("fitness", str, "classification (held-out images) or verification (pairs of held-out people)."),
    ("ucb", float, "bnas: weight of the upper confidence bound, 0 for none.  [default: 1 in onebit, else 0]"),
    ("channel_sampling", int, "C: one channel of C passes the operations.  [default: bnas 2, pc_darts 4, random 1]"),
    ("cells", int, "Cells of the search network."),
    ("channels", int, "Channels of its first cells."),
    ("size_px", int, "Height and width of its input: 64 or 112 for faces, 32 for CIFAR-10."),
    ("warmup_epochs", int, "bnas: mixed epochs before the first sample."),
    ("repeats", int, "bnas: times that every candidate operation is sampled in a round."),
    ("mixed_epochs", int, "bnas: mixed epochs after every round."),
    ("temperature", float, "bnas: the likelihood is a softmax of accuracy / temperature."),
    ("epochs", int, "pc_darts: epochs; random: epochs of each genotype.  [default: 50; 5]"),
    ("frozen_epochs", int, "pc_darts: epochs that train weights only.  [default: three tenths]"),
    ("samples", int, "random: genotypes drawn; with 1 nothing is trained."),
    ("batch_size", int, "Images per step.  [default: 128; pc_darts 256]"),
    ("optimizer", str, "sgd, adam, or auto: adam for 1-bit activations."),
    ("lr", float, "Peak learning rate.  [default: 0.025; pc_darts 0.1; adam 0.001]"),
    ("momentum", float, "Momentum of sgd."),
    ("weight_decay", float, "Weight decay.  [default: 0.0005; adam 0]"),
    ("alpha_lr", float, "Learning rate of the architecture parameters."),
    ("alpha_weight_decay", float, "Their weight decay."),
    ("validation_share", float, "Share of images (verification: of people) held out."),
    ("pairs", int, "verification: at most so many pairs."),
    ("shift_px", int, "Random shift each way, in pixels of a 112 px image."),
    ("devices", str, "auto (a GPU if there is one) or cpu."),
    ("threads", int, "CPU threads; 0 is torch's choice."),
    ("seed", int, "Of everything that is drawn."),
    ("checkpoint_minutes", float, "Save the state at least so often, at the end of an epoch."),
)


def _add_options(function: Callable[..., None]) -> Callable[..., None]:
    for name, kind, text in reversed(_OPTIONS):
        default = getattr(_DEFAULTS, name)
        option = click.option(
            "--" + name.replace("_", "-"), name, type=kind, default=default, show_default=default is not None, help=text
        )
        function = option(function)
    return function


@click.command("search", short_help="Search the cells of a network; writes a genotype.")
@click.option("--name", help="The search is written to runs/NAME.")
@click.option("--preset", default="paper", show_default=True, help="paper, or quick: small, for a first try.")
@_add_options
@click.option("--reduction/--no-reduction", default=True, help="bnas: abandon the least likely operations on the way.")
@click.option("--edge-normalisation/--no-edge-normalisation", default=True, help="Weigh the edges of a node.")
@click.option(
    "--exclude-names-of", multiple=True, metavar="DATASET", help="Leave out people whom DATASET has. Repeatable."
)
@click.option(
    "--resume",
    is_flag=False,
    flag_value="",
    metavar="[NAME]",
    help="Go on with an unfinished search, with the settings it was begun with.",
)
@click.option("--overwrite", is_flag=True, help="Delete an earlier search of this name.")
@click.pass_context
def command(
    context: click.Context,
    /,
    *,
    name: str | None,
    preset: str,
    resume: str | None,
    overwrite: bool,
    **values: Any,
) -> None:
    """Search the cells of a network; stop it at any moment and go on with --resume.

    \b
      bnasface search --preset quick --name s1
      bnasface search --dataset lfw --exclude-names-of cfp --binarizer xnor --name s2
      bnasface search --resume s2
      torchrun --nproc-per-node 2 -m bnas_face search --preset quick --name s3
    """
    from bnas_face.search import folder, presets
    from bnas_face.search.loop import search
    from bnas_face.search.progress import SearchProgress

    name = _name(name, resume)
    typed = {key for key in values if context.get_parameter_source(key) is ParameterSource.COMMANDLINE}
    given = set(typed)
    chosen = presets.preset(preset)
    values |= {key: value for key, value in chosen.items() if key not in given}
    if context.get_parameter_source("preset") is ParameterSource.COMMANDLINE:
        given |= chosen.keys()
    asked = presets.of_objects(values["dataset"], values["size_px"])
    values |= {key: value for key, value in asked.items() if key not in typed}
    run_dir = settings.RUNS / name
    if resume and not folder.is_begun(run_dir):
        raise click.UsageError(_nothing_to_resume(name))
    config = SearchConfig(name=name, **values)
    config = folder.begin(config, run_dir, resume=resume is not None, overwrite=overwrite, given=given)
    is_first = ranks.job().is_first
    if is_first and (unused := presets.without_effect(config.searcher, typed)):
        options = ", ".join("--" + key.replace("_", "-") for key in unused)
        click.echo(f"Searcher {config.searcher} does not use {options}.")
    with SearchProgress() if is_first else nullcontext() as progress:
        show = _show_decoding if is_first else None
        outcome = search(config, run_dir, resume=resume is not None, on_progress=progress, on_decode=show)
    if not is_first:
        return
    click.echo(_summary(config, outcome.run_dir, outcome.seconds))


def _name(name: str | None, resume: str | None) -> str:
    """``--name NAME``, ``--resume NAME``, or ``--name NAME --resume``."""
    if name and resume and name != resume:
        raise click.UsageError(f"--name is '{name}' and --resume is '{resume}'. Give one of them, or the same twice.")
    chosen = name or resume
    if not chosen:
        raise click.UsageError("The search has no name. Add --name NAME, or --resume NAME to go on with one.")
    return chosen


def _nothing_to_resume(name: str) -> str:
    from bnas_face import tables
    from bnas_face.search import folder

    begun = [config.parent.name for config in settings.RUNS.glob("*/config.json") if folder.is_begun(config.parent)]
    near = tables.suggest(name, begun)
    return f"No search was begun in '{settings.RUNS / name}'.{near} Begin one with bnasface search --name {name}."


def _show_decoding(done: int, total: int) -> None:
    if done == total:
        click.echo(f"{total} images are in memory.")


def _summary(config: SearchConfig, run_dir: Path, seconds: float) -> str:
    """Where the genotype is and what to type next."""
    from bnas_face.search import presets

    found = run_dir / "genotype.json"
    excluded = [part for other in config.exclude_names_of for part in ("--exclude-names-of", other)]
    arguments = ["--backbone", "searched", "--genotype", str(found), "--dataset", config.dataset, *excluded]
    if not presets.of_objects(config.dataset, config.size_px) and config.size_px != ModelConfig().size_px:
        arguments += ["--size-px", str(config.size_px)]
    train = f"bnasface train {shlex.join(arguments)}"
    bits = " --activation-bits 1" if config.space == "onebit" else ""
    one_bit, twin = (shlex.quote(f"{config.name}-{end}") for end in ("1bit", "twin"))
    lines = [
        f"Searched {run_dir} in {seconds / 60:.1f} minutes: {found}",
        f"Look at it:    bnasface show genotype {shlex.quote(str(found))}",
    ]
    if config.binarizer == "none":
        return "\n".join([*lines, f"Train it:      {train} --binarizer none --name {twin}"])
    lines.append(f"Train it:      {train} --binarizer {config.binarizer}{bits} --name {one_bit}")
    lines.append(f"and its twin:  {train} --binarizer none --name {twin}")
    return "\n".join(lines)
