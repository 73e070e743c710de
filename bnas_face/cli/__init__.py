"""The command line: one file per command; parse, call one function, print. No numbers are computed here.

A command file imports only click (and errors, config) at the top and the stage it calls inside its function, so that
``bnasface --help`` answers at once.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

import click

from bnas_face import __version__, tables
from bnas_face.errors import BnasFaceError


class SuggestingGroup(click.Group):
    """A group that answers a mistyped command with the nearest one."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """As click's, with a suggestion."""
        known = self.list_commands(ctx)
        if args and not args[0].startswith("-") and args[0] not in known:
            ctx.fail(f"No such command '{args[0]}'.{tables.suggest(args[0], known)} Known: {', '.join(known)}.")
        return super().resolve_command(ctx, args)


class CommandTable(SuggestingGroup):
    """A group whose commands are the modules of this folder; each defines ``command``."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of all commands, sorted."""
        return list(tables.names(__name__))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of a name, or None (click then reports the typo)."""
        if cmd_name not in self.list_commands(ctx):
            return None
        module = importlib.import_module(f"{__name__}.{cmd_name}")
        command: click.Command = module.command
        return command


@click.group(cls=CommandTable, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="bnasface")
def cli() -> None:
    """How good, how small and how fast is a 1-bit face recogniser, really?

    \b
    First steps, no data needed:
      bnasface demo                         search, train, evaluate, report: rendered faces
    With your own data:
      bnasface data where lfw               where to get a dataset and how to import it
      bnasface train --dataset lfw --exclude-names-of cfp --name mine
      bnasface eval --protocol cfp_fp --model runs/mine
    """


def main() -> None:
    """Run the command line; a user's mistake ends in one sentence and its exit code, never in a traceback."""
    try:
        code = cli(prog_name="bnasface", standalone_mode=False)  # else click turns Ctrl-C into 'Aborted!'
    except BnasFaceError as error:
        click.echo(f"Error: {error}", err=True)
        code = error.exit_code
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except OSError as error:
        click.echo(f"Error: {_sentence(error)}", err=True)
        code = 1
    except (KeyboardInterrupt, click.Abort):
        click.echo(
            "Interrupted. Run the same command again to go on (bnasface train and search: with --resume).", err=True
        )
        code = 130
    sys.exit(code if isinstance(code, int) else 0)


def _sentence(error: OSError) -> str:
    """A permission denied, a full disk, …: which file, and what the system says."""
    where = f"'{error.filename}': " if error.filename else ""
    return f"{where}{error.strerror or error}. Files that were complete are unchanged."
