"""The farm controller itself: `grange up` and `down`; and the demonstration, `grange demo`."""

from typing import Annotated

import typer

from .options import HomeOption, JsonOption, TimeoutOption, examples

DEMO_EXAMPLES = examples("grange demo", "grange demo --keep --home farm")


def register(app: typer.Typer) -> None:
    app.command(epilog=examples("grange up --detach"))(up)
    app.command(epilog=examples("grange down", "grange down --all --timeout 120", "grange down --kill"))(down)
    # the demonstration describes its own options, and is imported only when asked for: it knows the whole of grange
    app.command(
        "demo",
        epilog=DEMO_EXAMPLES,
        add_help_option=False,
        context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "allow_interspersed_args": False},
    )(demo)


def up(
    detach: Annotated[
        bool, typer.Option("--detach", help="Start it in the background and return when it answers.")
    ] = False,
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Start the farm controller.

    It runs here until Ctrl-C, or in the background with --detach. Ctrl-C ends the controller only: processes and
    sub-farm controllers run on, and the next `grange up` finds them.
    """
    from .upping import detached, foreground

    if detach:
        detached(home, as_json=as_json)
    else:
        foreground(home, as_json=as_json)


def down(
    everything: Annotated[
        bool, typer.Option("--all", help="First end everything below it: run, processes and infrastructure.")
    ] = False,
    kill: Annotated[
        bool, typer.Option("--kill", help="Without a farm controller: end all of the farm on this machine.")
    ] = False,
    timeout: TimeoutOption = 0.0,
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """End the farm controller.

    What it controls runs on unless --all is given. Where no farm controller can be started, --kill ends all programs
    and processes of the farm on this machine; it is refused while a farm controller has the farm.
    """
    if kill:
        from .killing import kill_everything

        kill_everything(home, as_json=as_json)
        return
    from .upping import take_down

    take_down(home, everything=everything, timeout_s=timeout, as_json=as_json)


def demo(context: typer.Context) -> None:
    """Run a small farm on this machine and show its run.

    From setup to the balanced books of a run; its own options are listed by: grange demo --help
    """
    home = ["--home", str(context.obj)] if context.obj is not None else []
    code = demo_program()(args=[*home, *context.args], prog_name="grange demo", standalone_mode=False)
    if code:
        raise typer.Exit(code)


def demo_program() -> typer.Typer:
    """The demonstration as a program of its own, with its options."""
    from .demo import demo as run_demo

    program = typer.Typer(
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    program.command(epilog=DEMO_EXAMPLES)(run_demo)
    return program
