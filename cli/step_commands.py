"""`grange go`, every step of the state machine by its name, and `grange cancel`."""

from collections.abc import Callable
from typing import Annotated

import typer

from grange.core.names import Command

from .completing import complete_command
from .options import (
    CommentOption,
    DetachOption,
    EventsOption,
    ForOption,
    HomeOption,
    JsonOption,
    MembersArgument,
    ModeOption,
    NoCancelOption,
    TimeoutOption,
    TypeOption,
    WhyEndedOption,
    examples,
    members,
)

# each ends with where it comes from and leads to; a test compares that with the table in core/state.py
STEP_HELP: dict[Command, str] = {
    Command.SETUP: "Start the control infrastructure. Sub-farm controllers and keepers, absent to initial.",
    Command.BOOT: "Start the processes. Each has to say that it is ready, initial to booted.",
    Command.LOAD: "Give the processes their configuration. That is the selected revision, booted to loaded.",
    Command.CONFIGURE: "Prepare everything for a run. Processes connect to each other, loaded to configured.",
    Command.START: "Start a run. A number is allotted and data is taken, configured to taking.",
    Command.PAUSE: "Stop reading data for a while. The run goes on, taking to paused.",
    Command.RESUME: "Go on reading data. In the same run, paused to taking.",
    Command.STOP: "End the run. Drain, close the files, balance the books, taking or paused to configured.",
    Command.UNCONFIGURE: "Take the preparations for a run back. Configured to loaded.",
    Command.UNLOAD: "Forget the configuration. Loaded to booted.",
    Command.SHUTDOWN: "Terminate the processes. Possible from any state, and leads to initial.",
    Command.TEARDOWN: "End the control infrastructure. Initial to absent.",
}
STEP_EXAMPLES: dict[Command, tuple[str, ...]] = {
    Command.START: ('grange start --comment "first beam" --type production',),
    Command.STOP: ("grange stop", "grange stop --comment 'beam lost'"),
    Command.SHUTDOWN: ("grange shutdown", "grange shutdown sf01/hlt017"),
}  # of the others: the step alone, and for one sub-farm
TARGETS = ("absent", "initial", "booted", "loaded", "configured", "running", "paused")


def register(app: typer.Typer) -> None:
    """Adds the commands in the order in which a farm goes through them."""
    shown = examples("grange go running", "grange go configured sf01", 'grange go running --comment "first beam"')
    app.command("go", epilog=shown)(go)
    for step, text in STEP_HELP.items():
        shown = examples(*STEP_EXAMPLES.get(step, (f"grange {step}", f"grange {step} sf01")))
        app.command(step.value, help=text, epilog=shown)(_command(step))
    app.command("cancel", epilog=examples("grange cancel"))(cancel)


def go(
    target: Annotated[
        str,
        typer.Argument(metavar="TARGET", help=f"One of {', '.join(TARGETS)}.", autocompletion=lambda: list(TARGETS)),
    ],
    named: MembersArgument = None,
    timeout: TimeoutOption = 0.0,
    as_json: JsonOption = False,
    comment: CommentOption = "",
    run_type: TypeOption = "",
    mode: ModeOption = "",
    events: EventsOption = 0,
    duration: ForOption = 0.0,
    no_cancel: NoCancelOption = False,
    detach: DetachOption = False,
    home: HomeOption = None,
) -> None:
    """Go to a state by whatever steps lead there.

    While it runs, Ctrl-C cancels the command: nothing more is commanded, and each member stays where it is.
    """
    from .carrying import Order, carry_out

    order = Order(target, members(named), is_target=True, timeout_s=timeout)
    order = order.with_run(comment, run_type, mode, events, duration)
    carry_out(home, order, as_json=as_json, cancels=not no_cancel, detach=detach)


def start(
    named: MembersArgument = None,
    timeout: TimeoutOption = 0.0,
    as_json: JsonOption = False,
    comment: CommentOption = "",
    run_type: TypeOption = "",
    mode: ModeOption = "",
    events: EventsOption = 0,
    duration: ForOption = 0.0,
    no_cancel: NoCancelOption = False,
    detach: DetachOption = False,
    home: HomeOption = None,
) -> None:
    from .carrying import Order, carry_out

    order = Order(Command.START, members(named), timeout_s=timeout)
    order = order.with_run(comment, run_type, mode, events, duration)
    carry_out(home, order, as_json=as_json, cancels=not no_cancel, detach=detach)


def _command(step: Command) -> Callable[..., None]:
    """What carries out one step: those that begin and end a run have more to say."""
    if step is Command.START:
        return start
    return _ending(step) if step in (Command.STOP, Command.SHUTDOWN) else _step(step)


def _ending(step: Command) -> Callable[..., None]:
    """The command of a step that ends a run, with the reason that is kept with it."""

    def command(
        named: MembersArgument = None,
        timeout: TimeoutOption = 0.0,
        as_json: JsonOption = False,
        comment: WhyEndedOption = "",
        no_cancel: NoCancelOption = False,
        detach: DetachOption = False,
        home: HomeOption = None,
    ) -> None:
        from .carrying import Order, carry_out

        order = Order(step, members(named), timeout_s=timeout, comment=comment)
        carry_out(home, order, as_json=as_json, cancels=not no_cancel, detach=detach)

    return command


def _step(step: Command) -> Callable[..., None]:
    """The command of one step that neither begins nor ends a run."""

    def command(
        named: MembersArgument = None,
        timeout: TimeoutOption = 0.0,
        as_json: JsonOption = False,
        no_cancel: NoCancelOption = False,
        detach: DetachOption = False,
        home: HomeOption = None,
    ) -> None:
        from .carrying import Order, carry_out

        order = Order(step, members(named), timeout_s=timeout)
        carry_out(home, order, as_json=as_json, cancels=not no_cancel, detach=detach)

    return command


def cancel(
    command_id: Annotated[
        str,
        typer.Argument(
            metavar="ID",
            help="A command's id; without it the command under way, or else what brings members back.",
            show_default=False,
            autocompletion=complete_command,
        ),
    ] = "",
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """End a command under way.

    Nothing more is commanded, and each member stays where it is. Of a restart, recover or include only the waiting
    ends: what has begun is not taken back, and members that can go on to follow the farm's goal.
    """
    from .carrying import cancel_command

    cancel_command(home, command_id, as_json=as_json)
