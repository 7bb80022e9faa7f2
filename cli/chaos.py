"""Carries out `grange chaos`: what is going on while it goes on, and the report."""

import asyncio
import secrets
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from grange.client import Farm
from grange.client.home import demand_farm, demand_own, resolve_home
from grange.core.errors import Refused
from grange.core.home import Home
from grange.core.names import State
from grange.harness.chaos import Chaos, Report, summary

from .exits import Exit
from .shell import print_json, say, tell
from .text import console

_SEEDS = 1_000_000  # a new seed is short enough to be typed again
_PRODUCTION = "production"


def break_things(given: Path | None, minutes: float, seed: int | None, *, stop: bool, yes: bool, as_json: bool) -> None:
    """Until the time is over or something is found; exits with 1 then."""
    home = resolve_home(given)
    demand_farm(home)
    demand_own(home)
    seed = secrets.randbelow(_SEEDS) if seed is None else seed
    _prepare(home, seed, yes=yes)
    screen = console()
    live = Live(console=screen, auto_refresh=False) if screen.is_terminal and not as_json else None
    show = _lines() if live is None else lambda report: live.update(_picture(report), refresh=True)
    with live or nullcontext():
        report = asyncio.run(Chaos(home, seed, (lambda _: None) if as_json else show).run(minutes, stop=stop))
    if as_json:
        print_json(report.as_json())
    else:
        if live is None:
            screen.print(_table(report))
        _tell_end(report)
    if report.violations:
        raise typer.Exit(Exit.FAILED)


def _prepare(home: Home, seed: int, *, yes: bool) -> None:
    """A run that may be hit. Raises `Refused`."""
    with Farm(home.root) as farm:
        member = farm.status(depth=0).member
        if member.state is State.PAUSED:
            raise Refused("the run is paused, and chaos needs one that takes data", ("resume",), "First: grange resume")
        if member.state is not State.TAKING:
            farm.go("running", comment=f"chaos, seed {seed}")
        elif farm.run(member.run_number).type == _PRODUCTION and not yes:
            raise Refused(
                f"run {member.run_number} is a production run", (), "To break things during it all the same: --yes"
            )


def _lines() -> Callable[[Report], None]:
    """For a log: each fault as a line of its own when it is over, and what was found."""
    told = 0

    def show(report: Report) -> None:
        nonlocal told
        if report.now:
            return
        for one in report.struck[told:]:
            how = "NOT RECOVERED" if one.recovered_s is None else f"right again after {one.recovered_s:.2f} s"
            tell(f"{one.at_s:7.1f} s  {one.fault}: {how}")
        told = len(report.struck)

    return show


def _picture(report: Report) -> RenderableType:
    head = Text(f"chaos in run {report.run_number}, seed {report.seed}", style="bold")
    return Group(head, _table(report), Text(report.now or "…", style="dim"))


def _table(report: Report) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2), header_style="dim")
    table.add_column("fault", no_wrap=True)
    for name in ("injected", "recovered", "median", "worst"):
        table.add_column(name, justify="right", no_wrap=True)
    for kind, struck in report.kinds().items():
        told = summary(struck)
        times = [f"{told[key]:.2f} s" if told[key] is not None else "-" for key in ("median_s", "worst_s")]
        table.add_row(kind, str(told["injected"]), str(told["recovered"]), *times)
    return table


def _tell_end(report: Report) -> None:
    over = sum(one.recovered_s is not None for one in report.struck)
    tell(f"\nrun {report.run_number}, seed {report.seed}: {len(report.struck)} faults, {over} recovered")
    if report.books_read:
        lost = "cannot be told, for an end of the data flow was killed" if report.lost is None else f"{report.lost}"
        tell(f"events lost by the data flow: {lost}")
    else:
        tell("events lost by the data flow: the books were not read, or there is nothing in them")
    for note in report.notes:
        tell(f"  explained by a process that was killed: {note}")
    for violation in report.violations:
        say(f"chaos: {violation}")
    if not report.violations:
        tell("no violations")
