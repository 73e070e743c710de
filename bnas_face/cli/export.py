"""``bnasface export``: a finished run as one file that runs without it."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(short_help="Write a run as a packed 1-bit model or as ONNX.")
@click.argument("run", metavar="RUN")
@click.option(
    "--to",
    type=click.Choice(["packed", "onnx", "onnx_int8"]),
    default="packed",
    show_default=True,
    help="Kind of file.",
)
@click.option(
    "--floats",
    type=click.Choice(["int8", "fp16", "fp32"]),
    default="fp16",
    show_default=True,
    help="Packed: float weights behind the last sign; int8 is for linear layers. All others are single precision.",
)
@click.option(
    "--calibrate",
    default="demo:50x4",
    show_default=True,
    metavar="DATASET[:N]",
    help="onnx_int8: images on which the ranges of activations are measured; never people who are tested.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Where to write it.  [default: model.bnn, model.onnx or model_int8.onnx in the run folder]",
)
def command(run: str, to: str, floats: str, calibrate: str, out: Path | None) -> None:
    """Write the network of a finished run as one file, and check that it embeds faces as the run does.

    \b
      bnasface export runs/mine --to packed       # bits on disk are bits; run it with numpy alone
      bnasface export runs/twin --to onnx
      bnasface export onnx:FILE --to onnx_int8    # or runs/twin: 8 bits, quantised after training

    A packed model is evaluated with bnasface eval --model runs/mine/model.bnn, by the packed engine itself.
    """
    if to == "onnx_int8":
        _int8(run, out, calibrate)
        return
    from bnas_face import export

    made = export.export(Path(run), to, out=out, floats=floats)
    click.echo(f"{made.path}: {made.file_bytes:,} bytes; the weights of the run have {made.run_bytes:,}.")
    click.echo(
        f"Checked on {made.n_images} rendered faces: 1 − cosine at most {made.drift:.1g}; "
        f"accuracy {made.accuracy:.2%}, of the run {made.run_accuracy:.2%}."
    )


def _int8(model: str, out: Path | None, calibrate: str) -> None:
    from bnas_face import quantize

    made = quantize.export(model, out=out, calibrate=calibrate)
    click.echo(f"{made.path}: {made.file_bytes:,} bytes; in float32 it has {made.source_bytes:,}.")
    click.echo(
        f"Calibrated on {made.calibration}. On {made.n_images} rendered faces 1 − cosine is at most {made.drift:.1g}."
    )
    if made.tested_by:
        click.echo(f"It has seen people whom these protocols test; do not test it there: {', '.join(made.tested_by)}.")
