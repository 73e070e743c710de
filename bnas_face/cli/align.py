"""``bnasface align``: photographs to aligned faces."""

from __future__ import annotations

from pathlib import Path

import click

from bnas_face.cli import _show

_PATH = click.Path(path_type=Path)


@click.command("align", short_help="Detect and align the faces of a folder of photographs.")
@click.argument("raw_dir", type=_PATH)
@click.argument("out_dir", type=_PATH)
@click.option("--size-px", type=int, default=112, show_default=True, help="Height and width of the aligned images.")
@click.option("--workers", type=int, help="Processes [default: one per CPU core, fewer for few images].")
@click.option("--min-face-px", type=int, default=20, show_default=True, help="Smallest face that is looked for.")
def command(raw_dir: Path, out_dir: Path, size_px: int, workers: int | None, min_face_px: int) -> None:
    """Align the faces of all images below RAW_DIR to 112×112 and write them below OUT_DIR under the same names.

    MTCNN finds the faces; of several, the largest-centred one is taken. Images without a face or that cannot be read
    are listed in OUT_DIR/failures.csv with the reason. Stopped at any moment, the same command goes on where it was.
    """
    from bnas_face.data import align

    settings = align.AlignSettings(size_px=size_px, min_face_px=min_face_px)
    with _show.progress_bar("Aligning") as progress:
        done = align.align_folder(raw_dir, out_dir, settings, workers=workers, progress=progress)
    click.echo(
        f"{done.n_images:,} images: {done.n_aligned:,} aligned now, {done.n_kept:,} by an earlier call, "
        f"{done.n_failed:,} failed ({done.n_second_pass:,} faces needed the second pass)."
    )
    if done.n_failed:
        click.echo(f"Failures, with reasons: {out_dir / 'failures.csv'}", err=True)
