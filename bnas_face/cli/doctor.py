"""``bnasface doctor``: what this machine has, and what is broken."""

from __future__ import annotations

import click


@click.command(short_help="What this machine has, and what is broken.")
def command() -> None:
    """Look at packages, processor, GPU, data and disk. Exit code 1 if something is broken."""
    from bnas_face import doctor
    from bnas_face.errors import MissingDependencyError

    lines = doctor.examine()
    width = max(len(line.topic) for line in lines)
    for line in lines:
        click.echo(f"{'✗' if line.problem else '·'} {line.topic:<{width}}  {line.text}")
    broken = [line.topic for line in lines if line.problem]
    if broken:
        raise MissingDependencyError(
            f"{len(broken)} of {len(lines)} checks failed: {', '.join(broken)}. See the lines above."
        )
    click.echo("Everything that was looked at works.")
