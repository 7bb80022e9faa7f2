"""Carrying out one command from a terminal: progress while it runs, Ctrl-C, and the outcome as an exit code.

A command belongs to the controller. The first Ctrl-C cancels it there, as soon as it is accepted, and waits for its
outcome, so that what is reported afterwards is so; a second one stops the waiting. With `--no-cancel` the first one
stops the waiting.
"""

import asyncio
import contextlib
import signal
import uuid
from collections.abc import Coroutine
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import typer

from grange.client import AsyncFarm, Outcome, OutcomeKind, Progress
from grange.client.values import as_json as to_json
from grange.core.durations import duration_words
from grange.core.errors import GrangeError
from grange.core.names import MemberCommand, State
from grange.core.paths import FARM

from .exits import Exit
from .progress import Display, NoDisplay, choose_display
from .shell import print_json, say, say_error, tell

_LAST_WORD_S = 2.0  # for a command to be cancelled that is not waited for
_OUT_OF_RUN = (State.CONFIGURED, State.LOADED, State.BOOTED, State.INITIAL, State.ABSENT)


@dataclass(frozen=True, slots=True)
class Order:
    """What a person has asked for."""

    what: str  # a step, a target, or what is done with members
    members: tuple[str, ...] = ()  # selectors; none: the whole farm
    is_target: bool = False
    timeout_s: float = 0.0
    comment: str = ""
    run_type: str = ""
    run_mode: str = ""
    run_events: int = 0
    run_duration_s: float = 0.0
    gone: bool = False

    def with_run(self, comment: str, run_type: str, run_mode: str, events: int, duration_s: float) -> Self:
        """The same order, with what a run that it starts is recorded with, and when that ends by itself."""
        return replace(
            self, comment=comment, run_type=run_type, run_mode=run_mode, run_events=events, run_duration_s=duration_s
        )

    @property
    def words(self) -> str:
        """What is done, without where."""
        return f"go {self.what}" if self.is_target else self.what

    def __str__(self) -> str:
        return " ".join((self.words, *self.members))


def carry_out(
    home: Path | None,
    order: Order,
    *,
    as_json: bool = False,
    quiet: bool = False,
    cancels: bool = True,
    detach: bool = False,
) -> None:
    """Carries out an order and ends the program with its exit code; returns when it is done.

    With `quiet` nothing is printed of what is done: it is part of something larger that tells of itself.
    """
    has_steps = not isinstance(order.what, MemberCommand)
    display = NoDisplay() if as_json or detach or quiet else choose_display(str(order), has_steps=has_steps)
    result = asyncio.run(_Carrying(home, order, display, cancels=cancels, detach=detach).run())
    if isinstance(result, str):
        if as_json:
            print_json({"command_id": result})
        else:
            tell(result)
        return
    report(order, result, as_json=as_json, quiet=quiet)


def report(order: Order, outcome: Outcome, *, as_json: bool, quiet: bool = False) -> None:
    """Tells how an order ended: on standard output when it is done, else with the reason on standard error."""
    if as_json:
        print_json(to_json(outcome))
    for note in outcome.notes:
        say(f"  {note}")
    where = f"{outcome.path or 'the farm'} is {outcome.state}"
    if outcome.kind is OutcomeKind.DONE:
        run = _run_text(order, outcome)
        if not as_json and not quiet:
            tell(f"{order}: done in {duration_words(outcome.duration_s)}; {where}{run}")
        return
    # a controller's sentence begins with what was tried and how it ended; what does not is completed
    said = outcome.reason
    if not said.startswith(f"{order.words} "):
        said = f"{order}: {outcome.kind} after {duration_words(outcome.duration_s)}: {said}"
    say(f"{said}; {where}")
    raise typer.Exit(Exit.INTERRUPTED if outcome.kind is OutcomeKind.CANCELLED else Exit.FAILED)


def _run_text(order: Order, outcome: Outcome) -> str:
    """The run that goes on, or that has ended with the whole farm's part in it."""
    if outcome.run_number and outcome.state in (State.TAKING, State.PAUSED):
        return f", run {outcome.run_number}"
    ended = outcome.run_number and not order.members and outcome.state in _OUT_OF_RUN
    return f"; run {outcome.run_number} has ended" if ended else ""


