"""Configuration: `grange config import`, `export`, `show`, `log` and `use`.

They go through the controller while one holds the farm, and to the database directly while none does.
"""

from pathlib import Path
from typing import Annotated

import typer

from .completing import complete_revision
from .options import HomeOption, JsonOption, examples

app = typer.Typer(
    help="Import, export and select configurations.",
    epilog=examples("grange config import farm.toml", "grange config log"),
    no_args_is_help=True,
    rich_markup_mode=None,
)

RevisionArgument = Annotated[
    str,
    typer.Argument(
        metavar="REVISION",
        show_default=False,
        help="A hash, its beginning, or a tag; without it the selected revision.",
        autocompletion=complete_revision,
    ),
]


def register(program: typer.Typer) -> None:
    """Adds the group, and `grange use` beside it: selecting is a shifter's work."""
    program.add_typer(app, name="config")
    program.command(epilog=examples("grange use 3f9a2c41d0", "grange use current"))(use)


@app.command(
    "import", epilog=examples('grange config import farm.toml -m "more psa"', "grange config import farm.json --no-use")
)
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


@app.command(epilog=examples("grange config export > farm.json", "grange config export 3f9a2c41d0 -o farm.json"))
def export(
    revision: RevisionArgument = "",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write there, not to standard output.")
    ] = None,
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Write a revision as JSON.

    It can be imported again. With --json, what is printed says which revision it is, and holds it.
    """
    from .registry import export_configuration

    export_configuration(home, revision, output, as_json=as_json)


@app.command(epilog=examples("grange config show", "grange config show 3f9a2c41d0 --json"))
def show(revision: RevisionArgument = "", as_json: JsonOption = False, home: HomeOption = None) -> None:
    """Show what a revision describes, in short."""
    from .registry import show_configuration

    show_configuration(home, revision, as_json=as_json)


@app.command(epilog=examples("grange config log -n 5"))
def log(
    most: Annotated[int, typer.Option("-n", "--most", min=1, max=10_000, help="The newest so many.")] = 20,
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """List the revisions, newest first."""
    from .registry import list_revisions

    list_revisions(home, most, as_json=as_json)


@app.command(epilog=examples("grange config use 3f9a2c41d0"))
def use(
    revision: Annotated[
        str,
        typer.Argument(metavar="REVISION", help="A hash, its beginning, or a tag.", autocompletion=complete_revision),
    ],
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Select what the next load takes."""
    from .registry import use_revision

    use_revision(home, revision, as_json=as_json)
