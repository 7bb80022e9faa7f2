"""The `grange` command: how a farm is run from a terminal or a shell script.

This module and the ones it imports only describe the commands; what carries them out is imported when a command runs
(the one place with imports inside functions), so that help and completion are there at once.
"""

import gc
import io
import sys
from pathlib import Path
from typing import Annotated

import typer

from . import (
    actor_commands,
    chaos_commands,
    configuration_commands,
    database_commands,
    doctor_commands,
    farm_commands,
    help_commands,
    look_commands,
    member_commands,
    run_commands,
    security_commands,
    step_commands,
)
from .colours import Colour, choose
from .exits import listing
from .options import HOME_HELP, examples
from .shell import Shell

PROGRAM = "grange"
# New ones before the garbage collector looks for some. By default 700: it would look a hundred times through what a
# command loads, which lives until its end.
GARBAGE_OBJECTS = 100_000

app = typer.Typer(
    name=PROGRAM,
    cls=Shell,
    help="Run control for online trigger and pulse-shape-analysis farms.",
    epilog=listing() + "\n\n" + examples("grange demo", "grange status", "grange help go"),
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib import metadata  # as long to load as the rest of this module

        typer.echo(f"grange {metadata.version('grange')}")
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    home: Annotated[
        Path | None, typer.Option("--home", metavar="DIRECTORY", help=HOME_HELP, show_default=False)
    ] = None,
    color: Annotated[
        Colour,
        typer.Option(
            "--color",
            metavar="WHEN",
            show_default=False,
            help="auto, never or always; auto is at a terminal, and not when NO_COLOR is set.",
        ),
    ] = Colour.AUTO,
    debug: Annotated[
        bool, typer.Option("--debug", envvar="GRANGE_DEBUG", help="Show where in the program an error came up.")
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    context.obj = home
    choose(color)


farm_commands.register(app)
look_commands.register(app)
step_commands.register(app)
member_commands.register(app)
app.add_typer(run_commands.app, name="runs")
configuration_commands.register(app)
app.add_typer(database_commands.app, name="db")
security_commands.register(app)
app.add_typer(actor_commands.app, name="actor")
doctor_commands.register(app)
chaos_commands.register(app)
help_commands.register(app)


def main() -> None:
    """What `begin.py` begins."""
    gc.set_threshold(GARBAGE_OBJECTS)
    for stream in (sys.stdout, sys.stderr):  # a terminal that lacks a character still gets the rest
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        app(prog_name=PROGRAM)
    finally:
        gc.freeze()  # the interpreter's end does not look through all of it once more
