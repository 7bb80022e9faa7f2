"""Looking: `grange status`, `show`, `watch`, `story` and `logs`; always answered, also while a command runs."""

from typing import Annotated

import typer

from .completing import complete_member
from .options import HomeOption, JsonOption, PathArgument, SelectorArgument, examples, member, selected

DepthOption = Annotated[
    int | None,
    typer.Option(
        "--depth",
        min=0,
        max=9,
        show_default=False,
        help="How many levels below the member; by default down to the processes while they are few.",
    ),
]
LoggedArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="MEMBER",
        help="sf01/hlt017/psa-2, those of sf01/@psa, or the program of sf01/hlt017 or sf01; without it the farm's.",
        show_default=False,
        autocompletion=complete_member,
    ),
]


def register(app: typer.Typer) -> None:
    app.command(epilog=examples("grange status", "grange status sf01 --depth 1", "grange status 'sf*/@psa' --json"))(
        status
    )
    app.command(epilog=examples("grange show sf01/hlt017/psa-2", "grange show sf01/hlt017 -n 50", "grange show"))(show)
    app.command(epilog=examples("grange watch", "grange watch sf01/hlt017", "grange watch --json"))(watch)
    app.command(epilog=examples("grange story", "grange story sf01/hlt017/psa-2"))(story)
    app.command(
        epilog=examples(
            "grange logs sf01/hlt017/psa-2 -n 200",
            "grange logs 'sf01/@psa' -f",
            "grange logs sf01",
            "grange logs sf01/hlt017 --keeper",
        )
    )(logs)


def status(
    path: SelectorArgument = None, depth: DepthOption = None, as_json: JsonOption = False, home: HomeOption = None
) -> None:
    """Show the farm, or a part of it, as it is now."""
    from .showing import show_status

    show_status(home, selected(path), depth, as_json=as_json)


def show(
    path: PathArgument = None,
    lines: Annotated[
        int, typer.Option("-n", "--lines", min=1, max=1000, help="Of its story and of its log, the last so many.")
    ] = 10,
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Show all about one member.

    Why it is as it is, its configuration, its story and its log. Without a farm controller: the selected configuration,
    and the log if it lies on this host.
    """
    from .showing import show_page

    show_page(home, member(path), lines, as_json=as_json)


def watch(
    path: SelectorArgument = None, depth: DepthOption = None, as_json: JsonOption = False, home: HomeOption = None
) -> None:
    """Show the farm as it changes, until Ctrl-C.

    With --json one line for each change.
    """
    from .watching import show_changes

    show_changes(home, selected(path), depth, as_json=as_json)


def story(path: SelectorArgument = None, as_json: JsonOption = False, home: HomeOption = None) -> None:
    """Tell what happened to a member lately, and why."""
    from .showing import show_story

    show_story(home, selected(path), as_json=as_json)


def logs(
    path: LoggedArgument = None,
    lines: Annotated[int, typer.Option("-n", "--lines", min=0, max=100_000, help="The last so many lines.")] = 50,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on with what comes, until Ctrl-C.")] = False,
    keeper: Annotated[bool, typer.Option("--keeper", help="Of a node: its keeper, not its agent.")] = False,
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Print the last lines that a member has written.

    Of a process that is its output; of the farm, a sub-farm or a node the log of its controller or agent, also while
    that does not run. With --json one object for each line.
    """
    from .output import show_output

    show_output(home, selected(path), lines, keeper=keeper, on=follow, as_json=as_json)
