"""``bnasface export``: a finished run as one file that runs without it."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(short_help="Write a run as a packed 1-bit model or as ONNX.")
@click.argument("run", type=click.Path(path_type=Path), metavar="RUN")
@click.option("--to", type=click.Choice(["packed", "onnx"]), default="packed", show_default=True, help="Kind of file.")
@click.option(
    "--floats",
    type=click.Choice(["fp16", "fp32"]),
    default="fp16",
    show_default=True,
    help="Packed: float weights behind the last sign in half or single precision; all others are single.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Where to write it.  [default: model.bnn or model.onnx in the run folder]",
)
def command(run: Path, to: str, floats: str, out: Path | None) -> None:
    """Write the network of a finished run as one file, and check that it embeds faces as the run does.

    \b
      bnasface export runs/mine --to packed       # bits on disk are bits; run it with numpy alone
      bnasface export runs/twin --to onnx

    A packed model is evaluated with bnasface eval --model runs/mine/model.bnn, by the packed engine itself.
    """
    from bnas_face import export

    made = export.export(run, to, out=out, floats=floats)
    click.echo(f"{made.path}: {made.file_bytes:,} bytes; the weights of the run have {made.run_bytes:,}.")
    click.echo(
        f"Checked on {made.n_images} rendered faces: 1 − cosine at most {made.drift:.1g}; "
        f"accuracy {made.accuracy:.2%}, of the run {made.run_accuracy:.2%}."
    )
