"""Looking: `grange status`, `watch`, `story` and `logs`; always answered, also while a command runs."""

from typing import Annotated

import typer

from .options import HomeOption, JsonOption, PathArgument, member

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
ProcessArgument = Annotated[str, typer.Argument(metavar="MEMBER", help="A process, such as sf01/hlt017/psa-2.")]


def register(app: typer.Typer) -> None:
    for command in (status, watch, story, logs):
        app.command()(command)


def status(
    path: PathArgument = "", depth: DepthOption = None, as_json: JsonOption = False, home: HomeOption = None
) -> None:
    """Show the farm, or a part of it, as it is now."""
    from .showing import show_status

    show_status(home, member(path), depth, as_json=as_json)


def watch(
    path: PathArgument = "", depth: DepthOption = None, as_json: JsonOption = False, home: HomeOption = None
) -> None:
    """Show the farm as it changes, until Ctrl-C.

    With --json one line for each change.
    """
    from .watching import show_changes

    show_changes(home, member(path), depth, as_json=as_json)


def story(path: PathArgument = "", as_json: JsonOption = False, home: HomeOption = None) -> None:
    """Tell what happened to a member lately, and why."""
    from .showing import show_story

    show_story(home, member(path), as_json=as_json)


def logs(
    path: ProcessArgument,
    lines: Annotated[int, typer.Option("-n", "--lines", min=0, max=100_000, help="The last so many lines.")] = 50,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on with what comes, until Ctrl-C.")] = False,
    home: HomeOption = None,
) -> None:
    """Print the last lines that a process has written."""
    from .showing import show_output

    show_output(home, member(path), lines, follow=follow)
