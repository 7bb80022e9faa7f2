"""Configuration: `grange config import`, `export`, `show`, `log` and `use`.

They go through the controller while one holds the farm, and to the database directly while none does.
"""

from pathlib import Path
from typing import Annotated

import typer

from .options import HomeOption, JsonOption

app = typer.Typer(help="Import, export and select configurations.", no_args_is_help=True, rich_markup_mode=None)

RevisionArgument = Annotated[
    str,
    typer.Argument(
        metavar="REVISION",
        show_default=False,
        help="A hash, its beginning, or a tag; without it the selected revision.",
    ),
]


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="JSON, or TOML when its name ends in .toml.")],
    message: Annotated[str, typer.Option("--message", "-m", help="Why, for the log.")] = "",
    use: Annotated[bool, typer.Option("--use/--no-use", help="Select it for the next load.")] = True,
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Check a configuration and store it as a revision.

    Every problem is told, with its place, and then nothing is stored.
    """
    from .registry import import_configuration

    import_configuration(home, file, message, use=use, as_json=as_json)


@app.command()
def export(
    revision: RevisionArgument = "",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write there, not to standard output.")
    ] = None,
    home: HomeOption = None,
) -> None:
    """Write a revision as JSON."""
    from .registry import export_configuration

    export_configuration(home, revision, output)


@app.command()
def show(revision: RevisionArgument = "", as_json: JsonOption = False, home: HomeOption = None) -> None:
    """Show what a revision describes, in short."""
    from .registry import show_configuration

    show_configuration(home, revision, as_json=as_json)


@app.command()
def log(
    most: Annotated[int, typer.Option("-n", "--most", min=1, max=10_000, help="The newest so many.")] = 20,
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """List the revisions, newest first."""
    from .registry import list_revisions

    list_revisions(home, most, as_json=as_json)


@app.command()
def use(
    revision: Annotated[str, typer.Argument(metavar="REVISION", help="A hash, its beginning, or a tag.")],
    home: HomeOption = None,
) -> None:
    """Select what the next load takes."""
    from .registry import use_revision

    use_revision(home, revision)
