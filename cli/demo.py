"""`grange demo`: a small farm on this machine, from nothing to the balanced books of a run of real PSA.

It makes its input, its configuration and its farm, takes the farm through every step of the state machine, looks after
each promise that grange makes on the way (nothing is read while paused, the books balance, the files hold what was
counted, nothing is left behind) and tells what it found. Whatever goes wrong, the farm is taken down again.
"""

import time
from collections.abc import Callable
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import Progress as Bars
from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

from grange.actors.adf import AdfError
from grange.actors.adf_file import summarise
from grange.client import Farm, Outcome, RunRecord
from grange.client.values import as_json as to_json
from grange.core.errors import GrangeError
from grange.core.home import Home
from grange.core.names import State

from .demo_place import MESSAGE, demand_room, ending, place
from .exits import Exit
from .interrupting import Interrupts
from .leftovers import leftovers
from .offline import open_store
from .progress import choose_display
from .run_page import print_run
from .shell import own_path, print_json, say, tell
from .text import console
from .upping import detached, take_down

EVENTS = 3000
STEPS_UP = ("setup", "boot", "load", "configure", "start")
STEPS_DOWN = ("stop", "unconfigure", "unload", "shutdown", "teardown")
STEP_TIMEOUT_S = 120.0
TAKING_LIMIT_S = 300.0  # for the whole input to be read
EXIT_LIMIT_S = 5.0  # for interpreters that are ending
PAUSED_S = 1.5  # during which nothing may be read
LOOK_EVERY_S = 0.3
_LOOK = "To look into it: grange demo --keep, then grange status"

NEXT = """
The farm is taking data. Try:
  {setting}
  {grange} status                       the tree, with state, health and counts
  {grange} watch                        the same, live
  {grange} logs sf01/hlt001/psa-1 -f    what a process says
  {grange} story sf01                   what happened, and why
  kill -9 one of the pids that {grange} status shows, look again, and bring it back: {grange} go running
  {grange} stop; {grange} runs show {run}   end the run, and see its books
  {grange} down --all                   end everything"""


@dataclass
class Findings:
    """What the demonstration has to tell."""

    transitions: dict[str, float] = field(default_factory=dict)
    run: RunRecord | None = None
    problems: list[str] = field(default_factory=list)


def demo(
    events: Annotated[int, typer.Option(help="Crystal events in the input file.", min=100)] = EVENTS,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the farm running, and say what to try next.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the run as JSON, and nothing else.")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Use an empty home and remove it afterwards.")] = False,
    home: Annotated[
        Path | None,
        typer.Option(
            help="Where the farm lives. Default: $GRANGE_HOME, else grange/demo in the user's state directory."
        ),
    ] = None,
) -> None:
    """Run a small farm on this machine and show its run.

    Two sub-farms of two nodes: a producer reads crystal events from an ADF file, a software trigger keeps
    coincidences, three PSA processes search their pulse shapes, a builder writes events. Exits with 1 when the books of
    the run do not balance, and says which role does not account for what it was given. Ctrl-C, SIGTERM and a terminal
    that is closed take the farm down again.
    """
    talk: Callable[[str], None] = (lambda text: None) if as_json else tell
    findings = Findings()
    with Interrupts() as interrupts, place(home, fresh=fresh) as where:
        prepare(where, events, endless=keep, quiet=as_json, talk=talk)
        interrupts.hold()  # a controller that is coming up cannot be told to end yet
        detached(Path(where.root), quiet=as_json)
        try:
            interrupts.release()
            _clear(where)
            run_through(where, events, findings, keep=keep, quiet=as_json)
            if not keep:
                take_down(Path(where.root), everything=False, timeout_s=STEP_TIMEOUT_S, quiet=True)
        except BaseException:
            _clean_up(where)
            raise
        if not keep:
            findings.problems += [f"left behind: {leftover}" for leftover in _wait_for_nothing(where)]
    if not keep:
        _tell(findings, as_json=as_json)
        return
    number = findings.run.number if findings.run is not None else 0
    talk(NEXT.format(setting=f"export GRANGE_HOME={where.root}", grange=_program(), run=number))
    if as_json:
        print_json({"run_number": number, "home": where.root})


def _program() -> str:
    """How this very `grange` is called from here."""
    own, here = own_path(), Path.cwd()
    return str(Path(own).relative_to(here)) if Path(own).is_relative_to(here) else own


# ---- before ---------------------------------------------------------------------------------------------------------


