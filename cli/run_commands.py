"""The registry of runs: `grange runs` lists, `grange runs show N` tells all about one.

It is read from the database directly while no controller holds the farm.
"""

from typing import Annotated

import typer

from .completing import complete_run
from .options import HomeOption, JsonOption, examples

app = typer.Typer(
    help="List the runs, or show one of them.",
    epilog=examples("grange runs", "grange runs -n 100 --json"),
    rich_markup_mode=None,
)


@app.callback(invoke_without_command=True)
def runs(
    context: typer.Context,
    most: Annotated[int, typer.Option("-n", "--most", min=1, max=10_000, help="The newest so many.")] = 20,
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    if context.invoked_subcommand is not None:
        context.obj = home
        return
    from .run_page import list_runs

    list_runs(home, most, as_json=as_json)


@app.command(epilog=examples("grange runs show 1042"))
def show(
    number: Annotated[int, typer.Argument(metavar="N", min=1, help="The run's number.", autocompletion=complete_run)],
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Show one run.

    When, who, with which configuration, why it ended, which members went out and came back, what was counted and
    whether the books balance, and which files were written.
    """
    from .run_page import show_run

    show_run(home, number, as_json=as_json)
