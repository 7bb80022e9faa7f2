"""`grange exclude`, `include`, `restart` and `recover`: what is done with single members, whatever is under way."""

from typing import Annotated

import typer

from grange.core.names import MemberCommand

from .completing import complete_member
from .options import (
    DetachOption,
    HomeOption,
    JsonOption,
    MembersArgument,
    NoCancelOption,
    TimeoutOption,
    examples,
    members,
)

NamedMembers = Annotated[
    list[str],
    typer.Argument(
        metavar="MEMBER...",
        help="One or more: sf01/hlt017, sf*/hlt00?, @psa, sf01/@psa.",
        show_default=False,
        autocompletion=complete_member,
    ),
]
WhyOption = Annotated[str, typer.Option("--comment", help="Why, for whoever looks at it later.")]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command("exclude", epilog=examples("grange exclude sf03/hlt017 --comment 'bad disk'"))(exclude)
    app.command("include", epilog=examples("grange include sf03/hlt017"))(include)
    app.command("restart", epilog=examples("grange restart sf01/hlt017/psa-2", "grange restart 'sf*/@psa'"))(restart)
    app.command("recover", epilog=examples("grange recover", "grange recover sf01"))(recover)


def exclude(
    named: NamedMembers,
    comment: WhyOption = "",
    gone: Annotated[
        bool, typer.Option("--gone", help="Nodes or sub-farms whose machine will not come back: give up what is there.")
    ] = False,
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Take members out, whatever is under way.

    They are left as they are: commands pass them by and nothing counts them until they are included again. They leave
    a run with the others at the latest, and a shutdown reaches them. A command that waits for them goes on without.

    What cannot be heard stays unaccounted, for it may live. With --gone it is given up; should the machine come back
    all the same, what lives there is seen again, and ended when the farm is down.
    """
    from .carrying import Order, carry_out

    carry_out(home, Order(MemberCommand.EXCLUDE, members(named), comment=comment, gone=gone), as_json=as_json)


def include(
    named: NamedMembers,
    comment: WhyOption = "",
    timeout: TimeoutOption = 0.0,
    as_json: JsonOption = False,
    no_cancel: NoCancelOption = False,
    detach: DetachOption = False,
    home: HomeOption = None,
) -> None:
    """Take members in again.

    They are brought to where the others are, into a run that is going on as well. Who is not well is started anew.
    """
    _bring_back(MemberCommand.INCLUDE, named, comment, timeout, as_json, no_cancel, detach, home)


def restart(
    named: NamedMembers,
    comment: WhyOption = "",
    timeout: TimeoutOption = 0.0,
    as_json: JsonOption = False,
    no_cancel: NoCancelOption = False,
    detach: DetachOption = False,
    home: HomeOption = None,
) -> None:
    """End processes, and bring new ones to where the others are.

    All processes of the members. A run goes on meanwhile, without them until they are back.
    """
    _bring_back(MemberCommand.RESTART, named, comment, timeout, as_json, no_cancel, detach, home)


def recover(
    named: MembersArgument = None,
    comment: WhyOption = "",
    timeout: TimeoutOption = 0.0,
    as_json: JsonOption = False,
    no_cancel: NoCancelOption = False,
    detach: DetachOption = False,
    home: HomeOption = None,
) -> None:
    """Bring back what is not well, and leave the rest alone.

    Dead and hung processes are started anew, and brought to where the others are; a run goes on meanwhile.
    """
    _bring_back(MemberCommand.RECOVER, named, comment, timeout, as_json, no_cancel, detach, home)


def _bring_back(
    command: MemberCommand,
    named: list[str] | None,
    comment: str,
    timeout_s: float,
    as_json: bool,
    no_cancel: bool,
    detach: bool,
    home: HomeOption,
) -> None:
    from .carrying import Order, carry_out

    order = Order(command, members(named), timeout_s=timeout_s, comment=comment)
    carry_out(home, order, as_json=as_json, cancels=not no_cancel, detach=detach)
