"""`grange chaos`: hit the farm at random while it takes data, and see whether everything that it promises holds."""

from typing import Annotated

import typer

from .options import HomeOption, JsonOption, examples

MINUTES = 1.0


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("chaos", epilog=examples("grange chaos --minutes 10", "grange chaos --seed 7 --leave-running"))(chaos)


def chaos(
    minutes: Annotated[float, typer.Option("--minutes", metavar="M", min=0.01, help="How long.")] = MINUTES,
    seed: Annotated[
        int | None,
        typer.Option("--seed", metavar="S", show_default=False, help="The same faults again; a new one if not given."),
    ] = None,
    leave_running: Annotated[
        bool, typer.Option("--leave-running", help="Do not stop the run at the end; its books are not read then.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do it to a production run.")] = False,
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Hit the farm at random during a run; look whether it holds.

    Kills, stops and cuts off controllers, agents, keepers, and processes that the run can do without; only what belongs
    to this farm. Starts a test run when none is going on, and stops the run at the end to read its books. Exits with 1
    when the run did not go on as it was, something was lost or came back too late.
    """
    from .chaos import break_things

    break_things(home, minutes, seed, stop=not leave_running, yes=yes, as_json=as_json)
