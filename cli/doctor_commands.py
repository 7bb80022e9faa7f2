"""`grange doctor`: is the farm well as seen from this machine, and what is left over of a crash?"""

from typing import Annotated

import typer

from .options import HomeOption, JsonOption, examples


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("doctor", epilog=examples("grange doctor", "grange doctor --clear"))(doctor)


def doctor(
    clear: Annotated[
        bool, typer.Option("--clear", help="Remove what is left over, and end what nobody watches.")
    ] = False,
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Find what a crash has left on this machine, and clear it.

    Looks from the outside, also when no controller answers: processes that nobody watches, programs that are stopped,
    stale sockets and locks, exchange sockets, shared memory, books from before a restart of the machine, data files
    that nobody will finish, records that wait for the database. Changes nothing without --clear, and touches nothing
    that somebody uses; data are moved aside, never removed. Exits with 1 when something is found and stays.
    """
    from .doctor import examine

    examine(home, clear=clear, as_json=as_json)
