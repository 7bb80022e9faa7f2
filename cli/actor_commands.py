"""For people who write actors: `grange actor new`."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from .options import JsonOption, examples

app = typer.Typer(
    help="Write actors of your own.",
    epilog=examples("grange actor new gain_check"),
    no_args_is_help=True,
    rich_markup_mode=None,
)


class Language(StrEnum):
    """The languages that there is a template for."""

    PYTHON = "python"
    C = "c"


@app.callback()
def actor() -> None:
    """A group even while it has one command."""


@app.command(epilog=examples("grange actor new gain_check", "grange actor new gain_check --language c --directory src"))
def new(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="What it is called: small letters, digits and _, such as gain_check.")
    ],
    language: Annotated[Language, typer.Option("--language", help="What to write it in.")] = Language.PYTHON,
    directory: Annotated[
        Path, typer.Option("--directory", metavar="DIRECTORY", help="Where to write it; made if need be.")
    ] = Path(),
    as_json: JsonOption = False,
) -> None:
    """Write a small actor that works, to go on from.

    Beside it, the configuration of a farm of one node to try it in. Its role is printed, for the configuration of your
    own farm. Files that are there already are never overwritten.
    """
    from .new_actor import write_actor

    write_actor(name, language, directory, as_json=as_json)