def cancel_command(home: Path | None, command_id: str, *, as_json: bool) -> None:
    """Cancels a command by id, or what is under way; what was ordered settles first, and its caller hears the end."""

    async def cancel() -> tuple[str, ...]:
        async with AsyncFarm(home) as farm:
            return await farm.cancel(command_id)

    cancelled = asyncio.run(cancel())
    if as_json:
        print_json({"command_ids": cancelled})
    else:
        tell(f"cancelling {', '.join(cancelled)}" if cancelled else f"{command_id} has ended before")


class _Carrying:
    """One order on its way; `run` is called once."""

    def __init__(self, home: Path | None, order: Order, display: Display, *, cancels: bool, detach: bool) -> None:
        self._farm = AsyncFarm(home)
        self._order = order
        self._display = display
        self._cancels = cancels
        self._detach = detach
        self._id = str(uuid.uuid4())
        self._accepted = asyncio.Event()
        self._cancelling = False
        self._cancelled = False  # the controller has said so
        self._interrupts: asyncio.Queue[None] = asyncio.Queue()

    async def run(self) -> Outcome | str:
        """The outcome; or, detached, the command's id as soon as it is accepted."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGINT, self._interrupts.put_nowait, None)
        try:
            async with self._farm:
                with self._display:
                    result = await self._carry()
                    if result is None and self._cancels:
                        with contextlib.suppress(TimeoutError, GrangeError):
                            async with asyncio.timeout(_LAST_WORD_S):
                                await self._cancel()
        finally:
            loop.remove_signal_handler(signal.SIGINT)
        if result is None:
            self._say_left()
            raise typer.Exit(Exit.INTERRUPTED)
        return result

    def _say_left(self) -> None:
        """What a person who waits no longer has to know; said when the bars are gone, which would wipe it away."""
        if self._cancelled:
            say(f"{self._order}: {self._id} is cancelled, and not waited for. Look with: grange status")
        elif self._accepted.is_set():
            say(f"{self._order}: still under way as {self._id}. End it with: grange cancel {self._id}")
        else:
            say(f"{self._order}: no answer yet; it may have been accepted. Look with: grange status")

    async def _carry(self) -> Outcome | str | None:
        """The outcome; detached, the id; None when the person no longer wants to wait."""
        work: asyncio.Task[Outcome | str | None] = asyncio.create_task(self._execute())
        watched: set[asyncio.Task[Outcome | str | None]] = {work, asyncio.create_task(self._interrupted())}
        if self._detach:
            watched.add(asyncio.create_task(self._taken()))
        try:
            finished, _ = await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in watched:
                task.cancel()
            await asyncio.gather(*watched, return_exceptions=True)
        # the work first: an outcome that came together with anything else is what counts
        return await (work if work in finished else finished.pop())

    def _execute(self) -> Coroutine[Any, Any, Outcome]:
        order = self._order
        if isinstance(order.what, MemberCommand):
            return self._farm.command_members(
                order.what,
                order.members or FARM,
                timeout_s=order.timeout_s,
                command_id=self._id,
                comment=order.comment,
                gone=order.gone,
                on_progress=self._tell,
                check=False,
            )
        execute = self._farm.go if order.is_target else self._farm.execute
        return execute(
            order.what,
            order.members or FARM,
            timeout_s=order.timeout_s,
            command_id=self._id,
            comment=order.comment,
            run_type=order.run_type,
            run_mode=order.run_mode,
            run_events=order.run_events,
            run_duration_s=order.run_duration_s,
            on_progress=self._tell,
            check=False,
        )

    def _tell(self, progress: Progress) -> None:
        self._accepted.set()
        self._display.show(progress)

    async def _taken(self) -> str:
        await self._accepted.wait()
        if self._cancelling:  # then it is not detached from, but waited for
            await asyncio.Future()
        return self._id

    async def _interrupted(self) -> None:
        """Returns when the person no longer wants to wait."""
        await self._interrupts.get()
        if not self._cancels:
            return
        self._cancelling = True
        what = "cancelling" if self._accepted.is_set() else "not accepted yet, and cancelled as soon as it is"
        self._display.note(f"{what}; Ctrl-C again stops waiting")
        cancelling = asyncio.create_task(self._cancel_accepted())
        try:
            await self._interrupts.get()
        finally:
            cancelling.cancel()
            await asyncio.gather(cancelling, return_exceptions=True)

    async def _cancel_accepted(self) -> None:
        await self._accepted.wait()
        try:
            await self._cancel()
        except GrangeError as error:
            say_error(error)

    async def _cancel(self) -> None:
        self._cancelled = bool(await self._farm.cancel(self._id)) or self._cancelled
