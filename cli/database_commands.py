"""The database: `grange db check`, `backup`, `restore` and `upgrade`."""

from pathlib import Path
from typing import Annotated

import typer

from .options import HomeOption, JsonOption, examples

app = typer.Typer(
    help="Check, back up and restore the farm's database.",
    epilog=examples("grange db check", "grange db backup"),
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command(epilog=examples("grange db check", "grange db check --json"))
def check(as_json: JsonOption = False, home: HomeOption = None) -> None:
    """Look whether the database is sound.

    Reads all of it: pages, references, and the hash of every revision and of all that it is made of. Changes nothing;
    the farm may be running. Exits with 1 when something is wrong.
    """
    from .database import check_database

    check_database(home, as_json=as_json)


@app.command(epilog=examples("grange db backup", "grange db backup /safe/farm-2026-11-22.db"))
def backup(
    file: Annotated[
        Path | None,
        typer.Argument(metavar="[FILE]", show_default=False, help="Without it one in the home, with date and time."),
    ] = None,
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Copy the database into a new file.

    The farm may be running. The copy is checked before it gets its name.
    """
    from .database import back_up_database

    back_up_database(home, file, as_json=as_json)


@app.command(epilog=examples("grange db restore /safe/farm-2026-11-22.db"))
def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A backup.")],
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Put a backup in the place of the database.

    The farm has to be down, with all its processes. The replaced database is kept beside it; run numbers go on behind
    the last one given.
    """
    from .database import restore_database

    restore_database(home, file, as_json=as_json)


@app.command(epilog=examples("grange db upgrade"))
def upgrade(as_json: JsonOption = False, home: HomeOption = None) -> None:
    """Bring the database to the schema of this version.

    Any start does that as well. A database of a later version is refused.
    """
    from .database import upgrade_database

    upgrade_database(home, as_json=as_json)