def prepare(home: Home, events: int, *, endless: bool, quiet: bool, talk: Callable[[str], None]) -> None:
    """Input, configuration and database, in a home that is free for them."""
    demand_room(home)
    Path(home.root).mkdir(mode=0o700, parents=True, exist_ok=True)
    Path(home.cache).mkdir(mode=0o700, exist_ok=True)
    talk(f"the farm lives in {home.root}")
    with _working("computing the pulse-shape basis (once)", quiet):
        from .demo_input import compute_basis, write_configuration, write_input

        compute_basis(home)
    with _working(f"writing {events} crystal events", quiet):
        path = write_input(home, events)
    talk(f"input: {path} ({path.stat().st_size / 1e6:.1f} MB, {events} crystal events)")
    with open_store(Path(home.root), create=True) as store:
        imported = store.config_import(write_configuration(home, endless=endless), message=MESSAGE)
    talk(f"configuration: revision {imported.revision.hash[:10]}")


@contextmanager
def _working(what: str, quiet: bool) -> Any:
    screen = console(stderr=True)
    if quiet or not screen.is_terminal:
        yield
        return
    with Bars(SpinnerColumn(), TextColumn(what), TimeElapsedColumn(), console=screen, transient=True) as bars:
        bars.add_task(what)
        yield


# ---- the run --------------------------------------------------------------------------------------------------------


