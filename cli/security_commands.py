"""Who may command, who is about, who did what: `grange lease`, `who`, `audit` and `token`."""

from typing import Annotated

import typer

from .options import HomeOption, JsonOption, examples, length_of_time

HoldOption = Annotated[
    float,
    typer.Option(
        "--for",
        metavar="DURATION",
        parser=length_of_time("--for"),
        show_default=False,
        help="Until it ends by itself: 90m, 8h; 12h if not.",
    ),
]
WhyOption = Annotated[str, typer.Option("--comment", help="Why, for whoever wants to command meanwhile.")]

lease = typer.Typer(
    help="Show, take or give back the right to command.",
    epilog=examples("grange lease", "grange lease take --for 8h --comment 'night shift'", "grange lease force"),
    rich_markup_mode=None,
)


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.add_typer(lease, name="lease")
    app.command(epilog=examples("grange who"))(who)
    app.command(epilog=examples("grange audit", "grange audit --since 12h --person ana", "grange audit -n 500 --json"))(
        audit
    )
    app.command(epilog=examples("grange token", "grange token --json"))(token)


@lease.callback(invoke_without_command=True)
def show(context: typer.Context, as_json: JsonOption = False, home: HomeOption = None) -> None:
    """Show, take or give back the right to command.

    While nobody holds the lease every shifter may command. While somebody does, the others are refused whatever changes
    the farm, and told who holds it.
    """
    if context.invoked_subcommand is not None:
        context.obj = home
        return
    from .security import show_lease

    show_lease(home, as_json=as_json)


@lease.command(epilog=examples("grange lease take --for 8h --comment 'night shift'"))
def take(hold: HoldOption = 0.0, comment: WhyOption = "", as_json: JsonOption = False, home: HomeOption = None) -> None:
    """Take the right to command, or begin its time anew."""
    from .security import take_lease

    take_lease(home, hold, comment, force=False, as_json=as_json)


@lease.command(epilog=examples("grange lease force --comment 'ana has gone home'"))
def force(
    hold: HoldOption = 0.0, comment: WhyOption = "", as_json: JsonOption = False, home: HomeOption = None
) -> None:
    """Take the right to command from whoever holds it.

    For when the holder cannot be asked. The records and the farm's story say who did it.
    """
    from .security import take_lease

    take_lease(home, hold, comment, force=True, as_json=as_json)


@lease.command(epilog=examples("grange lease release"))
def release(as_json: JsonOption = False, home: HomeOption = None) -> None:
    """Give the right to command back: from now on every shifter may."""
    from .security import release_lease

    release_lease(home, as_json=as_json)


def who(as_json: JsonOption = False, home: HomeOption = None) -> None:
    """Show who may command, and who has called lately.

    And who commanded last.
    """
    from .security import show_who

    show_who(home, as_json=as_json)


def audit(
    most: Annotated[int, typer.Option("-n", "--most", min=1, max=10_000, help="The newest so many.")] = 50,
    since: Annotated[
        float,
        typer.Option(
            "--since",
            metavar="DURATION",
            parser=length_of_time("--since"),
            show_default=False,
            help="Only of so long: 30m, 12h, 7d.",
        ),
    ] = 0.0,
    person: Annotated[str, typer.Option("--person", metavar="NAME", help="Only of one user.")] = "",
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """List who commanded what, and what became of it.

    Refusals too, and from where each came; the newest at the end. While no controller holds the farm it is read from
    the database directly.
    """
    from .security import show_audit

    show_audit(home, most, since, person, as_json=as_json)


def token(as_json: JsonOption = False, home: HomeOption = None) -> None:
    """Print a token for other programs, such as grpcurl.

    It says who you are, for five minutes; send it as metadata: authorization: Bearer TOKEN
    """
    from .security import print_token

    print_token(home, as_json=as_json)