def run_through(home: Home, events: int, findings: Findings, *, keep: bool, quiet: bool) -> None:
    """Every step up, a pause in the middle of the data, and every step down."""
    with Farm(home.root) as farm:
        for step in STEPS_UP:
            _step(farm, step, findings, quiet)
        run_number = farm.status(depth=0).member.run_number
        _take_data(farm, events // 2, run_number, quiet)
        _step(farm, "pause", findings, quiet)
        _look_while_paused(farm, findings)
        _step(farm, "resume", findings, quiet)
        if keep:
            findings.run = farm.run(run_number)
            return
        _take_data(farm, events, run_number, quiet)
        for step in STEPS_DOWN:
            _step(farm, step, findings, quiet)
        findings.run = farm.run(run_number)
        _check(findings, events)


def _step(farm: Farm, step: str, findings: Findings, quiet: bool) -> Outcome:
    display = None if quiet else choose_display(step, has_steps=True)
    if display is None:
        outcome = farm.execute(step, timeout_s=STEP_TIMEOUT_S)
    else:
        with display:
            outcome = farm.execute(step, timeout_s=STEP_TIMEOUT_S, on_progress=display.show)
        tell(f"  {step:<12} {outcome.duration_s:8.3f} s   {outcome.state}")
    findings.transitions[step] = round(outcome.duration_s, 4)
    return outcome


def _counted(farm: Farm, counter: str) -> dict[str, int]:
    """What each sub-farm has counted, summed over its roles."""
    found = {}
    for member in farm.status(depth=1).members[1:]:
        counters = farm.status(member.path, 0).counters
        found[member.path] = sum(values.get(counter, 0) for values in counters.values())
    return found


def _take_data(farm: Farm, events: int, run_number: int, quiet: bool) -> None:
    """Lets every sub-farm read `events` crystal events; raises when that takes too long or the run ends."""
    deadline_s = time.monotonic() + TAKING_LIMIT_S
    screen = console(stderr=True)
    bars = Bars(console=screen, transient=True, disable=quiet or not screen.is_terminal)
    with bars:
        tasks: dict[str, Any] = {}
        while True:
            read = _counted(farm, "read")
            for sub_farm, count in read.items():
                if sub_farm not in tasks:
                    tasks[sub_farm] = bars.add_task(f"  {sub_farm} taking data, run {run_number}", total=events)
                bars.update(tasks[sub_farm], completed=min(count, events))
            if read and all(count >= events for count in read.values()):
                return
            member = farm.status(depth=0).member
            if member.run_number != run_number:
                raise GrangeError(f"run {run_number} ended before its data were read: {member.status}", _LOOK)
            if time.monotonic() > deadline_s:
                text = f"after {TAKING_LIMIT_S:.0f} s only {read} of {events} crystal events were read"
                raise GrangeError(text, _LOOK)
            time.sleep(LOOK_EVERY_S)


def _look_while_paused(farm: Farm, findings: Findings) -> None:
    time.sleep(PAUSED_S)  # for the counters to have come up from the actors
    before = _counted(farm, "read")
    time.sleep(PAUSED_S)
    after = _counted(farm, "read")
    if before != after:
        findings.problems.append(f"something was read while paused: {before} became {after}")


# ---- after ----------------------------------------------------------------------------------------------------------


def _check(findings: Findings, events: int) -> None:
    """The books, and the files against the books."""
    run = findings.run
    assert run is not None
    findings.problems += [f"the books do not balance: {mismatch}" for mismatch in run.mismatches]
    if run.undrained:
        findings.problems.append("the run was not drained")
    written: dict[str, int] = {}
    for sub_farm, roles in run.counters.items():
        read = sum(values.get("read", 0) for values in roles.values())
        if read != events:
            findings.problems.append(f"{sub_farm}: {read} crystal events were read, the input has {events}")
        written[sub_farm] = sum(values.get("written", 0) for values in roles.values())
    in_files = dict.fromkeys(written, 0)
    for file in run.files:
        try:
            summary = summarise(file.path)
        except OSError as error:
            findings.problems.append(f"{file.path} was written and cannot be read again: {error.strerror}")
            continue
        except AdfError as error:
            findings.problems.append(f"what was written is damaged: {error}")
            continue
        if summary.sha256 != file.sha256.removeprefix("sha256:") or summary.bytes != file.size_bytes:
            findings.problems.append(f"{file.path} is not the file that was written: read again it differs")
        in_files[file.member.split("/")[0]] += summary.frames.get("data:psa", 0)
    if in_files != written:
        findings.problems.append(f"the files hold {in_files} psa frames, {written} were counted as written")
    if not run.files:
        findings.problems.append("no file was written")


def _tell(findings: Findings, *, as_json: bool) -> None:
    run = findings.run
    assert run is not None
    if as_json:
        document = {
            "run_number": run.number,
            "revision": run.revision,
            "transitions": findings.transitions,
            "roles": _roles(run),
            "files": [to_json(file) for file in run.files],
            "run": to_json(run),
            "problems": findings.problems,
        }
        print_json(document)
    else:
        tell("")
        print_run(run)
        if not findings.problems:
            tell("\nthe books balance, the files hold what was counted, and nothing was left behind")
    for problem in findings.problems:
        say(f"demo: {problem}")
    if findings.problems:
        raise typer.Exit(Exit.FAILED)


def _roles(run: RunRecord) -> dict[str, dict[str, int]]:
    """What each role has counted, over all sub-farms."""
    totals: dict[str, dict[str, int]] = {}
    for roles in run.counters.values():
        for role, values in roles.items():
            sums = totals.setdefault(role, {})
            for counter, value in values.items():
                sums[counter] = sums.get(counter, 0) + value
    return totals


def _wait_for_nothing(home: Home) -> list[str]:
    """What is left once programs that are on their way out have had `EXIT_LIMIT_S`."""
    deadline_s = time.monotonic() + EXIT_LIMIT_S
    while (found := leftovers(home)) and time.monotonic() < deadline_s:
        time.sleep(0.1)  # the exits of strangers: there is nothing to wait on
    return found


def _clear(home: Home) -> None:
    """A former demonstration that was cut off is ended first: its farm is what the controller has found."""
    with Farm(home.root) as farm:
        if farm.status(depth=0).member.state is not State.ABSENT:
            say("demo: a former demonstration is still there; it is ended first")
            _end(farm)


def _end(farm: Farm) -> None:
    farm.execute("shutdown", timeout_s=STEP_TIMEOUT_S, check=False)
    farm.go("absent", timeout_s=STEP_TIMEOUT_S, check=False)


def _clean_up(home: Home) -> None:
    """After a failure or an interrupt: everything ends; what cannot be ended is named, if anybody still listens."""
    sentences = ["demo: taking the farm down"]
    with suppress(OSError):
        say(sentences.pop())
    try:
        with Farm(home.root) as farm:
            _end(farm)
        take_down(Path(home.root), everything=False, timeout_s=STEP_TIMEOUT_S, quiet=True)
    except GrangeError as error:
        sentences.append(f"demo: {error}")
    except KeyboardInterrupt:  # once more: nobody wants to wait
        sentences.append(f"demo: the farm is not down yet; end it with: {ending(home)}")
    sentences += [f"demo: left behind: {leftover}" for leftover in _wait_for_nothing(home)]
    with suppress(OSError):
        for sentence in sentences:
            say(sentence)
